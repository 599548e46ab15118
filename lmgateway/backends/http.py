"""
A real provider, asked over HTTP/1.1.

One attempt has five deadlines, each its own: the connection (DNS, TCP, proxy
and TLS together), the response head, the first output-bearing event, silence
between events, and the exchange's own end.  An attempt that ends early, for
whatever reason, aborts its connection.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Protocol

from attrs import frozen

from lmgateway.backends.base import Batch, Call, Reply
from lmgateway.backends.counting import counted
from lmgateway.backends.tool_text import read_out, reading, tagged
from lmgateway.chat import Event
from lmgateway.dialects.base import Dialect, Mark, Quirks, StreamReader
from lmgateway.errors import (
    BackendError,
    BackendTimeout,
    ProtocolError,
    Unsupported,
    UnsupportedParameter,
)
from lmgateway.wire import ndjson, sse
from lmgateway.wire.body import BodyReader
from lmgateway.wire.client import Response, Target, WireClient
from lmgateway.wire.timers import Wheel

MAX_ANSWER = 32 * 1024 * 1024
MAX_REFUSAL = 64 * 1024
REFUSAL_SECONDS = 5.0
"""For the text of a refusal: what its status says does not wait longer."""
MAX_HELD = 1024 * 1024
"""Bytes of quiet events kept before the first output-bearing one."""

_GRAMMARS: Mapping[bytes, Sequence[str]] = {
    b"anthropic-beta": ("anthropic",),
    b"anthropic-version": ("anthropic",),
    b"openai-beta": ("completions", "openai"),
}
"""Headers that mean something in one provider's grammar, and are sent to no other."""
_PASSED_ON = (b"openai-processing-ms", b"openai-version", b"openai-organization")


class Splitter(Protocol):
    """Cuts a stream's bytes into events: ``wire.sse`` or ``wire.ndjson``."""

    def feed(self, data: bytes) -> list[Event]:
        """Give the events that these bytes complete."""


@frozen(kw_only=True)
class Patience:
    """How long to wait for one backend, in seconds."""

    whole: float = 30.0
    first_output: float = 60.0
    silence: float = 60.0
    probe: float = 5.0


@frozen(kw_only=True)
class HTTPBackend:
    """
    One configured upstream.

    Attributes:
        codec: What it speaks.
        own: What it speaks with clients of some grammar instead: that very grammar.
        targets: Where each call goes, credentials included; by the path that the dialect
            knows it by.
        listing: Where a free listing is had, to see whether the backend is well.
        defaults: Headers of requests that do not bring their own.
        fixed: Names of headers that the targets have and no client may add.
    """

    name: str
    codec: Dialect
    own: Mapping[str, Dialect]
    client: WireClient
    wheel: Wheel
    quirks: Quirks
    targets: Mapping[str, Target]
    listing: Target
    patience: Patience
    defaults: tuple[tuple[bytes, bytes], ...] = ()
    fixed: frozenset[bytes] = frozenset()

    @property
    def dialect(self) -> str:
        """The grammar spoken."""
        return self.codec.name

    @asynccontextmanager
    async def open(self, call: Call) -> AsyncIterator[Reply]:
        """Ask, and enter once the answer is committed: see ``backends.base.Backend``."""
        request = call.request
        codec = self.own.get(request.dialect, self.codec)
        target = self.targets.get(codec.path(request) or "")
        if target is None:
            if request.endpoint == "count_tokens":
                yield counted(request)
                return
            raise Unsupported(f"This model's backend has no {request.endpoint}.")
        dropped = _dropped(codec, call, self.quirks)
        patience = self.patience.first_output if request.stream else self.patience.whole
        due = min(self.wheel.now() + patience, call.commit_by)
        try:
            response = await self.client.send(
                target,
                codec.render(request, call.overrides, self.quirks),
                self._headers(codec, call),
                head_seconds=self._left(due),
            )
            body = BodyReader(response, self.wheel)
            try:
                await self._accept(response, body, codec, due, stream=request.stream)
                if request.stream:
                    async with self._streamed(response, body, codec, call, due) as reply:
                        reply.dropped = dropped
                        yield reply
                else:
                    reply = await self._whole(response, body, codec, due)
                    reply.dropped = dropped
                    yield read_out(reply, request, codec, self.quirks)
            finally:
                body.abort()
        except BackendError as error:
            error.backend = self.name
            raise

    async def probe(self) -> None:
        """Ask for the listing."""
        response = await self.client.send(self.listing, b"", head_seconds=self.patience.probe)
        body = BodyReader(response, self.wheel)
        try:
            listing = await body.whole(MAX_ANSWER, self.patience.probe)
        finally:
            body.abort()
        if response.code >= 300:
            raise self.codec.read_error(response.code, dict(response.raw_headers), listing)

    def _headers(self, codec: Dialect, call: Call) -> list[tuple[bytes, bytes]]:
        own = {
            name: value
            for name, value in call.headers.items()
            if codec.name in _GRAMMARS.get(name, (codec.name,)) and name not in self.fixed
        }
        added = [header for header in self.defaults if header[0] not in own]
        return [(b"x-request-id", call.request_id.encode()), *added, *own.items()]

    def _left(self, due: float) -> float:
        left = due - self.wheel.now()
        if left <= 0:
            raise BackendTimeout("The model backend took too long.")
        return left

    async def _accept(
        self, response: Response, body: BodyReader, codec: Dialect, due: float, *, stream: bool
    ) -> None:
        """Raise unless this is a good answer of the kind that was asked for."""
        code = response.code
        if code >= 400:
            raise await self._refusal(response, body, codec, due)
        if code != 200:
            raise ProtocolError(f"The model backend answered with status {code}.")
        kind = (response.get(b"content-type") or b"").partition(b";")[0].strip().lower()
        wanted = _STREAM_KINDS[codec.framing] if stream else _JSON_KINDS
        if kind not in wanted:
            what = "a stream" if stream else "JSON"
            raise ProtocolError(f"The model backend did not answer with {what}.")

    async def _refusal(
        self, response: Response, body: BodyReader, codec: Dialect, due: float
    ) -> BackendError:
        """Say what a refusal means: by its status alone, where its text does not come whole."""
        try:
            text = await body.whole(
                MAX_REFUSAL, min(self._left(due), REFUSAL_SECONDS), certain=False
            )
        except BackendError:
            text = b""
        refusal = codec.read_error(response.code, dict(response.raw_headers), text)
        refusal.upstream_status = response.code
        return refusal

    async def _whole(
        self, response: Response, body: BodyReader, codec: Dialect, due: float
    ) -> Reply:
        answer = await body.whole(MAX_ANSWER, self._left(due))
        return Reply(
            dialect=codec.name,
            headers=_passed_on(response),
            body=answer,
            answer=codec.read_answer(answer),
        )

    @asynccontextmanager
    async def _streamed(
        self, response: Response, body: BodyReader, codec: Dialect, call: Call, due: float
    ) -> AsyncIterator[Reply]:
        reader = reading(codec.reader(self.quirks), call.request, self.quirks)
        async with aclosing(self._batches(body, reader, codec, call, due)) as batches:
            first = await anext(batches)
            yield Reply(
                dialect=codec.name,
                headers=_passed_on(response),
                verbatim=not tagged(call.request, self.quirks),
                reader=reader,
                batches=_after(first, batches),
            )

    async def _batches(
        self, body: BodyReader, reader: StreamReader, codec: Dialect, call: Call, due: float
    ) -> AsyncGenerator[Batch, None]:
        """Give what came up to the first output as one batch, then batch after batch."""
        splitter = _SPLITTERS[codec.framing]()
        held: list[tuple[Event, Mark]] = []
        size = 0
        committed = False
        while True:
            if committed:
                wait = min(self.patience.silence, self._left(call.end_by))
            else:
                wait = self._left(due)
            data = await body.chunk(wait)
            if not data:
                raise ProtocolError("The model backend's stream ended before its end.")
            batch, end = _inspect(reader, splitter.feed(data))
            if not committed:
                held += batch
                size += len(data)
                committed = end or any(mark is Mark.OUTPUT for _, mark in batch)
                if size > MAX_HELD and not committed:
                    raise ProtocolError("The model backend sent no output.")
                batch = held if committed else []
            if batch:
                yield batch
            if reader.error is not None:
                raise reader.error
            if end:
                body.release()
                return


_QUIETLY = frozenset({"stream_options"})
"""Left out without a word: what it asks for is told all the same."""
_JSON_KINDS = (b"application/json",)
_STREAM_KINDS = {
    "sse": (b"text/event-stream",),
    "ndjson": (b"application/x-ndjson", b"application/json", b"application/jsonl"),
}
_SPLITTERS: Mapping[str, Callable[[], Splitter]] = {"sse": sse.Splitter, "ndjson": ndjson.Splitter}


def _inspect(reader: StreamReader, events: list[Event]) -> tuple[Batch, bool]:
    """The events up to the grammar's end or an error, and whether the end was there."""
    inspect = reader.inspect
    batch: list[tuple[Event, Mark]] = []
    for event in events:
        mark = inspect(event)
        if mark is Mark.ERROR:
            return batch, False
        batch.append((event, mark))
        if mark is Mark.END:
            return batch, True
    return batch, False


async def _after(first: Batch, batches: AsyncGenerator[Batch, None]) -> AsyncGenerator[Batch, None]:
    yield first
    async for batch in batches:
        yield batch


def _dropped(codec: Dialect, call: Call, quirks: Quirks) -> tuple[str, ...]:
    """Name what a backend will not be told, or refuse to leave it out."""
    request = call.request
    dropped = codec.dropped(request, call.overrides)
    if codec.name == "openai" and request.dialect != "openai" and not quirks.takes_think:
        dropped += ("think",) if "think" in request.document else ()
    if quirks.drop:
        refused = [name for name in request.hub if name in quirks.drop and name not in _QUIETLY]
        dropped += tuple(sorted({*refused} - {*dropped}))
    if dropped and call.strict:
        raise UnsupportedParameter(
            f"This model's backend has no word for {dropped[0]!r}.", param=dropped[0]
        )
    return dropped


def _passed_on(response: Response) -> dict[bytes, bytes]:
    return {name: value for name in _PASSED_ON if (value := response.get(name)) is not None}
