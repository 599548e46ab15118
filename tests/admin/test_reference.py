"""Tests for what the reference's admin port has too."""

from __future__ import annotations

import json
from typing import Any

from tests.fakes import status
from tests.harness import GatewayCase


class AdminTests(GatewayCase):
    """Tests for what the operator sees and may do."""

    async def test_R_N01_health_counts(self) -> None:
        """Readiness and counts."""
        self.start()
        got = (await self.ask("GET", "/admin/health", admin=True)).json
        self.assertEqual(
            (got["status"], got["ready"], got["tiers"], got["backends"]), ("ok", True, 2, 1)
        )

    async def test_R_N02_empty_traffic(self) -> None:
        """A fresh gateway has seen nothing."""
        self.start()
        got = (await self.ask("GET", "/admin/traffic", admin=True)).json
        self.assertEqual((got["stats"]["total_requests"], got["entries"]), (0, []))

    async def test_R_N03_newest_first_and_bounded(self) -> None:
        """Entries come newest first, up to the limit, and the oldest are forgotten."""
        self.start(gateway="traffic_log_capacity = 3")
        for number in range(5):
            await self.chat(X_Request_ID=f"r{number}")
        self.assertEqual([e["id"] for e in await self.entries()], ["r4", "r3", "r2"])
        got = await self.ask("GET", "/admin/traffic?limit=1", admin=True)
        self.assertEqual([e["id"] for e in got.json["entries"]], ["r4"])

    async def test_R_N04_stats(self) -> None:
        """Counts by tier, and the average time."""
        self.start()
        await self.chat("hint:fast")
        await self.chat("cloud:economy")
        await self.chat("cloud:economy")
        stats = (await self.ask("GET", "/admin/traffic", admin=True)).json["stats"]
        self.assertEqual(stats["tier_counts"], {"local:fast": 1, "cloud:economy": 2})
        self.assertGreater(stats["avg_latency_ms"], 0)

    async def test_R_N05_config_shows_no_secret(self) -> None:
        """The name of a key's variable is shown, never its value."""
        self.environ["UP"] = "sk-very-secret"
        self.start(backends='api_key_env = "UP"')
        got = await self.ask("GET", "/admin/config", admin=True)
        self.assertNotIn(b"sk-very-secret", got.body)
        (backend,) = got.json["backends"]
        self.assertEqual((backend["api_key_env"], backend["has_api_key"]), ("UP", True))
        self.assertEqual(got.json["profiles"]["default"]["mode"], "dispatch")

    async def test_R_N08_token(self) -> None:
        """With a token, nothing but the liveness is told without it."""
        self.environ["TOKEN"] = "operator"
        self.start(gateway='admin_token_env = "TOKEN"')
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            got = await self.ask("GET", "/admin/health", admin=True, **headers)
            self.assertEqual(got.code, 401)
            self.assertIn("Bearer", got.headers["www-authenticate"])
        key: dict[str, Any] = {"Authorization": "Bearer operator"}
        got = await self.ask("GET", "/admin/health", admin=True, **key)
        self.assertEqual(got.code, 200)
        self.assertEqual((await self.ask("GET", "/healthz", admin=True)).code, 200)

    async def test_R_N10_reload(self) -> None:
        """A good file is applied, and said so."""
        self.start()
        self.write(more='[profiles.extra]\nclassifier = "cloud:economy"')
        got = await self.ask("POST", "/admin/reload", admin=True)
        self.assertEqual((got.code, got.json), (200, {"status": "reloaded"}))
        self.assertEqual((await self.chat("extra")).headers["x-lmg-tier"], "cloud:economy")

    async def test_R_N12_bad_limit(self) -> None:
        """A limit that is no number is refused."""
        self.start()
        got = await self.ask("GET", "/admin/traffic?limit=abc", admin=True)
        self.assertEqual(got.code, 400)

    async def test_R_N13_debug_capture(self) -> None:
        """With debug capture the entry has the body as sent on; never the log, nor without it."""
        service = self.start(gateway="traffic_log_debug = true")
        await self.chat("hint:fast")
        (entry,) = await self.entries()
        self.assertEqual(json.loads(entry["debug_request_body"])["model"], "fast-model")
        self.assertEqual(entry["requested_model"], "hint:fast")
        service.resources.access.flush()
        self.assertNotIn(b"debug_request_body", b"".join(self.lines))
        self.write()
        service.reload()
        await self.chat()
        self.assertNotIn("debug_request_body", (await self.entries())[0])

    async def test_R_N14_failures_are_entries(self) -> None:
        """A failed request is there, with its error and without the backend's words."""
        self.start()
        self.backend.script = status(500, {"error": {"message": "inner words"}})
        await self.chat()
        (entry,) = await self.entries()
        self.assertEqual(
            (entry["success"], entry["status"], entry["error"]), (False, 502, "backend_failed")
        )
        self.assertNotIn("inner words", str(entry))

    async def test_pages_of_other_sites_are_refused(self) -> None:
        """Neither another origin nor another name for the host gets in without a token."""
        self.start()
        for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example:80"}):
            got = await self.ask("POST", "/admin/reload", admin=True, **headers)
            self.assertEqual(got.code, 403)

    async def test_unknown_path_and_method(self) -> None:
        """Errors are JSON here too."""
        self.start()
        got = await self.ask("GET", "/admin/nothing", admin=True)
        self.assertEqual((got.code, got.json["kind"]), (404, "not_found"))
        got = await self.ask("GET", "/admin/reload", admin=True)
        self.assertEqual((got.code, got.headers["allow"]), (405, "POST"))

    async def test_client_api_is_not_here(self) -> None:
        """The two ports are apart."""
        self.start()
        self.assertEqual((await self.ask("GET", "/v1/models", admin=True)).code, 404)
        self.assertEqual((await self.ask("GET", "/admin/health")).code, 404)
