"""
Prices: what the tokens of an attempt cost, to the nano-dollar.

Prices are written in USD per million tokens.  A price is kept as whole
nano-dollars per million tokens, which is exact to nine decimals; the cost of an
attempt is one sum, rounded up once.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from math import ceil

from attrs import field, frozen

from lmgateway.chat import Usage
from lmgateway.config.providers import PROVIDERS, is_local
from lmgateway.config.schema import BackendSection, Config, PriceSection
from lmgateway.exchange import Attempt
from lmgateway.governance.tokens import Ask

NANO = 10**9
_MILLION = 10**6

MAX_OUTPUT = 4096
"""Tokens that an answer is reckoned with, where neither client nor tier sets a bound."""


@frozen(kw_only=True)
class Price:
    """
    What a target costs, in nano-dollars: per million tokens, and per request.

    Attributes:
        cached_read: Part of the input.
        cached_write: Part of the input.
        reasoning: Part of the output.
        request: For each answer, whatever its tokens.
    """

    input: int = 0
    output: int = 0
    cached_read: int = 0
    cached_write: int = 0
    reasoning: int = 0
    request: int = 0

    @classmethod
    def of(cls, section: PriceSection) -> Price:
        """Read a price table."""
        plain, output = nano(section.input), nano(section.output)
        return cls(
            input=plain,
            output=output,
            cached_read=plain if section.cached_read is None else nano(section.cached_read),
            cached_write=plain if section.cached_write is None else nano(section.cached_write),
            reasoning=output if section.reasoning is None else nano(section.reasoning),
            request=0 if section.request is None else nano(section.request),
        )

    def cost(self, usage: Usage) -> int:
        """Give the nano-dollars of one answer; a part is never more than its whole."""
        read = _within(usage.cached_read, usage.input_tokens)
        write = _within(usage.cached_write, usage.input_tokens - read)
        thought = _within(usage.reasoning, usage.output_tokens)
        total = (
            max(0, usage.input_tokens - read - write) * self.input
            + read * self.cached_read
            + write * self.cached_write
            + max(0, usage.output_tokens - thought) * self.output
            + thought * self.reasoning
        )
        return self.request - (-total // _MILLION)

    def most(self, ask: Ask) -> int:
        """Give the nano-dollars that an answer can cost, whatever kinds of token it takes."""
        dearest = max(self.input, self.cached_read, self.cached_write)
        total = ask.prompt * dearest + ask.output * max(self.output, self.reasoning)
        return self.request - (-total // _MILLION)


FREE = Price()


Target = tuple[str, str, str]
"""The names of a tier, a backend, a model."""


@frozen
class Prices:
    """
    The prices of a config.

    Attributes:
        targets: ``None`` for one without price that is not local.
        tiers: The price of each tier's first target.
        bounds: The most tokens of output of each tier.
        baselines: By profile, what it is compared with; empty if none is.
    """

    targets: Mapping[Target, Price | None] = field(factory=dict)
    tiers: Mapping[str, Price | None] = field(factory=dict)
    bounds: Mapping[str, int] = field(factory=dict)
    baselines: Mapping[str, Price | None] = field(factory=dict)

    @classmethod
    def of(cls, config: Config) -> Prices:
        """Read all prices; a local target without one is free."""
        targets: dict[Target, Price | None] = {}
        tiers: dict[str, Price | None] = {}
        for tier in config.tiers:
            for target in tier.all_targets:
                free = FREE if _is_local(config.backends[target.backend]) else None
                section = target.price or tier.price
                price = free if section is None else Price.of(section)
                targets[tier.name, target.backend, target.model] = price
                tiers.setdefault(tier.name, price)
        bounds = {tier.name: tier.max_output_tokens or MAX_OUTPUT for tier in config.tiers}
        named = {
            name: profile.baseline or config.gateway.baseline
            for name, profile in config.profiles.items()
        }
        baselines = {name: tiers[tier] for name, tier in named.items() if tier is not None}
        return cls(targets, tiers, bounds, baselines)

    def price(self, attempt: Attempt) -> Price | None:
        """Give the price of an attempt's target."""
        return self.targets.get((attempt.tier, attempt.backend, attempt.model))

    def cost(self, attempt: Attempt, usage: Usage) -> int | None:
        """Give the nano-dollars of an attempt; ``None`` if its target has no price."""
        price = self.price(attempt)
        if price is FREE:
            return 0
        return None if price is None else price.cost(usage)


def nano(usd: float) -> int:
    """Give the nano-dollars of a number as it is written in decimals; what is less, rounds up."""
    return ceil(Decimal(repr(usd)) * NANO)


def usd(amount: int) -> str:
    """Write nano-dollars as decimal USD, without exponent."""
    if not amount:
        return "0"
    whole, rest = divmod(amount, NANO)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".")


def _within(part: int, whole: int) -> int:
    return max(0, min(part, whole))


def _is_local(backend: BackendSection) -> bool:
    base_url = backend.base_url or PROVIDERS[backend.provider].base_url or ""
    return is_local(backend.provider, base_url, backend.local)
