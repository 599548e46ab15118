"""
Places, and who waits for one.

A gate has ``max_concurrent`` places.  Who finds one free starts at once; all
others wait, the higher priority number first and in order of arrival among
equals.  A *strictly* higher priority than all that is in flight starts on top
of a full gate, with no pre-emption and at most ``on_top`` of them (none on a
backend's bulkhead, whose limit is hard).  So the most that is ever in flight
is ``max_concurrent + on_top``, and among equal priorities ``max_concurrent``.

Nothing starves: once a waiter has waited ``ageing_seconds``, nobody who came
after it starts before it, whatever their priority.  It starts as soon as a
place is free and those who aged before it have started, or it is told to come
back at its deadline.

A permit is given back exactly once, however often ``release`` is called.  A
waiter that is cancelled leaves the queue there and then.  A waiter goes on
synchronously when it is granted its permit, so nothing can come in between.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct
from twisted.internet.defer import Deferred

from lmgateway.errors import TooManyConcurrent
from lmgateway.telemetry.spread import Spread
from lmgateway.wire.timers import Timer, Wheel

AGEING_SECONDS = 10.0
ON_TOP = 8
SHORTEST_WAIT = 1.0
LONGEST_WAIT = 3600.0
_EASE = 0.2
"""The weight of the newest sample in the mean time that a permit is held."""


class GateLimits(Struct, frozen=True, kw_only=True):
    """
    What a gate holds to.

    Attributes:
        max_concurrent: Places; ``None`` is unlimited.
        queue_depth: How many may wait.
        queue_seconds: How long each may wait.
        ageing_seconds: After how long a waiter goes before all who came later.
        on_top: How many of strictly higher priority may start on top of a full gate.
    """

    max_concurrent: int | None = None
    queue_depth: int = 1000
    queue_seconds: float = 60.0
    ageing_seconds: float = AGEING_SECONDS
    on_top: int = ON_TOP


UNLIMITED = GateLimits()


class Permit:
    """A place that is held until ``release``."""

    __slots__ = ("_gate", "priority", "since")

    def __init__(self, gate: Gate, priority: int, since: float) -> None:
        self._gate: Gate | None = gate
        self.priority = priority
        self.since = since

    def release(self) -> None:
        """Give the place back; harmless if it was given back before."""
        gate, self._gate = self._gate, None
        if gate is not None:
            gate._take_back(self)


class _Waiter:
    __slots__ = ("granted", "key", "priority", "since", "timer")

    def __init__(self, priority: int, number: int, since: float) -> None:
        self.priority = priority
        self.key = (-priority, number)
        self.since = since
        self.granted: Deferred[Permit] | None = None
        self.timer: Timer | None = None


def _key(waiter: _Waiter) -> tuple[int, int]:
    return waiter.key


class Gate:
    """
    One set of places with its queue.

    Args:
        name: What messages and the admin port call it.
        wheel: Whose time counts.

    Attributes:
        waits: How long those who waited and got a place had to, in milliseconds.
        full: How many came when the queue was full.
        late: How many waited in vain.
    """

    def __init__(self, name: str, wheel: Wheel, limits: GateLimits = UNLIMITED) -> None:
        self.name = name
        self._wheel = wheel
        self._limits = limits
        self._in_flight: dict[Permit, None] = {}
        self._priorities: dict[int, int] = {}
        self._by_rank: list[_Waiter] = []
        self._by_age: OrderedDict[_Waiter, None] = OrderedDict()
        self._number = 0
        self._pumping = False
        self._mean_held: float | None = None
        self.waits = Spread()
        self.full = 0
        self.late = 0

    # what there is to see ---------------------------------------------------
    @property
    def limits(self) -> GateLimits:
        """What holds now."""
        return self._limits

    @property
    def in_flight(self) -> int:
        """Permits held."""
        return len(self._in_flight)

    @property
    def pending(self) -> int:
        """Waiters."""
        return len(self._by_rank)

    @property
    def depth(self) -> int:
        """All that is ahead of a newcomer of low priority."""
        return len(self._in_flight) + len(self._by_rank)

    @property
    def is_full(self) -> bool:
        """Whether a newcomer would have to wait, priorities apart."""
        most = self._limits.max_concurrent
        return most is not None and len(self._in_flight) >= most

    def wait(self) -> float:
        """Estimate in how many seconds a newcomer would get a place."""
        places = self._limits.max_concurrent
        held = self._mean_held
        if places is None or not self.is_full:
            return SHORTEST_WAIT
        if held is None:
            held = self._wheel.now() - next(iter(self._in_flight)).since
        wait = held * (len(self._by_rank) + 1) / places
        return min(max(wait, SHORTEST_WAIT), LONGEST_WAIT)

    # in -----------------------------------------------------------------------
    def take(self, priority: int) -> Permit | None:
        """Take a place if that needs no waiting."""
        return self._grant(priority) if self._admits(priority) else None

    async def enter(self, priority: int, seconds: float) -> Permit:
        """
        Wait for a place.

        Args:
            priority: Higher goes first.
            seconds: The longest wait, if that is less than the gate's own.

        Raises:
            TooManyConcurrent: If the queue is full, or no place became free in time.
        """
        permit = self.take(priority)
        if permit is not None:
            return permit
        limits = self._limits
        if len(self._by_rank) >= limits.queue_depth or seconds <= 0:
            self.full += 1
            raise TooManyConcurrent(
                "Too many requests are waiting for this model.", retry_after=self.wait()
            )
        return await self._queue(priority, min(seconds, limits.queue_seconds))

    def _queue(self, priority: int, seconds: float) -> Deferred[Permit]:
        self._number += 1
        waiter = _Waiter(priority, self._number, self._wheel.now())
        waiter.granted = Deferred(lambda _: self._leave(waiter))
        waiter.timer = self._wheel.start(seconds, lambda: self._expire(waiter))
        insort(self._by_rank, waiter, key=_key)
        self._by_age[waiter] = None
        return waiter.granted

    def _admits(self, priority: int) -> bool:
        """Whether a newcomer may start now, ahead of all who wait."""
        if self._by_rank:
            head, aged = self._next()
            if aged or head.priority >= priority:
                return False
        return self._has_place(priority)

    def _has_place(self, priority: int) -> bool:
        limits, held = self._limits, len(self._in_flight)
        most = limits.max_concurrent
        if most is None or held < most:
            return True
        return held < most + limits.on_top and priority > max(self._priorities)

    def _next(self) -> tuple[_Waiter, bool]:
        """The waiter whose turn it is, and whether that is so because of its age."""
        oldest = next(iter(self._by_age))
        if self._wheel.now() - oldest.since >= self._limits.ageing_seconds:
            return oldest, True
        return self._by_rank[0], False

    def _grant(self, priority: int) -> Permit:
        permit = Permit(self, priority, self._wheel.now())
        self._in_flight[permit] = None
        self._priorities[priority] = self._priorities.get(priority, 0) + 1
        return permit

    # out ----------------------------------------------------------------------
    def _take_back(self, permit: Permit) -> None:
        del self._in_flight[permit]
        left = self._priorities[permit.priority] - 1
        if left:
            self._priorities[permit.priority] = left
        else:
            del self._priorities[permit.priority]
        held = self._wheel.now() - permit.since
        mean = self._mean_held
        self._mean_held = held if mean is None else mean + _EASE * (held - mean)
        self._pump()

    def _pump(self) -> None:
        """Start all who may start.  What they give back meanwhile is seen by the loop."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._by_rank:
                waiter, _ = self._next()
                if not self._has_place(waiter.priority):
                    break
                granted = self._dequeue(waiter)
                self.waits.add((self._wheel.now() - waiter.since) * 1000)
                granted.callback(self._grant(waiter.priority))
        finally:
            self._pumping = False

    def _dequeue(self, waiter: _Waiter) -> Deferred[Permit]:
        assert waiter.granted is not None and waiter.timer is not None, "queued waiters have both"
        waiter.timer.cancel()
        del self._by_rank[bisect_left(self._by_rank, waiter.key, key=_key)]
        del self._by_age[waiter]
        return waiter.granted

    def _leave(self, waiter: _Waiter) -> None:
        """Forget a waiter that is cancelled; those behind it may go now."""
        self._dequeue(waiter)
        self._pump()

    def _expire(self, waiter: _Waiter) -> None:
        wait = self.wait()
        self.late += 1
        self._dequeue(waiter).errback(
            TooManyConcurrent("No place became free in time for this model.", retry_after=wait)
        )
        self._pump()

    def limit(self, limits: GateLimits) -> None:
        """Hold to other limits from now on."""
        self._limits = limits
        self._pump()


class Gates:
    """
    All gates of one kind, by name, through every reload.

    Args:
        wheel: Whose time counts.
        make: Makes one.
    """

    def __init__(self, wheel: Wheel, make: Callable[[str, Wheel], Gate] = Gate) -> None:
        self._wheel = wheel
        self._make = make
        self._gates: dict[str, Gate] = {}

    def gate(self, name: str) -> Gate:
        """Give the gate of that name; unlimited if it is new."""
        gate = self._gates.get(name)
        if gate is None:
            gate = self._gates[name] = self._make(name, self._wheel)
        return gate

    def settle(self, limits: Mapping[str, GateLimits]) -> None:
        """
        Hold to these limits, and to no others.

        A gate without limits lets its waiters go, and is kept while it has permits out, so that
        they still count if it is limited again.
        """
        for name in [*self._gates]:
            self._gates[name].limit(limits.get(name, UNLIMITED))
            if name not in limits and not self._gates[name].depth:
                del self._gates[name]

    def find(self, name: str) -> Gate | None:
        """Give the gate of that name, if there is one."""
        return self._gates.get(name)

    def __iter__(self) -> Iterator[Gate]:
        """Give all gates."""
        return iter([*self._gates.values()])
