"""What went of each budget: ``/admin/budgets``."""

from __future__ import annotations

from itertools import islice
from typing import Annotated, ClassVar

from msgspec import Meta

from lmgateway.admin.answers import Query, Shape
from lmgateway.admin.declared import Call, Topic
from lmgateway.classes import frozen
from lmgateway.governance.budgets import Budget, Budgets
from lmgateway.governance.periods import moment_text
from lmgateway.governance.pricing import NANO

topic = Topic("budgets")


class BudgetQuery(Query, frozen=True):
    """
    Which shares are listed.

    Attributes:
        name: Of this budget only.
        limit: How many at most.
    """

    name: str | None = None
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 1_000


class BudgetShare(Shape, frozen=True, kw_only=True):
    """
    One share of a budget in its current period, in USD.

    Attributes:
        owner: The client, group, profile, tier or model whose it is; ``null``: everyone's.
        overrun_usd: What backends used beyond what was reserved; part of what was spent.
        resets_at: When anything spent is forgotten next; ``null`` if nothing ever is.
        downgrade_to: The tier that serves what it cannot pay for; ``null``: that is refused.
    """

    name: str
    scope: str
    owner: str | None
    period: str
    limit_usd: float
    spent_usd: float
    reserved_usd: float
    overrun_usd: float
    resets_at: str | None
    downgrade_to: str | None


class BudgetListing(Shape, frozen=True):
    """Every share that was spent from, or that is known beforehand."""

    budgets: list[BudgetShare]


@frozen(eq=False)
class BudgetRoutes:
    """
    The routes.

    Attributes:
        budgets: Of the config that is served.
    """

    budgets: Budgets
    topic: ClassVar[Topic] = topic

    @topic.route(
        "GET",
        "/admin/budgets",
        role="viewer",
        query=BudgetQuery,
        answer=BudgetListing,
        summary="Budgets",
    )
    def all(self, call: Call, query: BudgetQuery) -> BudgetListing:
        """Show what went of each budget, and what is left."""
        shares = (each for each in self.budgets.shares() if query.name in (None, each.terms.name))
        wall = self.budgets.wall()
        return BudgetListing([_share(each, wall) for each in islice(shares, query.limit)])


def _share(budget: Budget, wall: float) -> BudgetShare:
    terms, stand = budget.terms, budget.stand(wall)
    return BudgetShare(
        name=terms.name,
        scope=terms.scope,
        owner=budget.owner or None,
        period=terms.period.text,
        limit_usd=terms.limit / NANO,
        spent_usd=stand.spent / NANO,
        reserved_usd=stand.reserved / NANO,
        overrun_usd=budget.purse.overrun / NANO,
        resets_at=None if stand.resets is None else moment_text(stand.resets),
        downgrade_to=terms.downgrade,
    )
