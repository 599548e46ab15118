"""
Which target answers a request: profile, mode, plan, climb.

``Router.open`` is the spine's third scope.  It settles on a profile and a
mode, makes a plan (an explicit list of steps) and has it climbed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext

from attrs import field, frozen

from lmgateway.backends.base import Reply
from lmgateway.backends.canned import canned
from lmgateway.chat import Endpoint, Overrides
from lmgateway.dialects.base import Dialect
from lmgateway.exchange import Exchange
from lmgateway.routing.escalate import Escalation
from lmgateway.routing.ladder import Climber, Step, Tier
from lmgateway.routing.policy import Directory, Policy
from lmgateway.routing.urgency import place

DEFAULT_REPLY = "This assistant is not available at the moment."


@frozen(kw_only=True)
class Router:
    """
    Chooses and opens.

    Attributes:
        dialects: All of them, by name: what a backend may have spoken.
        tries: How often one target is tried before the next.
    """

    directory: Directory
    climber: Climber
    dialects: Mapping[str, Dialect]
    tries: int = 1
    _plans: dict[tuple[str, str], Sequence[Step]] = field(factory=dict, init=False)

    def open(self, exchange: Exchange) -> AbstractAsyncContextManager[Reply]:
        """
        Give the scope of a committed reply.

        Raises:
            GatewayError: Whatever kept every target from committing.
        """
        request, principal = exchange.request, exchange.principal
        assert request is not None and principal is not None, "admitted exchanges have both"
        policy, tier = self.directory.choose(
            principal,
            request.model,
            expert=_says_true(exchange, "x-lmg-expert"),
            endpoint=request.endpoint,
        )
        self._note(exchange, policy)
        exchange.account.enter(policy.name)
        if policy.mode == "reply" or tier is None:
            exchange.tier = "reply"
            exchange.backend = "none"
            return nullcontext(canned(request, policy.reply_message or DEFAULT_REPLY))
        tier = place(self.directory.ladder, tier, exchange)
        return self._answer(policy, tier, exchange, request.endpoint)

    def _answer(
        self, policy: Policy, tier: Tier, exchange: Exchange, endpoint: Endpoint
    ) -> AbstractAsyncContextManager[Reply]:
        if not policy.escalates(endpoint):
            return self.climber.climb(self._plan(policy, tier), exchange)
        escalation = Escalation(
            climber=self.climber, dialects=self.dialects, standard=policy.standard
        )
        return escalation.open(self.ascent(policy), exchange)

    def _plan(self, policy: Policy, tier: Tier) -> Sequence[Step]:
        """Give the plan for a tier; each is made once."""
        key = (policy.name, tier.name)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = self.plan(policy, tier)
        return plan

    def ascent(self, policy: Policy) -> list[Step]:
        """Give the steps of escalation: every tier up to the ceiling, whatever was asked for."""
        rungs = self.directory.ladder.tiers[: policy.ceiling.index + 1]
        return [self._step(policy, rung) for rung in rungs]

    def plan(self, policy: Policy, tier: Tier) -> list[Step]:
        """Give the steps for a tier: itself, then what is failed over to."""
        rungs = [tier]
        if policy.failover:
            rest = policy.chain
            if rest is None:
                ceiling = max(policy.ceiling.index, tier.index)
                rest = self.directory.ladder.tiers[tier.index + 1 : ceiling + 1]
            rungs += [rung for rung in rest if rung is not tier]
        return [self._step(policy, rung) for rung in rungs]

    def _step(self, policy: Policy, tier: Tier) -> Step:
        return Step(
            tier=tier,
            tries=self.tries,
            strict=policy.strict,
            overrides=Overrides(
                model=tier.model, system_prompt=policy.system_prompt, think=tier.think
            ),
        )

    def _note(self, exchange: Exchange, policy: Policy) -> None:
        exchange.mode = policy.mode
        exchange.profile_chain = (policy.name,)
        exchange.expose_routing = policy.expose_routing
        exchange.friendly_errors = policy.friendly_errors


def _says_true(exchange: Exchange, header: str) -> bool:
    return exchange.headers.get(header, "").strip().lower() == "true"
