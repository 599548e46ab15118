"""
Split a stream of server-sent events, on bytes.

The grammar is https://html.spec.whatwg.org/multipage/server-sent-events.html:
lines end in LF, CR or CRLF, an empty line ends an event, a byte order mark
may come first.  Nothing is decoded and nothing is lost: the raw bytes of all
events, put together, are what came in.  Comments, and empty lines where
there is nothing to end, are events without data.

Providers nearly always send ``data: {...}`` and two LFs, or ``event:`` and
``data:`` and two LFs; these two never meet a regular expression.
"""

from __future__ import annotations

import re

from lmgateway.backend_errors import ProtocolError
from lmgateway.chat import Event

MAX_EVENT = 1 << 20
# As numbers: to look for a byte so is eight times as fast as for bytes.
_LF, _CR = 10, 13
_BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\r\n|\n|\r")
# CRLF is one line end and must not be taken for two.
_EMPTY_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)")
_REACH = 3
"""How many bytes before a cut can belong to an event's end that the cut divides."""


class Splitter:
    """
    Turns pieces of a stream into events.

    Args:
        max_event: The most bytes one event may have.
    """

    __slots__ = ("_begun", "_max", "_parts", "_size", "_tail")

    def __init__(self, max_event: int = MAX_EVENT) -> None:
        self._max = max_event
        self._parts: list[bytes] = []
        self._size = 0
        self._tail = b""
        self._begun = False

    @property
    def rest(self) -> bytes:
        """The bytes of an event that has not ended yet."""
        return b"".join(self._parts)

    def feed(self, data: bytes) -> list[Event]:
        """
        Take the next piece; give the events that it completes.

        Raises:
            ProtocolError: If an event is too large.
        """
        if self._size:
            if not self._completes(data):
                self._keep(data)
                return []
            data = self._joined(data)
        elif data[:6] == b"data: " and data[-2:] == b"\n\n" and len(data) <= self._max:
            only = data[6:-2]
            if _LF not in only and _CR not in only:
                self._begun = True
                return [Event(data, b"", only)]
        if _CR in data or (not self._begun and data[:1] in (b"", _BOM[:1])):
            return self._split(data, final=False)
        return self._split_plain(data)

    def close(self) -> list[Event]:
        """
        Give what the stream's end completes.

        That is an event whose last CR might have been half a CRLF, and lines that lack only
        the empty one after them: some backends end so.  Half a line stays in ``rest``.
        """
        if not self._size:
            return []
        events = self._split(self._joined(b""), final=True)
        if self._size and self._tail[-1:] in (b"\n", b"\r"):
            tail = self._joined(b"")
            events.append(_read(tail, 0 if self._begun else _mark(tail)))
        return events

    def _split_plain(self, data: bytes) -> list[Event]:
        """Split where there is no CR and no byte order mark."""
        events: list[Event] = []
        pieces = data.split(b"\n\n")
        rest = pieces.pop()
        for piece in pieces:
            if piece[:6] == b"data: " and _LF not in piece:
                events.append(Event(piece + b"\n\n", b"", piece[6:]))
            else:
                _add_plain(piece, events)
        if rest.startswith(b"\n"):
            events.append(Event(b"\n", b"", b""))
            rest = rest[1:]
        self._begun = True
        return self._finish(data, rest, events)

    def _split(self, data: bytes, *, final: bool) -> list[Event]:
        """Split anything."""
        events: list[Event] = []
        start = 0
        mark = 0 if self._begun else _mark(data)
        while True:
            begin = start + mark
            found = _LINE_END.match(data, begin) or _EMPTY_LINE.search(data, begin)
            if found is None:
                break
            end = found.end()
            if end == len(data) and data.endswith(b"\r") and not final:
                break  # an LF may follow
            events.append(_read(data[start:end], mark))
            self._begun = True
            start, mark = end, 0
        return self._finish(data, data[start:], events)

    def _completes(self, data: bytes) -> bool:
        """Say whether *data* may end the event that has begun, without joining it up."""
        if self._size <= len(_BOM) + 1:
            return True
        probe = self._tail + data
        if _CR not in probe:
            return b"\n\n" in probe
        found = _EMPTY_LINE.search(probe)
        return found is not None and not (found.end() == len(probe) and probe.endswith(b"\r"))

    def _joined(self, data: bytes) -> bytes:
        whole = b"".join((*self._parts, data))
        self._parts.clear()
        self._size = 0
        return whole

    def _keep(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)
        self._tail = (self._tail + data[-_REACH:])[-_REACH:]
        if self._size > self._max:
            raise ProtocolError("The backend sent an event that is too large.")

    def _finish(self, data: bytes, rest: bytes, events: list[Event]) -> list[Event]:
        if len(data) > self._max and any(len(event.raw) > self._max for event in events):
            raise ProtocolError("The backend sent an event that is too large.")
        if rest:
            self._tail = b""
            self._keep(rest)
        return events


def _add_plain(piece: bytes, events: list[Event]) -> None:
    """Add the event that is *piece* and two LFs, and the empty lines before it."""
    first, _, second = piece.partition(b"\n")
    if first.startswith(b"event: ") and second.startswith(b"data: ") and _LF not in second:
        events.append(Event(piece + b"\n\n", first[7:], second[6:]))
        return
    if piece.startswith(b"\n"):
        events.append(Event(b"\n", b"", b""))
        piece = piece[1:]
    if piece:
        events.append(_read(piece + b"\n\n", 0))
    else:
        events += (Event(b"\n", b"", b""), Event(b"\n", b"", b""))


def _mark(data: bytes) -> int:
    return len(_BOM) if data.startswith(_BOM) else 0


def _read(raw: bytes, mark: int) -> Event:
    """Read the lines of one event, of which *mark* bytes are a byte order mark."""
    name = b""
    data: list[bytes] = []
    for line in _LINE_END.split(raw[mark:]):
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    return Event(raw, name, b"\n".join(data))
