"""``lmgateway selftest``: the operator's own config, with everything going wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

from attrs import evolve
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from lmgateway.commands import scenarios
from lmgateway.commands.scorecard import Card, Row
from lmgateway.commands.selftest import carded
from lmgateway.commands.selftest_config import Substituted
from lmgateway.errors import ConfigError
from tests.processes import CHECKOUT

LADDER = """
    [backends.local]
    base_url = "http://192.0.2.1:8000/prefix/v1"
    ca_file = "not-there.pem"

    [backends.claude]
    provider = "anthropic"
    api_key_env = "LMG_NOT_SET"

    [[tiers]]
    name = "small"
    backend = "local"
    model = "s"
    price = { input = 1, output = 2 }

    [[tiers]]
    name = "large"
    backend = "claude"
    model = "l"

    [profiles.default]
    classifier = "small"
"""
GUARDED = """
    [gateway]
    client_host = "0.0.0.0"
    client_tls = { cert = "not-there.pem", key = "not-there.pem" }
    admin_token_env = "LMG_NOT_SET"
""" + LADDER + """
    [profiles.closed]
    mode = "reply"
    reply_message = "We are closed today."

    [[clients]]
    name = "anna"
    key_env = "LMG_NOT_SET_EITHER"
    profile = "default"
    rate_limit_rpm = 600
    budgets = ["pocket"]

    [[budgets]]
    name = "pocket"
    period = "day"
    limit_usd = 5

    [[clients]]
    key_secret = { source = "file", path = "not-there" }
    profile = "closed"
"""  # fmt: skip

HASTY = "[gateway]\nworkers = 2\ndrain_timeout_ms = 0\n" + GUARDED[
    GUARDED.index("[backends.local]") :
].replace("rate_limit_rpm = 600", "max_concurrent = 1")


class Folder:
    """A folder with a config."""

    def __init__(self, name: str, text: str) -> None:
        self.path = Path(name)
        self.path.mkdir()
        self.config = self.path / "config.toml"
        self.config.write_text(dedent(text))


class SubstitutedTests(SynchronousTestCase):
    """See ``lmgateway.commands.selftest_config``."""

    def test_no_secret_and_no_file_is_needed(self) -> None:
        """Keys are made up, TLS and tokens are left out, and who may do what is kept."""
        subject = Substituted(Folder(self.mktemp(), GUARDED).config, {})
        config = subject.on({"local": "http://127.0.0.1:1", "claude": "http://127.0.0.1:2"})
        self.assertEqual([*subject.keys], ["anna", "client2"])
        self.assertEqual(config.gateway.client_host, "127.0.0.1")
        self.assertIsNone(config.gateway.client_tls)
        self.assertEqual(config.backends["local"].base_url, "http://127.0.0.1:1/prefix/v1")
        self.assertEqual(config.backends["claude"].provider, "anthropic")
        self.assertEqual([client.profile for client in config.clients], ["default", "closed"])

    def test_what_things_cost_is_kept(self) -> None:
        """A backend that is far away is not taken for a local one that costs nothing."""
        subject = Substituted(Folder(self.mktemp(), GUARDED).config, {})
        config = subject.on(dict.fromkeys(("local", "claude"), "http://127.0.0.1:1"))
        self.assertIs(config.backends["claude"].local, False)

    def test_nothing_is_written_anywhere(self) -> None:
        """State, files and whatever is told elsewhere are left out."""
        text = LADDER + '[[admin_tokens]]\nname = "a"\ntoken_env = "LMG_NOT_SET"\n'
        subject = Substituted(Folder(self.mktemp(), dedent(text)).config, {})
        self.assertEqual(subject.config.admin_tokens, ())

    def test_a_bad_config_is_refused(self) -> None:
        """With the report that a start would give."""
        with self.assertRaises(ConfigError) as caught:
            Substituted(Folder(self.mktemp(), "[gateway]\nclient_prot = 1").config, {})
        self.assertIn("client_port", str(caught.exception))


class SelftestTests(TestCase):
    """The scenarios, in this process."""

    timeout = 300

    async def card(self, text: str) -> Card:
        """Try everything with a config."""
        return await carded(reactor, Substituted(Folder(self.mktemp(), text).config, {}), id)

    def rows(self, card: Card) -> dict[tuple[str, str], Row]:
        """Give rows by subject and scenario."""
        return {(row.subject.split(" (")[0], row.scenario): row for row in card.rows}

    async def test_a_guarded_ladder(self) -> None:
        """Each fault of a tier is met by the next one; wrong keys and eager clients are told."""
        card = await self.card(GUARDED)
        self.assertTrue(card.passed, card.text())
        rows = self.rows(card)
        for trouble in scenarios.TROUBLES:
            self.assertIn("large answers", rows["tier small", trouble.words].happened)
        last = rows["tier large", "its backend answers 429, Retry-After: 60"]
        self.assertIn("429 (backend_rate_limited), retry after 60 s", last.happened)
        cut = rows["tier small", "its backend breaks a stream off"]
        self.assertEqual(cut.happened, "the stream tells of the error, and is cut")
        self.assertIn("402 (budget_exhausted)", rows["budgets", "every budget is spent"].happened)
        for words in ("a wrong key", "no key"):
            self.assertIn("401", rows["clients", words].happened)
        self.assertEqual(card.count("skip"), 0)
        self.assertEqual(rows["process", "a drain during a stream"].verdict, "pass")

    async def test_mid_stream_as_configured(self) -> None:
        """Where streams are resumed, a target that can takes over, or the error is told."""
        text = LADDER.replace('classifier = "small"', 'classifier = "small"\nmid_stream = "resume"')
        self.patch(scenarios, "TROUBLES", ())
        card = await self.card(text)
        self.assertTrue(card.passed, card.text())

    async def test_one_at_a_time_and_no_time_to_drain(self) -> None:
        """What the config says of places and of the drain is what is expected of it."""
        self.patch(scenarios, "TROUBLES", ())
        card = await self.card(HASTY)
        self.assertTrue(card.passed, card.text())
        rows = self.rows(card)
        reload = rows["process", "a reload with the same file, during a stream"]
        self.assertEqual(reload.happened, "both are answered")

    async def test_what_does_not_hold_is_told(self) -> None:
        """A row that is not as expected fails the card, and says both."""
        first = evolve(scenarios.TROUBLES[0], statuses=frozenset((418,)))
        self.patch(scenarios, "TROUBLES", (first,))
        card = await self.card(LADDER)
        self.assertFalse(card.passed)
        self.assertEqual(card.count("fail"), 1)
        self.assertIn("expected: 418", card.text())


class CommandTests(SynchronousTestCase):
    """The command line."""

    def run_with(self, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command."""
        config = Folder(self.mktemp(), text).config
        return subprocess.run(
            [sys.executable, "-m", "lmgateway", "selftest", "--config", str(config), *arguments],
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            capture_output=True,
            text=True,
            timeout=300,
        )

    def test_the_card_as_a_document(self) -> None:
        """One JSON document, and 0 if nothing failed."""
        one = LADDER.split("[backends.claude]")[0] + dedent("""
            [[tiers]]
            name = "small"
            backend = "local"
            model = "s"

            [profiles.default]
            classifier = "small"
        """)
        done = self.run_with(dedent(one), "--json")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        document = json.loads(done.stdout)
        self.assertEqual((document["failed"], document["skipped"]), (0, 4))
        self.assertEqual(document["passed"], len(document["scenarios"]) - 4)
        self.assertEqual(done.stderr, "")

    def test_a_bad_config(self) -> None:
        """78 and the report, as ``check`` has it."""
        done = self.run_with("[gateway]\nclient_prot = 1\n")
        self.assertEqual(done.returncode, 78)
        self.assertIn("client_port", done.stderr)
