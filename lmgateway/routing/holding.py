"""What an attempt holds, and what is done with it when its scope is left."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from types import TracebackType

import msgspec
from msgspec.structs import replace

from lmgateway.backend_errors import BackendTimeout
from lmgateway.backends.base import Reply
from lmgateway.backends.health import Watch
from lmgateway.chat import ChatRequest, Usage
from lmgateway.exchange import Attempt, Exchange
from lmgateway.routing.balance import Target
from lmgateway.routing.queues import Permit
from lmgateway.wire.timers import Wheel


class Hold(msgspec.Struct, eq=False):
    """
    What an attempt holds: places, and once it has committed its backend's scope.

    It is left as a scope: the attempt is settled, its backend closed, and its places are given
    back, in this order and whatever fails of it.

    Attributes:
        attempt: The attempt, once it is made.
        watch: Told how the attempt ended, where its target's health is looked after.
    """

    exchange: Exchange
    permits: tuple[Permit, ...] = ()
    attempt: Attempt | None = None
    watch: Watch | None = None
    _opened: AbstractAsyncContextManager[Reply] | None = None
    _reply: Reply | None = None

    def commit(self, opened: AbstractAsyncContextManager[Reply], reply: Reply, now: float) -> None:
        """Hold what a committed attempt opened, and note who answers."""
        self._opened, self._reply = opened, reply
        exchange, attempt = self.exchange, self.attempt
        assert attempt is not None, "only what was made commits"
        attempt.seconds = now - attempt.started
        attempt.outcome = "ok"
        attempt.status = reply.status
        exchange.tier = attempt.tier
        exchange.backend = attempt.backend
        exchange.model = attempt.model
        if reply.dropped or exchange.dropped:
            exchange.dropped = tuple(reply.dropped)
        if reply.reader is not None:
            exchange.progress = reply.reader
            exchange.first_output = now

    def fail(self, error: BaseException, now: float, *, blameless: bool) -> None:
        """
        Settle an attempt that did not commit, if one was made.

        Args:
            blameless: Whether that says nothing of the target.
        """
        attempt = self.attempt
        if attempt is None or self._reply is not None:
            return
        attempt.outcome = getattr(error, "kind", "cancelled")
        attempt.status = getattr(error, "upstream_status", None)
        attempt.seconds = now - attempt.started
        self.exchange.account.settle(attempt)
        if self.watch is not None:
            self.watch.end(error, blameless=blameless)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Settle, close and give back."""
        try:
            if self._reply is not None:
                self._settle(self._reply, error)
        finally:
            try:
                if self._opened is not None:
                    await self._opened.__aexit__(kind, error, trace)
            finally:
                if self.permits:
                    for permit in reversed(self.permits):
                        permit.release()

    def _settle(self, reply: Reply, error: BaseException | None) -> None:
        """Charge what was really used."""
        exchange, attempt, answer = self.exchange, self.attempt, reply.answer
        assert attempt is not None, "a reply is an attempt's"
        if self.watch is not None:
            self.watch.end(error)
        if error is not None:
            attempt.outcome = getattr(error, "kind", "cancelled")
        if answer is None:
            usage = taken(exchange.request, reply)
            reason = None if reply.reader is None else reply.reader.finish_reason
        else:
            usage = answer.usage or estimated(exchange.request, reply)
            reason = answer.finish_reason
        attempt.usage = exchange.usage = usage
        exchange.finish_reason = reason
        exchange.account.settle(attempt)


def is_barred(target: Target) -> bool:
    """Say whether no attempt may be made at a target now."""
    return target.health is not None and target.health.blocked_for() > 0


@asynccontextmanager
async def placed(
    target: Target, exchange: Exchange, wheel: Wheel, seconds: float
) -> AsyncIterator[None]:
    """
    Hold a place of a target's backend for a call on the side, as every attempt does.

    Raises:
        TooManyConcurrent: If none is free for so long.
    """
    if target.bulkhead is None:
        yield
        return
    since = wheel.now()
    try:
        permit = await target.bulkhead.enter(exchange.priority, seconds)
    finally:
        exchange.waited += wheel.now() - since
    try:
        yield
    finally:
        permit.release()


@contextmanager
def aside(target: Target) -> Iterator[None]:
    """
    Have a call on the side (a classifier's, a judge's) count towards its target's health.

    Its time does not: it is short of words, and of patience, so that its silence says nothing.
    """
    watch = None if target.health is None else target.health.begin()
    try:
        yield
    except BaseException as error:
        if watch is not None:
            watch.end(error, blameless=isinstance(error, BackendTimeout))
        raise
    if watch is not None:
        watch.end(None)


def taken(request: ChatRequest | None, reply: Reply) -> Usage:
    """
    Give what an answer took, as far as it came.

    What a backend tells before the end of a stream holds only a guess of the output
    (Anthropic's ``message_start``): of a stream that broke off, what came is counted.
    """
    told, reader = reply.usage, reply.reader
    if told is None:
        return estimated(request, reply)
    if reader is None or reader.finish_reason is not None:
        return told
    output = -(-reader.output_bytes // 4)
    if output <= told.output_tokens:
        return told
    return replace(told, output_tokens=output, estimated=True)


def estimated(request: ChatRequest | None, reply: Reply) -> Usage:
    """Count an answer whose backend told no usage: about four bytes a token."""
    sent = 0 if request is None else len(request.raw)
    got = len(reply.body) if reply.reader is None else reply.reader.output_bytes
    return Usage(input_tokens=sent // 4, output_tokens=-(-got // 4), estimated=True)
