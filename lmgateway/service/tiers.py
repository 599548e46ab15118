"""The ladder, from the tiers of the config: targets, queues, balance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from msgspec.structs import replace

from lmgateway.backends.base import Backend
from lmgateway.backends.breaker import BreakerLimits
from lmgateway.config.schema import BackendSection, Config, TargetSection, TierSection
from lmgateway.governance.pricing import NANO, Prices
from lmgateway.routing.balance import Balance, Target
from lmgateway.routing.ladder import Ladder, Overflow, Tier
from lmgateway.routing.queues import Gate, GateLimits
from lmgateway.service.resources import Resources

OUTPUT_SHARE = 0.25
"""Of the tokens of a request, for prices to be compared: answers are shorter than prompts."""

Limits = dict[str, GateLimits]


class Tiers:
    """
    The tiers of one config.

    Attributes:
        ladder: The tiers.
    """

    def __init__(
        self,
        config: Config,
        backends: Mapping[str, Backend],
        resources: Resources,
        prices: Prices,
        private: Mapping[str, Mapping[str, Backend]],
    ) -> None:
        self._config = config
        self._backends = backends
        self._private = private
        self._resources = resources
        self._prices = prices
        self._queues = queue_limits(config.tiers)
        self._bulkheads = bulkhead_limits(config.backends)
        tiers = [self._tier(index, tier) for index, tier in enumerate(config.tiers)]
        self.ladder = Ladder.of(tiers, config.aliases)

    def settle(self) -> None:
        """Let the limits of this config hold from now on, and forget what it does not name."""
        gateway = self._config.gateway
        resources = self._resources
        resources.queues.settle(self._queues)
        resources.bulkheads.settle(self._bulkheads)
        resources.health.allow_retries(gateway.retry_budget)
        resources.health.settle(
            breaker_limits(self._config),
            [(t.backend.name, t.model) for tier in self.ladder.tiers for t in tier.targets],
        )

    def _tier(self, index: int, tier: TierSection) -> Tier:
        targets = tuple(self._target(tier, target) for target in tier.all_targets)
        return Tier(
            name=tier.name,
            index=index,
            backend=targets[0].backend,
            model=targets[0].model,
            think=tier.think,
            max_context_tokens=tier.max_context_tokens,
            max_output_tokens=tier.max_output_tokens,
            capabilities=None if tier.capabilities is None else frozenset(tier.capabilities),
            priority=tier.priority,
            queue=self._queue(tier.queue),
            overflow=_overflow(tier),
            targets=targets,
            balance=self._balance(tier, targets) if len(targets) > 1 else None,
        )

    def _target(self, tier: TierSection, target: TargetSection) -> Target:
        limited = target.backend in self._bulkheads
        shared = Target(
            backend=self._backends[target.backend],
            model=target.model,
            weight=target.weight,
            price=self._price(tier, target),
            health=self._resources.health.target(target.backend, target.model),
            bulkhead=self._resources.bulkheads.gate(target.backend) if limited else None,
        )
        private = self._private.get(target.backend)
        if not private:
            return shared
        # What a provider says to one client's key tells nothing of how it does for others.
        own = {name: replace(shared, backend=each, health=None) for name, each in private.items()}
        return replace(shared, private=own)

    def _price(self, tier: TierSection, target: TargetSection) -> float | None:
        """The price of a million tokens of the usual mixture; ``None`` if nobody knows."""
        price = self._prices.targets[tier.name, target.backend, target.model]
        if price is None:
            return None
        return (price.input * (1 - OUTPUT_SHARE) + price.output * OUTPUT_SHARE) / NANO

    def _queue(self, name: str | None) -> Gate | None:
        if name is None or name not in self._queues:
            return None
        return self._resources.queues.gate(name)

    def _balance(self, tier: TierSection, targets: tuple[Target, ...]) -> Balance:
        return Balance(
            targets=targets,
            strategy=tier.strategy or ("weighted" if tier.sticky else "priority"),
            sticky=tier.sticky,
            random=self._resources.random,
            now=self._resources.wheel.now,
        )


def _overflow(tier: TierSection) -> Overflow | None:
    if tier.overflow_tier is None:
        return None
    return Overflow(tier.overflow_tier, tier.overflow_depth, tier.overflow_min_priority)


def breaker_limits(config: Config) -> dict[str, BreakerLimits]:
    """Give what the breakers of each backend hold to."""
    gateway = config.gateway
    limits = {}
    for name, backend in config.backends.items():
        own = backend.breaker
        threshold = own.error_threshold
        limits[name] = BreakerLimits(
            window=gateway.health_window if own.window is None else own.window,
            threshold=gateway.health_error_threshold if threshold is None else threshold,
            fewest=own.min_attempts,
            consecutive=own.consecutive_failures,
            open_seconds=own.open_ms / 1000,
            trials=own.trials,
            long_wait=own.long_wait_ms / 1000,
            failed_probes=own.failed_probes,
        )
    return limits


def queue_limits(tiers: tuple[TierSection, ...]) -> Limits:
    """Give the queues that are limited, or whose length something depends on."""
    sharing: dict[str, list[TierSection]] = defaultdict(list)
    for tier in tiers:
        if tier.queue is not None:
            sharing[tier.queue].append(tier)
    return {
        name: _limits(*group)
        for name, group in sharing.items()
        if any(t.max_concurrent is not None or t.overflow_tier is not None for t in group)
    }


def bulkhead_limits(backends: Mapping[str, BackendSection]) -> Limits:
    """Give the places of the backends that are limited: hard limits, whatever the priority."""
    return {
        name: _limits(section, on_top=0)
        for name, section in backends.items()
        if section.max_concurrent is not None
    }


def _limits(*sections: TierSection | BackendSection, on_top: int | None = None) -> GateLimits:
    """Take each key from the first that has it: they agree, where they say anything."""
    standard = GateLimits()
    depth, wait = _said(sections, "queue_depth"), _said(sections, "queue_timeout_ms")
    return GateLimits(
        max_concurrent=_said(sections, "max_concurrent"),
        queue_depth=standard.queue_depth if depth is None else depth,
        queue_seconds=standard.queue_seconds if wait is None else wait / 1000,
        on_top=standard.on_top if on_top is None else on_top,
    )


def _said(sections: tuple[TierSection | BackendSection, ...], key: str) -> int | None:
    return next((v for s in sections if (v := getattr(s, key)) is not None), None)
