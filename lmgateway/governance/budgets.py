"""
Budgets: so much money in so much time, for whom.

============  ==========================================  ====================
scope         who shares it                               who has it
============  ==========================================  ====================
``client``    nobody: each client by itself               whoever lists it, or is
                                                          in a group that does
``group``     the clients of a group                      the groups that list it
``global``    everyone                                    everyone
============  ==========================================  ====================

Before an attempt, the most that it can cost at its target's price is reserved;
after it, what it did cost is spent and the rest let go.  So spent and reserved
together stay within the limit, as long as the backend's usage stays within what
was reserved; an excess is spent in full all the same, and counted as overrun.
What is spent is kept in memory: it outlives a reload, not a restart.

Periods are of the calendar, in UTC; a week begins on Monday.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from attrs import define, field, frozen

from lmgateway.config.schema import BudgetSection, Config
from lmgateway.errors import BudgetExhausted
from lmgateway.exchange import Principal
from lmgateway.governance.pricing import nano, usd

Owner = tuple[str, str]
"""The name of a budget, and whose share of it; empty where everyone has the same."""


class Purse:
    """
    What went of one budget in its current period, in nano-dollars.

    Attributes:
        overrun: What attempts cost beyond what was reserved for them.
    """

    __slots__ = ("overrun", "period", "reserved", "spent")

    def __init__(self) -> None:
        self.spent = 0
        self.reserved = 0
        self.overrun = 0
        self.period = 0.0


@define
class Purses:
    """What was spent, by budget; outlives every config."""

    purses: dict[Owner, Purse] = field(factory=dict)

    def get(self, owner: Owner) -> Purse:
        """Give what went of a budget."""
        return self.purses.setdefault(owner, Purse())

    def keep_only(self, names: Collection[str]) -> None:
        """Forget the budgets that are no longer configured."""
        for owner in [owner for owner in self.purses if owner[0] not in names]:
            del self.purses[owner]


@frozen
class Stand:
    """How a budget stands; money in nano-dollars, the reset in seconds since the epoch."""

    name: str
    limit: int
    spent: int
    reserved: int
    resets: float | None


@frozen
class Budget:
    """One limit on money, and what went of it."""

    name: str
    period: str
    limit: int
    denies_unpriced: bool
    purse: Purse

    def stand(self, wall: float) -> Stand:
        """Say how it stands; what was spent in a period that is over is forgotten."""
        purse = self.purse
        start, end = span(self.period, wall)
        if start > purse.period:
            purse.period, purse.spent, purse.overrun = start, 0, 0
        return Stand(self.name, self.limit, purse.spent, purse.reserved, end)

    def refusal(self, amount: int | None, wall: float) -> BudgetExhausted | None:
        """Say why so much cannot be reserved; ``None`` if it can, or costs nothing."""
        if amount is None:
            if not self.denies_unpriced:
                return None
            return BudgetExhausted(f"The budget {self.name!r} allows no model without a price.")
        stand = self.stand(wall)
        if not amount or stand.spent + stand.reserved + amount <= self.limit:
            return None
        text = f"The budget {self.name!r} of {usd(self.limit)} USD is spent."
        wait = None if stand.resets is None else stand.resets - wall
        error = BudgetExhausted(text, retry_after=wait)
        error.resets_at = None if stand.resets is None else moment_text(stand.resets)
        return error

    def settle(self, reserved: int, cost: int, wall: float) -> None:
        """Spend what an attempt cost, and let go what was reserved for it."""
        self.stand(wall)
        purse = self.purse
        purse.reserved -= reserved
        purse.spent += cost
        purse.overrun += max(0, cost - reserved)


@frozen(kw_only=True)
class Budgets:
    """
    All budgets of a config.

    Attributes:
        wall: Seconds since the epoch.
    """

    purses: Purses
    wall: Callable[[], float]
    sections: Mapping[str, BudgetSection] = field(factory=dict)
    groups: Mapping[str, Sequence[str]] = field(factory=dict)

    @classmethod
    def of(cls, config: Config, purses: Purses, wall: Callable[[], float]) -> Budgets:
        """Read the budgets of a config."""
        return cls(
            purses=purses,
            wall=wall,
            sections={section.name: section for section in config.budgets},
            groups={name: group.budgets for name, group in config.groups.items()},
        )

    def settled(self) -> None:
        """Forget what belongs to no budget any more."""
        self.purses.keep_only(self.sections)

    def having(self, principal: Principal) -> tuple[Budget, ...]:
        """Give the budgets that a principal spends from."""
        if not self.sections:
            return ()
        own = [*principal.budgets, *self.groups.get(principal.group, ())]
        listed = dict.fromkeys(own)
        return tuple(
            self._budget(section, principal)
            for name, section in self.sections.items()
            if name in listed or section.scope == "global"
        )

    def stands(self) -> Iterator[tuple[str, Stand]]:
        """Say how every share of every budget stands, and whose it is."""
        for name, owner in [*self.purses.purses]:
            section = self.sections.get(name)
            if section is not None:
                yield owner, self._share(section, owner).stand(self.wall())

    def _budget(self, section: BudgetSection, principal: Principal) -> Budget:
        owner = {"client": principal.name, "group": principal.group, "global": ""}[section.scope]
        return self._share(section, owner)

    def _share(self, section: BudgetSection, owner: str) -> Budget:
        return Budget(
            section.name,
            section.period,
            nano(section.limit_usd),
            section.unpriced == "deny",
            self.purses.get((section.name, owner)),
        )


def shortfall(budgets: Iterable[Budget], amount: int | None, wall: float) -> BudgetExhausted | None:
    """Say why so much cannot be set aside; of several, the one waited for longest."""
    refusals = [refusal for budget in budgets if (refusal := budget.refusal(amount, wall))]
    return max(refusals, key=lambda each: each.retry_after or float("inf"), default=None)


def reserve(budgets: Collection[Budget], amount: int | None, wall: float) -> int:
    """
    Set money aside in every budget, or in none.

    Args:
        amount: The most that an attempt can cost; ``None`` if nobody knows.

    Returns:
        What was set aside.

    Raises:
        BudgetExhausted: If one of them has not enough left.
    """
    refusal = shortfall(budgets, amount, wall)
    if refusal is not None:
        raise refusal
    for budget in budgets:
        budget.purse.reserved += amount or 0
    return amount or 0


def span(period: str, wall: float) -> tuple[float, float | None]:
    """Give the beginning and the end of the period that a moment is in."""
    if period == "total":
        return 0.0, None
    day = datetime.fromtimestamp(wall, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        start, end = day, day + timedelta(days=1)
    elif period == "week":
        start = day - timedelta(days=day.weekday())
        end = start + timedelta(days=7)
    else:
        start = day.replace(day=1)
        end = (start + timedelta(days=31)).replace(day=1)
    return start.timestamp(), end.timestamp()


def moment_text(seconds: float) -> str:
    """Write a moment as RFC 3339 has it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
