"""
Which target answers a request: profile, mode, plan, climb.

``Router.open`` is the spine's third scope.  It decides (see ``cascade``) and
has the plan climbed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from types import TracebackType
from typing import Any, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from lmgateway.backends.base import Reply
from lmgateway.backends.canned import canned
from lmgateway.chat import ChatRequest
from lmgateway.dialects.base import Answer, Dialect
from lmgateway.dialects.document import encode
from lmgateway.dialects.openai import OPENAI
from lmgateway.errors import Forbidden
from lmgateway.exchange import Exchange
from lmgateway.routing.cascade import LIVE, Cascade, Hint
from lmgateway.routing.classify import read_label
from lmgateway.routing.deadline import DEADLINE_HEADER, deadline
from lmgateway.routing.explain import Explaining
from lmgateway.routing.ladder import Climber, Step, Tier
from lmgateway.routing.opening import opened, opening_of
from lmgateway.routing.paying import PaidSteps, paid_tiers
from lmgateway.routing.plan import Decision, Plan
from lmgateway.routing.policy import Directory, Policy

_Named: TypeAlias = tuple[Policy, Tier | None]


def _nobody(kind: str, **facts: object) -> None:
    """Nobody listens."""


class Router(Struct, frozen=True, kw_only=True):
    """
    Chooses and opens.

    Attributes:
        dialects: All of them, by name: what a backend may have spoken.
        tell: Told when a stream broke off and was gone on with, or was not.
    """

    directory: Directory
    climber: Climber
    dialects: Mapping[str, Dialect]
    cascade: Cascade
    explaining: Explaining
    tell: Callable[..., object] = _nobody

    def open(self, exchange: Exchange) -> AbstractAsyncContextManager[Reply]:
        """
        Enter with a committed reply.

        Raises:
            GatewayError: Whatever kept every target from committing.
        """
        if exchange.headers:  # they may ask for anything
            return _Opening(self, exchange, None)
        named = self._named(exchange)
        decision = self.cascade.plain(exchange, *named)
        if decision is None or decision.plan is None:
            return _Opening(self, exchange, named)
        if decision.mode != exchange.mode or exchange.account.downgrades:
            exchange.mode = decision.mode
            return self._scope(decision, exchange)
        return self.climber.climb(decision.plan, exchange)

    async def begin(
        self, exchange: Exchange, named: _Named | None
    ) -> AbstractAsyncContextManager[Reply]:
        """
        Decide; give the scope of the reply, which is entered next.

        Args:
            named: The profile and the tier that the client's words mean, if that was found out.

        Raises:
            GatewayError: If nothing is to be tried.
        """
        if DEADLINE_HEADER in exchange.headers:
            exchange.patience = deadline(exchange.headers[DEADLINE_HEADER])
        decision = await self.decide(exchange, named=named)
        if exchange.headers and _says_true(exchange, "x-lmg-explain") and exchange.expose_routing:
            exchange.explanation = await self.explaining.document(decision, exchange)
        return self._scope(decision, exchange)

    def _scope(self, decision: Decision, exchange: Exchange) -> AbstractAsyncContextManager[Reply]:
        """Give the scope of what was decided."""
        request = exchange.request
        assert request is not None, "only parsed requests are routed"
        if decision.refusal is not None:
            raise decision.refusal
        if decision.reply is not None or decision.plan is None:
            exchange.tier = "reply"
            exchange.backend = "none"
            return nullcontext(canned(request, decision.reply or ""))
        climb = self._climb(decision.policy, decision.plan, exchange)
        if exchange.account.downgrades:
            first = next(paid_tiers(decision.plan, exchange)).tier
            decision = replace(decision, choice=first)
        words = opening_of(decision, request, self.climber.random)
        if words is not None:
            return nullcontext(opened(words, self._announce(decision, exchange), climb))
        return climb

    def _climb(
        self, policy: Policy, plan: Plan, exchange: Exchange
    ) -> AbstractAsyncContextManager[Reply]:
        assert exchange.request is not None, "only parsed requests are routed"
        steps: Iterable[Step] = plan
        if exchange.account.downgrades:
            steps = PaidSteps(plan, exchange)
        climb: AbstractAsyncContextManager[Reply]
        if policy.escalates(exchange.request.endpoint):
            from lmgateway.routing.escalate import Escalation  # for profiles that judge

            assert policy.standard is not None, "given to those that escalate"
            escalation = Escalation(
                climber=self.climber, dialects=self.dialects, standard=policy.standard
            )
            climb = escalation.open(steps, exchange)
        else:
            climb = self.climber.climb(steps, exchange)
        way = policy.mid_stream
        if way is None or not exchange.request.stream:
            return climb
        from lmgateway.routing.resume import Resumption  # for profiles that mend streams

        resumption = Resumption(climber=self.climber, dialects=self.dialects, tell=self.tell)
        return resumption.open(way, steps, climb, exchange)

    @asynccontextmanager
    async def explain(self, exchange: Exchange) -> AsyncIterator[Reply]:
        """
        Enter with what ``open`` would do, as a document; no backend is asked but a classifier.

        Raises:
            GatewayError: What ``open`` would raise before it decides anything.
        """
        request = exchange.request
        assert request is not None, "only parsed requests are routed"
        decision = await self.decide(exchange, _hint(request))
        exchange.mode = "explain"
        if not exchange.expose_routing:
            raise Forbidden("This profile does not tell how it routes.")
        document = await self.explaining.document(decision, exchange)
        yield Reply(
            dialect=OPENAI.name,
            body=encode(document),
            answer=Answer(document=document, usage=None, finish_reason=None, model=None),
        )

    def _announce(self, decision: Decision, exchange: Exchange) -> str:
        """Note the tier to be tried first, for headers that go out before it answers."""
        tier = decision.choice
        assert tier is not None, "only a plan with a first tier begins with words"
        exchange.tier = tier.name
        exchange.backend = tier.backend.name
        exchange.model = tier.model
        return tier.model

    async def decide(
        self, exchange: Exchange, hint: Hint = LIVE, named: _Named | None = None
    ) -> Decision:
        """
        Say what is done with a request, and note it on the exchange.

        Args:
            hint: What an explanation supposes; live traffic is simply served.
            named: The profile and the tier that the client's words mean, if that was found out.

        Raises:
            UnknownModel: If the name is unknown, or not for this client.
            Forbidden: If the tier is behind the expert gate.
        """
        policy, tier = named or self._named(exchange)
        decision = self.cascade.plain(exchange, policy, tier, hint)
        if decision is None:
            decision = await self.cascade.decide(exchange, policy, tier, hint)
        if decision.policy is not policy:
            self._note(exchange, decision.policy)
        exchange.mode = decision.mode
        exchange.profile_chain = decision.chain
        exchange.label = decision.label
        if decision.compared:
            followed = [compared.followed for compared in decision.compared]
            exchange.rules = tuple([rule for rule in followed if rule is not None])
        return decision

    def _named(self, exchange: Exchange) -> _Named:
        """Find out what a request's words mean."""
        request, principal = exchange.request, exchange.principal
        assert request is not None and principal is not None, "admitted exchanges have both"
        expert = _says_true(exchange, "x-lmg-expert") if exchange.headers else False
        named = self.directory.choose(
            principal, request.model, expert=expert, endpoint=request.endpoint
        )
        self._note(exchange, named[0])
        return named

    def _note(self, exchange: Exchange, policy: Policy) -> None:
        exchange.mode = policy.mode
        exchange.profile_chain = (policy.name,)
        exchange.expose_routing = policy.expose_routing
        exchange.friendly_errors = policy.friendly_errors


class _Opening:
    """The scope of one reply: see ``Router.open``."""

    __slots__ = ("_exchange", "_named", "_router", "_scope")

    def __init__(self, router: Router, exchange: Exchange, named: _Named | None) -> None:
        self._router = router
        self._exchange = exchange
        self._named = named

    async def __aenter__(self) -> Reply:
        self._scope = await self._router.begin(self._exchange, self._named)
        return await self._scope.__aenter__()

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Coroutine[Any, Any, bool | None]:
        return self._scope.__aexit__(kind, error, trace)


def _hint(request: ChatRequest) -> Hint:
    """Read what an explanation is to suppose from two members of its body."""
    label = request.document.get("label")
    said = read_label(label) if isinstance(label, str) else None
    return Hint(ask=request.document.get("classify") is True, said=said)


def _says_true(exchange: Exchange, header: str) -> bool:
    said = exchange.headers.get(header)
    return said is not None and said.strip().lower() == "true"
