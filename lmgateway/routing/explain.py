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
``plan``               the accepted ones, in the order in which they are tried
``choice``             the first of them; ``null`` if no backend is asked
``reply``              the operator's own answer, where that is given
``error``              why nothing can be tried
=====================  ==========================================================

The expected cost is that of the whole prompt and the longest answer asked for:
what is reserved before an attempt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from attrs import frozen

from lmgateway.chat import ChatRequest, Document
from lmgateway.config.schema import PriceSection
from lmgateway.errors import GatewayError
from lmgateway.routing.ladder import Tier
from lmgateway.routing.needs import needs_of
from lmgateway.routing.plan import Candidate, Compared, Decision
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

    def document(self, decision: Decision, request: ChatRequest) -> Document:
        """Explain a decision."""
        tokens = self.counter.count(request)
        plan = decision.plan
        tried = _tried(decision)
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
            "candidates": []
            if plan is None
            else [self._candidate(c, tokens, request) for c in plan.candidates()],
            "plan": [tier.name for tier in tried],
            "choice": None if choice is None else _named(choice),
        }
        if decision.reply is not None:
            document["reply"] = decision.reply
        if decision.refusal is not None:
            document["error"] = _told(decision.refusal)
        return document

    def _candidate(self, candidate: Candidate, tokens: int, request: ChatRequest) -> Document:
        tier = candidate.tier
        reasons = [*candidate.reasons, *_state(tier)]
        return {
            **_named(tier),
            "accepted": not reasons,
            "reasons": reasons,
            "expected_cost_usd": self._cost(tier, tokens, request),
        }

    def _cost(self, tier: Tier, tokens: int, request: ChatRequest) -> float | None:
        price = self.price_of(tier)
        if price is None:
            return None
        longest = output_budget(request) or tier.max_output_tokens or LONGEST_ANSWER
        cost = tokens * price.input + longest * price.output
        return round(cost / 1e6 + (price.request or 0), 9)


def _tried(decision: Decision) -> list[Tier]:
    """The tiers that are tried as things stand, the first one first."""
    if decision.plan is None or decision.choice is None or _is_full(decision.choice):
        return []
    return [tier for tier in decision.plan.tiers() if not _state(tier)]


def _is_full(tier: Tier) -> bool:
    """Tell whether a request that begins here is refused for want of a place."""
    gate = tier.queue
    return gate is not None and gate.is_full and gate.pending >= gate.limits.queue_depth


def _state(tier: Tier) -> list[str]:
    """What speaks against a tier at this moment: it is passed over, or refuses."""
    reasons = []
    if all(target.health is not None and target.health.blocked_for() for target in tier.targets):
        reasons.append("breaker open")
    if _is_full(tier):
        reasons.append("queue full")
    return reasons


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
