"""
What there is money for: the tiers of a plan, as budgets leave them.

A budget may name a tier that serves what it cannot pay for.  Then that tier
takes the place of the first one that is over it, and the plan ends there.  It is
found out when its turn comes, so that what others spent meanwhile counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from msgspec import Struct

from lmgateway.errors import BudgetExhausted
from lmgateway.exchange import Attempt, Exchange
from lmgateway.routing.ladder import Step, Tier
from lmgateway.routing.plan import Plan


class Paid(Struct, frozen=True):
    """
    A tier to try.

    Attributes:
        refusal: Why it is tried instead of another, if it is.
        attempt: What was refused.
    """

    tier: Tier
    refusal: BudgetExhausted | None = None
    attempt: Attempt | None = None


def unpaid(tier: Tier, exchange: Exchange) -> tuple[Attempt, BudgetExhausted] | None:
    """Say why none of a tier's targets could be paid for, and what was refused."""
    request = exchange.request
    assert request is not None, "only parsed requests are routed"
    refused = None
    for target in tier.targets:
        attempt = Attempt(
            tier=tier.name, backend=target.backend.name, model=target.model, started=0
        )
        refusal = exchange.account.refusal(attempt, request)
        if refusal is None:
            return None
        refused = (attempt, refusal)
    return refused


def paid_tiers(plan: Plan, exchange: Exchange) -> Iterator[Paid]:
    """Give the tiers to try, with what budgets put in their place."""
    if not exchange.account.downgrades:
        yield from map(Paid, plan.tiers())
        return
    before: Tier | None = None
    seen: set[str] = set()
    for tier in chain(plan.tiers(), [None]):
        for each in (before, tier):
            refused = None if each is None else unpaid(each, exchange)
            if each is not None and refused is not None and refused[1].downgrade is not None:
                yield from _instead(each, *refused, plan, seen)
                return
        if tier is not None:
            seen.add(tier.name)
            yield Paid(tier)
        before = tier


class PaidSteps(Struct, frozen=True):
    """The steps of live traffic, which write down on the exchange what a budget did."""

    plan: Plan
    exchange: Exchange

    def __iter__(self) -> Iterator[Step]:
        """Give the steps, the first one first."""
        exchange = self.exchange
        for paid in paid_tiers(self.plan, exchange):
            if paid.refusal is not None and paid.attempt is not None:
                exchange.downgraded = paid.refusal.budget
                exchange.account.note_refusal(paid.attempt, paid.refusal)
            yield self.plan.step(paid.tier)


def _instead(
    tier: Tier, attempt: Attempt, refusal: BudgetExhausted, plan: Plan, seen: set[str]
) -> Iterator[Paid]:
    """Give what a budget puts in the place of a tier; that tier itself, where nothing can be."""
    lower = plan.ladder.find(refusal.downgrade or "")
    if lower is not None and lower is not tier and plan.suits(lower):
        if lower.name not in seen:
            yield Paid(lower, refusal, attempt)
    elif tier.name not in seen:
        yield Paid(tier)
