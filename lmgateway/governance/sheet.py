"""How one client stands: its limits, its budgets, what it spent and saved."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import msgspec

from lmgateway.governance.admission import Admission
from lmgateway.governance.budgets import Stand
from lmgateway.governance.limits import tightest
from lmgateway.governance.periods import moment_text
from lmgateway.governance.pricing import NANO
from lmgateway.principal import Principal, Standing


class LimitLine(msgspec.Struct, frozen=True):
    """
    A limit: how much a minute or at once, how much more now, and seconds until all of it.

    Attributes:
        most: What ``remaining`` is while nothing is used.
    """

    limit: float
    remaining: float
    reset: float
    most: float


class BudgetLine(msgspec.Struct, frozen=True):
    """A budget in its current period, in USD."""

    name: str
    limit_usd: float
    spent_usd: float
    reserved_usd: float
    resets_at: str | None


class LimitLines(msgspec.Struct, frozen=True):
    """The tightest limit of each kind, ``cost`` in USD; ``null`` where there is none."""

    requests: LimitLine | None = None
    tokens: LimitLine | None = None
    cost: LimitLine | None = None
    concurrency: LimitLine | None = None


class Sheet(msgspec.Struct, frozen=True, kw_only=True):
    """
    One client, and how it stands.

    Attributes:
        saved_usd: What was spent less than the baseline; ``null`` without one.
    """

    name: str
    group: str | None
    profile: str
    tags: list[str]
    limits: LimitLines
    budgets: list[BudgetLine]
    spend_usd: float
    saved_usd: float | None


def sheet_of(principal: Principal, admission: Admission) -> Sheet:
    """Say how a client stands now, wherever it asks from."""
    return sheet(principal, admission, admission.limits.of_client(principal))


def sheet(principal: Principal, admission: Admission, standings: Iterable[Standing]) -> Sheet:
    """Say how a client stands now, whose limits stand as *standings* say."""
    budgets, spending = admission.budgets, admission.tally.spending
    paying = chain(budgets.having(principal), budgets.profiles.get(principal.profile, ()))
    saved = spending.saved.get(principal.name, 0) / NANO if admission.prices.baselines else None
    return Sheet(
        name=principal.name,
        group=principal.group or None,
        profile=principal.profile,
        tags=list(principal.tags),
        limits=LimitLines(**{each.what: _limit_line(each) for each in tightest(standings)}),
        budgets=[_budget_line(each.stand(budgets.wall())) for each in paying],
        spend_usd=spending.clients.get(principal.name, 0) / NANO,
        saved_usd=saved,
    )


def _limit_line(standing: Standing) -> LimitLine:
    limit, remaining, most = standing.limit, standing.remaining, standing.most
    reset = round(standing.reset, 3)
    if standing.what == "cost":
        return LimitLine(limit / NANO, remaining / NANO, reset, most / NANO)
    return LimitLine(limit, remaining, reset, most)


def _budget_line(stand: Stand) -> BudgetLine:
    return BudgetLine(
        name=stand.name,
        limit_usd=stand.limit / NANO,
        spent_usd=stand.spent / NANO,
        reserved_usd=stand.reserved / NANO,
        resets_at=None if stand.resets is None else moment_text(stand.resets),
    )
