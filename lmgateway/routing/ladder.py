"""
Tiers cheapest first, and how one is climbed.

A climb tries the steps of a plan in their order until one commits.  Only a
retry of the same target waits; a failure that another target cannot mend
(the client's own mistake) ends the climb at once.  After the commit point
there is no way back: what fails then is raised to whoever relays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from random import Random
from types import TracebackType

from attrs import frozen
from twisted.internet.task import deferLater

from lmgateway.backends.base import Backend, Call, Reply
from lmgateway.chat import ChatRequest, Overrides, Usage
from lmgateway.errors import BackendError, BackendLimited, ContextExceeded, LadderExhausted
from lmgateway.exchange import Attempt, Exchange
from lmgateway.wire.timers import Wheel

MAX_PAUSE = 2.0


@frozen(kw_only=True)
class Tier:
    """
    One rung: a named (backend, model) pair.

    Attributes:
        index: Its place in the ladder, 0 for the cheapest.
        max_context_tokens: Its window; ``None`` is unlimited.
    """

    name: str
    index: int
    backend: Backend
    model: str
    think: bool | None = None
    max_context_tokens: int | None = None
    max_output_tokens: int | None = None


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

    @classmethod
    def of(cls, tiers: Sequence[Tier], aliases: Mapping[str, str]) -> Ladder:
        """Make a ladder of tiers in their order."""
        return cls(tuple(tiers), dict(aliases), {tier.name: tier for tier in tiers})

    def find(self, name: str) -> Tier | None:
        """Give the tier of an alias or a tier name; an alias shadows a tier."""
        return self.by_name.get(self.aliases.get(name, name))


@frozen(kw_only=True)
class Step:
    """One target of a plan, and what is changed of the request for it."""

    tier: Tier
    overrides: Overrides
    tries: int = 1
    strict: bool = False


@frozen(kw_only=True)
class Climber:
    """
    Climbs plans.

    Attributes:
        retry_seconds: The longest first pause before a retry; it doubles with each.
        commit_seconds: For all attempts of an exchange together, up to the commit point.
        total_seconds: For the whole exchange.
    """

    wheel: Wheel
    random: Random
    retry_seconds: float = 0.2
    commit_seconds: float = 120.0
    total_seconds: float = 600.0

    def climb(
        self, steps: Sequence[Step], exchange: Exchange
    ) -> AbstractAsyncContextManager[Reply]:
        """
        Enter with the reply of the first step that commits.

        Raises:
            BackendError: The last attempt's, if all failed; of several limits the shortest.
            LadderExhausted: If nothing could be tried.
        """
        return _Climb(self, steps, exchange)

    def call(self, step: Step, request: ChatRequest, exchange: Exchange) -> Call:
        """Say what a step asks of its backend."""
        return Call(
            request=request,
            overrides=step.overrides,
            headers=exchange.forwarded,
            request_id=exchange.id,
            strict=step.strict,
            commit_by=exchange.started + self.commit_seconds,
            end_by=exchange.started + self.total_seconds,
        )

    async def pause(self, number: int, failure: BackendError, exchange: Exchange) -> bool:
        """Wait before a retry, with full jitter; false if the deadline leaves no time for it."""
        longest = min(self.retry_seconds * 2 ** (number - 1), MAX_PAUSE)
        seconds = max(self.random.uniform(0, longest), failure.retry_after or 0)
        left = exchange.started + self.commit_seconds - self.wheel.now()
        if seconds >= left:
            return False
        await deferLater(self.wheel.clock, seconds)
        return True


def _fitting(steps: Sequence[Step], failures: Sequence[BackendError]) -> Iterator[Step]:
    """The steps in turn; after a prompt was too long, only those with a larger window."""
    window: float = 0
    for step in steps:
        own = step.tier.max_context_tokens or float("inf")
        if failures and isinstance(failures[-1], ContextExceeded) and own <= window:
            continue
        window = max(window, own)
        yield step


def _mendable(failure: BackendError) -> bool:
    return failure.retryable or isinstance(failure, ContextExceeded)


def _verdict(
    failures: Sequence[BackendError], exchange: Exchange
) -> BackendError | LadderExhausted:
    """What the client is told when no step committed."""
    error: BackendError | LadderExhausted = failures[-1] if failures else LadderExhausted()
    waits = [f.retry_after for f in failures if f.retry_after is not None]
    if failures and all(isinstance(failure, BackendLimited) for failure in failures):
        error.retry_after = min(waits, default=None)
    error.attempts = tuple(exchange.attempts)
    return error


class _Climb:
    """One climb, as a scope: see ``Climber.climb``."""

    __slots__ = ("_attempt", "_climber", "_exchange", "_reply", "_scope", "_steps")

    _scope: AbstractAsyncContextManager[Reply]
    _attempt: Attempt
    _reply: Reply

    def __init__(self, climber: Climber, steps: Sequence[Step], exchange: Exchange) -> None:
        self._climber = climber
        self._steps = steps
        self._exchange = exchange

    async def __aenter__(self) -> Reply:
        failures: list[BackendError] = []
        for step in _fitting(self._steps, failures):
            for number in range(step.tries):
                if number and not await self._climber.pause(number, failures[-1], self._exchange):
                    break
                try:
                    return await self._try(step)
                except BackendError as error:
                    failures.append(error)
                    if error.retryable:
                        continue
                    break
            if failures and not _mendable(failures[-1]):
                break
        raise _verdict(failures, self._exchange)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        try:
            self._settle(error)
        finally:
            swallow = await self._scope.__aexit__(kind, error, trace)
        return swallow

    async def _try(self, step: Step) -> Reply:
        """Make one attempt; what it opened is closed when this scope is left."""
        exchange, now = self._exchange, self._climber.wheel.now
        request, tier = exchange.request, step.tier
        assert request is not None, "only parsed requests are routed"
        started = now()
        attempt = Attempt(
            tier=tier.name, backend=tier.backend.name, model=tier.model, started=started
        )
        exchange.attempts.append(attempt)
        exchange.account.reserve(attempt, request)
        scope = tier.backend.open(self._climber.call(step, request, exchange))
        try:
            reply = await scope.__aenter__()
        except BaseException as error:
            attempt.outcome = getattr(error, "kind", "cancelled")
            attempt.status = getattr(error, "upstream_status", None)
            attempt.seconds = now() - started
            exchange.account.settle(attempt)
            raise
        attempt.seconds = now() - started
        self._scope, self._attempt, self._reply = scope, attempt, reply
        self._commit(tier)
        return reply

    def _commit(self, tier: Tier) -> None:
        exchange, attempt, reply = self._exchange, self._attempt, self._reply
        attempt.outcome = "ok"
        attempt.status = reply.status
        exchange.tier = tier.name
        exchange.backend = attempt.backend
        exchange.model = attempt.model
        exchange.dropped = tuple(reply.dropped)
        if reply.reader is not None:
            exchange.first_output = attempt.started + attempt.seconds

    def _settle(self, error: BaseException | None) -> None:
        """Charge what was really used."""
        exchange, attempt, reply = self._exchange, self._attempt, self._reply
        if error is not None:
            attempt.outcome = getattr(error, "kind", "cancelled")
        attempt.usage = reply.usage or estimated(exchange.request, reply)
        exchange.usage = attempt.usage
        source = reply.reader if reply.answer is None else reply.answer
        exchange.finish_reason = None if source is None else source.finish_reason
        exchange.account.settle(attempt)


def estimated(request: ChatRequest | None, reply: Reply) -> Usage:
    """Count an answer whose backend told no usage: about four bytes a token."""
    sent = 0 if request is None else len(request.raw)
    got = len(reply.body) if reply.reader is None else reply.reader.output_bytes
    return Usage(input_tokens=sent // 4, output_tokens=-(-got // 4), estimated=True)
