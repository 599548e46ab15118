"""
A decision as a document: what was looked at, what was chosen, and why not the rest.

=====================  ==========================================================
member                 what it tells
=====================  ==========================================================
``profile_chain``      the profiles gone through
``mode``               the mode of the one that answers
``label``, ``tags``    what the classifier said; ``label`` is ``null`` if nobody
                       did, and ``undecided`` true if it all depends on it
``needs``, ``tokens``  what the request needs, and how large it is
``rules``              every rule looked at, with ``matched`` and ``why_not``
``candidates``         every tier, with ``accepted``, ``reasons`` and
                       ``expected_cost_usd``
``plan``               the accepted ones, in the order in which they are tried;
                       it ends before one that refuses for all of them
``choice``             the first of them, and the target of it whose turn it is;
                       ``null`` if no backend is asked
``downgraded``         the ``budget`` that sends the request to another tier,
                       and ``to`` which; ``null`` if none does
``reply``              the operator's own answer, where that is given
``error``              why nothing can be tried
=====================  ==========================================================

The expected cost is that of the whole prompt and the longest answer asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import msgspec

from lmgateway.chat import ChatRequest, Document
from lmgateway.errors import GatewayError, MaxCostExceeded
from lmgateway.exchange import Attempt, Exchange
from lmgateway.routing.balance import Target
from lmgateway.routing.ladder import Tier
from lmgateway.routing.needs import needs_of
from lmgateway.routing.paying import Paid, paid_tiers, unpaid
from lmgateway.routing.plan import Compared, Decision
from lmgateway.routing.rules import Rule
from lmgateway.routing.tokens import Counter, output_budget

LONGEST_ANSWER = 4096
"""Tokens of an answer whose length nobody bounds."""

Expected: TypeAlias = Callable[[str, int, int], float | None]
"""Gives the USD of so many tokens of prompt and answer at a tier; ``None`` if nobody knows."""


def _unknown(tier: str, prompt: int, output: int) -> float | None:
    return None


class Explaining(msgspec.Struct, frozen=True, kw_only=True):
    """Puts decisions into words."""

    counter: Counter
    expected: Expected = _unknown

    async def document(self, decision: Decision, exchange: Exchange) -> Document:
        """Explain a decision on an exchange."""
        request = exchange.request
        assert request is not None, "only parsed requests are routed"
        aside = self.counter.count_aside(request)
        tokens = self.counter.count(request) if aside is None else await aside
        way = _walk(decision, exchange)
        choice = way.tried[0] if way.tried else None
        document: Document = {
            "profile_chain": [*decision.chain],
            "mode": decision.policy.mode,
            "label": decision.label or None,
            "tags": {**decision.tags},
            "undecided": decision.undecided,
            "needs": sorted(needs_of(request)),
            "tokens": tokens,
            "rules": [rule for compared in decision.compared for rule in _rules(compared)],
            "candidates": [
                {
                    **_named(tier),
                    "accepted": not reasons,
                    "reasons": reasons,
                    "expected_cost_usd": self._cost(tier, tokens, request),
                }
                for tier, reasons in _judged(decision, exchange, way)
            ],
            "plan": [tier.name for tier in way.tried],
            "choice": None if choice is None else _chosen(choice, exchange),
            "downgraded": _downgraded(way.downgrade),
        }
        if decision.reply is not None:
            document["reply"] = decision.reply
        error = decision.refusal or (None if way.tried else way.unpaid)
        if error is not None:
            document["error"] = _told(error)
        return document

    def _cost(self, tier: Tier, tokens: int, request: ChatRequest) -> float | None:
        longest = output_budget(request) or tier.max_output_tokens or LONGEST_ANSWER
        return self.expected(tier.name, tokens, longest)


class _Way(msgspec.Struct):
    """
    The way of live traffic, as things stand.

    Attributes:
        tried: The tiers that are tried.
        end: The one that ends it by refusing, if one does.
        unpaid: Why the first that there is no money for is not tried.
        downgrade: The tier that a budget puts in the place of another, if one does.
    """

    tried: list[Tier] = msgspec.field(default_factory=list)
    end: Tier | None = None
    unpaid: GatewayError | None = None
    downgrade: Paid | None = None


def _walk(decision: Decision, exchange: Exchange) -> _Way:
    way, passed = _Way(), False
    if decision.plan is None or decision.choice is None:
        return way
    for paid in paid_tiers(decision.plan, exchange):
        tier = paid.tier
        if paid.refusal is not None:
            way.downgrade = paid
        if _shut(tier) or _is_limited(tier, exchange):
            passed = True
        elif _is_full(tier):
            if tier is decision.choice:
                way.end = tier
                break
            passed = True
        elif refused := unpaid(tier, exchange):
            way.unpaid = way.unpaid or refused[1]
            if not (way.tried or passed or isinstance(refused[1], MaxCostExceeded)):
                way.end = tier
                break
        else:
            way.tried.append(tier)
    return way


def _judged(decision: Decision, exchange: Exchange, way: _Way) -> Iterator[tuple[Tier, list[str]]]:
    """Give every tier, with what speaks against it."""
    if decision.plan is None:
        return
    for candidate in decision.plan.candidates():
        tier = candidate.tier
        reasons = [*candidate.reasons, *_state(tier, exchange)]
        if tier in way.tried:
            reasons = []
        elif not reasons and way.end is not None:
            reasons = [f"not reached: {way.end.name} refuses"]
        elif not reasons and way.downgrade is not None:
            reasons = ["not reached: a budget sends the request to another tier"]
        yield tier, reasons


def _state(tier: Tier, exchange: Exchange) -> list[str]:
    """What speaks against a tier at this moment: it is passed over, or refuses."""
    refused = unpaid(tier, exchange)
    told = {"queue full": _is_full(tier), "rate limited": _is_limited(tier, exchange)}
    if refused is not None:
        own = isinstance(refused[1], MaxCostExceeded)
        told["over the request's own bound" if own else "over budget"] = True
    return [*_shut(tier), *(reason for reason, holds in told.items() if holds)]


def _shut(tier: Tier) -> list[str]:
    """Say why a tier is passed over, where no attempt may be made at any of its targets."""
    against = [_against(target) for target in tier.targets]
    return sorted(set(against)) if all(against) else []


def _against(target: Target) -> str:
    return "" if target.health is None else target.health.against()


def _is_limited(tier: Tier, exchange: Exchange) -> bool:
    """Tell whether no attempt may be made at any target of a tier now."""
    return all(_limits(tier, target, exchange) for target in tier.targets)


def _limits(tier: Tier, target: Target, exchange: Exchange) -> bool:
    attempt = Attempt(tier=tier.name, backend=target.backend.name, model=target.model, started=0)
    return exchange.account.limit(attempt) is not None


def _is_full(tier: Tier) -> bool:
    """Tell whether a request that begins here is refused for want of a place."""
    gate = tier.queue
    return gate is not None and gate.is_full and gate.pending >= gate.limits.queue_depth


def _downgraded(paid: Paid | None) -> Document | None:
    if paid is None or paid.refusal is None:
        return None
    return {"budget": paid.refusal.budget, "to": paid.tier.name}


def _named(tier: Tier) -> Document:
    return {"tier": tier.name, "backend": tier.backend.name, "model": tier.model}


def _chosen(tier: Tier, exchange: Exchange) -> Document:
    """Name the target of a tier that is asked first, by its strategy and as things stand."""
    order = tier.peek(exchange)
    free = (t for t in order if not (_against(t) or _limits(tier, t, exchange)))
    first = next(free, order[0])
    return {"tier": tier.name, "backend": first.backend.name, "model": first.model}


def _told(error: GatewayError) -> Document:
    return {"kind": error.kind, "status": error.status, "message": str(error)}


def _rules(compared: Compared) -> Iterator[Document]:
    found = False
    for rule in compared.policy.rules.rules:
        why_not = _why_not(rule, compared, found=found)
        found = found or rule.position == compared.taken
        yield {
            "profile": compared.policy.name,
            "position": rule.position,
            "when": {**rule.when},
            "route_to": [to.name for to in rule.destinations],
            "priority": rule.priority,
            "matched": why_not is None,
            "why_not": why_not,
        }


def _why_not(rule: Rule, compared: Compared, *, found: bool) -> str | None:
    why_not = rule.why_not(compared.facts)
    if why_not is not None:
        return why_not
    if rule.position in compared.skipped:
        return "leads back to a profile gone through"
    return "a rule before it matched" if found else None
