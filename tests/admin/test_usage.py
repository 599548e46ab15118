"""Tests for ``/admin/usage``."""

from __future__ import annotations

import csv
import json
from typing import Any

from lmgateway.exchange import Attempt, Exchange
from lmgateway.governance.ledger import DAY
from lmgateway.principal import Principal
from tests.governance.test_accounts import PRICED
from tests.harness import GatewayCase


class UsageCases(GatewayCase):
    """What an operator is told of usage."""

    async def usage(self, query: str = "", **headers: Any) -> Any:
        """Ask."""
        got = await self.ask("GET", f"/admin/usage{query}", admin=True, **headers)
        self.assertEqual(got.code, 200, got.body)
        return got

    def use(self, *attempts: tuple[str, str, int, int | None]) -> None:
        """Take down attempts: a client, a tier, a day and a cost each."""
        assert self.service is not None
        ledger = self.service.resources.ledger
        for client, tier, day, cost in attempts:
            exchange = Exchange(id="r", surface="", path="", peer="", started=0.0, wall=0.0)
            exchange.principal = Principal(name=client, profile="p", group=f"of-{client}")
            attempt = Attempt(tier=tier, backend="b", model="m", started=0.0, cost=cost)
            ledger._wall = lambda day=day: day * DAY + 1.0  # type: ignore[misc]
            ledger.record(exchange, attempt)

    async def test_L6_5_rows_of_usage(self) -> None:
        """Each row says whose, where and when, what it took and what it cost."""
        self.start(PRICED)
        await self.chat("paid")
        await self.chat("paid")
        document = (await self.usage()).json
        (row,) = document["rows"]
        self.assertRegex(row.pop("day"), r"^\d{4}-\d\d-\d\d$")
        self.assertEqual(
            row,
            {
                "client": "", "group": "", "tier": "paid", "model": "m", "requests": 2,
                "attempts": 2, "input_tokens": 6, "output_tokens": 10, "cached_read": 0,
                "cached_write": 0, "reasoning": 0, "estimated": 0, "unpriced": 0,
                "cost_usd": 0.00078, "saved_usd": None,
            },
        )  # fmt: skip
        self.assertEqual((document["totals"]["cost_usd"], document["next_cursor"]), (0.00078, None))

    async def test_L6_5_totals_are_the_sum_of_rows(self) -> None:
        """However they are grouped; what has no price is counted apart."""
        self.start()
        self.use(("a", "x", 1, 5), ("a", "y", 1, 7), ("b", "x", 2, None), ("b", "x", 2, 11))
        for by in ("", "client", "day,tier", "model,group", "day,client,group,tier,model"):
            document = (await self.usage(f"?by={by}")).json
            rows = document["rows"]
            for name in ("attempts", "unpriced", "cost_usd"):
                total = round(sum(row[name] for row in rows), 12)
                self.assertEqual(total, document["totals"][name], (by, name))
        self.assertEqual((document["totals"]["attempts"], document["totals"]["unpriced"]), (4, 1))
        rows = (await self.usage("?by=client")).json["rows"]
        self.assertEqual([(r["client"], r["cost_usd"]) for r in rows], [("a", 12e-9), ("b", 11e-9)])
        self.assertNotIn("day", rows[0])

    async def test_L24_5_filters(self) -> None:
        """By days, both included, and by name."""
        self.start()
        self.use(("a", "x", 1, 1), ("a", "y", 2, 2), ("b", "x", 3, 4), ("b", "y", 4, 8))
        for query, cost in (
            ("from=1970-01-03&to=1970-01-04", 6),
            ("client=a", 3),
            ("tier=y&group=of-b", 8),
            ("model=other", 0),
        ):
            document = (await self.usage(f"?{query}")).json
            self.assertEqual(document["totals"]["cost_usd"], cost / 1e9, query)

    async def test_L24_5_pages(self) -> None:
        """A cursor leads through all rows, each once, in any form."""
        self.start()
        self.use(*[(f"c{number}", "x", 1, number) for number in range(7)])
        seen, cursor, totals = [], "", set()
        while True:
            document = (await self.usage(f"?by=client&limit=3{cursor}")).json
            seen += [row["client"] for row in document["rows"]]
            totals.add(document["totals"]["attempts"])
            if document["next_cursor"] is None:
                break
            cursor = f"&cursor={document['next_cursor']}"
        self.assertEqual((seen, totals), ([f"c{number}" for number in range(7)], {7}))
        first = await self.usage("?by=client&limit=3&format=jsonl")
        more = first.headers["x-next-cursor"]
        rest = await self.usage(f"?by=client&format=jsonl&cursor={more}")
        self.assertEqual(len(rest.body.splitlines()), 4)
        self.assertNotIn("x-next-cursor", rest.headers)

    async def test_csv_and_lines(self) -> None:
        """The same rows, for a spreadsheet or a script."""
        self.start()
        self.use(('a "quoted", name', "x", 1, 1_500_000_000), ("b", "x", 1, None))
        asked: list[tuple[str, dict[str, Any]]] = [
            ("?format=csv", {}), ("", {"Accept": "text/csv"})
        ]  # fmt: skip
        for query, headers in asked:
            got = await self.usage(query, **headers)
            self.assertEqual(got.headers["content-type"], "text/csv; charset=utf-8")
            rows = [*csv.DictReader(got.body.decode().splitlines())]
            self.assertEqual(
                [(row["client"], row["cost_usd"]) for row in rows],
                [('a "quoted", name', "1.5"), ("b", "")],
            )
        lines: dict[str, Any] = {"Accept": "application/x-ndjson"}
        got = await self.usage("?by=client", **lines)
        self.assertEqual(
            [json.loads(line)["cost_usd"] for line in got.body.splitlines()], [1.5, None]
        )

    async def test_what_makes_no_sense(self) -> None:
        """Is refused with 400, whatever it is."""
        self.start()
        for query in (
            "by=colour", "from=yesterday", "to=2026-13-01", "limit=0", "limit=99999999",
            "cursor=!!", "cursor=abcd", "format=xml", "other=1",
        ):  # fmt: skip
            got = await self.ask("GET", f"/admin/usage?{query}", admin=True)
            self.assertEqual(got.code, 400, query)

    async def test_records(self) -> None:
        """The latest attempts one by one, the newest first."""
        self.start()
        self.use(("a", "x", 1, 1), ("b", "x", 1, 2), ("a", "y", 1, None))
        got = (await self.ask("GET", "/admin/usage/records?client=a", admin=True)).json
        self.assertEqual(
            [(r["tier"], r["cost_nano_usd"]) for r in got["records"]], [("y", None), ("x", 1)]
        )
