"""What went of each budget; outlives every config, though not the process."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from attrs import field

from lmgateway.classes import define
from lmgateway.governance.periods import Period

Owner = tuple[str, str]
"""The name of a budget, and whose share of it; empty where everyone has the same."""


class Purse:
    """
    What went of one budget in its current period, in nano-dollars.

    Attributes:
        overrun: What attempts cost beyond what was reserved for them.
        start: When the period began; seconds since the epoch.
        end: When anything spent is forgotten next.
        told: When each mark was told of last.
    """

    __slots__ = ("_period", "_slices", "end", "overrun", "reserved", "spent", "start", "told")

    def __init__(self) -> None:
        self.spent = 0
        self.reserved = 0
        self.overrun = 0
        self.start = 0.0
        self.end = 0.0
        self.told: dict[float, float] = {}
        self._period: Period | None = None
        self._slices: deque[tuple[int, int]] = deque()

    def turn(self, period: Period, wall: float) -> None:
        """Forget what was spent in a period that is over; of another kind, what it left out."""
        known = self._period
        if known is not period and known != period:
            self._change(period, wall)
        elif wall >= self.end:
            self._advance(period, wall)

    def spend(self, amount: int, period: Period, wall: float) -> None:
        """Note what was spent now; the purse was turned."""
        self.spent += amount
        if period.seconds and amount:
            self._put(amount, period, wall)

    def free_at(self, needed: int, period: Period) -> float | None:
        """Say when so much of what was spent is forgotten; ``None`` if never."""
        if not period.seconds:
            return None if self.end == float("inf") else self.end
        for index, amount in self._slices:
            needed -= amount
            if needed <= 0:
                return _over(index, period)
        return None

    def _advance(self, period: Period, wall: float) -> None:
        if not period.seconds:
            start, end = period.span(wall)
            if start > self.start:
                self._clear()
            self.start, self.end = start, end
            return
        while self._slices and _over(self._slices[0][0], period) <= wall:
            self.spent -= self._slices.popleft()[1]
        self._await(period)

    def _change(self, period: Period, wall: float) -> None:
        """Go over to another kind of period; what is known of its time is kept."""
        before, self._period = self._period, period
        if before is None:
            self.end = 0.0
        elif period.seconds:
            self._slices.clear()
            self._put(self.spent, period, wall)
        elif before.seconds:
            start = period.span(wall)[0]
            since = [a for index, a in self._slices if index * before.slice >= start]
            self._slices.clear()
            self.spent, self.start = sum(since), start
        self.told.clear()
        self._advance(period, wall)

    def _put(self, amount: int, period: Period, wall: float) -> None:
        index = int(wall // period.slice)
        newest = self._slices[-1] if self._slices else None
        if newest is not None and newest[0] >= index:
            self._slices[-1] = (newest[0], newest[1] + amount)
        else:
            self._slices.append((index, amount))
        self._await(period)

    def _await(self, period: Period) -> None:
        self.end = _over(self._slices[0][0], period) if self._slices else float("inf")

    def _clear(self) -> None:
        self.spent = self.overrun = 0
        self.told.clear()


def _over(index: int, period: Period) -> float:
    """When all of a slice is older than the period."""
    return (index + 1) * period.slice + period.seconds


@define
class Purses:
    """
    What was spent, by budget; outlives every config.

    Attributes:
        restored: Whether what an earlier run spent was looked for.
    """

    purses: dict[Owner, Purse] = field(factory=dict)
    restored: bool = False

    def get(self, owner: Owner) -> Purse:
        """Give what went of a budget."""
        return self.purses.setdefault(owner, Purse())

    def keep_only(self, names: Collection[str]) -> None:
        """Forget the budgets that are no longer configured."""
        for owner in [owner for owner in self.purses if owner[0] not in names]:
            del self.purses[owner]
