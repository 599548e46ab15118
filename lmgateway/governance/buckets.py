"""
Token buckets, by what was used of them.

A bucket remembers how much of it is used, and that what is used flows off at
the rate's pace; how large it is and how fast it drains is told by whoever asks.
So a bucket outlives a reload, and a changed rate holds from the next request on.

====================  =============================================
a rate of *n*/minute  holds ``ceil(n / 2)``, or its burst
flows off             ``n / 60`` a second
refused               when what is asked for does not fit any more
====================  =============================================

A refusal takes nothing.  What is *held* is set aside for something still under
way (tokens of an answer, say): it does not flow off, it becomes used when it is
settled.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache

from attrs import define, field, frozen

SLACK = 1e-3
"""Of one request: what rounding of the clock may take from a wait that was told."""


@frozen
class Rate:
    """
    How much, how fast.

    Attributes:
        per_minute: What is configured.
        capacity: How much at once.
        flow: How much flows off in a second.
    """

    per_minute: int
    capacity: int
    flow: float

    @classmethod
    @lru_cache(1024)
    def of(cls, per_minute: int, capacity: int | None = None) -> Rate:
        """Give the rate of so many a minute; *capacity* is half of them unless given."""
        return cls(
            per_minute, -(-per_minute // 2) if capacity is None else capacity, per_minute / 60
        )


class Bucket:
    """
    What is used of one bucket.

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

    def take(self, amount: float) -> None:
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
        return room(rate, self.level(rate, now))


def room(rate: Rate, level: float) -> int:
    """Say how much fits above a level."""
    return max(0, int(rate.capacity - level + SLACK))


@define
class Buckets:
    """
    Buckets by name, no more than *most*: the ones unused for longest go first.

    Attributes:
        idle: Seconds after which a bucket is forgotten.
    """

    most: int = 65536
    idle: float = 600.0
    _buckets: OrderedDict[str, Bucket] = field(factory=OrderedDict)

    def __len__(self) -> int:
        return len(self._buckets)

    def get(self, name: str, now: float) -> Bucket:
        """Give a bucket, a new one if it is not known."""
        buckets = self._buckets
        bucket = buckets.get(name)
        if bucket is not None:
            buckets.move_to_end(name)
            return bucket
        bucket = buckets[name] = Bucket()
        bucket.at = now
        self._forget(now)
        return bucket

    def _forget(self, now: float) -> None:
        buckets = self._buckets
        while True:
            oldest = next(iter(buckets))
            if len(buckets) <= self.most and now - buckets[oldest].at <= self.idle:
                return
            del buckets[oldest]
