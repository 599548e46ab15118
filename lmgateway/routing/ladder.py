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

from msgspec import Struct
from msgspec.structs import replace
from twisted.internet.task import deferLater
from twisted.logger import Logger

from lmgateway.backend_errors import BackendError, BackendTimeout
from lmgateway.backends.base import Call, Reply
from lmgateway.chat import ChatRequest
from lmgateway.errors import BudgetExhausted, RateLimited, TooManyConcurrent
from lmgateway.exchange import Attempt, Exchange
from lmgateway.routing.balance import Target
from lmgateway.routing.holding import Hold
from lmgateway.routing.queues import Gate, Permit
from lmgateway.routing.tier import Ladder, Overflow, Step, Tier
from lmgateway.routing.tried import Barred, Tried
from lmgateway.wire.timers import Wheel

__all__ = ["Climber", "Ladder", "Overflow", "Step", "Tier"]

MAX_PAUSE = 2.0
_log = Logger()
_FREE = ("closed", "forced_closed")
"""The states of a breaker in which no attempt is a trial."""


class Climber(Struct, frozen=True, kw_only=True):
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

    async def ascend(self, steps: Iterable[Step], climb: _Climb) -> Reply:
        """Find the step that commits; give its reply, and have *climb* hold what it holds."""
        exchange = climb.exchange
        tried = self._go_on(exchange) if exchange.attempts else Tried()
        for step in steps:
            if not tried.passes(step):
                continue
            for target in step.tier.order(exchange):
                if target.private is not None:
                    target = target.of(exchange)
                if tried.bars(target, step.tier.queue):
                    continue
                once = self._once if step.tries == 1 else self._persist
                reply = await once(step, target, climb, tried)
                if reply is not None:
                    return reply
                if tried.is_final or (tried.failures and self._left(exchange) <= 0):
                    raise tried.verdict(exchange)
            if tried.is_spent:
                break
        reply = await self._wait_out(climb, tried) if tried.later else None
        if reply is not None:
            return reply
        raise tried.verdict(exchange)

    def _go_on(self, exchange: Exchange) -> Tried:
        """Begin after earlier attempts of the exchange, if they left any time."""
        if self._left(exchange) > 0:
            return Tried.of(exchange)
        error = BackendTimeout()
        error.attempts = tuple(exchange.attempts)
        raise error

    async def _persist(
        self, step: Step, target: Target, climb: _Climb, tried: Tried
    ) -> Reply | None:
        """Try one target as often as the plan says; a breaker's trial only once."""
        health, tries = target.health, step.tries
        if health is not None and health.state not in _FREE:
            tries = 1
        for number in range(tries):
            if number and not await self._may_retry(number, step, target, climb, tried):
                break
            failures = len(tried.failures)
            reply = await self._once(step, target, climb, tried)
            if reply is not None:
                return reply
            if len(tried.failures) == failures or not tried.may_repeat(target):
                break
        return None

    async def _once(self, step: Step, target: Target, climb: _Climb, tried: Tried) -> Reply | None:
        """Make one attempt, once there is a place for it; note it if nothing comes of it."""
        exchange = climb.exchange
        hold = climb.hold = Hold(exchange)
        try:
            if step.tier.queue is not None or target.bulkhead is not None:
                await self._take_places(step, target, hold, tried)
            opened = self._open(step, target, hold)
            reply = await opened.__aenter__()
            now = self.wheel.now()
            hold.commit(opened, reply, now)
            if target.health is not None and hold.watch is not None:
                health = target.health
                hold.watch.commit(
                    health.whole if reply.reader is None else health.first_output, now
                )
            return reply
        except BaseException as error:
            blameless = self._is_impatience(error, hold)
            hold.fail(error, self.wheel.now(), blameless=blameless)
            await hold.__aexit__(type(error), error, error.__traceback__)
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

    async def _take_places(self, step: Step, target: Target, hold: Hold, tried: Tried) -> None:
        """Take a place of the tier's queue and one of the backend's bulkhead."""
        for gate in (step.tier.queue, target.bulkhead):
            if gate is None:
                continue
            permit = gate.take(hold.exchange.priority)
            if permit is None:
                permit = await self._wait(gate, step, target, hold.exchange, tried)
            hold.permits += (permit,)

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

    def _open(self, step: Step, target: Target, hold: Hold) -> AbstractAsyncContextManager[Reply]:
        """Begin an attempt; give the scope of its reply."""
        exchange = hold.exchange
        request, began = exchange.request, self.wheel.now()
        assert request is not None, "only parsed requests are routed"
        attempt = Attempt(
            tier=step.tier.name, backend=target.backend.name, model=target.model, started=began
        )
        bound = exchange.account.reserve(attempt, request)
        exchange.attempts.append(attempt)
        hold.attempt = attempt
        if target.health is not None:
            hold.watch = target.health.begin(began)
        return target.backend.open(self._call(step, target, request, exchange, bound))

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
        self, number: int, step: Step, target: Target, climb: _Climb, tried: Tried
    ) -> bool:
        """Wait before a retry, with full jitter; false if there is to be none, or not yet."""
        longest = min(self.retry_seconds * 2 ** (number - 1), MAX_PAUSE)
        wait = tried.failures[-1].retry_after or 0.0
        if target.health is not None and wait > target.health.limits.long_wait:
            tried.later += ((self.wheel.now() + wait, step, target),)
            return False
        seconds = wait + self.random.uniform(0, longest)
        return await self._pause(seconds, target, climb.exchange) and not tried.bars(target)

    async def _wait_out(self, climb: _Climb, tried: Tried) -> Reply | None:
        """Wait for the first of the targets that asked for long, as no other has answered."""
        due, step, target = min(tried.later, key=itemgetter(0))
        seconds = due - self.wheel.now() + self.random.uniform(0, self.retry_seconds)
        if not await self._pause(seconds, target, climb.exchange) or tried.bars(target):
            return None
        return await self._once(step, target, climb, tried)

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

    def _is_impatience(self, error: BaseException, hold: Hold) -> bool:
        """
        Tell whether an attempt ended only because it was given less time than usual.

        So it is where the client's own deadline was shorter, or others had taken most of the
        time before.
        """
        exchange, attempt = hold.exchange, hold.attempt
        if attempt is None or not isinstance(error, BackendTimeout) or self._left(exchange) > 0:
            return False
        late = attempt.started - exchange.started > self.commit_seconds / 2
        return late or exchange.patience < self.commit_seconds

    def commit_by(self, exchange: Exchange) -> float:
        """Give the reactor second by which an exchange must have its first output."""
        return exchange.started + min(self.commit_seconds, exchange.patience)

    def _left(self, exchange: Exchange) -> float:
        return self.commit_by(exchange) - self.wheel.now()


class _Climb(Struct, eq=False):
    """
    One climb, as a scope: see ``Climber.climb``.

    Attributes:
        hold: What its latest attempt holds.
    """

    _climber: Climber
    _steps: Iterable[Step]
    exchange: Exchange
    hold: Hold | None = None

    def __aenter__(self) -> Coroutine[Any, Any, Reply]:
        return self._climber.ascend(self._steps, self)

    def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Coroutine[Any, Any, None]:
        assert self.hold is not None, "entered by what commits"
        return self.hold.__aexit__(kind, error, trace)
