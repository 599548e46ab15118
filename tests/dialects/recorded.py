"""What the codec tests share: quirks, events from bytes, and recorded-style streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import msgspec
from attrs import field, frozen

from lmgateway.chat import Chunk, Document, Event
from lmgateway.dialects.base import Mark, StreamReader
from lmgateway.wire import ndjson
from lmgateway.wire import sse as server_sent

VECTORS = Path(__file__).parent / "vectors"


@frozen(kw_only=True)
class PlainQuirks:
    """A provider without peculiarities, but for those a test gives it."""

    stream_usage: bool = True
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    drop: frozenset[str] = frozenset()
    tool_format: Literal["json", "xml"] = "json"
    default_options: Mapping[str, Any] = field(factory=dict)
    takes_think: bool = False
    keep_alive: Any = -1


QUIRKS = PlainQuirks()


def vector(name: str) -> bytes:
    """Give a recorded-style stream."""
    return (VECTORS / name).read_bytes()


def lines(raw: bytes, *cuts: int) -> list[Event]:
    """Give the events of NDJSON that comes in pieces."""
    return _events(ndjson.Splitter(), raw, cuts)


def sse(raw: bytes, *cuts: int) -> list[Event]:
    """Give the events of an SSE stream that comes in pieces."""
    return _events(server_sent.Splitter(), raw, cuts)


def _events(
    splitter: ndjson.Splitter | server_sent.Splitter, raw: bytes, cuts: Sequence[int]
) -> list[Event]:
    ends = [*cuts, len(raw)]
    pieces = [raw[start:end] for start, end in pairwise([0, *ends])]
    return [event for piece in pieces for event in splitter.feed(piece)] + splitter.close()


def read_stream(reader: StreamReader, events: Sequence[Event]) -> tuple[list[Mark], list[Chunk]]:
    """Inspect and decode every event."""
    marks: list[Mark] = []
    chunks: list[Chunk] = []
    for event in events:
        marks.append(reader.inspect(event))
        if marks[-1] is not Mark.ERROR:
            chunks.extend(reader.decode(event))
    return marks, chunks


def load(raw: bytes) -> Document:
    """Parse one object."""
    document: Document = msgspec.json.decode(raw)
    return document


def load_lines(raw: bytes) -> list[Document]:
    """Parse NDJSON."""
    return [load(line) for line in raw.splitlines() if line]
