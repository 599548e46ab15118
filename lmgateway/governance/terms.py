"""What a config says of one budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from math import ceil
from typing import Any

from msgspec import Struct

from lmgateway.config.schema import BudgetSection
from lmgateway.governance.periods import Period
from lmgateway.governance.pricing import nano

Tell = Callable[[Mapping[str, Any]], object]
"""Is told the facts of a ``budget`` event."""


class Terms(Struct, frozen=True, kw_only=True):
    """
    What a config says of one budget.

    Attributes:
        limit: In nano-dollars.
        marks: Shares of the limit that are told of, each with its nano-dollars.
        downgrade: The tier that serves what it cannot pay for; ``None``: it is refused.
    """

    name: str
    scope: str
    period: Period
    limit: int
    marks: tuple[tuple[float, int], ...] = ()
    denies_unpriced: bool = False
    downgrade: str | None = None
    tell: Tell | None = None

    @classmethod
    def of(cls, section: BudgetSection, tell: Tell | None) -> Terms:
        """Read a config's table."""
        limit = nano(section.limit_usd)
        shares = sorted(set(section.thresholds))
        return cls(
            name=section.name,
            scope=section.scope,
            period=Period.of(section.period, section.zone),
            limit=limit,
            marks=tuple((share, ceil(limit * Decimal(repr(share)))) for share in shares),
            denies_unpriced=section.unpriced == "deny",
            downgrade=section.downgrade_to if section.on_exceeded == "downgrade" else None,
            tell=tell,
        )
