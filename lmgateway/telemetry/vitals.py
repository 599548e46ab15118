"""How the process does: how late its loop is, how long collecting garbage stops it, its logs."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from time import perf_counter

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from zope.interface import implementer

from lmgateway.telemetry.exposition import Family
from lmgateway.telemetry.spread import Buckets, Spread

LAG_SECONDS = 1.0
"""How often the loop is asked how late it is."""

PAUSE = Buckets((0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 1000))


class LoopLag:
    """
    Measures how late the loop calls what is due.

    Args:
        clock: The loop.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._due = 0.0
        self._call: IDelayedCall | None = None
        self.spread = Spread()

    def start(self) -> None:
        """Measure from now on."""
        if self._call is None:
            self._wait()

    def stop(self) -> None:
        """Measure no more."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _wait(self) -> None:
        self._due = self._clock.seconds() + LAG_SECONDS
        self._call = self._clock.callLater(LAG_SECONDS, self._measure)

    def _measure(self) -> None:
        self.spread.add(max(0.0, self._clock.seconds() - self._due) * 1000)
        self._wait()


class GcPauses:
    """Measures how long each garbage collection takes, by generation."""

    def __init__(self, clock: Callable[[], float] = perf_counter) -> None:
        self._clock = clock
        self._began = 0.0
        self.spreads = (Spread(), Spread(), Spread())

    def start(self) -> None:
        """Measure from now on."""
        if self._called not in gc.callbacks:
            gc.callbacks.append(self._called)

    def stop(self) -> None:
        """Measure no more."""
        if self._called in gc.callbacks:
            gc.callbacks.remove(self._called)

    def _called(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began = self._clock()
        elif self._began:
            self.spreads[info["generation"]].add((self._clock() - self._began) * 1000)


@implementer(ILogObserver)
class LogCounts:
    """Counts what is logged by level: an observer of all that is logged, written or not."""

    def __init__(self) -> None:
        self.counts = {level.name: 0 for level in LogLevel.iterconstants()}

    def __call__(self, event: LogEvent) -> None:
        """Count one event."""
        level = event.get("log_level")
        if level is not None:
            self.counts[level.name] += 1


class Vitals:
    """
    All of these.

    Args:
        clock: The loop.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.lag = LoopLag(clock)
        self.pauses = GcPauses()
        self.logged = LogCounts()

    def start(self) -> None:
        """Begin to measure."""
        self.lag.start()
        self.pauses.start()
        globalLogPublisher.addObserver(self.logged)

    def stop(self) -> None:
        """Leave nothing behind."""
        self.lag.stop()
        self.pauses.stop()
        globalLogPublisher.removeObserver(self.logged)

    def families(self) -> Iterator[Family]:
        """Give what was measured."""
        yield Family(
            "lmg_loop_lag_seconds",
            "histogram",
            "How late the event loop was when it was due, looked at once a second.",
            spreads=[((), self.lag.spread)],
            buckets=PAUSE,
        )
        yield Family(
            "lmg_gc_pause_seconds",
            "histogram",
            "How long garbage collections stopped the process.",
            ("generation",),
            spreads=[((str(n),), spread) for n, spread in enumerate(self.pauses.spreads)],
            buckets=PAUSE,
        )
        yield Family(
            "lmg_log_events",
            "counter",
            "Operational events that were logged, by level; those too fine to be written count.",
            ("level",),
            [((level,), count) for level, count in self.logged.counts.items()],
        )
