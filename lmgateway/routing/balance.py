"""
Which of a tier's targets is tried first, and in what order the others follow.

============ ================================================================
priority     As written: the first, and the others only when it fails.
weighted     At random, in proportion to ``weight``; 0 is only for failover.
round_robin  In turn.
least_busy   The one with the fewest attempts under way for its weight, open
             streams included.
latency      One of those whose mean time is within 10 % of the best: time to
             the first output for streams, total time for the rest.  A target
             with few samples, or none lately, takes its share until it is known.
cost         The cheapest first, by price; then those without one, as written.
============ ================================================================

With ``sticky`` the first target is a function of the conversation (the client,
the system text and the first user message), so that the target's prompt cache
is of use; the strategy orders the others.  Rendezvous hashing, so that weights
count and that a target more or less moves only its own conversations.

A target whose bulkhead is full goes behind those with room.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from math import inf, log
from random import Random
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

from lmgateway.backends.base import Backend
from lmgateway.backends.health import Pace, TargetHealth
from lmgateway.chat import ChatRequest, Document
from lmgateway.exchange import Exchange
from lmgateway.routing.queues import Gate

Strategy: TypeAlias = Literal[
    "priority", "weighted", "round_robin", "least_busy", "latency", "cost"
]

BAND = 1.1
FEW_SAMPLES = 3
STALE_SECONDS = 30.0
KEY_BYTES = 4096
"""How much of each opening message tells one conversation from another."""


class Target(Struct, frozen=True, kw_only=True, eq=False):
    """
    One (backend, model) pair.

    Attributes:
        weight: Its share of the tier's requests, in proportion.
        price: What orders it by cost; ``None`` if it has no price.
        health: What is known of how it does; ``None`` if nobody watches.
        bulkhead: The places of its backend; ``None`` if they are unlimited.
        private: The same for clients with keys of their own, by their names.
    """

    backend: Backend
    model: str
    weight: float = 1.0
    price: float | None = None
    health: TargetHealth | None = None
    bulkhead: Gate | None = None
    private: Mapping[str, Target] | None = None

    def of(self, exchange: Exchange) -> Target:
        """Give the target as whoever asks reaches it: with their own key, if they have one."""
        if self.private is None or exchange.principal is None:
            return self
        return self.private.get(exchange.principal.name, self)

    @property
    def name(self) -> str:
        """What tells it from others."""
        return f"{self.backend.name}/{self.model}"


Targets: TypeAlias = Sequence[Target]


class Balance(Struct, kw_only=True, eq=False):
    """
    Orders the targets of one tier.

    Attributes:
        sticky: Whether a conversation keeps to one target.
        now: Reactor seconds.
        turn: How many orders were given out: whose turn it is.
    """

    targets: tuple[Target, ...]
    strategy: Strategy = "priority"
    sticky: bool = False
    random: Random
    now: Callable[[], float]
    turn: int = 0

    def order(self, exchange: Exchange) -> Targets:
        """Give all targets, the one to try first at the front."""
        order = _STRATEGIES[self.strategy](self, exchange)
        self.turn += 1
        if self.sticky:
            first = self._own(exchange)
            order = [first, *(target for target in order if target is not first)]
        return sorted(order, key=_is_full)

    def peek(self, exchange: Exchange) -> Targets:
        """Give what ``order`` would, and change nothing."""
        state, turn = self.random.getstate(), self.turn
        try:
            return self.order(exchange)
        finally:
            self.random.setstate(state)
            self.turn = turn

    def _own(self, exchange: Exchange) -> Target:
        key = conversation(exchange)
        return min(self.targets, key=lambda target: _distance(key, target))

    # the strategies -----------------------------------------------------------
    def _as_written(self, exchange: Exchange) -> Targets:
        return self.targets

    def _weighted(self, exchange: Exchange) -> Targets:
        draw = self.random.random
        ranks = {target: _rank(draw(), target.weight) for target in self.targets}
        return sorted(self.targets, key=ranks.__getitem__)

    def _in_turn(self, exchange: Exchange) -> Targets:
        first = self.turn % len(self.targets)
        return self.targets[first:] + self.targets[:first]

    def _least_busy(self, exchange: Exchange) -> Targets:
        return sorted(self.targets, key=_load)

    def _fastest(self, exchange: Exchange) -> Targets:
        stream = exchange.request is not None and exchange.request.stream
        paces = {target: self._pace(_pace(target, stream)) for target in self.targets}
        order = sorted(self.targets, key=lambda target: paces[target] or 0.0)
        best = min((pace for pace in paces.values() if pace is not None), default=0.0)
        good = [t for t in order if (pace := paces[t]) is None or pace <= best * BAND]
        first = self.random.choice(good)
        return [first, *(target for target in order if target is not first)]

    def _pace(self, pace: Pace | None) -> float | None:
        """The mean, if it can be believed."""
        if pace is None or pace.samples < FEW_SAMPLES or self.now() - pace.at > STALE_SECONDS:
            return None
        return pace.seconds

    def _cheapest(self, exchange: Exchange) -> Targets:
        return sorted(self.targets, key=lambda t: inf if t.price is None else t.price)


_STRATEGIES: Mapping[Strategy, Callable[[Balance, Exchange], Targets]] = {
    "priority": Balance._as_written,
    "weighted": Balance._weighted,
    "round_robin": Balance._in_turn,
    "least_busy": Balance._least_busy,
    "latency": Balance._fastest,
    "cost": Balance._cheapest,
}


def _is_full(target: Target) -> bool:
    return target.bulkhead is not None and target.bulkhead.is_full


def _load(target: Target) -> float:
    under_way = 0 if target.health is None else target.health.in_flight
    return under_way / target.weight if target.weight else inf


def _pace(target: Target, stream: object) -> Pace | None:
    if target.health is None:
        return None
    return target.health.first_output if stream else target.health.whole


def _rank(draw: float, weight: float) -> float:
    """The smallest of such ranks falls on each target in proportion to its weight."""
    return -log(1.0 - draw) / weight if weight else inf


def _distance(key: bytes, target: Target) -> float:
    data = blake2b(key + target.name.encode(), digest_size=8).digest()
    return _rank(int.from_bytes(data, "big") / 2**64, target.weight)


def conversation(exchange: Exchange) -> bytes:
    """Give what the turns of one conversation have in common: who asks, and how it began."""
    seen = blake2b(digest_size=16)
    seen.update((exchange.principal.name if exchange.principal else "").encode())
    if exchange.request is not None:
        for opening in _openings(exchange.request):
            seen.update(msgspec.json.encode(opening)[:KEY_BYTES])
    return seen.digest()


def _openings(request: ChatRequest) -> list[object]:
    """The messages up to the user's first one, or the beginning of a bare prompt."""
    document: Document = request.hub
    messages = document.get("messages")
    if not isinstance(messages, list):
        return [request.raw[:KEY_BYTES].decode("utf-8", "replace")]
    openings: list[object] = []
    for message in messages:
        openings.append(message)
        if isinstance(message, dict) and message.get("role") == "user":
            break
    return openings
