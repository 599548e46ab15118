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
``choice``             the first of them; ``null`` if no backend is asked
``reply``              the operator's own answer, where that is given
``error``              why nothing can be tried
=====================  ==========================================================

The expected cost is that of the whole prompt and the longest answer asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from attrs import frozen

from lmgateway.chat import ChatRequest, Document
from lmgateway.config.schema import PriceSection
from lmgateway.errors import GatewayError
from lmgateway.exchange import Attempt, Exchange
from lmgateway.routing.ladder import Tier
from lmgateway.routing.needs import needs_of
from lmgateway.routing.plan import Compared, Decision
from lmgateway.routing.rules import Rule
from lmgateway.routing.tokens import Counter, output_budget

LONGEST_ANSWER = 4096
"""Tokens of an answer whose length nobody bounds."""

FREE = PriceSection(input=0, output=0)

PriceOf: TypeAlias = Callable[[Tier], PriceSection | None]
"""Gives a tier's price: ``FREE`` for a local one without, ``None`` if it is not known."""


def _unknown_price(tier: Tier) -> PriceSection | None:
    return None


@frozen(kw_only=True)
class Explaining:
    """Puts decisions into words."""

    counter: Counter
    price_of: PriceOf = _unknown_price

    def document(self, decision: Decision, exchange: Exchange) -> Document:
        """Explain a decision on an exchange."""
        request = exchange.request
        assert request is not None, "only parsed requests are routed"
        tokens = self.counter.count(request)
        tried, end = _walk(decision, exchange)
        choice = tried[0] if tried else None
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
                for tier, reasons in _judged(decision, exchange, tried, end)
            ],
            "plan": [tier.name for tier in tried],
            "choice": None if choice is None else _named(choice),
        }
        if decision.reply is not None:
            document["reply"] = decision.reply
        error = decision.refusal
        if end is not None and not tried:
            error = _unpaid(end, exchange)
        if error is not None:
            document["error"] = _told(error)
        return document

    def _cost(self, tier: Tier, tokens: int, request: ChatRequest) -> float | None:
        price = self.price_of(tier)
        if price is None:
            return None
        longest = output_budget(request) or tier.max_output_tokens or LONGEST_ANSWER
        cost = tokens * price.input + longest * price.output
        return round(cost / 1e6 + (price.request or 0), 9)


def _walk(decision: Decision, exchange: Exchange) -> tuple[list[Tier], Tier | None]:
    """
    Go the way of live traffic as things stand.

    Returns:
        The tiers that are tried, and the one that ends it by refusing, if one does.
    """
    tried: list[Tier] = []
    if decision.plan is None or decision.choice is None:
        return tried, None
    for tier in decision.plan.tiers():
        if _is_shut(tier):
            continue
        if not _is_full(tier):
            if _unpaid(tier, exchange):
                return tried, tier
            tried.append(tier)
        elif tier is decision.choice:
            return tried, tier
    return tried, None


def _judged(
    decision: Decision, exchange: Exchange, tried: Sequence[Tier], end: Tier | None
) -> Iterator[tuple[Tier, list[str]]]:
    """Give every tier, with what speaks against it."""
    if decision.plan is None:
        return
    for candidate in decision.plan.candidates():
        tier = candidate.tier
        reasons = [*candidate.reasons, *_state(tier, exchange)]
        if end is not None and not reasons and tier not in tried:
            reasons = [f"not reached: {end.name} refuses"]
        yield tier, reasons


def _state(tier: Tier, exchange: Exchange) -> list[str]:
    """What speaks against a tier at this moment: it is passed over, or refuses."""
    told = {
        "breaker open": _is_shut(tier),
        "queue full": _is_full(tier),
        "over budget": _unpaid(tier, exchange) is not None,
    }
    return [reason for reason, holds in told.items() if holds]


def _is_shut(tier: Tier) -> bool:
    """Tell whether a tier is passed over as all of its targets fail."""
    return all(target.health is not None and target.health.blocked_for() for target in tier.targets)


def _is_full(tier: Tier) -> bool:
    """Tell whether a request that begins here is refused for want of a place."""
    gate = tier.queue
    return gate is not None and gate.is_full and gate.pending >= gate.limits.queue_depth


def _unpaid(tier: Tier, exchange: Exchange) -> GatewayError | None:
    """Say why none of a tier's targets could be paid for."""
    request = exchange.request
    assert request is not None, "only parsed requests are routed"
    refusal = None
    for target in tier.targets:
        attempt = Attempt(
            tier=tier.name, backend=target.backend.name, model=target.model, started=0
        )
        refusal = exchange.account.refusal(attempt, request)
        if refusal is None:
            return None
    return refusal


def _named(tier: Tier) -> Document:
    return {"tier": tier.name, "backend": tier.backend.name, "model": tier.model}


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
