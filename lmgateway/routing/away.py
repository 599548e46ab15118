"""
Places that another process gives out: what several processes share of ``queues``.

One process has the gates, with all who wait at them; the others ask it, and give back what
they were given.  How many hold a place and how many wait is written where all can see it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from lmgateway.routing.queues import Gate, Permit, _Waiter
from lmgateway.stores.slate import AT, OWN, Row, Slate, Table
from lmgateway.wire.timers import Wheel

_numbers = count(1)


class Places(Protocol):
    """The other process."""

    def enter(
        self, number: int, kind: str, name: str, priority: int, seconds: float
    ) -> Deferred[Any]:
        """Ask for a place; whatever comes of it, ``leave`` gives it back."""

    def leave(self, number: int) -> None:
        """Give a place back, or wait for it no longer."""


class Sight:
    """How a gate stands, where all can see it: how many hold a place, and how many wait."""

    def __init__(self, slate: Slate, table: Table, kind: str, name: str) -> None:
        self._slate = slate
        self._row = Row(table, slate.key("gate", kind, name))

    def show(self, in_flight: int, pending: int) -> None:
        """Let others see it."""
        with self._slate.lock:
            base, whole = self._row.at(), self._slate.whole
            whole[base + OWN], whole[base + AT] = in_flight, pending

    @property
    def in_flight(self) -> int:
        """How many hold a place."""
        with self._slate.lock:
            return self._slate.whole[self._row.at() + OWN]

    @property
    def pending(self) -> int:
        """How many wait."""
        with self._slate.lock:
            return self._slate.whole[self._row.at() + AT]


class ShownGate(Gate):
    """A gate that others can see."""

    def __init__(self, name: str, wheel: Wheel, sight: Sight) -> None:
        super().__init__(name, wheel)
        self._sight = sight

    def _show(self) -> None:
        self._sight.show(len(self._in_flight), len(self._by_rank))

    def _grant(self, priority: int) -> Permit:
        permit = super()._grant(priority)
        self._show()
        return permit

    def _take_back(self, permit: Permit) -> None:
        super()._take_back(permit)
        self._show()

    def _queue(self, priority: int, seconds: float) -> Deferred[Permit]:
        waiting = super()._queue(priority, seconds)
        self._show()
        return waiting

    def _dequeue(self, waiter: _Waiter) -> Deferred[Permit]:
        granted = super()._dequeue(waiter)
        self._show()
        return granted


class _AwayPermit(Permit):
    """A place that another process gave."""

    __slots__ = ("_leave",)

    def __init__(self, leave: Callable[[], None], priority: int, since: float) -> None:
        self._gate = None
        self._leave: Callable[[], None] | None = leave
        self.priority = priority
        self.since = since

    def release(self) -> None:
        """Give the place back; harmless if it was given back before."""
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()


class AwayGate(Gate):
    """A gate that another process has; nobody gets a place without asking."""

    def __init__(self, kind: str, name: str, wheel: Wheel, sight: Sight, places: Places) -> None:
        super().__init__(name, wheel)
        self._kind = kind
        self._sight = sight
        self._places = places

    @property
    def in_flight(self) -> int:
        """Permits held, by whatever process."""
        return self._sight.in_flight

    @property
    def pending(self) -> int:
        """Waiters."""
        return self._sight.pending

    @property
    def depth(self) -> int:
        """All that is ahead of a newcomer of low priority."""
        return self._sight.in_flight + self._sight.pending

    @property
    def is_full(self) -> bool:
        """Whether a newcomer would have to wait, priorities apart."""
        most = self._limits.max_concurrent
        return most is not None and self._sight.in_flight >= most

    def take(self, priority: int) -> Permit | None:
        """Know of no place without asking."""
        return None

    async def enter(self, priority: int, seconds: float) -> Permit:
        """
        Wait for a place.

        Raises:
            TooManyConcurrent: If the queue is full, or no place became free in time.
        """
        number, places = next(_numbers), self._places
        try:
            await places.enter(number, self._kind, self.name, priority, seconds)
        except BaseException:
            places.leave(number)
            raise
        return _AwayPermit(lambda: places.leave(number), priority, self._wheel.now())
