"""
The last day, in slots: what percentiles, quality figures and graphs are made from.

========= ======== ======== ==============================================
slots     each     kept     for
========= ======== ======== ==============================================
minutes   1 min    1 h      windows up to an hour, by profile and target
spans     10 min   24 h     windows up to a day, by profile and target
points    1 min    6 h      graphs: one line of totals for each minute
========= ======== ======== ==============================================

A slot that is over is packed.  The number of its keys is bounded, as is the number of slots.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from lmgateway.telemetry.cells import (
    AttemptCell,
    AttemptKey,
    Attempts,
    ExchangeCell,
    ExchangeKey,
    Exchanges,
)
from lmgateway.telemetry.spread import Packed, Spread

MINUTE = 60.0
SPAN = 600.0
MAX_KEYS = 200
POINTS = 360


class QualityKey(NamedTuple):
    """What quality is told of; one target has several if several profiles lead to it."""

    profile: str
    tier: str
    backend: str
    model: str


class Quality:
    """
    How well something did in a time.

    Attributes:
        ok: Exchanges that ended well; likewise ``failed``, ``refused``, ``closed``.
        slow: Of those that ended well, how many began later than their profile's objective.
        seconds: How long those that ended well took, in milliseconds.
        first: Of streams, the time to their first output.
        paces: How many streams told a pace; ``pace`` is the sum of their tokens a second.
        attempts: Tries to answer; ``insufficient`` and ``broken`` ones are among them, and
            after ``climbs`` of them another tier was asked.
    """

    __slots__ = (
        "attempts",
        "broken",
        "climbs",
        "closed",
        "cost",
        "failed",
        "first",
        "input",
        "insufficient",
        "ok",
        "output",
        "pace",
        "paces",
        "refused",
        "saved",
        "seconds",
        "slow",
    )

    def __init__(self) -> None:
        self.ok = self.failed = self.refused = self.closed = self.slow = 0
        self.attempts = self.broken = self.insufficient = self.climbs = 0
        self.input = self.output = self.paces = 0
        self.cost = self.saved = self.pace = 0.0
        self.seconds: Spread | Packed = Spread()
        self.first: Spread | Packed = Spread()

    def take(self, key: ExchangeKey, cell: ExchangeCell) -> None:
        """Add exchanges."""
        setattr(self, key.result, getattr(self, key.result) + cell.count)
        self.input += cell.input
        self.output += cell.output
        self.cost += cell.cost
        self.saved += cell.saved
        self.slow += cell.slow
        if key.result == "ok":
            _open(self.seconds).merge(cell.seconds)
        if cell.first is not None:
            _open(self.first).merge(cell.first)
        if cell.pace is not None:
            self.pace += cell.pace.total
            self.paces += cell.pace.count

    def try_out(self, key: AttemptKey, cell: AttemptCell) -> None:
        """Add attempts."""
        self.attempts += cell.count
        self.climbs += cell.climbs
        if key.outcome.startswith("insufficient"):
            self.insufficient += cell.count
        elif key.outcome not in _UNBROKEN:
            self.broken += cell.count

    def merge(self, other: Quality) -> None:
        """Add all of another."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        _open(self.seconds).merge(other.seconds)
        _open(self.first).merge(other.first)

    def pack(self) -> None:
        """Take no more."""
        self.seconds, self.first = Packed(_open(self.seconds)), Packed(_open(self.first))

    @property
    def requests(self) -> int:
        """All exchanges."""
        return self.ok + self.failed + self.refused + self.closed


_UNBROKEN = frozenset({"ok", "open", "cancelled"})
_SUMS = (
    "ok", "failed", "refused", "closed", "slow", "attempts", "broken", "insufficient", "climbs",
    "input", "output", "paces", "cost", "saved", "pace",
)  # fmt: skip


def _open(spread: Spread | Packed) -> Spread:
    assert isinstance(spread, Spread), "what is packed takes no more"
    return spread


class Point(msgspec.Struct, frozen=True):
    """One minute of all traffic; ``at`` is its beginning, in seconds since the epoch."""

    at: int
    requests: int
    errors: int
    refused: int
    input_tokens: int
    output_tokens: int
    cost_usd: float
    saved_usd: float
    p50_ms: float | None
    p95_ms: float | None


class _Slots:
    """Slots of one length, the newest last."""

    def __init__(self, seconds: float, count: int) -> None:
        self._seconds = seconds
        self._slots: deque[tuple[int, dict[QualityKey, Quality]]] = deque(maxlen=count + 1)

    def current(self, now: float) -> dict[QualityKey, Quality]:
        """Give the slot that is open."""
        number = int(now // self._seconds)
        if not self._slots or self._slots[-1][0] < number:
            if self._slots:
                for quality in self._slots[-1][1].values():
                    quality.pack()
            self._slots.append((number, {}))
        return self._slots[-1][1]

    def since(self, now: float, seconds: float) -> Iterable[dict[QualityKey, Quality]]:
        """Give the slots that reach into a window."""
        first = int((now - seconds) // self._seconds)
        return [slot for number, slot in self._slots if number >= first]


class History:
    """
    What the last day was like.

    Args:
        now: Reactor seconds.
        wall: Seconds since the epoch.
    """

    def __init__(self, now: Callable[[], float], wall: Callable[[], float]) -> None:
        self._now = now
        self._wall = wall
        self._minutes = _Slots(MINUTE, 60)
        self._spans = _Slots(SPAN, 144)
        self._points: deque[tuple[int, Point]] = deque(maxlen=POINTS)
        self._point: Quality = Quality()
        self._until = 0.0

    def take(self, exchanges: Exchanges, attempts: Attempts) -> float:
        """
        Add what is new.

        Returns:
            The end of this minute, which is the latest time to come again.
        """
        now = self._now()
        # What comes after the end of a minute was taken before it: a new one begins with a fold.
        then = now if now < self._until else self._until - 1
        for slots in (self._minutes, self._spans):
            slot = slots.current(then)
            for key, cell in exchanges.items():
                _find(slot, QualityKey(*key[1:5])).take(key, cell)
            for step, attempt in attempts.items():
                if step.purpose == "answer":
                    target = QualityKey("", step.tier, step.backend, step.model)
                    _find(slot, target).try_out(step, attempt)
        for key, cell in exchanges.items():
            self._point.take(key, cell)
        if now >= self._until:
            self._turn(now)
        return self._until

    def _turn(self, now: float) -> None:
        """Begin a new minute; the last one was the one before, or there was no traffic since."""
        if self._until:
            self._points.append(self._open_point(now))
        self._point = Quality()
        self._until = (now // MINUTE + 1) * MINUTE

    def window(self, seconds: float) -> dict[QualityKey, Quality]:
        """
        Give how well each target did; an empty profile's is what is known of its attempts.

        Args:
            seconds: The length of the window, which begins with a whole slot.
        """
        now = self._now()
        slots = self._minutes if seconds <= 60 * MINUTE else self._spans
        found: dict[QualityKey, Quality] = {}
        for slot in slots.since(now, seconds):
            for key, quality in slot.items():
                _find(found, key).merge(quality)
        return found

    def points(self, count: int) -> list[Point]:
        """Give the last minutes, the newest last and not over; those without traffic too."""
        now, none = self._now(), Quality()
        found = dict(self._points)
        if self._until:
            found.update([self._open_point(now)])
        newest, began = int(now // MINUTE), self._wall() - now % MINUTE
        return [
            found.get(newest - ago) or point_of(none, began - ago * MINUTE)
            for ago in range(count - 1, -1, -1)
        ]

    def _open_point(self, now: float) -> tuple[int, Point]:
        """Give the minute that exchanges are added to, by its number."""
        began = self._until - MINUTE
        return int(began // MINUTE), point_of(self._point, self._wall() - (now - began))


def _find(slot: dict[QualityKey, Quality], key: QualityKey) -> Quality:
    quality = slot.get(key)
    if quality is None:
        if len(slot) >= MAX_KEYS:
            key = QualityKey(*["other" if part else "" for part in key])
        quality = slot.setdefault(key, Quality())
    return quality


def point_of(quality: Quality, at: float) -> Point:
    """Give a minute as graphs have it."""
    seconds = _open(quality.seconds)
    return Point(
        at=int(at),
        requests=quality.requests,
        errors=quality.failed,
        refused=quality.refused,
        input_tokens=quality.input,
        output_tokens=quality.output,
        cost_usd=quality.cost,
        saved_usd=quality.saved,
        p50_ms=rounded(seconds.percentile(0.5)),
        p95_ms=rounded(seconds.percentile(0.95)),
    )


def rounded(value: float | None, digits: int = 3) -> float | None:
    """Round what there is."""
    return None if value is None else round(value, digits)
