"""Tests for the configuration as the admin port shows, reloads and remembers it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from twisted.logger import capturedLogs

from lmgateway.telemetry.logs import line
from tests.fakes import status
from tests.harness import GatewayCase


class ConfigTests(GatewayCase):
    """Tests for the view, the status and the reload."""

    async def get(self, path: str) -> Any:
        """Give a document."""
        got = await self.ask("GET", path, admin=True)
        self.assertEqual(got.code, 200, got.body)
        return got.json

    async def test_L13_1_each_setting_has_its_origin(self) -> None:
        """A file, a variable or a default is told for each setting, and no secret shown."""
        self.environ["LMG_LOG_LEVEL"] = "warn"
        self.start(
            gateway="traffic_log_capacity = 7\nrequest_timeout_ms = 120000",
            backends='headers = { X-Team = "very-secret" }',
        )
        rows = {row["key"]: row for row in (await self.get("/admin/config"))["settings"]}
        file = str((self.folder / "config.toml").absolute())
        for key, value, origin in (
            ("gateway.traffic_log_capacity", 7, file),
            ("gateway.request_timeout_ms", 120000, file),
            ("gateway.total_timeout_ms", 600000, "default"),
            ("gateway.log_level", "warn", "$LMG_LOG_LEVEL"),
            ("tiers[0].name", "local:fast", file),
            ("tiers[0].think", None, "default"),
            ("backends.mock.headers", {"X-Team": "***"}, file),
            ("profiles.default.mode", "dispatch", file),
        ):
            self.assertEqual((rows[key]["value"], rows[key]["origin"]), (value, origin), key)

    async def test_R_N11_a_bad_file_is_remembered(self) -> None:
        """A reload that fails says why, then and later, and the old configuration serves on."""
        self.start()
        before = await self.get("/admin/config/status")
        self.assertEqual((before["generation"], before["last_error"]), (1, None))
        path = self.write()
        path.write_text("this is = not [toml")
        got = await self.ask("POST", "/admin/reload", admin=True)
        self.assertEqual((got.code, got.json["kind"]), (422, "config"))
        self.assertTrue(got.json["problems"])
        status = await self.get("/admin/config/status")
        self.assertEqual(
            (status["generation"], status["checksum"]), (1, before["checksum"])
        )  # fmt: skip
        self.assertIn("not TOML", status["last_error"]["error"])
        hints = (await self.get("/admin/setup"))["hints"]
        self.assertEqual((hints[0]["id"], hints[0]["level"]), ("reload_failed", "error"))
        self.write(gateway="traffic_log_capacity = 9")
        await self.ask("POST", "/admin/reload", admin=True)
        status = await self.get("/admin/config/status")
        self.assertEqual((status["generation"], status["last_error"]), (2, None))
        self.assertNotEqual(status["checksum"], before["checksum"])
        self.assertEqual((await self.get("/admin/config"))["generation"], 2)

    async def test_M4_2_a_reload_can_expect_what_is_served(self) -> None:
        """Who expects another configuration than the one that is served changes nothing."""
        self.start()
        before = await self.get("/admin/config/status")
        got = await self.ask(
            "POST", "/admin/reload", {"expected_checksum": "0" * 64}, admin=True
        )  # fmt: skip
        self.assertEqual((got.code, got.json["kind"]), (409, "conflict"))
        body = {"expected_checksum": before["checksum"]}
        got = await self.ask("POST", "/admin/reload", body, admin=True)
        self.assertEqual(got.code, 200)

    async def test_what_is_to_be_done_is_told(self) -> None:
        """An open admin port, and bodies that are kept, are told with what to do."""
        self.start(gateway="traffic_log_debug = true")
        hints = {hint["id"]: hint for hint in (await self.get("/admin/setup"))["hints"]}
        self.assertIn("open_admin_port", hints)
        self.assertEqual(hints["debug_capture"]["level"], "warning")
        self.assertTrue(all(hint["todo"] for hint in hints.values()))

    async def test_tokens_that_end_are_told_before(self) -> None:
        """A token that has expired, or will in two weeks, is something to look at."""
        self.environ |= {"GOOD": "g" * 20, "SOON": "s" * 20, "GONE": "n" * 20}
        today = datetime.now(UTC).date()
        soon = today + timedelta(3)
        ends = {"good": today + timedelta(365), "soon": soon, "gone": today - timedelta(1)}
        self.start(
            more="".join(
                f'[[admin_tokens]]\nname = "{name}"\ntoken_env = "{name.upper()}"\n'
                f'expires = "{day}"\n'
                for name, day in ends.items()
            )
        )
        key: dict[str, Any] = {"Authorization": "Bearer " + "g" * 20}
        got = await self.ask("GET", "/admin/setup", admin=True, **key)
        texts = [h["text"] for h in got.json["hints"] if h["id"] == "admin_token_expires"]
        self.assertEqual(
            texts,
            [f"The admin token 'soon' expires on {soon}.", "The admin token 'gone' has expired."],
        )


class LevelTests(GatewayCase):
    """Tests for changing what is logged."""

    async def test_L8_4_there_is_more_to_tell_at_debug(self) -> None:
        """Connections and failed attempts are told at debug, by namespace, and no secret is."""
        self.backend.script = status(500)
        self.environ["SECRET"] = "sk-" + "s" * 24
        self.start(backends='api_key_env = "SECRET"')
        with capturedLogs() as told:
            await self.chat(X_Request_ID="r1")
        lines = [line(each) for each in told if each["log_level"].name == "debug"]
        found = {each["namespace"]: each for each in map(json.loads, lines)}
        self.assertIn("Connected to http://127.0.0.1:", found["lmgateway.wire.pool"]["message"])
        attempt = found["lmgateway.routing.ladder"]
        self.assertEqual((attempt["request_id"], attempt["fields"]["status"]), ("r1", 500))
        self.assertNotIn("sss", "".join(lines))

    async def test_L8_4_levels_change_for_a_time(self) -> None:
        """A level can be imposed for one namespace, survives a reload, and can be lifted."""
        service = self.start()
        body = {"level": "info,lmgateway.wire=debug", "seconds": 60}
        got = await self.ask("PUT", "/admin/log-level", body, admin=True)
        self.assertEqual((got.json["level"], got.json["configured"]), (body["level"], "info"))
        level = service.resources.levels.logLevelForNamespace
        self.assertEqual(level("lmgateway.wire.pool").name, "debug")
        self.assertEqual(level("lmgateway.routing").name, "info")
        self.write(gateway='log_level = "error"')
        service.reload()
        self.assertEqual(level("lmgateway.wire.pool").name, "debug")
        (imposed,) = (await self.ask("GET", "/admin/overrides", admin=True)).json["overrides"]
        self.assertEqual((imposed["kind"], imposed["value"]), ("log_level", body["level"]))
        got = await self.ask("DELETE", "/admin/log-level", admin=True)
        self.assertEqual((got.json["level"], got.json["expires"]), ("error", None))
        self.assertEqual(level("lmgateway.wire.pool").name, "error")

    async def test_what_is_no_level_is_refused(self) -> None:
        """A word that is no level changes nothing."""
        self.start()
        for body in ({"level": "loud"}, {"level": "info", "seconds": 0}, {}):
            got = await self.ask("PUT", "/admin/log-level", body, admin=True)
            self.assertEqual(got.code, 400, body)
