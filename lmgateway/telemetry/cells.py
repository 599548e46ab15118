"""
Cells: all exchanges, or all attempts, that are alike in their labels, added up.

The labels are names of the config or of ours, never a client's.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from lmgateway.telemetry.spread import Spread

Result = Literal["ok", "closed", "refused", "failed"]


class ExchangeKey(NamedTuple):
    """
    The labels of an exchange.

    Attributes:
        tier: Where it was answered, or failed last; so are backend and model.
        result: ``ok``; ``closed`` if the client left; ``refused`` where the request or a limit
            was at fault; ``failed`` where a backend or the gateway was.
    """

    surface: str
    profile: str
    tier: str
    backend: str
    model: str
    mode: str
    stream: bool
    result: Result


class AttemptKey(NamedTuple):
    """The labels of an attempt."""

    tier: str
    backend: str
    model: str
    purpose: str
    outcome: str


class ExchangeCell:
    """
    Exchanges alike.

    Attributes:
        endings: Of those that did not end well, how many by status and outcome.
        seconds: How long they took, in milliseconds.
        overhead: What of it was ours: neither a backend's nor spent waiting for a place.
        first: Of streams, the time to their first output.
        between: Of streams, the mean time from one token to the next.
        pace: Of streams, tokens a second.
        slow: Of those that ended well, how many began later than their profile's objective.
        cost: USD.
        unpriced: Exchanges whose cost nobody knows.
    """

    __slots__ = (
        "between",
        "cached",
        "cost",
        "count",
        "endings",
        "estimated",
        "first",
        "input",
        "output",
        "overhead",
        "pace",
        "reasoning",
        "saved",
        "seconds",
        "slow",
        "unpriced",
    )

    def __init__(self) -> None:
        self.count = 0
        self.endings: dict[tuple[int, str], int] = {}
        self.seconds = Spread()
        self.overhead: Spread | None = None
        self.first: Spread | None = None
        self.between: Spread | None = None
        self.pace: Spread | None = None
        self.input = self.output = self.cached = self.reasoning = 0
        self.estimated = 0
        self.cost = 0.0
        self.saved = 0.0
        self.unpriced = 0
        self.slow = 0

    def merge(self, other: ExchangeCell) -> None:
        """Add all of another."""
        self.count += other.count
        for ending, count in other.endings.items():
            self.endings[ending] = self.endings.get(ending, 0) + count
        self.seconds.merge(other.seconds)
        for name in ("overhead", "first", "between", "pace"):
            merge_spread(self, name, getattr(other, name))
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))


_SUMS = ("input", "output", "cached", "reasoning", "estimated", "cost", "saved", "unpriced", "slow")


def merge_spread(cell: object, name: str, other: Spread | None) -> None:
    """Add a spread to the one that an attribute holds, if it holds one yet."""
    if other is None:
        return
    mine = getattr(cell, name)
    if mine is None:
        mine = Spread()
        setattr(cell, name, mine)
    mine.merge(other)


class AttemptCell:
    """
    Attempts alike.

    Attributes:
        count: How many.
        seconds: How long they took to commit or to fail, in milliseconds.
        retries: How many were made at the target that had failed just before.
        fallbacks: How many were made because another target had failed.
        climbs: After how many of them another tier was asked.
    """

    __slots__ = ("climbs", "count", "fallbacks", "retries", "seconds")

    def __init__(self) -> None:
        self.count = self.retries = self.fallbacks = self.climbs = 0
        self.seconds = Spread()

    def merge(self, other: AttemptCell) -> None:
        """Add all of another."""
        self.count += other.count
        self.retries += other.retries
        self.fallbacks += other.fallbacks
        self.climbs += other.climbs
        self.seconds.merge(other.seconds)


Exchanges = dict[ExchangeKey, ExchangeCell]
Attempts = dict[AttemptKey, AttemptCell]
