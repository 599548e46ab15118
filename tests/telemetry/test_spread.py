"""Histograms: what was counted can be read again, whole and in coarser buckets."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.telemetry import families, vitals
from lmgateway.telemetry.spread import BOUNDS, Buckets, Packed, Spread

UNHURRIED = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
VALUES = st.lists(st.floats(min_value=0, max_value=2e6), max_size=50)


def spread_of(values: list[float]) -> Spread:
    """Count values."""
    spread = Spread()
    for each in values:
        spread.add(each)
    return spread


class SpreadTests(SynchronousTestCase):
    """See ``lmgateway.telemetry.spread``."""

    def test_bounds_rise(self) -> None:
        """No bucket is empty by construction, and none is wider than a third."""
        steps = [after / before for before, after in pairwise(BOUNDS)]
        self.assertGreater(min(steps), 1.1)
        self.assertLessEqual(max(steps), 1.51)

    def test_nothing(self) -> None:
        """Of no values there is no percentile."""
        self.assertIsNone(Spread().percentile(0.5))

    def test_percentiles(self) -> None:
        """A percentile is within a bucket of the true one."""
        spread = spread_of([float(number) for number in range(1, 1001)])
        for share in (0.5, 0.9, 0.99):
            found = spread.percentile(share)
            assert found is not None
            self.assertLess(abs(found - share * 1000), share * 1000 * 0.05)

    def test_what_is_beyond_all_bounds(self) -> None:
        """A value that is too large counts, as the largest that there is."""
        self.assertEqual(spread_of([1e9]).percentile(0.5), BOUNDS[-1])

    @UNHURRIED
    @given(VALUES, VALUES)
    def test_merged_is_counted_together(self, some: list[float], more: list[float]) -> None:
        """Two merged, packed or not, are what one is that counted all."""
        whole = spread_of(some + more)
        for other in (spread_of(more), Packed(spread_of(more))):
            merged = spread_of(some)
            merged.merge(other)
            self.assertEqual(merged.counts, whole.counts)
            self.assertAlmostEqual(merged.total, whole.total, places=3)

    @UNHURRIED
    @given(VALUES)
    def test_buckets_count_what_is_not_above(self, values: list[float]) -> None:
        """Each bucket that is shown counts exactly the values up to its bound."""
        for buckets in (families.DURATION, families.OVERHEAD, families.TOKEN_GAP, vitals.PAUSE):
            shown = buckets.of(spread_of(values))
            ends = [float(label) * buckets.scale for label in buckets.labels]
            self.assertEqual(shown, [sum(v <= end + 1e-9 for v in values) for end in ends])

    def test_only_bounds_are_shown(self) -> None:
        """Buckets that could not be exact are refused."""
        with self.assertRaises(ValueError):
            Buckets((1, 7))
