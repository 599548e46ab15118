"""
How the rest of an answer is said in the stream that another backend began.

Whoever relays a reply knows one stream: one grammar, one id, one row of blocks.  So what a
further backend answers is written in the grammar of the first: its events carry the same hub
chunks for those who translate, and bytes that follow on the first one's for those who do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from lmgateway.chat import ChatRequest, Chunk, Event
from lmgateway.dialects.base import Dialect, Mark, StreamReader
from lmgateway.dialects.hub import chunk as hub_chunk
from lmgateway.dialects.hub import objects
from lmgateway.routing.delivered import Delivered
from lmgateway.wire import ndjson, sse

_UNLISTED = frozenset((b"", b"ping", b"content_block_delta"))
MAX_EVENT = 1 << 24
"""Bytes of an event of our own: it may hold all that was delivered."""

Marked = tuple[Event, Mark]


class Said(Event):
    """
    An event, and the hub chunks that it means.

    Attributes:
        chunks: The chunks.
    """

    chunks: Sequence[Chunk]


class SaidReader:
    """
    A reader that was asked already what events mean.

    Attributes:
        reader: Of the stream that is read now.
    """

    def __init__(self, reader: StreamReader) -> None:
        self.reader = reader

    def __getattr__(self, name: str) -> Any:
        return getattr(self.reader, name)

    def decode(self, event: Event) -> Sequence[Chunk]:
        """Give an event's chunks, decoded once."""
        return event.chunks if isinstance(event, Said) else self.reader.decode(event)


def outline(events: Sequence[Event]) -> list[bytes]:
    """Name the events that frame a stream: its blocks, in a grammar that has them."""
    return [event.name for event in events if event.name not in _UNLISTED]


class Continuation:
    """
    Writes what follows on a delivered answer.

    Args:
        dialect: The grammar that the first backend spoke.
        delivered: What was delivered, in hub chunks.

    Attributes:
        outline: How the events that were delivered would be framed, had this written them.
    """

    def __init__(self, dialect: Dialect, request: ChatRequest, delivered: Delivered) -> None:
        self._framing = dialect.framing
        self._head = delivered.head
        model = delivered.head.get("model") or request.model
        self._writer = dialect.writer(replace(request, wants_usage=True, model=model))
        primed: list[Event] = []
        for delta in (
            {"role": "assistant"} if delivered.head else {},
            {"reasoning_content": delivered.thoughts},
            {"content": delivered.text},
        ):
            if any(delta.values()):
                primed += self._split(self._writer.encode(self._chunk(delta)))
        self.outline = outline(primed)

    def say(self, chunk: Chunk) -> list[Marked]:
        """Give the events of one hub chunk, named as the chunks before it."""
        chunk = {**chunk, **self._head}
        choices = objects(chunk.get("choices"))
        mark = Mark.OUTPUT if choices else Mark.USAGE
        first, *more = self._split(self._writer.encode(chunk)) or [Event(b"", b"", b"")]
        said = Said(first.raw, first.name, first.data, (chunk,))
        return [(said, mark), *[(Said(e.raw, e.name, e.data, ()), mark) for e in more]]

    def end(self) -> list[Marked]:
        """Give the grammar's proper end."""
        events = [Said(e.raw, e.name, e.data, ()) for e in self._split(self._writer.end())]
        return [(e, Mark.END if e is events[-1] else Mark.QUIET) for e in events]

    def _chunk(self, delta: dict[str, Any]) -> Chunk:
        return {**hub_chunk("", "", 0, delta), **self._head}

    def _split(self, data: bytes) -> list[Event]:
        if self._framing == "sse":
            return sse.Splitter(MAX_EVENT).feed(data)
        return ndjson.Splitter(MAX_EVENT).feed(data)
