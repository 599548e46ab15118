"""The last day: windows, minutes and what becomes of them as time goes by."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.config.telemetry import SloSection
from lmgateway.telemetry.analytics import (
    ProfileFigures,
    TargetFigures,
    profile_figures,
    target_figures,
)
from lmgateway.telemetry.history import MAX_KEYS, POINTS
from lmgateway.telemetry.meters import Meters
from tests.telemetry.entries import attempt, entry

HOUR, DAY = 3600, 86_400


class HistoryTests(SynchronousTestCase):
    """See ``lmgateway.telemetry.history`` and ``lmgateway.telemetry.analytics``."""

    def setUp(self) -> None:
        """Begin in the middle of a minute."""
        self.now = 90.0
        self.meters = Meters(lambda: self.now, lambda: 1e9 + self.now)

    def target(self, seconds: float) -> TargetFigures | None:
        """Give the figures of the usual target, if it has any."""
        rows = target_figures(self.meters.window(seconds))
        self.assertLessEqual(len(rows), 1)
        return rows[0] if rows else None

    def profile(self, seconds: float = HOUR) -> ProfileFigures:
        """Give the figures of the usual profile."""
        (row,) = profile_figures(self.meters.window(seconds), self.meters.objectives)
        return row

    def test_a_window_forgets(self) -> None:
        """What is older than a window does not show in it, but in longer ones."""
        self.meters(entry())
        for ago, seen in ((30, (60, 300, HOUR, DAY)), (240, (300, HOUR, DAY)), (1800, (HOUR, DAY))):
            self.now = 90.0 + ago
            for seconds in (60, 300, HOUR, DAY):
                self.assertEqual(self.target(seconds) is not None, seconds in seen, (ago, seconds))
        self.now = 90.0 + DAY + 1200
        self.assertIsNone(self.target(DAY))

    def test_percentiles_of_a_window(self) -> None:
        """Percentiles are of the answers in it, from several minutes together."""
        for number in range(1, 101):
            self.now += 3
            self.meters(entry(seconds=number / 100))
        row = self.target(HOUR)
        assert row is not None
        for found, expected in (
            (row.latency_ms.p50, 500),
            (row.latency_ms.p90, 900),
            (row.latency_ms.p99, 990),
        ):
            assert found is not None
            self.assertLess(abs(found - expected), expected * 0.1)
        self.assertEqual(row.requests, 100)
        self.assertIsNone(row.first_output_ms.p50)

    def test_shares(self) -> None:
        """Failures spoil the error share; what clients got wrong or gave up does not."""
        for outcome, status in (
            ("ok", 200),
            ("ok", 200),
            ("ok", 200),
            ("backend_failed", 502),
            ("client_closed", 499),
            ("rate_limited", 429),
        ):
            self.meters(entry(outcome, status=status, attempts=(attempt(outcome),)))
        row = self.target(60)
        assert row is not None
        self.assertEqual(row.error_share, 0.25)
        self.assertEqual((row.ok, row.failed, row.closed, row.refused), (3, 1, 1, 1))
        self.assertEqual(self.profile().error_share, 0.25)

    def test_quality_of_a_target(self) -> None:
        """Answers that were not good enough are told of the target that gave them."""
        dear = ("dear", "cloud", "big")
        tries = (attempt("insufficient:length"), attempt("ok", target=dear))
        answered = {"tier": "dear", "backend": "cloud", "model": "big"}
        self.meters(entry(attempts=tries, **answered))
        self.meters(entry())
        rows = {row.tier: row for row in target_figures(self.meters.window(60))}
        self.assertEqual(rows["fast"].insufficient_share, 0.5)
        self.assertEqual(rows["fast"].climbs, 1)
        self.assertEqual((rows["fast"].requests, rows["fast"].attempts), (1, 2))
        self.assertEqual(rows["dear"].insufficient_share, 0)
        self.assertEqual(rows["dear"].failed_share, 0)

    def test_a_promise(self) -> None:
        """A promise is kept while enough answers begin in time and few requests fail."""
        self.meters.objectives = {"home": SloSection(latency_ms=1000, latency_share=0.5)}
        slo = self.profile().slo
        assert slo is not None
        self.assertIsNone(slo.kept)
        self.meters(entry(seconds=2.0))
        self.meters(entry(seconds=5.0, first_output=0.5, last_output=5.0))
        slo = self.profile().slo
        assert slo is not None
        self.assertEqual((slo.within_share, slo.kept), (0.5, True))
        self.meters(entry(seconds=2.0))
        slo = self.profile().slo
        assert slo is not None
        self.assertIs(slo.kept, False)

    def test_minutes(self) -> None:
        """Each minute is a point; quiet ones are there too, and the present one is."""
        self.meters(entry(seconds=0.5, attempts=(attempt(cost=3_000_000),)))
        self.now += 180
        self.meters(entry())
        self.meters(entry("backend_failed", status=502))
        points = self.meters.points(5)
        self.assertEqual([point.requests for point in points], [0, 1, 0, 0, 2])
        self.assertEqual([point.errors for point in points], [0, 0, 0, 0, 1])
        self.assertEqual([point.at - points[0].at for point in points], [0, 60, 120, 180, 240])
        self.assertEqual(points[-1].at, 1_000_000_240)
        self.assertEqual(points[1].cost_usd, 0.003)
        self.assertEqual((points[1].input_tokens, points[1].output_tokens), (10, 5))
        self.assertIn(points[1].p50_ms, range(400, 501))
        self.assertIsNone(points[2].p50_ms)

    def test_a_day_of_traffic_is_bounded(self) -> None:
        """After more than a day no more is kept than after a day."""
        for _ in range(1700):
            self.now += 60
            self.meters(entry())
        self.assertEqual(sum(point.requests for point in self.meters.points(POINTS)), POINTS)
        row = self.target(DAY)
        assert row is not None
        self.assertLess(row.requests, 1440 + 20)
        self.assertGreaterEqual(row.requests, 1440)

    def test_targets_are_bounded(self) -> None:
        """With very many targets, further ones are told together."""
        for number in range(MAX_KEYS + 50):
            target = ("fast", "gpu", f"m{number}")
            self.meters(entry(model=target[2], attempts=(attempt(target=target),)))
        rows = target_figures(self.meters.window(60))
        self.assertLessEqual(len(rows), MAX_KEYS + 2)
        self.assertEqual(sum(row.requests for row in rows), MAX_KEYS + 50)
