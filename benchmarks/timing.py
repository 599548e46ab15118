"""
CPU time of small things: many at a time, in turns, and the best of some runs.

Process time counts, so that other work on the machine disturbs little; what
disturbs it all the same (caches, clock rates) only makes it slower, so that
the least is nearest to the truth.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from attrs import frozen

Run = Callable[[int], object]
"""Does something so many times."""

Clock = Callable[[], int]
"""Gives nanoseconds of CPU time."""

_T = TypeVar("_T")


@frozen
class Pace:
    """
    How long and how often to look at each thing.

    Attributes:
        seconds: About how long one run takes.
        runs: How many there are, of which the best counts.
    """

    seconds: float = 0.02
    runs: int = 15


def microseconds(
    runs: Mapping[str, Run], pace: Pace, clock: Clock = time.process_time_ns
) -> dict[str, float]:
    """Give the least CPU time that each thing takes once; they take turns."""
    best: dict[str, float] = {}
    with _no_collector():
        counts = {name: _count(run, pace.seconds, clock) for name, run in runs.items()}
        for _ in range(pace.runs):
            for name, run in runs.items():
                taken = _nanoseconds(run, counts[name], clock) / counts[name] / 1000
                best[name] = min(taken, best.get(name, taken))
    return best


def finish(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """
    Run what never waits to its end, and give its result.

    Raises:
        RuntimeError: If it waits.
    """
    try:
        coroutine.send(None)
    except StopIteration as end:
        value: _T = end.value
        return value
    coroutine.close()
    raise RuntimeError("This was not to wait for anything.")


def _count(run: Run, seconds: float, clock: Clock) -> int:
    """Find out how often something has to be done for one run to last long enough."""
    count = 1
    while (taken := _nanoseconds(run, count, clock)) < seconds * 1e9 / 4:
        count *= 2
    return max(1, int(count * seconds * 1e9 / taken))


def _nanoseconds(run: Run, count: int, clock: Clock) -> int:
    begun = clock()
    run(count)
    return clock() - begun


@contextmanager
def _no_collector() -> Iterator[None]:
    """Look for no garbage meanwhile, as in ``timeit``."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
