"""What an attempt holds, and what is done with it when its scope is left."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager

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


class Hold:
    """What an attempt holds: places, and once it has committed its backend's scope."""

    __slots__ = ("_opened", "_settlement", "permits")

    def __init__(self) -> None:
        self.permits: tuple[Permit, ...] = ()
        self._opened: AbstractAsyncContextManager[Reply] | None = None
        self._settlement: Settlement | None = None

    def commit(self, opened: AbstractAsyncContextManager[Reply], settlement: Settlement) -> None:
        """Hold what a committed attempt opened, and how it is settled."""
        self._opened = opened
        self._settlement = settlement

    async def let_go(self, error: BaseException | None) -> None:
        """Settle, close and give back, in this order and whatever fails of it."""
        try:
            if self._settlement is not None:
                self._settlement.settle(error)
        finally:
            try:
                if self._opened is not None:
                    trace = None if error is None else error.__traceback__
                    await self._opened.__aexit__(type(error) if error else None, error, trace)
            finally:
                for permit in reversed(self.permits):
                    permit.release()


class Settlement(msgspec.Struct):
    """
    Settles a committed attempt when its scope is left.

    Attributes:
        watch: Told how the attempt ended, where its target's health is looked after.
    """

    exchange: Exchange
    attempt: Attempt
    reply: Reply
    watch: Watch | None

    def settle(self, error: BaseException | None) -> None:
        """Charge what was really used."""
        exchange, attempt, reply = self.exchange, self.attempt, self.reply
        if self.watch is not None:
            self.watch.end(error)
        if error is not None:
            attempt.outcome = getattr(error, "kind", "cancelled")
        attempt.usage = exchange.usage = taken(exchange.request, reply)
        source = reply.reader if reply.answer is None else reply.answer
        exchange.finish_reason = None if source is None else source.finish_reason
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
