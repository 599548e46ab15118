"""
Which tiers are tried, in which order, and why each other one is not.

A plan begins at one tier and climbs.  A tier that lacks what the request needs
is left out; so is one whose window is too small.  Where no window is large
enough, the largest comes first; where nobody above the first tier can do what
is needed, the nearest below it may.  Nobody at all: the request is refused
before any backend is asked.

Steps are given as they are asked for, so that a plan over a thousand tiers
costs what its first tier costs.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

import msgspec

from lmgateway.chat import Overrides
from lmgateway.errors import CapabilityUnavailable, GatewayError
from lmgateway.exchange import Taken
from lmgateway.routing.ladder import Ladder, Step, Tier
from lmgateway.routing.policy import Policy
from lmgateway.routing.rules import Facts, Rule

_WORDS = {
    "vision": "images",
    "audio": "audio",
    "video": "video",
    "file": "files",
    "tools": "tools",
    "json_schema": "JSON Schema answers",
    "reasoning": "reasoning",
    "embeddings": "embeddings",
}


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a request asks of a tier.

    Attributes:
        needs: The capabilities that it needs.
        tokens: Its prompt, what is put before it, and its answer.
        allowed: The names of the tiers that may be tried; ``None``: all.
    """

    needs: frozenset[str] = frozenset()
    tokens: int = 0
    allowed: frozenset[str] | None = None

    def permits(self, tier: Tier) -> bool:
        """Tell whether a tier may be tried at all."""
        return self.allowed is None or tier.name in self.allowed

    def lacks(self, tier: Tier) -> frozenset[str]:
        """Give what a tier cannot do."""
        if tier.capabilities is None:
            return frozenset()
        return self.needs - tier.capabilities

    def fits(self, tier: Tier) -> bool:
        """Tell whether a tier's window is large enough."""
        return tier.max_context_tokens is None or self.tokens <= tier.max_context_tokens


NO_DEMAND = Demand()
"""Of a request that every tier can take."""


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """
    One tier, and what speaks against it.

    Attributes:
        reasons: Why it is not tried; empty for one that is.
    """

    tier: Tier
    reasons: tuple[str, ...] = ()


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """
    The tiers to try.

    Attributes:
        start: Where it begins.
        top: The index of the last tier to climb to.
        system_prompt: Put before the client's system text.
        injected: About how many tokens that is.
        think: Whether the request is to be thought about, whatever the tier says.
        tries: How often one tier is tried before the next.
        judged: Whether it is climbed until an answer is good enough, not until one comes.
        full: The tier that it overflowed from, if it did.
        steps: The steps, where they are known beforehand.
    """

    ladder: Ladder
    policy: Policy
    start: Tier
    top: int
    demand: Demand
    system_prompt: str | None = None
    injected: int = 0
    think: bool = False
    tries: int = 1
    full: Tier | None = None
    judged: bool = False
    steps: Sequence[Step] | None = None

    def __iter__(self) -> Iterator[Step]:
        """Give the steps, the first one first."""
        if self.steps is not None:
            return iter(self.steps)
        return map(self.step, self.tiers())

    def tiers(self) -> Iterator[Tier]:
        """
        Give the tiers to try.

        Raises:
            CapabilityUnavailable: If there is none.
        """
        first = self.start
        if self.suits(first):
            yield first
            rest = self._above(first.index + 1)
        else:
            rest = self._climb()
            first = next(rest)
            yield first
        if not self.judged and not self.policy.failover:
            return
        if not self.judged and self.policy.chain is not None:
            rest = filter(self.suits, self.policy.chain)
        for tier in rest:
            if tier is not first:
                yield tier

    def first(self) -> Tier:
        """
        Give the first tier to try.

        Raises:
            CapabilityUnavailable: If there is none.
        """
        return self.start if self.suits(self.start) else next(self.tiers())

    def candidates(self) -> list[Candidate]:
        """Give every tier of the ladder, in its order, with what speaks against it."""
        try:
            tried = {tier.name for tier in self.tiers()}
        except GatewayError:
            tried = set()
        return [
            Candidate(tier=tier, reasons=() if tier.name in tried else self._against(tier))
            for tier in self.ladder.tiers
        ]

    def step(self, tier: Tier) -> Step:
        """Give the step that tries a tier."""
        return Step(
            tier=tier,
            tries=self.tries,
            strict=self.policy.strict,
            overrides=Overrides(
                model=tier.model,
                system_prompt=self.system_prompt,
                think=True if self.think else tier.think,
            ),
        )

    def _climb(self) -> Iterator[Tier]:
        """The ladder from the first tier up; or whatever else there is, best first."""
        good = self._above(self.start.index)
        first = next(good, None)
        if first is not None:
            return chain([first], good)
        return iter(self._last_resorts())

    def _above(self, index: int) -> Iterator[Tier]:
        """The tiers from *index* up to the top that can take the request."""
        demand, tiers = self.demand, self.ladder.tiers
        if demand is NO_DEMAND:
            return map(tiers.__getitem__, range(index, self.top + 1))
        able = self.ladder.suiting(demand.needs, demand.tokens)
        places = range(bisect_left(able, index), bisect_right(able, self.top))
        above = map(tiers.__getitem__, map(able.__getitem__, places))
        return above if demand.allowed is None else filter(demand.permits, above)

    def _last_resorts(self) -> Sequence[Tier]:
        tiers = self.ladder.tiers
        for pool in (tiers[self.start.index : self.top + 1], tiers[: self.start.index][::-1]):
            able = [
                tier for tier in pool if self.demand.permits(tier) and not self.demand.lacks(tier)
            ]
            if able:
                return sorted(able, key=lambda tier: (not self.demand.fits(tier), -_window(tier)))
        raise CapabilityUnavailable(self._missing())

    def _missing(self) -> str:
        pool = [tier for tier in self.ladder.tiers[: self.top + 1] if self.demand.permits(tier)]
        nowhere = [
            need for need in self.demand.needs if all(need in self.demand.lacks(t) for t in pool)
        ]
        named = sorted(_WORDS.get(need, need) for need in nowhere or self.demand.needs)
        together = "" if nowhere or len(named) < 2 else " together"
        return f"No model that this request may use takes {', '.join(named)}{together}."

    def suits(self, tier: Tier) -> bool:
        """Tell whether a tier can take the request."""
        demand = self.demand
        if demand is NO_DEMAND:
            return True
        return demand.permits(tier) and not demand.lacks(tier) and demand.fits(tier)

    def _against(self, tier: Tier) -> tuple[str, ...]:
        """What keeps a tier out; never empty."""
        if tier is self.full:
            return ("its queue is too long",)
        reasons = [f"lacks {need}" for need in sorted(self.demand.lacks(tier))]
        if not self.demand.permits(tier):
            reasons.append("not allowed")
        if not self.demand.fits(tier):
            reasons.append(
                f"too small: {self.demand.tokens} tokens, window {tier.max_context_tokens}"
            )
        chained = self.policy.chain is not None and tier in self.policy.chain
        if tier.index > self.top and not chained:
            reasons.append("over the ceiling")
        if tier.index < self.start.index:
            reasons.append("below the tier chosen")
        return tuple(reasons) or (self._unused(),)

    def _unused(self) -> str:
        if not self.policy.failover:
            return "failover is off"
        return "not in the fallback chain"


def _window(tier: Tier) -> float:
    return float("inf") if tier.max_context_tokens is None else tier.max_context_tokens


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """
    The rules of one profile on the way to a decision.

    Attributes:
        facts: What they were compared with.
        rule: The one that was followed, if any was.
        to: Where that leads.
        skipped: The positions of those that lead back to a profile gone through.
    """

    policy: Policy
    facts: Facts
    rule: Rule | None
    to: str = ""
    skipped: frozenset[int] = frozenset()

    @property
    def taken(self) -> int | None:
        """The position of the rule that was followed."""
        return None if self.rule is None else self.rule.position

    @property
    def followed(self) -> Taken | None:
        """The rule that was followed, as it is recorded."""
        rule = self.rule
        if rule is None:
            return None
        return Taken(self.policy.name, rule.position, rule.when, self.to)


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """
    What is done with a request, and on what grounds.

    Attributes:
        policy: The profile that answers: the last of the chain.
        chain: The profiles gone through.
        mode: What the traffic log calls it.
        label: The class of the request; empty if nobody classified it.
        compared: The rules looked at, profile by profile.
        plan: The tiers to try; ``None`` if no backend is asked.
        choice: The first of them; ``None`` if none is tried.
        reply: The answer, where the operator wrote it.
        refusal: Why nothing is tried.
        undecided: Whether it all depends on a classifier that was not asked.
    """

    policy: Policy
    chain: tuple[str, ...]
    mode: str
    label: str = ""
    tags: Mapping[str, str] = msgspec.field(default_factory=dict)
    compared: tuple[Compared, ...] = ()
    plan: Plan | None = None
    choice: Tier | None = None
    reply: str | None = None
    refusal: GatewayError | None = None
    undecided: bool = False
