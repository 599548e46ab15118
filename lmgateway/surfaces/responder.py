"""
How an answer, or a failure, gets to the client.

Before the first byte a failure has a status and the surface's own error
envelope.  After it, the failure is told in band, in the client's grammar, and
the connection is cut: no terminal event, so that nobody takes a broken answer
for a whole one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import aclosing

import msgspec
from twisted.internet.defer import Deferred

from lmgateway.backend_errors import BackendError
from lmgateway.backends.base import Batch, Batches, Reply
from lmgateway.backends.batches import BodyBatches
from lmgateway.chat import Document
from lmgateway.dialects.base import Dialect, SurfaceDialect
from lmgateway.dialects.document import encode
from lmgateway.dialects.transcode import Transcoder, Translated, Verbatim
from lmgateway.errors import GatewayError, LimitError, StreamInterrupted
from lmgateway.exchange import Exchange
from lmgateway.routing.holding import estimated
from lmgateway.surfaces.friendly import friendly_reply
from lmgateway.surfaces.headers import cost_headers, error_headers, routing_headers
from lmgateway.surfaces.limit_headers import limit_headers
from lmgateway.wire.outlet import Outlet, Sink
from lmgateway.wire.timers import Timer, Wheel

BEAT_SECONDS = 15.0
"""A client that is sent nothing for so long is told that we are still here."""

JSON = (b"content-type", b"application/json")
_STREAM = {
    "sse": (b"content-type", b"text/event-stream"),
    "ndjson": (b"content-type", b"application/x-ndjson"),
}
_UNBUFFERED = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))

Headers = list[tuple[bytes, bytes]]


class Responder(msgspec.Struct, eq=False):
    """
    Answers one request: see ``gateway.Responder``.

    Made of the request and of the client's dialect; of all dialects by name, since a backend
    may have spoken any; of the headers that every answer to this request carries, and of what
    says the seconds since the epoch.
    """

    _request: Sink
    _dialect: SurfaceDialect
    _dialects: Mapping[str, Dialect]
    _wheel: Wheel
    _extra: Headers
    _wall: Callable[[], float]
    _outlet: Outlet | None = None
    _transcoder: Transcoder | None = None
    _exchange: Exchange | None = None
    _beat: Timer | None = None
    _written: float = 0.0

    async def relay(self, exchange: Exchange, reply: Reply) -> None:
        """Send the reply."""
        if reply.answer is not None:
            usage = reply.answer.usage or estimated(exchange.request, reply)
            headers = [JSON, *self._headers(exchange, reply), *cost_headers(exchange, usage)]
            body = self._whole(exchange, reply)
            if exchange.explanation is not None:
                body = explained(exchange.explanation, body)
            exchange.status = 200
            exchange.bytes_out = len(body)
            if exchange.capture_bytes:
                exchange.note_answer(body)
            self._request.respond(200, [*headers, *self._extra], body)
            return
        assert reply.batches is not None, "a reply without an answer is a stream"
        size, outlet = self._begin(exchange, reply)
        self._beat = self._wheel.start(BEAT_SECONDS, self._keep_alive)
        try:
            if isinstance(reply.batches, BodyBatches):
                last = await reply.batches.relay(self._write)
            else:
                last = await self._pass_on(reply.batches)
        except BackendError as error:
            interrupted = StreamInterrupted()
            interrupted.attempts = tuple(exchange.attempts)
            raise interrupted from error
        finally:
            if self._beat is not None:
                self._beat.cancel()
        ending = self._said(exchange, last)
        if exchange.bytes_out > size:
            exchange.last_output = self._written
        outlet.finish(ending)

    def _headers(self, exchange: Exchange, reply: Reply) -> Headers:
        headers = routing_headers(exchange, self._wheel.now())
        standings = exchange.account.standings()
        if standings:
            headers += limit_headers(self._dialect.name, standings, self._wall())
        return [*reply.headers.items(), *headers] if reply.headers else headers

    def limits(self, exchange: Exchange) -> Headers:
        """Say how the limits of whoever asks stand."""
        standings = exchange.account.standings()
        return limit_headers(self._dialect.name, standings, self._wall()) if standings else []

    def _whole(self, exchange: Exchange, reply: Reply) -> bytes:
        request, answer = exchange.request, reply.answer
        assert request is not None and answer is not None, "a whole answer to a parsed request"
        if reply.verbatim and reply.dialect == self._dialect.name:
            return reply.body
        hub = self._dialects[reply.dialect].decode_answer(answer)
        return self._dialect.write_answer(hub, request)

    def _begin(self, exchange: Exchange, reply: Reply) -> tuple[int, Outlet]:
        """Begin a stream, with what is there already in one piece; say how much that was."""
        headers = self._headers(exchange, reply)
        self._exchange, self._transcoder = exchange, self._transcode(exchange, reply)
        first = reply.batches.at_hand() if isinstance(reply.batches, BodyBatches) else ()
        opening = self._comment(exchange) + self._said(exchange, first)
        outlet = self._outlet = Outlet(self._request)
        exchange.status = 200
        outlet.open(
            200, [_STREAM[self._dialect.framing], *_UNBUFFERED, *headers, *self._extra], opening
        )
        return len(opening), outlet

    async def _pass_on(self, batches: Batches) -> Batch:
        """Do what ``BodyBatches.relay`` does, with those that have no such thing."""
        async with aclosing(batches):
            async for batch in batches:
                gate = self._write(batch)
                if gate is not None:
                    await gate
        return ()

    def _write(self, batch: Batch) -> Deferred[None] | None:
        """Write one batch: called for each event of each stream."""
        exchange, outlet, transcoder = self._exchange, self._outlet, self._transcoder
        assert exchange is not None and outlet is not None and transcoder is not None, "in a stream"
        data = transcoder.take(batch)
        exchange.bytes_out += len(data)
        if exchange.capture_bytes:
            exchange.note_answer(data)
        self._written = self._wheel.now()
        self._request.write(data)
        return outlet.gate() if outlet.paused else None

    def _comment(self, exchange: Exchange) -> bytes:
        """How it was routed, if the client asked to be told and its grammar has comments."""
        if exchange.explanation is None or self._dialect.framing != "sse":
            return b""
        return b": lmg " + encode(exchange.explanation) + b"\n\n"

    def _said(self, exchange: Exchange, batch: Batch) -> bytes:
        assert self._transcoder is not None, "in a stream"
        data = self._transcoder.take(batch)
        exchange.bytes_out += len(data)
        if exchange.capture_bytes:
            exchange.note_answer(data)
        self._written = self._wheel.now()
        return data

    def _transcode(self, exchange: Exchange, reply: Reply) -> Transcoder:
        assert exchange.request is not None and reply.reader is not None, "a stream has both"
        writer = self._dialect.writer(exchange.request)
        if reply.verbatim and reply.dialect == self._dialect.name:
            return Verbatim(writer, wants_usage=exchange.request.wants_usage)
        return Translated(reply.reader, writer)

    def _keep_alive(self) -> None:
        """Tell a waiting client that we are still here, if nothing else did lately."""
        assert self._outlet is not None and self._transcoder is not None, "beats within a stream"
        quiet = self._wheel.now() - self._written
        if quiet >= BEAT_SECONDS:
            self._written = self._wheel.now()
            self._outlet.write(self._transcoder.keep_alive())
            quiet = 0
        self._beat = self._wheel.start(BEAT_SECONDS - quiet, self._keep_alive)

    async def fail(self, exchange: Exchange, error: GatewayError) -> None:
        """Tell the client what went wrong, in whatever way is still open."""
        if self._outlet is not None and self._transcoder is not None:
            self._outlet.write(self._transcoder.error(error))
            self._outlet.abort()
        elif self._request.startedWriting:
            self._request.abort()
        elif self._is_told_kindly(exchange, error):
            self._extra += [(b"x-lmg-error", error.kind.encode())]
            assert exchange.request is not None, "only parsed requests are answered so"
            await self.relay(exchange, friendly_reply(exchange.request, error))
        else:
            body = self._dialect.write_error(error, exchange.id)
            headers = [*error_headers(error, exchange), *self.limits(exchange)]
            self._request.respond(error.status, [JSON, *headers, *self._extra], body)

    def _is_told_kindly(self, exchange: Exchange, error: GatewayError) -> bool:
        """Tell whether a failure is told as an answer; limits never are: clients must slow down."""
        kind = exchange.friendly_errors and not isinstance(error, LimitError)
        return kind and exchange.request is not None


def explained(explanation: Document, body: bytes) -> bytes:
    """Give a JSON answer with a member ``lmg``: how it was routed."""
    members = body.rstrip().removesuffix(b"}").rstrip()
    comma = b"" if members.endswith(b"{") else b","
    return members + comma + b'"lmg":' + encode(explanation) + b"}"
