"""
One coarse clock hand for all of the wire's deadlines.

A gateway sets several deadlines per request and nearly all are cancelled. A
reactor timer each costs microseconds and a heap entry; a slot in a wheel costs
two dict operations.  Deadlines here are late by at most one tick, never early.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

_log = Logger()


def nothing() -> None:
    """Be called by nobody: in the place of what would be kept, and keep its owner, for nothing."""


class Timer:
    """A deadline that was set; ``cancel`` it once it no longer matters."""

    __slots__ = ("_expire", "_slot", "_wheel")

    def __init__(self, wheel: Wheel, slot: dict[Timer, None], expire: Callable[[], object]) -> None:
        self._wheel = wheel
        self._slot = slot
        self._expire = expire

    def cancel(self) -> None:
        """Forget the deadline; harmless if it has passed or was cancelled before."""
        if self in self._slot:
            del self._slot[self]
            self._wheel.pending -= 1
            self._expire = nothing


class Wheel:
    """
    Runs callables after a time, within one tick.

    Args:
        clock: Whose time counts; must be monotonic.
        tick: Seconds between two looks at the wheel.
    """

    def __init__(self, clock: IReactorTime, tick: float = 0.05) -> None:
        self.clock = clock
        self.now: Callable[[], float] = clock.seconds
        self.pending = 0
        self._tick = tick
        self._slots: dict[int, dict[Timer, None]] = {}
        self._seen = 0
        self._call: IDelayedCall | None = None

    def start(self, seconds: float, expire: Callable[[], object]) -> Timer:
        """Call *expire* once, *seconds* from now or up to a tick later."""
        now = self.now()
        if self._call is None:
            if not self.pending:  # else a turn is under way, and has not seen what became due since
                self._seen = int(now / self._tick)
            self._call = self.clock.callLater(self._tick, self._turn)
        due = ceil((now + seconds) / self._tick)
        if due <= self._seen:
            due = self._seen + 1
        slot = self._slots.get(due)
        if slot is None:
            slot = self._slots[due] = {}
        timer = Timer(self, slot, expire)
        slot[timer] = None
        self.pending += 1
        return timer

    def _turn(self) -> None:
        self._call = None
        seen, self._seen = self._seen, int(self.now() / self._tick)
        try:
            for number in range(seen + 1, self._seen + 1):
                slot = self._slots.pop(number, None)
                while slot:
                    timer, _ = slot.popitem()
                    self.pending -= 1
                    expire, timer._expire = timer._expire, nothing
                    try:
                        expire()
                    except Exception:
                        _log.failure("A deadline could not be handled.")
        finally:
            if self.pending and self._call is None:
                self._call = self.clock.callLater(self._tick, self._turn)

    def stop(self) -> None:
        """Forget all deadlines."""
        self._slots.clear()
        self.pending = 0
        if self._call is not None:
            self._call.cancel()
            self._call = None
