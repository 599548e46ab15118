"""
Budgets: so much money in so much time, for whom.

============  ==========================================  ======================
scope         who shares it                               who has it
============  ==========================================  ======================
``client``    nobody: each client by itself               whoever lists it, or is
                                                          in a group that does
``group``     the clients of a group                      the groups that list it
``profile``   all requests that go through a profile      each that is named, by
``tier``      all attempts at a tier                      itself
``model``     all attempts at a backend's model           itself
``global``    everyone                                    everyone
============  ==========================================  ======================

Before an attempt, the most that it can cost at its target's price is reserved;
after it, what it did cost is spent and the rest let go.  So spent and reserved
together stay within the limit, as long as the backend's usage stays within what
was reserved; an excess is spent in full all the same, and counted as overrun.
What is spent is kept in memory: it outlives a reload, and a restart where a
usage ledger tells of it (see ``Budgets.restore``).

A share of the limit that is reached (``thresholds``), and the first refusal, are
told as ``budget`` events, once in each period.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Protocol

from attrs import field
from msgspec import Struct

from lmgateway.classes import frozen
from lmgateway.config.schema import BudgetSection, Config
from lmgateway.errors import BudgetExhausted
from lmgateway.governance.known import Known
from lmgateway.governance.periods import moment_text
from lmgateway.governance.pricing import NANO, usd
from lmgateway.governance.purses import Purse, Purses
from lmgateway.governance.terms import Tell, Terms
from lmgateway.principal import Principal

__all__ = ["Budget", "Budgets", "SpentRow", "Stand", "Terms", "reserve", "shortfall"]

EXCEEDED = 2.0
"""The mark of the first refusal; beyond every share."""


class Stand(Struct, frozen=True):
    """How a budget stands; money in nano-dollars, the reset in seconds since the epoch."""

    name: str
    limit: int
    spent: int
    reserved: int
    resets: float | None


class Budget(Struct, frozen=True):
    """
    One limit on money, and what went of it.

    Attributes:
        owner: Whose share of it; empty where everyone has the same.
    """

    terms: Terms
    owner: str
    purse: Purse

    def stand(self, wall: float) -> Stand:
        """Say how it stands; what was spent in a period that is over is forgotten."""
        terms, purse = self.terms, self.purse
        purse.turn(terms.period, wall)
        resets = None if purse.end == float("inf") else purse.end
        return Stand(terms.name, terms.limit, purse.spent, purse.reserved, resets)

    def refusal(self, amount: int | None, wall: float) -> BudgetExhausted | None:
        """Say why so much cannot be reserved; ``None`` if it can, or costs nothing."""
        terms, purse = self.terms, self.purse
        if amount is None:
            return self.unpriced() if terms.denies_unpriced else None
        purse.turn(terms.period, wall)
        excess = purse.spent + purse.reserved + amount - terms.limit
        if not amount or excess <= 0:
            return None
        return self.exceeded(amount, excess, wall)

    def unpriced(self) -> BudgetExhausted:
        """Refuse a model that nobody knows the price of."""
        text = f"The budget {self.terms.name!r} allows no model without a price."
        return self._marked(BudgetExhausted(text))

    def exceeded(self, amount: int, excess: int, wall: float) -> BudgetExhausted:
        """Refuse what there is not enough money for."""
        terms = self.terms
        if amount > terms.limit:
            text = (
                f"This request may cost up to {usd(amount)} USD, more than all of "
                f"the budget {terms.name!r} of {usd(terms.limit)} USD."
            )
            return self._marked(BudgetExhausted(text))
        resets = self.purse.free_at(excess, terms.period)
        text = f"The budget {terms.name!r} of {usd(terms.limit)} USD is spent."
        error = BudgetExhausted(text, retry_after=None if resets is None else resets - wall)
        error.resets_at = None if resets is None else moment_text(resets)
        return self._marked(error)

    def _marked(self, error: BudgetExhausted) -> BudgetExhausted:
        error.budget, error.downgrade = self.terms.name, self.terms.downgrade
        return error

    def settle(self, reserved: int, cost: int, wall: float) -> None:
        """Spend what an attempt cost, and let go what was reserved for it."""
        terms, purse = self.terms, self.purse
        purse.turn(terms.period, wall)
        purse.reserved -= reserved
        if cost > reserved:
            purse.overrun += cost - reserved
        purse.spend(cost, terms.period, wall)
        for share, mark in terms.marks:
            if not cost or purse.spent < mark:
                break
            self._tell(share, wall)

    def recall(self, wall: float) -> None:
        """Take the marks that an earlier run reached as told."""
        self.stand(wall)
        for share, mark in self.terms.marks:
            if self.purse.spent and self.purse.spent >= mark:
                self.purse.told[share] = wall

    def refused(self, wall: float) -> None:
        """Tell of the first refusal in a period."""
        self._tell(EXCEEDED, wall)

    def _tell(self, share: float, wall: float) -> None:
        """Tell of a mark, unless that was done in this period."""
        terms, purse = self.terms, self.purse
        told = purse.told.get(share)
        if terms.tell is None or (told is not None and wall < told + terms.period.seconds):
            return
        if told is not None and not terms.period.seconds:
            return
        purse.told[share] = wall
        is_refusal = share == EXCEEDED
        stand = self.stand(wall)
        terms.tell(
            {
                "budget": terms.name,
                "scope": terms.scope,
                "owner": self.owner or None,
                "what": "exceeded" if is_refusal else "threshold",
                "threshold": None if is_refusal else share,
                "limit_usd": stand.limit / NANO,
                "spent_usd": stand.spent / NANO,
                "reserved_usd": stand.reserved / NANO,
                "resets_at": None if stand.resets is None else moment_text(stand.resets),
            }
        )


class SpentRow(Protocol):
    """
    What a ledger tells of one attempt that was charged.

    Attributes:
        at: When; seconds since the epoch.
        cost: Nano-dollars.
        profile: The one that answered.
    """

    at: float
    cost: int | None
    client: str
    group: str
    profile: str
    tier: str
    model: str


@frozen(kw_only=True)
class Budgets:
    """
    All budgets of a config.

    Attributes:
        wall: Seconds since the epoch.
        groups: The budgets that each group lists.
        everyone: The global ones.
        downgrades: Whether one of them sends requests to another tier.
        of_targets: Whether there are any of tiers or models.
    """

    purses: Purses
    wall: Callable[[], float]
    terms: Mapping[str, Terms] = field(factory=dict)
    groups: Mapping[str, tuple[str, ...]] = field(factory=dict)
    everyone: tuple[Budget, ...] = ()
    downgrades: bool = False
    profiles: Mapping[str, tuple[Budget, ...]] = field(factory=dict)
    tiers: Mapping[str, tuple[Budget, ...]] = field(factory=dict)
    models: Mapping[str, tuple[Budget, ...]] = field(factory=dict)
    of_targets: bool = field(init=False)
    _known: Known[tuple[Budget, ...]] = field(factory=Known, init=False)

    @of_targets.default
    def _has_those_of_targets(self) -> bool:
        return bool(self.tiers or self.models)

    @classmethod
    def of(
        cls,
        config: Config,
        purses: Purses,
        wall: Callable[[], float],
        tell: Tell | None = None,
    ) -> Budgets:
        """
        Read the budgets of a config.

        Args:
            tell: Is told when a threshold is reached, and of the first refusal.
        """
        terms = {section.name: Terms.of(section, tell) for section in config.budgets}

        def of_scope(scope: str, names: Iterable[str]) -> dict[str, tuple[Budget, ...]]:
            sections = [section for section in config.budgets if section.scope == scope]
            found = {
                name: tuple(
                    Budget(terms[each.name], name, purses.get((each.name, name)))
                    for each in sections
                    if _is_for(each, name)
                )
                for name in names
            }
            return {name: budgets for name, budgets in found.items() if budgets}

        return cls(
            purses=purses,
            wall=wall,
            terms=terms,
            groups={name: group.budgets for name, group in config.groups.items()},
            downgrades=any(each.downgrade is not None for each in terms.values()),
            everyone=of_scope("global", [""]).get("", ()),
            profiles=of_scope("profile", config.profiles),
            tiers=of_scope("tier", [tier.name for tier in config.tiers]),
            models=of_scope("model", {t.model for tier in config.tiers for t in tier.all_targets}),
        )

    def settled(self) -> None:
        """Forget what belongs to no budget any more."""
        self.purses.keep_only(self.terms)

    def having(self, principal: Principal) -> tuple[Budget, ...]:
        """Give the budgets that a principal spends from, whatever is asked for."""
        if not self.terms:
            return ()
        known = self._known.get(principal.name)
        if known is None or known[0] is not principal:
            known = self._known.keep(principal, self._of(principal))
        return known[1]

    def _of(self, principal: Principal) -> tuple[Budget, ...]:
        shared = self.groups.get(principal.group, ())
        if not shared and not principal.budgets:
            return self.everyone
        names = dict.fromkeys((*principal.budgets, *shared))
        own = (self._owned(name, principal.name, principal.group) for name in names)
        return (*(budget for budget in own if budget is not None), *self.everyone)

    def shares(self) -> Iterator[Budget]:
        """Give every share of every budget that anything was spent from, or may be."""
        for (name, owner), purse in [*self.purses.purses.items()]:
            if (terms := self.terms.get(name)) is not None:
                yield Budget(terms, owner, purse)

    def stands(self) -> Iterator[tuple[str, Stand]]:
        """Say how every share of every budget stands, and whose it is."""
        for budget in self.shares():
            yield budget.owner, budget.stand(self.wall())

    def of_target(self, tier: str, model: str) -> tuple[Budget, ...]:
        """Give the budgets of a tier and a model."""
        return (*self.tiers.get(tier, ()), *self.models.get(model, ()))

    def _owned(self, name: str, client: str, group: str) -> Budget | None:
        """Give a client's or its group's share of a budget; ``None`` if there is none such."""
        terms = self.terms.get(name)
        if terms is None or terms.scope not in ("client", "group"):
            return None
        owner = group if terms.scope == "group" else client
        return Budget(terms, owner, self.purses.get((name, owner))) if owner else None

    def restore(self, rows: Iterable[SpentRow]) -> None:
        """
        Spend again what a ledger says was spent, so that a restart gives nobody new money.

        To be called once, before anything is served, with the rows in the order of their
        times; those of periods that are over are forgotten by themselves.
        """
        self.purses.restored = True
        for row in rows:
            for budget in self._paying(row) if row.cost else ():
                if row.cost and row.at >= budget.purse.start:
                    budget.purse.turn(budget.terms.period, row.at)
                    budget.purse.spend(row.cost, budget.terms.period, row.at)
        wall = self.wall()
        for budget in self.shares():
            budget.recall(wall)

    def since(self) -> float:
        """Say from when on a ledger's rows matter; seconds since the epoch."""
        wall = self.wall()
        return min((each.period.begins(wall) for each in self.terms.values()), default=wall)

    def _paying(self, row: SpentRow) -> Iterator[Budget]:
        for name in self.terms:  # whoever lists it now, or will after a reload
            if (budget := self._owned(name, row.client, row.group)) is not None:
                yield budget
        yield from self.everyone
        yield from self.profiles.get(row.profile, ())
        yield from self.of_target(row.tier, row.model)


def shortfall(budgets: Iterable[Budget], amount: int | None, wall: float) -> BudgetExhausted | None:
    """
    Say why so much cannot be set aside.

    Of several reasons it is the one that names another tier, or else the one waited for longest.
    """
    refusals = [refusal for budget in budgets if (refusal := budget.refusal(amount, wall))]
    return max(
        refusals,
        key=lambda each: (each.downgrade is not None, each.retry_after or float("inf")),
        default=None,
    )


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
    for budget in budgets:
        if budget.refusal(amount, wall) is not None:
            raise _refused(budgets, amount, wall)
    reserved = amount or 0
    for budget in budgets:
        budget.purse.reserved += reserved
    return reserved


def _refused(budgets: Iterable[Budget], amount: int | None, wall: float) -> BudgetExhausted:
    """Give the refusal that is raised, told of by the budgets that it names."""
    refusal = shortfall(budgets, amount, wall)
    assert refusal is not None, "one of them has refused"
    for budget in budgets:
        if budget.terms.name == refusal.budget:
            budget.refused(wall)
    return refusal


def _is_for(section: BudgetSection, name: str) -> bool:
    return not section.names or any(fnmatchcase(name, glob) for glob in section.names)
