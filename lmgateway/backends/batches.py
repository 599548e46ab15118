"""
A backend's stream as batches: all that came up to its first output, then as it comes.

A class and not a generator, for it is asked once for each event of each
stream: between the bytes and whoever relays them there is one coroutine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred

from lmgateway.backend_errors import BackendTimeout, ProtocolError
from lmgateway.backends.base import Batch
from lmgateway.chat import Event
from lmgateway.dialects.base import Mark, StreamReader
from lmgateway.wire.body import BodyReader

MAX_HELD = 1024 * 1024
"""Bytes of quiet events kept before the first output-bearing one."""

_ERROR, _END, _OUTPUT = Mark.ERROR, Mark.END, Mark.OUTPUT


class Splitter(Protocol):
    """Cuts a stream's bytes into events: ``wire.sse`` or ``wire.ndjson``."""

    def feed(self, data: bytes) -> list[Event]:
        """Give the events that these bytes complete."""

    def close(self) -> list[Event]:
        """Give the events that the stream's end completes."""


class BodyBatches:
    """
    The batches of one response body: see ``backends.base.Batches``.

    Args:
        body: What is read.
        splitter: Of the grammar's framing.
        reader: Inspects every event before it is given out.
        now: Reactor seconds.
        silence: How long the backend may be silent after the first output.
        end_by: When all must have come.
    """

    __slots__ = (
        "_body",
        "_end_by",
        "_ended",
        "_fault",
        "_first",
        "_gate",
        "_last",
        "_now",
        "_reader",
        "_silence",
        "_splitter",
        "_write",
    )

    _write: Callable[[Batch], Deferred[None] | None]

    def __init__(
        self,
        body: BodyReader,
        splitter: Splitter,
        reader: StreamReader,
        now: Callable[[], float],
        *,
        silence: float,
        end_by: float,
    ) -> None:
        self._body = body
        self._splitter = splitter
        self._reader = reader
        self._now = now
        self._silence = silence
        self._end_by = end_by
        self._first: Batch | None = None
        self._last: Batch = ()
        self._gate: Deferred[None] | None = None
        self._fault: Exception | None = None
        self._ended = False

    async def commit(self, due: float) -> None:
        """
        Wait for the first output; it and what came before it is the first batch.

        Raises:
            BackendError: If there is none by *due*.
        """
        held: list[tuple[Event, Mark]] = []
        size = 0
        while True:
            data = await self._body.chunk(self._left(due))
            batch = self._inspected(data)
            held += batch
            if self._ended or any(mark is _OUTPUT for _, mark in batch):
                self._first = held
                return
            size += len(data)
            if size > MAX_HELD:
                raise ProtocolError("The model backend sent no output.")
            if self._reader.error is not None:
                raise self._reader.error

    def __aiter__(self) -> BodyBatches:
        return self

    def at_hand(self) -> Batch:
        """Give the first batch without waiting; nothing if it was given already."""
        batch, self._first = self._first, None
        return batch or ()

    async def __anext__(self) -> Batch:
        if self._first is not None:
            return self.at_hand()
        while True:
            if self._reader.error is not None:
                raise self._reader.error
            if self._ended:
                self._body.release()
                raise StopAsyncIteration
            data = await self._body.chunk(min(self._silence, self._left(self._end_by)))
            batch = self._inspected(data)
            if batch:
                return batch

    async def relay(self, write: Callable[[Batch], Deferred[None] | None]) -> Batch:
        """
        Have every batch written as it comes, with no coroutine between the bytes and *write*.

        Args:
            write: Given each batch but the last; gives what to wait for before the next.

        Returns:
            The last batch, which brings the grammar's end; empty if that was given already.

        Raises:
            BackendError: As iteration does; the connection is closed then.
        """
        self._write = write
        try:
            if self._first is not None:
                gate = write(self.at_hand())
                if gate is not None:
                    await gate
            while not self._ended:
                self._left(self._end_by)
                if await self._body.flow(self._pass_on, self._silence, self._end_by):
                    self._pass_on(b"")
                if self._fault is not None:
                    raise self._fault
                if self._reader.error is not None:
                    raise self._reader.error
                gate, self._gate = self._gate, None
                if gate is not None:
                    await gate
        except Exception:
            self._body.abort()
            raise
        finally:
            del self._write
        self._body.release()
        return self._last

    def _pass_on(self, data: bytes) -> bool:
        """Write what *data* completes; tell whether that is all there is to do."""
        try:
            batch = self._inspected(data)
            if self._ended:
                self._last = batch
                return False
            if batch:
                self._gate = self._write(batch)
        except Exception as error:  # to be raised where it is waited for, not here
            self._fault = error
            return False
        return self._gate is None and self._reader.error is None

    async def aclose(self) -> None:
        """Read no more: cuts the connection, unless the stream was read to its end."""
        self._body.abort()

    def _left(self, due: float) -> float:
        left = due - self._now()
        if left <= 0:
            raise BackendTimeout("The model backend took too long.")
        return left

    def _inspected(self, data: bytes) -> list[tuple[Event, Mark]]:
        """What *data*, or its end, completes: up to the grammar's end or an error."""
        inspect = self._reader.inspect
        batch: list[tuple[Event, Mark]] = []
        for event in self._splitter.feed(data) if data else self._splitter.close():
            mark = inspect(event)
            if mark is _ERROR:
                break
            batch.append((event, mark))
            if mark is _END:
                self._ended = True
                break
        if not data and not self._ended and self._reader.error is None:
            raise ProtocolError("The model backend's stream ended before its end.")
        return batch
