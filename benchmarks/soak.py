"""Whether memory grows with the requests that were served, over some minutes of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from benchmarks.load import Load
from benchmarks.processes import BenchmarkError
from benchmarks.subjects import Subject

_CONNECTIONS = 64
_PIECE_SECONDS = 10
_LEAST_LOOKS = 4


def soaked(load: Load, subject: Subject, seconds: float, say: Callable[[str], None]) -> float:
    """
    Load a subject, and look at its memory now and then.

    Args:
        say: Told what was seen.

    Returns:
        Megabytes that it grew by for each 100,000 requests, in the last two thirds of the time.

    Raises:
        BenchmarkError: If there was no time for enough looks.
    """
    looks: list[tuple[float, float]] = []
    served, until = 0.0, time.perf_counter() + seconds
    while time.perf_counter() + _PIECE_SECONDS <= until:
        served += load.post(subject, _CONNECTIONS, _PIECE_SECONDS).per_second * _PIECE_SECONDS
        looks.append((served, subject.child.rss_bytes() / 2**20))
        say(f"{served:,.0f} requests, {looks[-1][1]:.1f} MB")
    if len(looks) < _LEAST_LOOKS:
        raise BenchmarkError("There was no time to see how memory grows.")
    return slope(looks[len(looks) // 3 :]) * 100_000


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Give the slope of the straight line that is nearest to some points."""
    middle = sum(x for x, _ in points) / len(points)
    spread = sum((x - middle) ** 2 for x, _ in points)
    return sum((x - middle) * y for x, y in points) / spread
