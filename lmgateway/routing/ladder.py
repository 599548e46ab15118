"""
Tiers cheapest first, and how one is climbed.

A climb tries the steps of a plan in their order until one commits.  Only a
retry of the same target waits; a failure that another target cannot mend
(the client's own mistake) ends the climb at once.  After the commit point
there is no way back: what fails then is raised to whoever relays.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
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
        capabilities: What it can take or do; ``None`` is anything.
    """

    name: str
    index: int
    backend: Backend
    model: str
    think: bool | None = None
    max_context_tokens: int | None = None
    max_output_tokens: int | None = None
    capabilities: frozenset[str] | None = None


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

    @asynccontextmanager
    async def climb(self, steps: Iterable[Step], exchange: Exchange) -> AsyncIterator[Reply]:
        """
        Enter with the reply of the first step that commits.

        Raises:
            BackendError: The last attempt's, if all failed; of several limits the shortest.
            LadderExhausted: If nothing could be tried.
        """
        failures: list[BackendError] = []
        for step in _fitting(steps, failures):
            for number in range(step.tries):
                if number and not await self._pause(number, failures[-1], exchange):
                    break
                scope = AsyncExitStack()
                try:
                    reply = await self._try(step, exchange, scope)
                except BackendError as error:
                    failures.append(error)
                    if error.retryable:
                        continue
                    break
                async with scope:
                    yield reply
                    return
            if failures and not _mendable(failures[-1]):
                break
        raise _verdict(failures, exchange)

    async def _try(self, step: Step, exchange: Exchange, scope: AsyncExitStack) -> Reply:
        """Make one attempt; what it opened is closed with *scope*, or here if it fails."""
        request = exchange.request
        assert request is not None, "only parsed requests are routed"
        now = self.wheel.now()
        attempt = Attempt(
            tier=step.tier.name,
            backend=step.tier.backend.name,
            model=step.tier.model,
            started=now,
        )
        exchange.attempts.append(attempt)
        exchange.account.reserve(attempt, request)
        try:
            reply = await scope.enter_async_context(
                step.tier.backend.open(self._call(step, request, exchange))
            )
        except BaseException as error:
            attempt.outcome = getattr(error, "kind", "cancelled")
            attempt.status = getattr(error, "upstream_status", None)
            attempt.seconds = self.wheel.now() - now
            exchange.account.settle(attempt)
            raise
        attempt.seconds = self.wheel.now() - now
        scope.push(_Settlement(exchange, attempt, reply).__exit__)
        self._commit(step, exchange, attempt, reply)
        return reply

    def _call(self, step: Step, request: ChatRequest, exchange: Exchange) -> Call:
        return Call(
            request=request,
            overrides=step.overrides,
            headers=exchange.forwarded,
            request_id=exchange.id,
            strict=step.strict,
            commit_by=exchange.started + self.commit_seconds,
            end_by=exchange.started + self.total_seconds,
        )

    def _commit(self, step: Step, exchange: Exchange, attempt: Attempt, reply: Reply) -> None:
        attempt.outcome = "ok"
        attempt.status = reply.status
        exchange.tier = step.tier.name
        exchange.backend = attempt.backend
        exchange.model = attempt.model
        exchange.dropped = tuple(reply.dropped)
        if reply.reader is not None:
            exchange.first_output = self.wheel.now()

    async def _pause(self, number: int, failure: BackendError, exchange: Exchange) -> bool:
        """Wait before a retry, with full jitter; false if the deadline leaves no time for it."""
        longest = min(self.retry_seconds * 2 ** (number - 1), MAX_PAUSE)
        seconds = max(self.random.uniform(0, longest), failure.retry_after or 0)
        left = exchange.started + self.commit_seconds - self.wheel.now()
        if seconds >= left:
            return False
        await deferLater(self.wheel.clock, seconds)
        return True


def _fitting(steps: Iterable[Step], failures: Sequence[BackendError]) -> Iterator[Step]:
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


class _Settlement:
    """Settles a committed attempt when its scope is left."""

    def __init__(self, exchange: Exchange, attempt: Attempt, reply: Reply) -> None:
        self._exchange = exchange
        self._attempt = attempt
        self._reply = reply

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
