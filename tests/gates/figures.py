"""What a gate measures, beside what it should be."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence

from attrs import frozen


@frozen
class Figure:
    """
    One line of a gate's report.

    Attributes:
        what: What was measured.
        got: What came of it.
        goal: What should come of it; nothing if it is only told.
        met: Whether it did.
        timed: Whether a slow or busy machine alone can miss the goal.
    """

    what: str
    got: str
    goal: str = ""
    met: bool = True
    timed: bool = False


def told(figures: Iterable[Figure], *, timed: bool = True) -> bool:
    """
    Print figures as a table, and tell whether all goals were met.

    Args:
        timed: Whether goals count that a slow machine alone can miss.
    """
    passed = True
    for figure in figures:
        mark = "" if not figure.goal else "ok" if figure.met else "FAIL"
        goal = f"  (goal: {figure.goal})" if figure.goal else ""
        sys.stdout.write(f"{mark:<5}{figure.what}: {figure.got}{goal}\n")
        passed = passed and (figure.met or (figure.timed and not timed))
    sys.stdout.flush()
    return passed


def none_of(what: str, count: float, why: str = "") -> Figure:
    """Give the figure of something that must not be."""
    return Figure(what, f"{count:g}{f' ({why})' if why and count else ''}", "0", not count)


def percentile(values: Sequence[float], share: float) -> float:
    """Give the value that *share* of all are not above; not a number if there are none."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Give the slope of the line through *points* by least squares."""
    if len(points) < 2:
        return 0.0
    x_mean = sum(x for x, _ in points) / len(points)
    y_mean = sum(y for _, y in points) / len(points)
    spread = sum((x - x_mean) ** 2 for x, _ in points)
    return sum((x - x_mean) * (y - y_mean) for x, y in points) / spread if spread else 0.0
