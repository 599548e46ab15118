"""Tiers, the ladder that they make, and a step of a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import field
from msgspec import Struct

from lmgateway.backends.base import Backend
from lmgateway.chat import Overrides
from lmgateway.classes import frozen
from lmgateway.exchange import Exchange
from lmgateway.routing.balance import Balance, Target, Targets
from lmgateway.routing.queues import Gate
from lmgateway.routing.suiting import Suiting


class Overflow(Struct, frozen=True):
    """
    Where requests go when a tier's queue is too long.

    Attributes:
        to: A tier or an alias.
        depth: How many may be in flight or waiting before; ``None`` leaves it to the client.
        min_priority: The least priority that this is done for.
    """

    to: str
    depth: int | None
    min_priority: int = 0


@frozen(kw_only=True)
class Tier:
    """
    One rung: a named set of targets, mostly of one.

    Attributes:
        index: Its place in the ladder, 0 for the cheapest.
        backend: The first target's.
        model: The first target's.
        max_context_tokens: Its window; ``None`` is unlimited.
        capabilities: What it can take or do; ``None`` is anything.
        priority: Of requests that bring none of their own.
        queue: The places for its requests; ``None`` if they are neither limited nor counted.
        balance: Orders the targets; ``None`` leaves them as they are.
    """

    name: str
    index: int
    backend: Backend
    model: str
    think: bool | None = None
    max_context_tokens: int | None = None
    max_output_tokens: int | None = None
    capabilities: frozenset[str] | None = None
    priority: int = 0
    queue: Gate | None = None
    overflow: Overflow | None = None
    targets: tuple[Target, ...] = field()
    balance: Balance | None = None

    @targets.default
    def _only_target(self) -> tuple[Target, ...]:
        return (Target(backend=self.backend, model=self.model),)

    def order(self, exchange: Exchange) -> Targets:
        """Give the targets, the one to try first at the front."""
        return self.targets if self.balance is None else self.balance.order(exchange)

    def peek(self, exchange: Exchange) -> Targets:
        """Give what ``order`` would, and change nothing."""
        return self.targets if self.balance is None else self.balance.peek(exchange)


@frozen
class Ladder:
    """
    All tiers, cheapest first, and the other names that they go by.

    Attributes:
        aliases: Alias to tier name.
    """

    tiers: tuple[Tier, ...]
    aliases: Mapping[str, str]
    by_name: Mapping[str, Tier]
    suiting: Suiting = field(eq=False, repr=False)

    @classmethod
    def of(cls, tiers: Sequence[Tier], aliases: Mapping[str, str]) -> Ladder:
        """Make a ladder of tiers in their order."""
        return cls(tuple(tiers), dict(aliases), {t.name: t for t in tiers}, Suiting(tiers))

    def find(self, name: str) -> Tier | None:
        """Give the tier of an alias or a tier name; an alias shadows a tier."""
        return self.by_name.get(self.aliases.get(name, name))


class Step(Struct, frozen=True, kw_only=True):
    """One target of a plan, and what is changed of the request for it."""

    tier: Tier
    overrides: Overrides
    tries: int = 1
    strict: bool = False
