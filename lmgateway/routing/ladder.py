"""
Tiers cheapest first, and how one is climbed.

A climb tries the steps of a plan in their order, and of each step's tier the
targets in the order that its balance gives, until one commits.  Only a retry
of the same target waits; a failure that another target cannot mend (the
client's own mistake) ends the climb at once.  After the commit point there is
no way back: what fails then is raised to whoever relays.

A retry must fit the deadline, wait included, and its backend's retry budget
(see ``backends.retries``).  Where a backend asks for a long wait all other
targets are tried first, and it is waited out only if none of them answered.  A
backend that was silent until its time ran out is not tried again on the same
route, whatever the target.

An attempt holds a permit of its tier's queue and one of its backend's
bulkhead, taken before the backend is opened and given back when the answer's
scope is left.  A full queue ends a climb that begins with it (the tier was
chosen; ``overflow_tier`` says where else it may go), a full bulkhead is one
more target that cannot be tried now, as is one whose breaker is open, or that
there is no money for.  A climb that begins with a tier over budget ends there.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from contextlib import AbstractAsyncContextManager
from operator import itemgetter
from random import Random
from types import TracebackType
from typing import Any

from msgspec.structs import replace
from twisted.internet.task import deferLater
from twisted.logger import Logger

from lmgateway.backend_errors import BackendError, BackendTimeout
from lmgateway.backends.base import Call, Reply
from lmgateway.chat import ChatRequest
from lmgateway.classes import frozen
from lmgateway.errors import BudgetExhausted, RateLimited, TooManyConcurrent
from lmgateway.exchange import Attempt, Exchange
from lmgateway.routing.balance import Target
from lmgateway.routing.holding import Hold, Settlement
from lmgateway.routing.queues import Gate, Permit
from lmgateway.routing.tier import Ladder, Overflow, Step, Tier
from lmgateway.routing.tried import Barred, Tried
from lmgateway.wire.timers import Wheel

__all__ = ["Climber", "Ladder", "Overflow", "Step", "Tier"]

MAX_PAUSE = 2.0
_log = Logger()
_FREE = ("closed", "forced_closed")
"""The states of a breaker in which no attempt is a trial."""


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
        self, steps: Iterable[Step], exchange: Exchange
    ) -> AbstractAsyncContextManager[Reply]:
        """
        Enter with the reply of the first step that commits.

        Raises:
            BackendError: The last attempt's, if all failed; of several limits the shortest.
            BackendTimeout: If a classifier or an earlier answer has left no time for any.
            TooManyConcurrent: If there was no place for any attempt.
            LadderExhausted: If nothing could be tried.
        """
        return _Climb(self, steps, exchange)

    async def ascend(self, steps: Iterable[Step], exchange: Exchange) -> tuple[Reply, Hold]:
        """Find the step that commits; give its reply and what it holds."""
        tried = self._go_on(exchange) if exchange.attempts else Tried()
        for step in steps:
            if not tried.passes(step):
                continue
            for target in step.tier.order(exchange):
                committed = await self._persist(step, target.of(exchange), exchange, tried)
                if committed is not None:
                    return committed
                if tried.is_final or (tried.failures and self._left(exchange) <= 0):
                    raise tried.verdict(exchange)
            if tried.is_spent:
                break
        committed = await self._wait_out(exchange, tried) if tried.later else None
        if committed is not None:
            return committed
        raise tried.verdict(exchange)

    def _go_on(self, exchange: Exchange) -> Tried:
        """Begin after earlier attempts of the exchange, if they left any time."""
        if self._left(exchange) > 0:
            return Tried.of(exchange)
        error = BackendTimeout()
        error.attempts = tuple(exchange.attempts)
        raise error

    async def _persist(
        self, step: Step, target: Target, exchange: Exchange, tried: Tried
    ) -> tuple[Reply, Hold] | None:
        """Try one target as often as the plan says; a breaker's trial only once."""
        if tried.bars(target, step.tier.queue):
            return None
        health, tries = target.health, step.tries
        if tries > 1 and health is not None and health.state not in _FREE:
            tries = 1
        for number in range(tries):
            if number and not await self._may_retry(number, step, target, exchange, tried):
                break
            failures = len(tried.failures)
            committed = await self._once(step, target, exchange, tried)
            if committed is not None:
                return committed
            if len(tried.failures) == failures or not tried.may_repeat(target):
                break
        return None

    async def _once(
        self, step: Step, target: Target, exchange: Exchange, tried: Tried
    ) -> tuple[Reply, Hold] | None:
        """Make one attempt, once there is a place for it; note it if nothing comes of it."""
        hold = Hold()
        try:
            for gate in (step.tier.queue, target.bulkhead):
                if gate is None:
                    continue
                permit = gate.take(exchange.priority)
                if permit is None:
                    permit = await self._wait(gate, step, target, exchange, tried)
                hold.permits += (permit,)
            return await self._open(step, target, exchange, hold), hold
        except BaseException as error:
            await hold.let_go(error)
            if not self._is_borne(error, step, target, exchange, tried):
                raise
        return None

    def _is_borne(
        self, error: BaseException, step: Step, target: Target, exchange: Exchange, tried: Tried
    ) -> bool:
        """Note why an attempt failed, or was not made; false if the climb ends with that."""
        match error:
            case BackendError():
                _log.debug(
                    "Attempt {attempt} failed at {backend}, {model}: {kind}",
                    attempt=len(exchange.attempts),
                    tier=step.tier.name,
                    backend=target.backend.name,
                    model=target.model,
                    kind=error.kind,
                    status=error.upstream_status,
                    request_id=exchange.id,
                )
                tried.failed(error, target)
            case BudgetExhausted():
                tried.unpaid += (error,)
            case RateLimited():
                tried.limits += (error,)
            case Barred():
                pass
            case _:
                return False
        return True

    async def _wait(
        self, gate: Gate, step: Step, target: Target, exchange: Exchange, tried: Tried
    ) -> Permit:
        """Wait for a place; whose breaker opened meanwhile is not tried."""
        since = self.wheel.now()
        try:
            permit = await gate.enter(exchange.priority, self._left(exchange))
        except TooManyConcurrent as error:
            if gate is step.tier.queue and tried.nothing:
                raise
            tried.refusals += ((gate, error),)
            raise Barred from error
        finally:
            exchange.waited += self.wheel.now() - since
        if tried.bars(target, step.tier.queue):
            permit.release()
            raise Barred
        return permit

    async def _open(self, step: Step, target: Target, exchange: Exchange, hold: Hold) -> Reply:
        request, health = exchange.request, target.health
        assert request is not None, "only parsed requests are routed"
        began = self.wheel.now()
        attempt = Attempt(
            tier=step.tier.name, backend=target.backend.name, model=target.model, started=began
        )
        bound = exchange.account.reserve(attempt, request)
        exchange.attempts.append(attempt)
        watch = None if health is None else health.begin()
        opened = target.backend.open(self._call(step, target, request, exchange, bound))
        try:
            reply = await opened.__aenter__()
        except BaseException as error:
            attempt.outcome = getattr(error, "kind", "cancelled")
            attempt.status = getattr(error, "upstream_status", None)
            attempt.seconds = self.wheel.now() - began
            exchange.account.settle(attempt)
            if watch is not None:
                watch.end(error, blameless=self._is_impatience(error, exchange, began))
            raise
        now = self.wheel.now()
        attempt.seconds = now - began
        hold.commit(opened, Settlement(exchange, attempt, reply, watch))
        if health is not None and watch is not None:
            watch.commit(health.whole if reply.reader is None else health.first_output, now)
        _commit(exchange, attempt, reply, now)
        return reply

    def _call(
        self,
        step: Step,
        target: Target,
        request: ChatRequest,
        exchange: Exchange,
        bound: int | None,
    ) -> Call:
        overrides = step.overrides
        if bound is not None:
            overrides = replace(overrides, max_tokens=bound)
        if overrides.model != target.model:
            overrides = replace(overrides, model=target.model)
        return Call(
            request=request,
            overrides=overrides,
            headers=exchange.forwarded,
            trace=exchange.onward(),
            request_id=exchange.id,
            sent=exchange.note_sent if exchange.debug else None,
            strict=step.strict,
            commit_by=self.commit_by(exchange),
            end_by=exchange.started + self.total_seconds,
        )

    async def _may_retry(
        self, number: int, step: Step, target: Target, exchange: Exchange, tried: Tried
    ) -> bool:
        """Wait before a retry, with full jitter; false if there is to be none, or not yet."""
        longest = min(self.retry_seconds * 2 ** (number - 1), MAX_PAUSE)
        wait = tried.failures[-1].retry_after or 0.0
        if target.health is not None and wait > target.health.limits.long_wait:
            tried.later += ((self.wheel.now() + wait, step, target),)
            return False
        seconds = wait + self.random.uniform(0, longest)
        return await self._pause(seconds, target, exchange) and not tried.bars(target)

    async def _wait_out(self, exchange: Exchange, tried: Tried) -> tuple[Reply, Hold] | None:
        """Wait for the first of the targets that asked for long, as no other has answered."""
        due, step, target = min(tried.later, key=itemgetter(0))
        seconds = due - self.wheel.now() + self.random.uniform(0, self.retry_seconds)
        if not await self._pause(seconds, target, exchange) or tried.bars(target):
            return None
        return await self._once(step, target, exchange, tried)

    async def _pause(self, seconds: float, target: Target, exchange: Exchange) -> bool:
        """Wait before a retry; false if neither deadline nor budget have room for it."""
        now, health = self.wheel.now(), target.health
        if now + seconds >= self.commit_by(exchange):
            return False
        if health is not None and not health.retries.take(now):
            return False
        await deferLater(self.wheel.clock, max(seconds, 0.0))
        exchange.waited += seconds
        return True

    def _is_impatience(self, error: BaseException, exchange: Exchange, began: float) -> bool:
        """
        Tell whether an attempt ended only because it was given less time than usual.

        So it is where the client's own deadline was shorter, or others had taken most of the
        time before.
        """
        if not isinstance(error, BackendTimeout) or self._left(exchange) > 0:
            return False
        late = began - exchange.started > self.commit_seconds / 2
        return late or exchange.patience < self.commit_seconds

    def commit_by(self, exchange: Exchange) -> float:
        """Give the reactor second by which an exchange must have its first output."""
        return exchange.started + min(self.commit_seconds, exchange.patience)

    def _left(self, exchange: Exchange) -> float:
        return self.commit_by(exchange) - self.wheel.now()


def _commit(exchange: Exchange, attempt: Attempt, reply: Reply, now: float) -> None:
    """Note who answers."""
    attempt.outcome = "ok"
    attempt.status = reply.status
    exchange.tier = attempt.tier
    exchange.backend = attempt.backend
    exchange.model = attempt.model
    exchange.dropped = tuple(reply.dropped)
    if reply.reader is not None:
        exchange.progress = reply.reader
        exchange.first_output = now


class _Climb:
    """One climb, as a scope: see ``Climber.climb``."""

    __slots__ = ("_climber", "_exchange", "_hold", "_steps")

    def __init__(self, climber: Climber, steps: Iterable[Step], exchange: Exchange) -> None:
        self._climber = climber
        self._steps = steps
        self._exchange = exchange

    async def __aenter__(self) -> Reply:
        reply, self._hold = await self._climber.ascend(self._steps, self._exchange)
        return reply

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Coroutine[Any, Any, None]:
        return self._hold.let_go(error)
