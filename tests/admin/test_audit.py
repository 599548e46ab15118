"""Tests for the audit log, in a whole gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lmgateway.stores.chain import verify
from tests.harness import GatewayCase

TOKENS = """
    [[admin_tokens]]
    name = "root"
    token_env = "ROOT"
    role = "admin"
    [[admin_tokens]]
    name = "eve"
    token_env = "EVE"
    role = "viewer"
"""
ROOT: dict[str, Any] = {"Authorization": "Bearer token-of-root-0123456789"}
EVE: dict[str, Any] = {"Authorization": "Bearer token-of-eve-0123456789"}


class AuditCases(GatewayCase):
    """Who did what, and who was turned away."""

    def setUp(self) -> None:
        """Give the operators their tokens."""
        super().setUp()
        self.environ |= {
            "ROOT": "token-of-root-0123456789",
            "EVE": "token-of-eve-0123456789",
            "ANN": "key-of-ann-0123456789",
        }

    async def rows(self, query: str = "") -> list[dict[str, Any]]:
        """Give rows, the newest first."""
        got = await self.ask("GET", f"/admin/audit{query}", admin=True, **ROOT)
        self.assertEqual(got.code, 200, got.body)
        rows: list[dict[str, Any]] = got.json["rows"]
        return rows

    async def test_M4_2_an_action(self) -> None:
        """Is one row: who, from where, what, how it ended."""
        self.start(more=TOKENS)
        id_: dict[str, Any] = {"X-Request-ID": "mine"}
        await self.ask("POST", "/admin/reload", admin=True, **ROOT, **id_)
        (row,) = await self.rows("?kind=action")
        facts = row["facts"]
        self.assertEqual(
            [facts[name] for name in ("actor", "role", "ip", "request_id", "route", "status")],
            ["root", "admin", "127.0.0.1", "mine", "POST /admin/reload", 200],
        )

    async def test_F3_config_changes(self) -> None:
        """A reload is a row, with the keys that it changed and no value; a bad one too."""
        self.start(more=TOKENS)
        self.write(
            more=TOKENS + '[backends.other]\nbase_url = "http://127.0.0.1:1"\n'
            'headers = { X-Key = "canary" }',
            gateway="max_retries = 3",
        )
        await self.ask("POST", "/admin/reload", admin=True, **ROOT)
        (row,) = await self.rows("?kind=config")
        self.assertEqual(row["facts"]["changed"], ["gateway.max_retries", "backends.other"])
        self.assertEqual((row["facts"]["ok"], row["facts"]["generation"]), (True, 2))
        self.assertNotIn("canary", str(row))
        self.write(more=TOKENS, gateway="max_retris = 3")
        await self.ask("POST", "/admin/reload", admin=True, **ROOT)
        row = (await self.rows("?kind=config"))[0]
        self.assertEqual((row["facts"]["ok"], row["facts"]["generation"]), (False, 2))
        self.assertIn("max_retris", row["facts"]["error"])

    async def test_F3_denials(self) -> None:
        """Wrong tokens, small roles and wrong keys, on either port."""
        self.start(
            more=TOKENS + '[[clients]]\nname = "ann"\nkey_env = "ANN"\nprofile = "default"\n'
            'allow_endpoints = ["/v1/models"]'
        )
        wrong: dict[str, Any] = {"Authorization": "Bearer canary"}
        key: dict[str, Any] = {"Authorization": "Bearer key-of-ann-0123456789"}
        await self.ask("GET", "/admin/traffic", admin=True, **wrong)
        await self.ask("GET", "/admin/audit", admin=True, **EVE)
        await self.chat(**wrong)
        await self.chat(**key)
        rows = (await self.rows("?kind=denied"))[::-1]
        self.assertEqual(
            [(row["facts"]["port"], row["facts"]["status"]) for row in rows],
            [("admin", 401), ("admin", 403), ("client", 401), ("client", 403)],
        )
        self.assertEqual(rows[1]["facts"]["actor"], "eve")
        self.assertNotIn("canary", str(rows))

    async def test_filters_and_pages(self) -> None:
        """By who, by kind, by time; a cursor leads back to the first row."""
        self.start(more=TOKENS)
        for _ in range(5):
            await self.ask("POST", "/admin/reload", admin=True, **ROOT)
        await self.ask("POST", "/admin/reload", admin=True, **EVE)
        self.assertEqual(len(await self.rows("?actor=eve")), 1)
        self.assertEqual(await self.rows("?to=2001"), [])
        seen: list[int] = []
        cursor: str | None = ""
        while cursor is not None:
            got = await self.ask(
                "GET", f"/admin/audit?kind=action&limit=4{cursor}", admin=True, **ROOT
            )
            seen += [row["n"] for row in got.json["rows"]]
            more = got.json["next_cursor"]
            cursor = None if more is None else f"&cursor={more}"
        self.assertEqual((len(seen), seen), (6, sorted(seen, reverse=True)))

    async def test_H3_2_in_a_file(self) -> None:
        """With a file, every row is a line of a chain that can be verified."""
        service = self.start(more=TOKENS + '[state]\naudit = "jsonl:audit.jsonl"')
        for _ in range(3):
            await self.ask("POST", "/admin/reload", admin=True, **ROOT)
        await service.drain()
        found = verify(self.folder / "audit.jsonl")
        self.assertEqual((found.lines, found.broken), (6, None))

    async def test_the_documented_config(self) -> None:
        """What the documentation shows is served."""
        text = (Path(__file__).parents[2] / "docs" / "audit.md").read_text()
        service = self.start(more=text.partition("```toml\n")[2].partition("```")[0])
        await self.ask("POST", "/admin/reload", admin=True)
        await service.drain()
        self.assertEqual(verify(self.folder / "audit.jsonl").broken, None)
