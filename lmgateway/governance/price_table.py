"""
Prices from the table of the package genai-prices, which is imported when it is asked for.

The table comes with the package and is never fetched: newer prices come with a
newer package.  Prices are those of the moment at which the config is loaded; of
those that change with the time of day, the dearest.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib import import_module
from typing import Any

from lmgateway.classes import frozen
from lmgateway.errors import ConfigError
from lmgateway.governance.price import Price, nano

_MEMBERS = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cached_read",
    "cache_write_mtok": "cached_write",
    "output_reasoning_mtok": "reasoning",
    "requests_kcount": "request",
}
_IDS = {"xai": "x-ai"}
_HOURS = 24
_THOUSAND = 1000


@frozen
class PriceTable:
    """The table."""

    find_model: Callable[..., tuple[Any, Any]]
    now: datetime

    @classmethod
    def open(cls, wall: float) -> PriceTable:
        """
        Import the package.

        Args:
            wall: Whose prices count; seconds since the epoch.

        Raises:
            ConfigError: If it is not there, or is none that we know how to read.
        """
        try:
            snapshot = import_module("genai_prices.data_snapshot").get_snapshot()
            return cls(snapshot.find_provider_model, datetime.fromtimestamp(wall, UTC))
        except (ImportError, AttributeError):
            text = 'prices.table: needs genai-prices: pip install "lmgateway[prices]"'
            raise ConfigError([text]) from None

    def find(self, provider: str, base_url: str, model: str) -> Price | None:
        """Give the price of a provider's model; ``None`` if it has none here."""
        # "openai" is any server that speaks its grammar: the address says who it is.
        by_address = provider == "openai"
        try:
            _, found = self.find_model(
                model,
                None,
                None if by_address else _IDS.get(provider, provider),
                base_url if by_address else None,
            )
        except LookupError:
            return None
        hours = [self.now + timedelta(hours=hour) for hour in range(_HOURS)]
        prices = [price for hour in hours if (price := _price(found.get_prices(hour)))]
        return max(prices, key=lambda price: price.input + price.output, default=None)


def _price(table: object) -> Price | None:
    parts: dict[str, int] = {}
    steps: dict[int, dict[str, int]] = {}
    for name, part in _MEMBERS.items():
        value = getattr(table, name, None)
        base = getattr(value, "base", value)
        if not isinstance(base, Decimal | int):
            continue
        parts[part] = _nano(part, base)
        for tier in getattr(value, "tiers", ()):
            steps.setdefault(tier.start, {})[part] = _nano(part, tier.price)
    if "input" not in parts and "output" not in parts:
        return None
    return Price.filled(parts, steps)


def _nano(part: str, amount: Decimal | int) -> int:
    return nano(Decimal(amount) / _THOUSAND if part == "request" else Decimal(amount))
