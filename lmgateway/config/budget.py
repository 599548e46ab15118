"""How much money may be spent: the ``[[budgets]]`` tables."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from lmgateway.classes import frozen
from lmgateway.config.values import Name, Parsed, Pattern, Price, Range


def _zone(text: str) -> None:
    from zoneinfo import ZoneInfo  # for configs that name a zone

    try:
        ZoneInfo(text)
    except (LookupError, OSError) as error:
        raise ValueError("not a zone") from error


# Named, since pydoctor takes a string within an alias for a forward reference.
_PERIOD = Pattern(
    r"day|week|month|total|rolling:[1-9][0-9]{0,4}[mhd]",
    '"day", "week", "month", "total" or a rolling time such as "rolling:24h"',
)
_ZONE = Parsed(
    _zone,
    'the name of a time zone that this machine knows, as "Europe/Berlin" '
    "(if it knows none, install tzdata)",
)

BudgetPeriod: TypeAlias = Annotated[str, _PERIOD]
Zone: TypeAlias = Annotated[str, _ZONE]
Share: TypeAlias = Annotated[float, Range(0.001, 1)]
Scope: TypeAlias = Literal["client", "group", "profile", "tier", "model", "global"]


@frozen(kw_only=True)
class BudgetSection:
    """
    So much money in so much time.

    Attributes:
        name: What clients and groups call it.
        scope: Whose it is: of each ``client`` that lists it by itself, of the clients of a
            ``group`` that lists it together, of each ``profile``, ``tier`` or ``model`` by
            itself, or of everyone together (``global``).
        names: The profiles, tiers or models that it is for, with ``*``; all if not given.
        period: When it begins anew: with the calendar's ``day``, ``week`` (from Monday) or
            ``month``, never (``total``), or bit by bit (``rolling:24h``; ``m``, ``h`` or ``d``).
        zone: Whose calendar counts, as ``Europe/Berlin``.
        limit_usd: How much.
        thresholds: The shares of it at which an event is told, once per period.
        on_exceeded: Whether what it cannot pay for is refused, or served by another tier.
        downgrade_to: That tier, for ``on_exceeded = "downgrade"``.
        unpriced: Whether models without a price may be used by those who have it.
    """

    name: Name
    scope: Scope = "client"
    names: tuple[str, ...] = ()
    period: BudgetPeriod = "month"
    zone: Zone = "UTC"
    limit_usd: Price
    thresholds: tuple[Share, ...] = (0.5, 0.8, 1.0)
    on_exceeded: Literal["refuse", "downgrade"] = "refuse"
    downgrade_to: str | None = None
    unpriced: Literal["allow", "deny"] = "allow"
