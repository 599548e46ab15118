"""
Tool calls written as tagged text, in streams: see ``xml_tools``.

``XmlTools`` works on hub chunks, ``XmlToolReader`` is a backend's reader with
that built in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lmgateway.backend_errors import BackendError
from lmgateway.chat import Chunk, Document, Event, Usage
from lmgateway.dialects import hub
from lmgateway.dialects.base import Mark, StreamReader
from lmgateway.dialects.xml_tools import Call, Extractor, Schemas, reason_after_calls


class XmlTools:
    """Turns the tagged text of hub chunks into calls, choice by choice."""

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas
        self._extractors: dict[int, Extractor] = {}
        self._calls: dict[int, int] = {}
        self._last: Chunk = {}

    @property
    def called(self) -> bool:
        """Whether the first choice has called a tool."""
        return self._calls.get(0, 0) > 0

    @property
    def unterminated(self) -> int:
        """How many blocks the answer broke off in."""
        return sum(extractor.unterminated for extractor in self._extractors.values())

    def feed(self, chunk: Chunk) -> list[Chunk]:
        """Give the chunks to be sent for one."""
        choices = hub.objects(chunk.get("choices"))
        if not choices:
            return [chunk]
        self._last = chunk
        return [one for choice in choices for one in self._choice(chunk, choice)]

    def finish(self) -> list[Chunk]:
        """Give what is left of a stream that ended without a reason."""
        return [
            chunk
            for index, extractor in self._extractors.items()
            for chunk in self._told(self._last, index, {}, extractor.finish())
        ]

    def _choice(self, chunk: Chunk, choice: Document) -> Iterable[Chunk]:
        index = choice.get("index") or 0
        delta = hub.mapping(choice.get("delta"))
        extractor = self._extractors.setdefault(index, Extractor(self._schemas))
        own = hub.objects(delta.get("tool_calls"))
        if own:
            known = self._calls.get(index, 0)
            self._calls[index] = max(known, *(hub.call_index(call, known) + 1 for call in own))
        pieces: list[str | Call] = []
        rest = delta
        if isinstance(delta.get("content"), str):
            pieces = extractor.feed(delta["content"])
            rest = {name: value for name, value in delta.items() if name != "content"}
        reason = choice.get("finish_reason")
        if reason is not None:
            pieces += extractor.finish()
        yield from self._told(chunk, index, rest, pieces)
        if reason is not None:
            if self._calls.get(index):
                reason = reason_after_calls(reason)
            yield _one(chunk, {**choice, "delta": {}, "finish_reason": reason})

    def _told(
        self, chunk: Chunk, index: int, rest: Document, pieces: Sequence[str | Call]
    ) -> Iterable[Chunk]:
        """Give a chunk for each piece, the first with whatever else the delta said."""
        for piece in pieces:
            said = {"content": piece} if isinstance(piece, str) else self._call(index, piece)
            yield _one(chunk, {"index": index, "delta": {**rest, **said}, "finish_reason": None})
            rest = {}
        if rest:
            yield _one(chunk, {"index": index, "delta": rest, "finish_reason": None})

    def _call(self, index: int, call: Call) -> Document:
        number = self._calls.get(index, 0)
        self._calls[index] = number + 1
        made = hub.tool_call(hub.new_id("call_"), *call)
        return {"tool_calls": [{"index": number, **made}]}


def _one(chunk: Chunk, choice: Document) -> Chunk:
    """Give a chunk with one choice; a usage that came along stays with the last one only."""
    said = {**chunk, "choices": [choice]}
    if choice["finish_reason"] is None:
        said.pop("usage", None)
    return said


class XmlToolReader:
    """
    A backend's stream with its tagged text read: see ``dialects.base.StreamReader``.

    Its events cannot be passed on as they came: the client is sent ``decode``'s chunks.
    """

    def __init__(self, reader: StreamReader, schemas: Schemas) -> None:
        self._reader = reader
        self._tools = XmlTools(schemas)
        self._end: Event | None = None

    @property
    def usage(self) -> Usage | None:
        """What the backend told."""
        return self._reader.usage

    @property
    def finish_reason(self) -> str | None:
        """Why the answer ended, calls found in its text considered."""
        reason = self._reader.finish_reason
        return reason_after_calls(reason) if self._tools.called else reason

    @property
    def model(self) -> str | None:
        """The model that the backend says it is."""
        return self._reader.model

    @property
    def output_bytes(self) -> int:
        """Bytes of output seen so far, tags included."""
        return self._reader.output_bytes

    @property
    def error(self) -> BackendError | None:
        """What went wrong, if something did."""
        return self._reader.error

    @property
    def unterminated(self) -> int:
        """How many blocks the answer broke off in."""
        return self._tools.unterminated

    def inspect(self, event: Event) -> Mark:
        """Look at one event, note what it tells, and say what it is."""
        mark = self._reader.inspect(event)
        if mark is Mark.END:
            self._end = event
        return mark

    def decode(self, event: Event) -> Sequence[Chunk]:
        """Give the hub chunks of an inspected event, and at the end what was held back."""
        chunks = [told for chunk in self._reader.decode(event) for told in self._tools.feed(chunk)]
        return chunks + self._tools.finish() if event is self._end else chunks
