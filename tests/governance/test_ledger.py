"""Tests for ``lmgateway.governance.ledger``, by itself and in a whole gateway."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.chat import Usage
from lmgateway.errors import ConfigError
from lmgateway.exchange import Attempt, Exchange
from lmgateway.governance import ledger as module
from lmgateway.governance.ledger import Keeping, Key, Ledger, Sum, grouped
from lmgateway.principal import Principal
from lmgateway.stores.usage import UsageLines
from tests.fakes import STREAM, completion, status, turns, until
from tests.governance.test_accounts import ANN, KEY, PRICED
from tests.harness import GatewayCase

DAY = 86_400


def exchange(client: str = "ann", request_id: str = "r") -> Exchange:
    """Give the exchange of a client."""
    made = Exchange(id=request_id, surface="openai", path="/", peer="", started=0.0, wall=0.0)
    made.principal = Principal(name=client, profile="default", group="team")
    return made


def attempt(tier: str = "t", cost: int | None = 5, **more: Any) -> Attempt:
    """Give a settled attempt."""
    return Attempt(tier=tier, backend="b", model="m", started=0.0, outcome="ok", cost=cost, **more)


class LedgerTests(SynchronousTestCase):
    """Tests for ``Ledger``."""

    def setUp(self) -> None:
        """Make one whose clock stands still."""
        self.wall = 10.0 * DAY
        self.ledger = self.another()

    def another(self) -> Ledger:
        """Make one more."""
        made = Ledger(lambda: self.wall)
        self.addCleanup(made.close)
        return made

    def keep(self, ledger: Ledger, path: Path) -> None:
        """Have it keep records in a file."""
        ledger.keep(Keeping(path=path, archive=UsageLines(path)), lambda error: None)

    def test_sums(self) -> None:
        """Attempts of a day by the same client at the same model are one sum."""
        for cost in (5, 7, None):
            self.ledger.record(exchange(), attempt(cost=cost))
        self.ledger.record(exchange("bob"), attempt())
        self.wall += DAY
        self.ledger.record(exchange(), attempt())
        self.assertEqual(len(self.ledger.sums), 3)
        total = self.ledger.sums[Key(10, "ann", "team", "t", "m")]
        self.assertEqual((total.attempts, total.cost, total.unpriced), (3, 12, 1))

    def test_a_client_chosen_id_counts_each_time(self) -> None:
        """The id that a client sends again and again saves it nothing."""
        for _ in range(3):
            self.ledger.record(exchange(request_id="same"), attempt())
        self.assertEqual(sum(total.cost for total in self.ledger.sums.values()), 15)
        self.assertEqual(len({record.id for record in self.ledger.newest}), 3)

    def test_counting_tokens_takes_none(self) -> None:
        """An attempt that told no usage is there, with zeros."""
        self.ledger.record(exchange(), attempt(cost=0, usage=None))
        (record,) = self.ledger.newest
        self.assertEqual((record.input_tokens, record.answered), (0, False))

    def test_rows_are_bounded(self) -> None:
        """The oldest day goes first; what does not fit in one day is put together."""
        with patch.object(module, "MAX_ROWS", 3):
            self.ledger.record(exchange("old"), attempt())
            self.wall += DAY
            for name in ("a", "b", "c", "d", "e"):
                self.ledger.record(exchange(name), attempt())
        clients = {key.client: total.attempts for key, total in self.ledger.sums.items()}
        self.assertEqual(clients, {"a": 1, "b": 1, "c": 1, "(others)": 2})
        self.assertEqual(self.ledger.since, 11)

    def test_a_restart_goes_on(self) -> None:
        """Sums and records are what they were; new ones come on top."""
        path = Path(self.mktemp())
        self.keep(self.ledger, path)
        for number in range(5):
            self.ledger.record(exchange(), attempt(cost=number, usage=Usage(input_tokens=2)))
        self.ledger.close()
        again = self.another()
        self.keep(again, path)
        self.assertEqual(again.sums, self.ledger.sums)
        self.assertEqual(again.newest, self.ledger.newest)
        self.assertEqual([record.cost for record in again.history(0)], [*range(5)])
        again.record(exchange(), attempt(cost=100))
        self.assertEqual([total.cost for total in again.sums.values()], [110])

    def test_another_file(self) -> None:
        """What is counted goes on in memory; the new file gets what is new."""
        one, other = Path(self.mktemp()), Path(self.mktemp())
        self.keep(self.ledger, one)
        self.ledger.record(exchange(), attempt())
        self.keep(self.ledger, other)
        self.ledger.record(exchange(), attempt())
        self.ledger.keep(None, lambda error: None)
        self.ledger.record(exchange(), attempt())
        self.assertEqual([len(path.read_text().splitlines()) for path in (one, other)], [1, 1])
        self.assertEqual([total.attempts for total in self.ledger.sums.values()], [3])
        self.assertEqual(len([*self.ledger.history(0)]), 3)

    def test_grouped(self) -> None:
        """Whatever the grouping, the totals are the same."""
        for client in ("ann", "bob"):
            for tier in ("x", "y"):
                self.ledger.record(exchange(client), attempt(tier))
        sums = self.ledger.sums
        for by in ((), ("client",), ("day", "tier"), Key._fields):
            rows = grouped(sums, by, lambda key: True)
            self.assertEqual(sum(total.cost for _, total in rows), 20, by)
        rows = grouped(sums, ("day", "client"), lambda key: key.client == "bob")
        self.assertEqual([labels for labels, _ in rows], [("1970-01-11", "bob")])

    def test_a_sum_of_sums(self) -> None:
        """Every member is added up."""
        total, other = Sum(), Sum(*range(1, 13))
        total.add(other)
        total.add(other)
        self.assertEqual(total, Sum(*range(2, 26, 2)))


class LedgerCases(GatewayCase):
    """What a whole gateway takes down."""

    def setUp(self) -> None:
        """Give the client its key."""
        super().setUp()
        self.environ["ANN"] = "key-of-ann"

    def ledger(self) -> Ledger:
        """The ledger of the gateway that runs."""
        assert self.service is not None
        return self.service.resources.ledger

    async def test_an_answer(self) -> None:
        """Who, where, how much."""
        self.start(PRICED, more=ANN)
        await self.chat("paid", X_Request_ID="mine", **KEY)
        (record,) = self.ledger().newest
        self.assertEqual((record.client, record.tier, record.model), ("ann", "paid", "m"))
        self.assertEqual((record.input_tokens, record.output_tokens), (3, 5))
        self.assertEqual((record.cost, record.request_id), ((3 * 30 + 5 * 60) * 1000, "mine"))
        self.assertTrue(record.answered)

    async def test_every_attempt(self) -> None:
        """Failed ones too, each once, in their order."""
        self.start(PRICED)
        self.backend.script = turns(status(500), lambda request, asked: completion())
        await self.chat("paid")
        self.assertEqual(
            [(r.attempt, r.tier, r.outcome, r.answered) for r in self.ledger().newest],
            [(1, "paid", "backend_failed", False), (2, "dear", "ok", True)],
        )

    async def test_streams(self) -> None:
        """Once, when they end."""
        self.backend.script = lambda request, asked: STREAM
        self.start(PRICED)
        await self.chat("paid", stream=True)
        (record,) = self.ledger().newest
        self.assertEqual((record.input_tokens, record.output_tokens), (3, 5))

    async def test_kept_in_a_file(self) -> None:
        """Lines that hold no prompt; a restart knows what was spent."""
        self.start(PRICED, more='[state]\nusage = "jsonl:usage.jsonl"')
        await self.chat("paid", messages=[{"role": "user", "content": "canary-prompt"}])
        await self.stopped()
        text = (self.folder / "usage.jsonl").read_text()
        self.assertEqual(json.loads(text)["cost_nano_usd"], 390000)
        self.assertNotIn("canary", text)
        self.start(PRICED, more='[state]\nusage = "jsonl:usage.jsonl"')
        self.assertEqual([total.cost for total in self.ledger().sums.values()], [390000])
        self.assertEqual((await self.ask("GET", "/v1/me")).json["spend_usd"], 0.00039)

    async def test_budgets_go_on(self) -> None:
        """What was spent before a restart is spent still."""
        more = """
            [state]
            usage = "jsonl:usage.jsonl"
            [[budgets]]
            name = "all"
            scope = "global"
            period = "total"
            limit_usd = 0.0005
        """
        self.start(PRICED, more=more)
        body: dict[str, Any] = {"max_tokens": 1}
        self.assertEqual((await self.chat("paid", **body)).code, 200)
        await self.stopped()
        self.start(PRICED, more=more)
        self.assertEqual((await self.chat("paid", **body)).code, 402)

    async def test_kept_in_a_database(self) -> None:
        """The same with SQLite."""
        self.start(PRICED, more='[state]\nusage = "sqlite:state.db"')
        await self.chat("paid")
        await self.stopped()
        self.start(PRICED, more='[state]\nusage = "sqlite:state.db"')
        self.assertEqual([total.cost for total in self.ledger().sums.values()], [390000])

    async def stopped(self) -> None:
        """Stop the gateway as a signal would."""
        assert self.service is not None
        await self.service.drain()
        self.service.resources.keep_only(set())
        self.service.resources.wheel.stop()

    async def test_the_documented_config(self) -> None:
        """What the documentation shows is served."""
        text = (Path(__file__).parents[2] / "docs" / "usage.md").read_text()
        self.start(PRICED, more=text.partition("```toml\n")[2].partition("```")[0])
        await self.chat("paid")
        await self.stopped()
        self.assertTrue((self.folder / "usage.jsonl").exists())

    async def test_a_disk_that_fails(self) -> None:
        """Traffic goes on, and it is told; unless nothing may go unrecorded."""
        service = self.start(PRICED, more='[state]\nusage = "jsonl:u/usage.jsonl"', folder="u")
        told: list[Any] = []
        service.resources.events.listen(lambda event: told.append((event.kind, event.facts)))
        (self.folder / "u").rmdir()
        self.assertEqual((await self.chat("paid")).code, 200)
        await until(lambda: self.ledger().failing, 10)
        self.assertEqual((await self.chat("paid")).code, 200)
        await until(lambda: bool(told), 10)
        self.assertEqual((told[0][0], told[0][1]["state"]), ("ledger", "failing"))
        self.flushLoggedErrors()

    async def test_fail_closed(self) -> None:
        """With ``fail_closed`` nobody is served while usage cannot be recorded."""
        state = '[state]\nusage = "jsonl:u/usage.jsonl"\nfail_closed = true'
        self.start(PRICED, more=state, folder="u")
        (self.folder / "u").rmdir()
        self.assertEqual((await self.chat("paid")).code, 200)
        await until(lambda: self.ledger().failing, 10)
        got = await self.chat("paid")
        self.assertEqual((got.code, got.headers["x-lmg-error"]), (503, "unrecordable"))
        self.assertEqual(got.headers["retry-after"], "1")
        self.assertEqual((await self.ask("GET", "/readyz")).code, 503)
        (self.folder / "u").mkdir()
        await until(lambda: not self.ledger().failing, 10)
        self.assertEqual((await self.ask("GET", "/readyz")).code, 200)
        self.assertEqual((await self.chat("paid")).code, 200)
        self.assertEqual(self.ledger().dropped, 0)

    def start(self, *args: str, folder: str = "", **parts: str) -> Any:
        """Serve a config, next to a folder."""
        self.write(*args, **parts)
        if folder:
            (self.folder / folder).mkdir()
        return super().start(*args, **parts)

    async def test_a_file_that_cannot_be(self) -> None:
        """A start that could not record anything is none; the key path is named."""
        for place in ("jsonl:nowhere/usage.jsonl", "sqlite:nowhere/usage.db", "sqlite:config.toml"):
            with self.assertRaises(ConfigError) as caught:
                self.start(PRICED, more=f'[state]\nusage = "{place}"')
            self.assertIn("state.usage", str(caught.exception))
