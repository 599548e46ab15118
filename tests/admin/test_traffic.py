"""Tests for the traffic log as the admin port shows it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from tests.fakes import STREAM, completion, status
from tests.harness import GatewayCase


class TrafficTests(GatewayCase):
    """Tests for filters, pages and single requests."""

    async def listed(self, query: str) -> list[str]:
        """Give the ids that a query finds."""
        got = await self.ask("GET", f"/admin/traffic?{query}", admin=True)
        self.assertEqual(got.code, 200, got.body)
        return [entry["id"] for entry in got.json["entries"]]

    async def test_L7_3_filters(self) -> None:
        """Each filter finds what it says, and several together what fits all of them."""
        self.environ["KEY"] = "k" * 24
        self.start(more='[[clients]]\nname = "ann"\nkey_env = "KEY"\nprofile = "default"')
        key: dict[str, Any] = {"Authorization": "Bearer " + "k" * 24}
        await self.chat("hint:fast", X_Request_ID="fast", **key)
        self.backend.script = status(500)
        await self.chat("cloud:economy", X_Request_ID="broken", **key)
        await self.chat(X_Request_ID="stranger")
        for query, found in (
            ("client=ann", ["broken", "fast"]),
            ("client=-", ["stranger"]),
            ("model=hint:fast", ["fast"]),
            ("model=fast-model", ["fast"]),
            ("tier=local:fast&backend=mock", ["fast"]),
            ("profile=default", ["broken", "fast"]),
            ("status=401", ["stranger"]),
            ("status=5xx", ["broken"]),
            ("outcome=ok", ["fast"]),
            ("outcome=error", ["stranger", "broken"]),
            ("outcome=backend_failed", ["broken"]),
            ("error=Backend_F", ["broken"]),
            ("error=backend%20failed", ["broken"]),
            ("error=ok", []),
            ("tier=cloud:economy", ["broken"]),
            ("backend=mock&client=ann", ["broken", "fast"]),
            ("model=economy-model", ["broken"]),
            ("status=5XX", ["broken"]),
            ("min_latency_ms=60000", []),
            ("client=ann&outcome=error", ["broken"]),
            ("since=2020-01-01T00:00:00Z", ["stranger", "broken", "fast"]),
            ("until=1577836800", []),
            ("since=" + quote("2020-01-01T01:00:00+01:00") + "&limit=1", ["stranger"]),
        ):
            self.assertEqual(await self.listed(query), found, query)

    async def test_pages(self) -> None:
        """A page tells where the next begins, also when more has come meanwhile."""
        self.start()
        for number in range(5):
            await self.chat(X_Request_ID=f"r{number}")
        first = (await self.ask("GET", "/admin/traffic?limit=2", admin=True)).json
        self.assertEqual([e["id"] for e in first["entries"]], ["r4", "r3"])
        await self.chat(X_Request_ID="late")
        path = f"/admin/traffic?limit=3&cursor={first['next_cursor']}"
        second = (await self.ask("GET", path, admin=True)).json
        self.assertEqual([e["id"] for e in second["entries"]], ["r2", "r1", "r0"])
        self.assertIsNone(second["next_cursor"])

    async def test_what_is_no_filter_is_refused(self) -> None:
        """A filter that is not there or makes no sense is refused, not passed over."""
        self.start()
        for query in ("clientt=a", "status=abc", "since=yesterday", "since=2020-01-01T00:00:00"):
            got = await self.ask("GET", f"/admin/traffic?{query}", admin=True)
            self.assertEqual((got.code, got.json["kind"]), (400, "malformed_request"), query)

    async def test_one_request(self) -> None:
        """One request has its attempts with their times, and tells how it got there."""
        self.start(gateway="max_retries = 1\nretry_delay_ms = 0")
        answers = [500, 200]

        def script(request: Any, asked: Any) -> Any:
            return status(500)(request, asked) if answers.pop(0) == 500 else completion()

        self.backend.script = script
        await self.chat(X_Request_ID="r1")
        got = (await self.ask("GET", "/admin/traffic/r1", admin=True)).json
        first, second = got["entry"]["attempts"]
        self.assertGreaterEqual(second["start_ms"], first["start_ms"] + first["ms"])
        self.assertEqual(
            [(s["what"], s["outcome"]) for s in got["spans"] if s["what"] == "attempt"],
            [("attempt", "backend_failed"), ("attempt", "ok")],
        )
        why = "\n".join(got["why"])
        for words in ("'hint:fast'", "Profile 'default'", "backend_failed", "status 500",
                      "Tier 'local:fast' answered."):  # fmt: skip
            self.assertIn(words, why)
        self.assertEqual((await self.ask("GET", "/admin/traffic/none", admin=True)).code, 404)

    async def test_rules_are_told(self) -> None:
        """The rule that was followed is told, with what it asks for and where it leads."""
        self.start(
            more="""
            [[profiles.default.rules]]
            when = { "@text" = "~hi" }
            route_to = "cloud:economy"
            """
        )
        self.backend.script = lambda request, asked: STREAM
        await self.chat(stream=True, X_Request_ID="r1")
        got = (await self.ask("GET", "/admin/traffic/r1", admin=True)).json
        (rule,) = got["entry"]["rules"]
        self.assertEqual(
            (rule["profile"], rule["when"], rule["to"]),
            ("default", {"@text": "~hi"}, "cloud:economy"),
        )
        self.assertIn("it leads to 'cloud:economy'", "\n".join(got["why"]))
        self.assertIn("answer", [span["what"] for span in got["spans"]])
