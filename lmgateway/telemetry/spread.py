"""
How values are spread: a histogram with fine bounds, for percentiles and for Prometheus.

Every ``Spread`` has the same bounds, ten to a decade from 10 microseconds to 15 minutes (in
milliseconds), so that any two can be added, and the coarser buckets that Prometheus is shown
are sums of these.  A percentile read from one is off by a fraction of a step: 10% at most.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

_STEPS = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)

BOUNDS: tuple[float, ...] = (
    *(step * 10**power / 100 for power in range(7) for step in _STEPS),
    *(step * 100_000 for step in (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 9.0)),
)
"""Upper bounds of the buckets; one more bucket has no bound."""

SIZE = len(BOUNDS) + 1


class Spread:
    """
    Counts values by size.

    Attributes:
        counts: Values by bucket.
        total: The sum of all values.
    """

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * SIZE
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(BOUNDS, value)] += 1
        self.total += value

    def add_all(self, values: Sequence[float]) -> None:
        """Count each value."""
        counts = self.counts
        for value in values:
            counts[bisect_left(BOUNDS, value)] += 1
        self.total += sum(values)

    def merge(self, other: Spread | Packed) -> None:
        """Count all that *other* counted."""
        if isinstance(other, Packed):
            other.into(self)
            return
        self.total += other.total
        mine = self.counts
        for bucket, count in enumerate(other.counts):
            if count:
                mine[bucket] += count

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    def percentile(self, share: float) -> float | None:
        """Give the value that *share* of all are not above; ``None`` if there are none."""
        count = self.count
        if not count:
            return None
        rank, below = share * count, 0
        for bucket, number in enumerate(self.counts):
            if number and below + number >= rank:
                return _between(bucket, (rank - below) / number)
            below += number
        return BOUNDS[-1]  # pragma: no cover - the last bucket reaches every rank


def _between(bucket: int, share: float) -> float:
    if bucket == len(BOUNDS):
        return BOUNDS[-1]
    low = BOUNDS[bucket - 1] if bucket else 0.0
    return low + (BOUNDS[bucket] - low) * share


class Buckets:
    """
    The coarser buckets that Prometheus is shown of spreads.

    Args:
        bounds: Some of ``BOUNDS``, rising.
        scale: What a value is divided by to be shown: 1000 for seconds.

    Raises:
        ValueError: If one of them is none of ``BOUNDS``.

    Attributes:
        labels: Each bound as the label ``le`` has it, the last one infinite.
    """

    def __init__(self, bounds: Sequence[float], scale: float = 1000.0) -> None:
        self._ends = [BOUNDS.index(bound) for bound in bounds]
        self.scale = scale
        self.labels = [*(repr(bound / scale) for bound in bounds), "+Inf"]

    def of(self, spread: Spread) -> list[int]:
        """Give the count of values up to each bound."""
        upto = list(accumulate(spread.counts))
        return [*(upto[end] for end in self._ends), upto[-1]]


class Packed:
    """A spread that takes no more values, in little memory."""

    __slots__ = ("_pairs", "total")

    def __init__(self, spread: Spread) -> None:
        pairs = [(bucket, count) for bucket, count in enumerate(spread.counts) if count]
        self._pairs = array("I", [number for pair in pairs for number in pair])
        self.total = spread.total

    def into(self, spread: Spread) -> None:
        """Add all to *spread*."""
        pairs, counts = self._pairs, spread.counts
        spread.total += self.total
        for at in range(0, len(pairs), 2):
            counts[pairs[at]] += pairs[at + 1]
