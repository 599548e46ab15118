"""Tests for the admin port's door: guesses, names of the host, tokens."""

from __future__ import annotations

import re
from operator import eq
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.admin import access
from lmgateway.admin.access import Guesses, Token, Tokens
from lmgateway.admin.hosts import Hosts
from lmgateway.errors import Forbidden, RateLimited, Unauthenticated
from lmgateway.governance.keys import digest
from lmgateway.wire.door import Head
from tests.admin.test_routes import RouteCase
from tests.config.folder import BASE, FolderTestCase, based

PAGE = Path(__file__).parent.parent.parent / "docs" / "admin.md"


class GuessTests(RouteCase):
    """Tests for row 43: guessing at tokens."""

    async def test_43_the_sixth_wrong_guess_is_not_looked_at(self) -> None:
        """From the sixth in a minute an address gets 429, with a good token too, and an alarm."""
        self.begin_with_tokens(gateway='trusted_proxies = ["127.0.0.0/8"]')
        key: dict[str, Any] = {"Authorization": "Bearer guess"}
        codes = [(await self.ask("GET", "/admin/health", admin=True, **key)).code for _ in range(8)]
        self.assertEqual(codes, [401] * 5 + [429] * 3)
        got = await self.ask_as("admin", "GET", "/admin/health")
        self.assertEqual(got.code, 429)
        self.assertTrue(1 <= int(got.headers["retry-after"]) <= 60)
        alarms = [facts for kind, facts in self.told if kind == "alarm"]
        self.assertEqual([(a["what"], a["ip"]) for a in alarms], [("admin_guesses", "127.0.0.1")])
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        got = await self.ask("POST", "/login", b"token=the-admin", admin=True, **form)
        self.assertEqual(got.code, 429)
        got = await self.ask_as("admin", "GET", "/admin/health", X_Forwarded_For="192.0.2.7")
        self.assertEqual(got.code, 200)

    async def test_an_expired_token_is_no_guess(self) -> None:
        """A job that goes on with its old token locks nobody out, and is told why, on pages too."""
        self.environ["OLD"] = "an-old-token"
        old = '[[admin_tokens]]\nname = "old"\ntoken_env = "OLD"\nexpires = "2020-01-31"\n'
        self.begin_with_tokens(more=old)
        for path in ("/metrics", "/") * 4:
            key: dict[str, Any] = {"Authorization": "Bearer an-old-token"}
            got = await self.ask("GET", path, admin=True, **key)
            self.assertEqual((got.code, got.json["error"]), (401, "The token has expired."))
        self.assertEqual((await self.ask_as("viewer", "GET", "/admin/health")).code, 200)

    async def test_who_is_logged_in_does_not_notice(self) -> None:
        """A session goes on while guesses come from its address."""
        self.begin_with_tokens()
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        got = await self.ask("POST", "/login", b"token=the-admin", admin=True, **form)
        cookie: dict[str, Any] = {"Cookie": got.headers["set-cookie"].partition(";")[0]}
        for _ in range(6):
            await self.ask("GET", "/admin/health", admin=True, Authorization="Bearer no")
        self.assertEqual((await self.ask("GET", "/admin/health", admin=True, **cookie)).code, 200)


class GuessesTests(SynchronousTestCase):
    """Tests for the count of guesses."""

    def test_the_minute_ends(self) -> None:
        """After a minute an address may try again; one IPv6 /64 counts as one address."""
        clock = Clock()
        told: list[str] = []
        guesses = Guesses(clock.seconds, lambda kind, **facts: told.append(kind))
        for number in range(5):
            guesses.check(f"2001:db8::{number}")
            guesses.wrong(f"2001:db8::{number}")
        error = self.assertRaises(RateLimited, guesses.check, "2001:db8::99")
        self.assertEqual(error.retry_after, 60)
        guesses.check("2001:db8:0:1::1")
        self.assertRaises(RateLimited, guesses.check, "2001:db8::99")
        self.assertEqual(told, ["alarm"])
        clock.advance(60)
        guesses.check("2001:db8::99")

    def test_what_is_kept_is_bounded(self) -> None:
        """A million addresses leave no more than so many counts."""
        with mock.patch.object(access, "MAX_ADDRESSES", 10):
            guesses = Guesses(lambda: 0.0, lambda kind, **facts: None)
            for number in range(100):
                guesses.wrong(f"192.0.2.{number}")
            self.assertEqual(len(guesses._wrong), 10)


class TokenTests(SynchronousTestCase):
    """Tests for tokens."""

    def test_K1_every_token_is_compared(self) -> None:
        """A good first token costs as many comparisons as a wrong one."""
        made = [Token(name=f"t{n}", role="viewer", digest=digest(f"token{n}")) for n in range(3)]
        tokens = Tokens(made, lambda: 0.0)
        with mock.patch.object(access, "compare_digest", side_effect=eq) as compare:
            self.assertEqual(tokens.identify(b"token0").name, "t0")
            self.assertEqual(compare.call_count, 3)
            self.assertRaises(Unauthenticated, tokens.identify, b"token9")
            self.assertEqual(compare.call_count, 6)

    def test_an_expired_token_is_worth_nothing(self) -> None:
        """From its moment on a token is refused, and so is a session that it opened."""
        token = Token(name="t", role="viewer", digest=digest("token"), expires=100.0)
        now = [99.0]
        tokens = Tokens([token], lambda: now[0])
        self.assertEqual(tokens.identify(b"token").name, "t")
        now[0] = 100.0
        self.assertRaises(Unauthenticated, tokens.identify, b"token")
        self.assertIsNone(tokens.still(token.digest))


def head(method: bytes = b"GET", **headers: str) -> Head:
    """Give a request's head."""
    fields = [(n.replace("_", "-").encode(), v.encode()) for n, v in headers.items()]
    return Head(
        method=method,
        path=b"/",
        query=b"",
        headers=fields,
        peer="127.0.0.1",
        secure=False,
        length=0,
    )


class HostTests(SynchronousTestCase):
    """Tests for names of the host, and pages of other sites."""

    def test_names(self) -> None:
        """Loopback names are served on loopback, others if they are configured."""
        local = Hosts(frozenset(), "127.0.0.1")
        named = Hosts(frozenset({"gw.example", "b.example:8443"}), "0.0.0.0")
        away = Hosts(frozenset(), "192.0.2.1")
        for hosts, host, served in (
            (local, "127.0.0.1:8081", True),
            (local, "localhost:8081", True),
            (local, "[::1]:8081", True),
            (local, "LOCALHOST", True),
            (local, "evil.example:8081", False),
            (local, "127.0.0.1.evil.example", False),
            (local, "", False),
            (named, "gw.example:9000", True),
            (named, "b.example:8443", True),
            (named, "b.example:1", False),
            (named, "evil.example", False),
            (named, "localhost", True),
            (away, "any.example", True),
        ):
            if served:
                hosts.check(head(host=host))
            else:
                self.assertRaises(Forbidden, hosts.check, head(host=host))

    def test_origins(self) -> None:
        """A page may call the very host that it came from, or one of its configured names."""
        hosts = Hosts(frozenset({"gw.example"}), "127.0.0.1")
        for origin, served in (
            ("http://localhost:8081", True),
            ("https://gw.example", True),
            ("http://localhost:3000", False),
            ("https://evil.example", False),
            ("null", False),
        ):
            given = head(b"POST", host="localhost:8081", origin=origin)
            if served:
                hosts.check(given)
            else:
                self.assertRaises(Forbidden, hosts.check, given)
        self.assertRaises(
            Forbidden,
            hosts.check,
            head(b"POST", host="localhost:8081", sec_fetch_site="cross-site"),
        )


class ConfigTests(FolderTestCase):
    """Tests for ``[[admin_tokens]]``."""

    def test_the_examples_of_the_page_are_true(self) -> None:
        """What the documentation shows is a config."""
        example, _ = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
        text = example + BASE.replace("[gateway]\n", "")
        config = self.load(text, LMG_ADMIN_TOKEN="a" * 24, LMG_SCRAPE_TOKEN="b" * 24)
        self.assertEqual([t.role for t in config.admin_tokens], ["viewer", "operator"])

    def test_all_faults_are_told(self) -> None:
        """No source, two sources, a name twice, and an unset variable are refused together."""
        more = """
            [[admin_tokens]]
            name = "a"
            [[admin_tokens]]
            name = "b"
            token_env = "NOT_SET"
            [[admin_tokens]]
            name = "b"
            token_env = "SET"
            token_sha256 = "0f3f8a1c6d5b7e29c4a8f0b6d2e91735ac48d6e0f17b3952c8a64de0b19f7c25"
        """
        text = based('admin_hosts = ["https://gw.example/"]', more)
        told = "\n".join(self.problems(text, SET="x" * 24))
        for words in ("admin_hosts", "give one of", "NOT_SET", 'more than one admin token "b"'):
            self.assertIn(words, told)
        self.assertEqual(told.count("give one of"), 2)
