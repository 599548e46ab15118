"""
From a backend's grammar to a client's: the one place where two dialects meet.

On the diagonal (both the same) nothing here is used but ``Pass``: the
backend's own bytes go to the client, whose stream differs only by the usage
event that the client did not ask for.
"""

from __future__ import annotations

from typing import Protocol

from lmgateway.chat import Event
from lmgateway.dialects.base import Mark, StreamReader, StreamWriter
from lmgateway.errors import GatewayError


class Transcoder(Protocol):
    """Turns a backend's inspected events into a client's bytes."""

    def take(self, event: Event, mark: Mark) -> bytes:
        """Give what the client is sent for one event; may be empty."""

    def error(self, error: GatewayError) -> bytes:
        """Give the in-band error."""

    def keep_alive(self) -> bytes:
        """Give what means nothing and keeps a client waiting."""


class Verbatim:
    """The lossless diagonal."""

    def __init__(self, writer: StreamWriter, *, wants_usage: bool) -> None:
        self._hide = None if wants_usage else Mark.USAGE
        self.error = writer.error
        self.keep_alive = writer.keep_alive

    def take(self, event: Event, mark: Mark) -> bytes:
        """Give the backend's bytes, unless they tell a usage that was not asked for."""
        return b"" if mark is self._hide else event.raw


class Translated:
    """Through the hub, event by event."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.error = writer.error
        self.keep_alive = writer.keep_alive

    def take(self, event: Event, mark: Mark) -> bytes:
        """Give the client's events for one of the backend's."""
        encode = self._writer.encode
        out = b"".join([encode(chunk) for chunk in self._reader.decode(event)])
        return out + self._writer.end() if mark is Mark.END else out
