"""
The beginning of a stream, held back from the client until it was judged.

A hold reads ahead until enough has come or its time is up, whichever is first.
The batch that is being read when the time is up is not given up: whoever gets
the released reply goes on waiting for it.  What is released is what came,
byte for byte.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, cast

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from lmgateway.backend_errors import ProtocolError
from lmgateway.backends.base import Batch, Reply
from lmgateway.chat import Chunk, Event
from lmgateway.dialects.base import Mark, StreamReader
from lmgateway.routing.gate_answer import Assembly

MAX_HELD = 1024 * 1024
"""Bytes that are held back, whatever they mean."""

BYTES_PER_TOKEN = 4


class Hold:
    """
    Holds one streamed reply.  ``close`` it whatever happens.

    Attributes:
        assembly: What was said so far.
        whole: Whether the stream has come to its proper end: all of it is held.
    """

    def __init__(self, reply: Reply, clock: IReactorTime) -> None:
        assert reply.batches is not None and reply.reader is not None, "streams have both"
        self.assembly = Assembly()
        self.whole = False
        self._reply = reply
        self._reader = reply.reader
        self._source = reply.batches
        self._clock = clock
        self._held: deque[Batch] = deque()
        self._chunks: dict[int, Sequence[Chunk]] = {}
        self._bytes = 0
        self._events = 0
        self._at_end = False
        self._reading: Deferred[None] | None = None
        self._begun = False
        self._ready = True
        self._next: Batch | None = None
        self._fault: BaseException | None = None
        self._waiter: Deferred[None] | None = None

    async def fill(self, tokens: int, seconds: float) -> None:
        """
        Read until the stream ends, or so much was said, or so much time has passed.

        Raises:
            BackendError: If the stream breaks meanwhile.
        """
        due = self._clock.seconds() + seconds
        while self._wants_more(tokens):
            self._read_on()
            if not await self._came(due - self._clock.seconds()):
                return
            self._keep(self._taken())

    def release(self) -> Reply:
        """Give the reply as it came: what is held, then what is still to come."""
        reader = cast(StreamReader, _Remembering(self._reader, self._chunks))
        return replace(self._reply, reader=reader, batches=self._batches())

    async def close(self) -> None:
        """Stop reading; the stream is closed."""
        if self._reading is not None and not self._ready:
            self._reading.cancel()
            await self._reading
        await self._source.aclose()

    def _wants_more(self, tokens: int) -> bool:
        if self.whole or self._at_end:
            return not self.whole  # past the grammar's end there is only the stream's own
        said = max(self._events, self.assembly.size // BYTES_PER_TOKEN)
        return said < tokens and self._bytes < MAX_HELD

    def _keep(self, batch: Batch | None) -> None:
        if batch is None:
            self.whole = True
            return
        self._held.append(batch)
        for event, mark in batch:
            self._at_end = mark is Mark.END
            before = self.assembly.size
            for chunk in self._decoded(event):
                self.assembly.add(chunk)
            self._events += self.assembly.size > before
            self._bytes += len(event.raw)

    def _decoded(self, event: Event) -> Sequence[Chunk]:
        """Decode once: a reader may not be asked twice about one event."""
        try:
            chunks = self._chunks[id(event)] = self._reader.decode(event)
        except ProtocolError:
            return ()  # refused where it must be translated; relayed as it is elsewhere
        return chunks

    # Reading ahead -----------------------------------------------------------
    def _read_on(self) -> None:
        """Begin to read the next batch, unless that is under way."""
        if not self._begun:
            self._begun = True
            self._ready = False
            self._reading = Deferred.fromCoroutine(self._read())

    async def _read(self) -> None:
        """Read one batch; a failure is kept for whoever asks for it."""
        try:
            self._next = await anext(self._source, None)
        except Exception as fault:
            self._fault = fault
        self._ready = True
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.callback(None)

    async def _came(self, seconds: float | None) -> bool:
        """Wait for the batch being read; false if the time was up first."""
        if self._ready or (seconds is not None and seconds <= 0):
            return self._ready
        waiter = self._waiter = Deferred()
        alarm = None if seconds is None else self._clock.callLater(seconds, self._ring)
        try:
            await waiter
        finally:
            self._waiter = None
            if alarm is not None and alarm.active():
                alarm.cancel()
        return self._ready

    def _ring(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.callback(None)

    def _taken(self) -> Batch | None:
        self._begun = False
        if self._fault is not None:
            raise self._fault
        return self._next

    async def _batches(self) -> AsyncGenerator[Batch, None]:
        held = self._held
        while held:
            yield held.popleft()
        if self.whole:
            return
        if self._begun:
            await self._came(None)
            last = self._taken()
            if last is None:
                return
            yield last
        async with aclosing(self._source) as source:
            async for batch in source:
                yield batch


class _Remembering:
    """A stream's reader that knows what it said of the events that were held."""

    def __init__(self, reader: StreamReader, chunks: dict[int, Sequence[Chunk]]) -> None:
        self._reader = reader
        self._chunks = chunks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def decode(self, event: Event) -> Sequence[Chunk]:
        """Give an event's chunks, decoded once."""
        chunks = self._chunks.pop(id(event), None)
        return self._reader.decode(event) if chunks is None else chunks
