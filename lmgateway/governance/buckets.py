"""
What is used of one limit, counted in one of two ways.

=================  =======================================================
token bucket       a rate of *n* a minute holds ``ceil(n / 2)``, or its
                   burst; ``n / 60`` a second flow off
sliding window     *n* in any 60 seconds; each second's use is forgotten
                   at once, 60 to 61 seconds later
=================  =======================================================

Refused is what does not fit any more, and a refusal takes nothing.  What is *held*
is set aside for something still under way (tokens of an answer, say): it does not
flow off, it becomes used when it is settled.

A bucket remembers what was used of it; how large it is and how fast it drains is
told by whoever asks.  So a bucket outlives a reload, and a changed rate holds from
the next request on.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from functools import lru_cache
from typing import Generic, Protocol, TypeVar

from attrs import field
from msgspec import Struct

from lmgateway.classes import define

SLACK = 1e-3
"""Of one request: what rounding of the clock may take from a wait that was told."""

WINDOW = 60
"""Seconds."""


class Rate(Struct, frozen=True):
    """
    How much, how fast.

    Attributes:
        per_minute: What is configured.
        capacity: How much at once.
        flow: How much flows off in a second.
        sliding: Whether it is counted in a sliding window.
    """

    per_minute: int
    capacity: int
    flow: float
    sliding: bool = False

    @classmethod
    @lru_cache(1024)
    def of(cls, per_minute: int, capacity: int | None = None, *, sliding: bool = False) -> Rate:
        """Give the rate of so many a minute; *capacity* is half of them unless given."""
        if sliding:
            return cls(per_minute, per_minute, per_minute / WINDOW, True)
        half = -(-per_minute // 2)
        return cls(per_minute, half if capacity is None else capacity, per_minute / 60)

    def bucket(self) -> Bucket | Window:
        """Make what counts it."""
        return Window() if self.sliding else Bucket()

    def is_counted_by(self, bucket: Bucket | Window | None) -> bool:
        """Say whether that counts as this rate asks."""
        return type(bucket) is (Window if self.sliding else Bucket)


class Bucket:
    """
    What is used of one token bucket.

    Attributes:
        used: What was taken and has not flowed off at the moment ``at``.
        held: What is set aside.
        at: When the bucket was looked at last.
    """

    __slots__ = ("_rate", "at", "held", "used")

    def __init__(self) -> None:
        self.used = 0.0
        self.held = 0
        self.at = 0.0
        self._rate: Rate | None = None

    def level(self, rate: Rate, now: float) -> float:
        """Say how much is used or held now."""
        if rate is not self._rate:
            self._change(rate)
        elapsed = now - self.at
        if elapsed:  # a clock that was set back starts again from there
            self.at = now
            if elapsed > 0 and self.used:
                left = self.used - elapsed * rate.flow
                self.used = left if left > 0.0 else 0.0
        return self.used + self.held

    def _change(self, rate: Rate) -> None:
        """Go on at another rate: nobody waits for more than all of it."""
        if self._rate is not None and rate != self._rate:
            self.used = min(self.used, float(max(rate.capacity, 0)))
        self._rate = rate

    def wait(self, rate: Rate, amount: int, now: float) -> float:
        """Say in how many seconds *amount* fits; 0 if it does now."""
        excess = self.level(rate, now) + amount - rate.capacity
        return 0.0 if excess <= SLACK else excess / rate.flow

    def stand(self, rate: Rate, now: float) -> tuple[int, float]:
        """Say how much still fits, and in how many seconds all of it can be used again."""
        level = self.level(rate, now)
        left = int(rate.capacity - level + SLACK)
        return left if left > 0 else 0, level / rate.flow

    def take(self, amount: float, now: float) -> None:
        """Use *amount*, whether or not it fits."""
        self.used += amount

    def give_back(self, rate: Rate, amount: int, taken: float, now: float) -> None:
        """
        Undo a ``take`` of the moment *taken*.

        What would have flowed off since is not given back: else a burst could be had twice.
        """
        self.level(rate, now)
        rest = amount - max(0.0, now - taken) * rate.flow
        self.used = max(0.0, self.used - max(0.0, rest))

    def remaining(self, rate: Rate, now: float) -> int:
        """Say how much still fits."""
        return self.stand(rate, now)[0]


class Window:
    """
    What is used of one sliding window: see ``Bucket``.

    Attributes:
        used: What was taken and is not forgotten yet.
        held: What is set aside.
        at: When the window was looked at last.
    """

    __slots__ = ("_seconds", "at", "held", "used")

    def __init__(self) -> None:
        self.used = 0.0
        self.held = 0
        self.at = 0.0
        self._seconds: deque[tuple[int, float]] = deque()

    def level(self, rate: Rate, now: float) -> float:
        """Say how much is used or held now."""
        if now < self.at:  # a clock that was set back starts again from there
            self._restart(int(now))
        self.at = now
        seconds, oldest = self._seconds, int(now) - WINDOW
        while seconds and seconds[0][0] < oldest:
            self.used -= seconds.popleft()[1]
        if not seconds:
            self.used = 0.0
        return self.used + self.held

    def _restart(self, second: int) -> None:
        if self._seconds and self._seconds[-1][0] > second:
            self._seconds = deque([(second, self.used)])

    def wait(self, rate: Rate, amount: int, now: float) -> float:
        """Say in how many seconds *amount* fits, if nothing is held any more; 0 if it does now."""
        excess = self.level(rate, now) + amount - rate.capacity
        if excess <= SLACK:
            return 0.0
        for second, used in self._seconds:
            excess -= used
            if excess <= SLACK:
                return second + WINDOW + 1 - now
        return max(1.0, self.reset(rate, now))

    def reset(self, rate: Rate, now: float) -> float:
        """Say in how many seconds all of it can be used again."""
        return self.stand(rate, now)[1]

    def stand(self, rate: Rate, now: float) -> tuple[int, float]:
        """Say how much still fits, and in how many seconds all of it can be used again."""
        level = self.level(rate, now)
        left = int(rate.capacity - level + SLACK)
        reset = self._seconds[-1][0] + WINDOW + 1 - now if self._seconds else 0.0
        return left if left > 0 else 0, reset

    def take(self, amount: float, now: float) -> None:
        """Use *amount*, whether or not it fits."""
        self.used += amount
        self._add(int(now), amount)

    def give_back(self, rate: Rate, amount: int, taken: float, now: float) -> None:
        """Undo a ``take`` of the moment *taken*."""
        self.level(rate, now)
        second = int(taken)
        for place, (known, used) in enumerate(self._seconds):
            if known == second:
                less = min(used, amount)
                self._seconds[place] = (known, used - less)
                self.used -= less
                return

    def _add(self, second: int, amount: float) -> None:
        seconds = self._seconds
        if seconds and seconds[-1][0] >= second:
            known, used = seconds[-1]
            seconds[-1] = (known, used + amount)
        else:
            seconds.append((second, amount))

    def remaining(self, rate: Rate, now: float) -> int:
        """Say how much still fits."""
        return self.stand(rate, now)[0]


class _Aging(Protocol):
    at: float


Kept = TypeVar("Kept", bound=_Aging)


@define
class Crowd(Generic[Kept]):
    """
    What is counted of many who may never come back, by name.

    No more than *most* of them: the ones unused for longest go first.

    Attributes:
        make: Makes what counts one of them.
        idle: Seconds after which one is forgotten.
    """

    make: Callable[[], Kept]
    most: int = 65536
    idle: float = 600.0
    _known: OrderedDict[str, Kept] = field(factory=OrderedDict)

    def __len__(self) -> int:
        return len(self._known)

    def get(self, name: str, now: float) -> Kept:
        """Give what counts one of them, new if it is not known."""
        known = self._known
        kept = known.get(name)
        if kept is None:
            kept = known[name] = self.make()
            kept.at = now
            self._forget(now)
            return kept
        kept.at = now
        known.move_to_end(name)
        return kept

    def find(self, name: str) -> Kept | None:
        """Give what counts one of them, if it is known."""
        return self._known.get(name)

    def _forget(self, now: float) -> None:
        known = self._known
        while True:
            oldest = next(iter(known))
            if len(known) <= self.most and now - known[oldest].at <= self.idle:
                return
            del known[oldest]
