"""
Split newline-delimited JSON (Ollama's streams) into lines, on bytes.

Nothing is decoded and nothing is lost: the raw bytes of all events, put
together, are what came in.
"""

from __future__ import annotations

from lmgateway.backend_errors import ProtocolError
from lmgateway.chat import Event

MAX_LINE = 1 << 20


class Splitter:
    """
    Turns pieces of a stream into lines.

    Args:
        max_event: The most bytes one line may have.

    Attributes:
        rest: The bytes of a line that has not ended yet.
    """

    def __init__(self, max_event: int = MAX_LINE) -> None:
        self._max = max_event
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def rest(self) -> bytes:
        """The bytes of a line that has not ended yet."""
        return b"".join(self._parts)

    def feed(self, data: bytes) -> list[Event]:
        """
        Take the next piece; give the lines that it completes.

        Blank lines are events without data.

        Raises:
            ProtocolError: If a line is too long.
        """
        lines = data.split(b"\n")
        last = lines.pop()
        if self._size and lines:
            self._parts.append(lines[0])
            lines[0] = b"".join(self._parts)
            self._parts.clear()
            self._size = 0
        if last:
            self._parts.append(last)
            self._size += len(last)
        if self._size > self._max or any(len(line) >= self._max for line in lines):
            raise ProtocolError("The backend sent a line that is too long.")
        return [
            Event(line + b"\n", b"", line[:-1] if line[-1:] == b"\r" else line) for line in lines
        ]

    def close(self) -> list[Event]:
        """Give the last line, if the stream ended without a line break."""
        last = self.rest
        self._parts.clear()
        self._size = 0
        return [Event(last, b"", last.rstrip(b"\r"))] if last else []
