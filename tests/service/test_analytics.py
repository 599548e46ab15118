"""Percentiles, quality and graphs, from real traffic to the admin port."""

from __future__ import annotations

from tests.fakes import completion, status, turns
from tests.harness import GatewayCase
from tests.telemetry.scraping import read, value


class AnalyticsTests(GatewayCase):
    """See ``lmgateway.admin.analytics``."""

    async def test_H4_5_figures_and_promises(self) -> None:
        """Traffic shows by target and by profile, with what the profile promises."""
        answer = lambda request, asked: completion()  # noqa: E731
        self.backend.script = turns(answer, answer, status(500))
        self.start(profile="slo = { latency_ms = 60000, error_share = 0.5 }\nfailover = false")
        for _ in range(3):
            await self.chat()
        got = await self.ask("GET", "/admin/analytics?window=5m", admin=True)
        (target,), (profile,) = got.json["targets"], got.json["profiles"]
        self.assertEqual((target["tier"], target["requests"]), ("local:fast", 3))
        self.assertAlmostEqual(target["failed_share"], 1 / 3)
        self.assertGreater(target["latency_ms"]["p99"], 0)
        self.assertEqual(profile["profile"], "default")
        self.assertEqual(profile["slo"]["kept"], True)
        self.assertEqual(profile["slo"]["within_share"], 1)
        found = read((await self.ask("GET", "/metrics", admin=True)).body)
        self.assertEqual(value(found, "lmg_slo_requests_total", profile="default"), 3)
        self.assertEqual(value(found, "lmg_slo_failed_total"), 1)
        self.assertEqual(value(found, "lmg_slo_slow_total"), 0)
        self.assertEqual(value(found, "lmg_slo_objective", objective="latency_seconds"), 60)

    async def test_series(self) -> None:
        """The last minutes are there for a graph, and the newest has the traffic."""
        self.start()
        await self.chat()
        got = await self.ask("GET", "/admin/series?minutes=30", admin=True)
        points = got.json["points"]
        self.assertEqual(len(points), 30)
        self.assertEqual(sum(point["requests"] for point in points[-2:]), 1)
        self.assertEqual(sum(point["output_tokens"] for point in points), 5)
        for path in ("/admin/series?minutes=0", "/admin/analytics?window=2d"):
            self.assertEqual((await self.ask("GET", path, admin=True)).code, 400)
