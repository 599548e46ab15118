"""
Prices: what the tokens of an attempt cost, to the nano-dollar.

Prices are written in USD per million tokens.  A price is kept as whole
nano-dollars per million tokens, which is exact to nine decimals; the cost of an
attempt is one sum, rounded up once.

===================  =======================================================
asked in this order  for
===================  =======================================================
the config           every target: its own price, else its tier's
nobody               targets of a local backend, which are free
``[prices] file``    all others, by the backend's provider and the model
``[prices] table``   what is not in the file
===================  =======================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from lmgateway.chat import Usage
from lmgateway.config.providers import PROVIDERS, is_local
from lmgateway.config.schema import BackendSection, Config, TargetSection, TierSection
from lmgateway.exchange import Attempt
from lmgateway.governance.price import FREE, NANO, Price, nano, usd

__all__ = ["FREE", "MAX_OUTPUT", "NANO", "Price", "Prices", "Target", "nano", "usd"]

MAX_OUTPUT = 4096
"""Tokens that an answer is reckoned with, where neither client nor tier sets a bound."""

Target = tuple[str, str, str]
"""The names of a tier, a backend, a model."""


class Found(msgspec.Struct, frozen=True):
    """
    A price, and where it was found.

    Attributes:
        price: ``None`` if there is none.
        source: ``config``, ``file``, ``table``, ``local``, or ``none``.
    """

    price: Price | None
    source: str


class Prices(msgspec.Struct, frozen=True):
    """
    The prices of a config.

    Attributes:
        targets: ``None`` for one without price that is not local.
        tiers: The price of each tier's first target.
        bounds: The most tokens of output of each tier.
        baselines: By profile, what it is compared with; empty if none is.
        sources: Where each target's price was found.
    """

    targets: Mapping[Target, Price | None] = msgspec.field(default_factory=dict)
    tiers: Mapping[str, Price | None] = msgspec.field(default_factory=dict)
    bounds: Mapping[str, int] = msgspec.field(default_factory=dict)
    baselines: Mapping[str, Price | None] = msgspec.field(default_factory=dict)
    sources: Mapping[Target, str] = msgspec.field(default_factory=dict)

    @classmethod
    def of(cls, config: Config, wall: float = 0.0) -> Prices:
        """
        Read all prices.

        Args:
            wall: The moment that a table's prices are asked for; seconds since the epoch.

        Raises:
            ConfigError: If a price list that the config names cannot be used.
        """
        find = _finder(config, wall)
        found = {
            (tier.name, target.backend, target.model): find(tier, target)
            for tier in config.tiers
            for target in tier.all_targets
        }
        tiers: dict[str, Price | None] = {}
        for (tier, _, _), each in found.items():
            tiers.setdefault(tier, each.price)
        named = {
            name: profile.baseline or config.gateway.baseline
            for name, profile in config.profiles.items()
        }
        return cls(
            targets={target: each.price for target, each in found.items()},
            tiers=tiers,
            bounds={tier.name: tier.max_output_tokens or MAX_OUTPUT for tier in config.tiers},
            baselines={name: tiers[tier] for name, tier in named.items() if tier is not None},
            sources={target: each.source for target, each in found.items()},
        )

    def price(self, attempt: Attempt) -> Price | None:
        """Give the price of an attempt's target."""
        return self.targets.get((attempt.tier, attempt.backend, attempt.model))

    def cost(self, attempt: Attempt, usage: Usage) -> int | None:
        """Give the nano-dollars of an attempt; ``None`` if its target has no price."""
        price = self.targets.get((attempt.tier, attempt.backend, attempt.model))
        if price is FREE:
            return 0
        return None if price is None else price.cost(usage)

    def expected(self, tier: str, prompt: int, output: int) -> float | None:
        """Give the USD of so many tokens at a tier's first target; ``None`` if it has no price."""
        price = self.tiers.get(tier)
        if price is None:
            return None
        return price.cost(Usage(input_tokens=prompt, output_tokens=output)) / NANO


def _finder(config: Config, wall: float) -> Callable[[TierSection, TargetSection], Found]:
    section, folder = config.prices, config.source.parent
    file = table = None
    if section.file is not None:
        from lmgateway.governance.price_file import PriceFile  # few configs name a list

        file = PriceFile.read(folder / Path(section.file))
    if section.table is not None:
        from lmgateway.governance.price_table import PriceTable  # and few a table

        table = PriceTable.open(wall)

    def find(tier: TierSection, target: TargetSection) -> Found:
        own = target.price or tier.price
        if own is not None:
            return Found(Price.of(own), "config")
        backend = config.backends[target.backend]
        if _is_local(backend):
            return Found(FREE, "local")
        price = None if file is None else file.find(backend.provider, target.model)
        if price is not None:
            return Found(price, "file")
        if table is not None:
            price = table.find(backend.provider, _address(backend), target.model)
        return Found(price, "none" if price is None else "table")

    return find


def _address(backend: BackendSection) -> str:
    return backend.base_url or PROVIDERS[backend.provider].base_url or ""


def _is_local(backend: BackendSection) -> bool:
    return is_local(backend.provider, _address(backend), backend.local)
