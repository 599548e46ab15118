"""
A client that waits for an answer to be found, and for how long in silence.

Nothing is sent while the search is young, so that status and headers tell the
truth.  Once ``seconds`` have passed since the first output of any backend, a
stream is opened all the same and kept alive: its headers then name no tier,
which a comment before the stream's end does instead.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from types import TracebackType
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from lmgateway.backend_errors import BackendError
from lmgateway.backends.base import Batch, Reply
from lmgateway.chat import ChatRequest, Chunk, Event, Usage
from lmgateway.classes import frozen
from lmgateway.dialects.base import Dialect, Mark
from lmgateway.dialects.transcode import Translated
from lmgateway.exchange import Exchange

GRACE = 0.15
"""Seconds by which patience outlasts a hold: what ends with it may be late by a tick or two."""


@frozen
class Found:
    """A reply, and what is open for it."""

    reply: Reply
    scope: AsyncExitStack


Find = Callable[[Callable[[], None]], Coroutine[Any, Any, Found]]
"""Finds a reply; calls its argument when the first output is there."""


class Search:
    """
    One search, running beside the client that waits for it.  ``leave`` it whatever happens.

    Args:
        find: The search.
        seconds: How long, from the first output, the client is told nothing.
        dialects: All that can be translated, by name.
    """

    def __init__(
        self,
        find: Find,
        exchange: Exchange,
        clock: IReactorTime,
        seconds: float,
        dialects: Mapping[str, Dialect],
    ) -> None:
        assert exchange.request is not None, "only parsed requests are routed"
        self._exchange = exchange
        self._request: ChatRequest = exchange.request
        self._clock = clock
        self._seconds = seconds
        self._dialects = dialects
        self._found: Found | None = None
        self._failure: Exception | None = None
        self._over = False
        self._waiter: Deferred[None] | None = None
        self._alarm: IDelayedCall | None = None
        self._running = Deferred.fromCoroutine(self._run(find))

    async def reply(self) -> Reply:
        """
        Give what was found, or, when silence has lasted too long, a stream that will be it.

        Raises:
            GatewayError: If nothing was found.
        """
        await self._wait()
        if self._over:
            return self._result().reply
        self._exchange.undecided = True
        return Reply(dialect=self._request.dialect, reader=_Unread(), batches=self._late())

    async def leave(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """Give the search up, or close what it found."""
        if not self._over:
            self._running.cancel()
            await self._running
        if self._found is not None:
            await self._found.scope.__aexit__(kind, error, trace)
        return False

    # The search --------------------------------------------------------------
    async def _run(self, find: Find) -> None:
        try:
            self._found = await find(self._begin_patience)
        except Exception as failure:
            self._failure = failure
        self._over = True
        if self._alarm is not None and self._alarm.active():
            self._alarm.cancel()
        self._wake()

    def _begin_patience(self) -> None:
        if self._alarm is None and self._request.stream and self._request.dialect in self._dialects:
            self._alarm = self._clock.callLater(self._seconds + GRACE, self._wake)

    def _result(self) -> Found:
        if self._failure is not None:
            raise self._failure
        assert self._found is not None, "a search that is over has found something or failed"
        return self._found

    async def _wait(self) -> None:
        """Wait until the search is over, or the patience."""
        if not self._over:
            waiter = self._waiter = Deferred()
            await waiter

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.callback(None)

    # A stream that was opened early ------------------------------------------
    async def _late(self) -> AsyncGenerator[Batch, None]:
        yield [(_raw(self._dialects[self._request.dialect].writer(self._request).keep_alive()))]
        await self._wait()
        reply = self._result().reply
        if reply.batches is None:
            raise BackendError("The model backend gave no stream.")
        said = self._words(reply)
        async with aclosing(reply.batches) as batches:
            async for batch in batches:
                yield [part for event, mark in batch for part in said(event, mark)]

    def _words(self, reply: Reply) -> Callable[[Event, Mark], Sequence[tuple[Event, Mark]]]:
        """How the found stream is said in the client's grammar."""
        dialect = self._dialects[self._request.dialect]
        facts = [_raw(self._facts())] if dialect.framing == "sse" else []
        if reply.dialect == dialect.name:
            return lambda event, mark: [*(facts if mark is Mark.END else ()), (event, mark)]
        assert reply.reader is not None, "a stream has a reader"
        take = Translated(reply.reader, dialect.writer(self._request)).take

        def translated(event: Event, mark: Mark) -> list[tuple[Event, Mark]]:
            said = [_raw(take([(event, mark)]))]
            return [*facts, *said] if mark is Mark.END else said

        return translated

    def _facts(self) -> bytes:
        """An SSE comment that says what the headers could not."""
        exchange = self._exchange
        facts = {"attempts": str(len(exchange.attempts))}
        if exchange.expose_routing:
            facts |= {
                "tier": exchange.tier,
                "backend": exchange.backend,
                "model": exchange.model,
            }
        if exchange.insufficient:
            facts["insufficient"] = exchange.insufficient
        return b"".join(f": x-lmg-{name}: {facts[name]}\n".encode() for name in facts) + b"\n"


def _raw(data: bytes) -> tuple[Event, Mark]:
    return Event(data, b"", b""), Mark.QUIET


class _Unread:
    """The reader of a stream that is said in the client's grammar already."""

    usage: Usage | None = None
    finish_reason: str | None = None
    model: str | None = None
    output_bytes = 0
    error: BackendError | None = None

    def inspect(self, event: Event) -> Mark:
        """Nobody asks."""
        return Mark.QUIET

    def decode(self, event: Event) -> Sequence[Chunk]:
        """Nobody asks."""
        return ()
