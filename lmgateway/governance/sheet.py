"""How one client stands: its limits, its budgets, what it spent."""

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
    A limit: how many a minute or at once, how many more now, and seconds until all of them.

    Attributes:
        most: What ``remaining`` is while nothing is used.
    """

    limit: int
    remaining: int
    reset: float
    most: int


class BudgetLine(msgspec.Struct, frozen=True):
    """A budget in its current period, in USD."""

    name: str
    limit_usd: float
    spent_usd: float
    reserved_usd: float
    resets_at: str | None


class LimitLines(msgspec.Struct, frozen=True):
    """The tightest limit of each kind; ``null`` where there is none."""

    requests: LimitLine | None = None
    tokens: LimitLine | None = None
    concurrency: LimitLine | None = None


class Sheet(msgspec.Struct, frozen=True, kw_only=True):
    """One client, and how it stands."""

    name: str
    group: str | None
    profile: str
    tags: list[str]
    limits: LimitLines
    budgets: list[BudgetLine]
    spend_usd: float


def sheet_of(principal: Principal, admission: Admission) -> Sheet:
    """Say how a client stands now, wherever it asks from."""
    budgets = admission.budgets
    paying = chain(budgets.having(principal), budgets.profiles.get(principal.profile, ()))
    return Sheet(
        name=principal.name,
        group=principal.group or None,
        profile=principal.profile,
        tags=list(principal.tags),
        limits=limit_lines(admission.limits.of_client(principal)),
        budgets=[budget_line(each.stand(budgets.wall())) for each in paying],
        spend_usd=admission.tally.spending.clients.get(principal.name, 0) / NANO,
    )


def limit_lines(standings: Iterable[Standing]) -> LimitLines:
    """Give the tightest limit of each kind."""
    lines = {
        each.what: LimitLine(each.limit, each.remaining, round(each.reset, 3), each.most)
        for each in tightest(standings)
        if each.what in LimitLines.__struct_fields__
    }
    return LimitLines(**lines)


def budget_line(stand: Stand) -> BudgetLine:
    """Give a budget as it is shown."""
    return BudgetLine(
        name=stand.name,
        limit_usd=stand.limit / NANO,
        spent_usd=stand.spent / NANO,
        reserved_usd=stand.reserved / NANO,
        resets_at=None if stand.resets is None else moment_text(stand.resets),
    )
