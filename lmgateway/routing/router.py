"""
Which target answers a request: profile, mode, plan, climb.

``Router.open`` is the spine's third scope.  It decides (see ``cascade``) and
has the plan climbed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from attrs import frozen

from lmgateway.backends.base import Reply
from lmgateway.backends.canned import canned
from lmgateway.exchange import Exchange
from lmgateway.routing.cascade import LIVE, Cascade, Hint
from lmgateway.routing.ladder import Climber
from lmgateway.routing.plan import Decision
from lmgateway.routing.policy import Directory, Policy


@frozen(kw_only=True)
class Router:
    """Chooses and opens."""

    directory: Directory
    climber: Climber
    cascade: Cascade

    @asynccontextmanager
    async def open(self, exchange: Exchange) -> AsyncIterator[Reply]:
        """
        Enter with a committed reply.

        Raises:
            GatewayError: Whatever kept every target from committing.
        """
        request = exchange.request
        assert request is not None, "only parsed requests are routed"
        decision = await self.decide(exchange)
        if decision.refusal is not None:
            raise decision.refusal
        if decision.reply is not None or decision.plan is None:
            exchange.tier = "reply"
            exchange.backend = "none"
            yield canned(request, decision.reply or "")
            return
        async with self.climber.climb(decision.plan, exchange) as reply:
            yield reply

    async def decide(self, exchange: Exchange, hint: Hint = LIVE) -> Decision:
        """
        Say what is done with a request, and note it on the exchange.

        Args:
            hint: What an explanation supposes; live traffic is simply served.

        Raises:
            UnknownModel: If the name is unknown, or not for this client.
            Forbidden: If the tier is behind the expert gate.
        """
        request, principal = exchange.request, exchange.principal
        assert request is not None and principal is not None, "admitted exchanges have both"
        policy, tier = self.directory.choose(
            principal, request.model, expert=_says_true(exchange, "x-lmg-expert")
        )
        self._note(exchange, policy)
        decision = await self.cascade.decide(exchange, policy, tier, hint)
        self._note(exchange, decision.policy)
        exchange.mode = decision.mode
        exchange.profile_chain = decision.chain
        exchange.label = decision.label
        return decision

    def _note(self, exchange: Exchange, policy: Policy) -> None:
        exchange.mode = policy.mode
        exchange.profile_chain = (policy.name,)
        exchange.expose_routing = policy.expose_routing
        exchange.friendly_errors = policy.friendly_errors


def _says_true(exchange: Exchange, header: str) -> bool:
    return exchange.headers.get(header, "").strip().lower() == "true"
