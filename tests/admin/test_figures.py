"""What the admin port tells in several places is the same in all of them."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.fakes import status
from tests.harness import GatewayCase


class FigureTests(GatewayCase):
    """Tests across routes."""

    async def seen(self, path: str) -> Any:
        """Give what a route tells."""
        return (await self.ask("GET", path, admin=True)).json

    async def test_L13_5_all_figures_agree(self) -> None:
        """Metrics, traffic log, series and analytics count the same requests."""
        self.start(profile="failover = false")
        for _ in range(3):
            await self.chat("local:fast")
        self.backend.script = status(500)
        await self.chat("cloud:economy")
        text = (await self.ask("GET", "/metrics", admin=True)).body.decode()

        def total(name: str) -> float:
            return sum(map(float, re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE)))

        stats = (await self.seen("/admin/traffic"))["stats"]
        (profile,) = (await self.seen("/admin/analytics?window=1h"))["profiles"]
        points = (await self.seen("/admin/series?minutes=5"))["points"]
        for count in (
            stats["total_requests"],
            profile["requests"],
            sum(point["requests"] for point in points),
            total("lmg_window_size"),
            total("lmg_http_requests_total"),
            total("lmg_http_request_duration_seconds_count"),
        ):
            self.assertEqual(count, 4)
        for count in (
            stats["error_count"],
            profile["failed"],
            sum(point["errors"] for point in points),
            total("lmg_errors_total"),
        ):
            self.assertEqual(count, 1)

    async def test_L13_3_a_check_asks_now(self) -> None:
        """The backend is asked for the occasion, and what it says is shown from then on."""
        self.start()
        for script, well in ((None, True), (status(503), False)):
            if script is not None:
                self.backend.script = script
            before = len(self.backend.asked)
            got = await self.ask("POST", "/admin/backends/mock/check", admin=True)
            self.assertEqual((got.code, got.json["well"]), (200, well), got.body)
            self.assertEqual(len(self.backend.asked), before + 1)
            (shown,) = (await self.seen("/admin/backends"))["backends"]
            self.assertEqual((shown["probe"]["well"], shown["probe"]["at"]), (well, got.json["at"]))

    async def test_L8_3_one_id_everywhere(self) -> None:
        """The client's id is in its answer, at the backend, in traffic, access log and audit."""
        self.environ["KEY"] = "k" * 24
        self.start(
            more='[logs]\naccess_file = "access.jsonl"\n'
            '[[clients]]\nname = "ann"\nkey_env = "KEY"\nprofile = "default"'
        )
        good = await self.chat(X_Request_ID="id-1", Authorization="Bearer " + "k" * 24)
        self.assertEqual(good.headers["x-request-id"], "id-1")
        self.assertEqual(self.backend.asked[-1].headers["x-request-id"], "id-1")
        odd = await self.chat(X_Request_ID="no good", Authorization="Bearer " + "k" * 24)
        self.assertNotIn(" ", odd.headers["x-request-id"])
        await self.chat(X_Request_ID="id-2")
        ids = [entry["id"] for entry in await self.entries()]
        self.assertEqual(ids, ["id-2", odd.headers["x-request-id"], "id-1"])
        (row,) = (await self.seen("/admin/audit?kind=denied"))["rows"]
        self.assertEqual(row["facts"]["request_id"], "id-2")
        assert self.service is not None
        await self.service.drain()
        lines = (self.folder / "access.jsonl").read_text().splitlines()
        self.assertEqual([json.loads(line)["id"] for line in lines], ids[::-1])
