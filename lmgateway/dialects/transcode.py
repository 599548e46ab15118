"""
From a backend's grammar to a client's: the one place where two dialects meet.

On the diagonal (both the same) nothing here is used but ``Pass``: the
backend's own bytes go to the client, whose stream differs only by the usage
event that the client did not ask for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lmgateway.chat import Event
from lmgateway.dialects.base import Mark, StreamReader, StreamWriter
from lmgateway.errors import GatewayError


class Transcoder(Protocol):
    """Turns a backend's inspected events into a client's bytes."""

    def take(self, batch: Sequence[tuple[Event, Mark]]) -> bytes:
        """Give what the client is sent for some events; may be empty."""

    def error(self, error: GatewayError) -> bytes:
        """Give the in-band error."""

    def keep_alive(self) -> bytes:
        """Give what means nothing and keeps a client waiting."""


class Verbatim:
    """The lossless diagonal."""

    __slots__ = ("_hide", "_writer")

    def __init__(self, writer: StreamWriter, *, wants_usage: bool) -> None:
        self._hide = None if wants_usage else Mark.USAGE
        self._writer = writer

    def error(self, error: GatewayError) -> bytes:
        """Give the in-band error."""
        return self._writer.error(error)

    def keep_alive(self) -> bytes:
        """Give what means nothing."""
        return self._writer.keep_alive()

    def take(self, batch: Sequence[tuple[Event, Mark]]) -> bytes:
        """Give the backend's bytes, unless they tell a usage that was not asked for."""
        hide = self._hide
        if len(batch) == 1:
            event, mark = batch[0]
            return b"" if mark is hide else event.raw
        return b"".join([event.raw for event, mark in batch if mark is not hide])


class Translated:
    """Through the hub, event by event."""

    __slots__ = ("_reader", "_writer")

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def error(self, error: GatewayError) -> bytes:
        """Give the in-band error."""
        return self._writer.error(error)

    def keep_alive(self) -> bytes:
        """Give what means nothing."""
        return self._writer.keep_alive()

    def take(self, batch: Sequence[tuple[Event, Mark]]) -> bytes:
        """Give the client's events for the backend's."""
        decode, encode = self._reader.decode, self._writer.encode
        out: list[bytes] = []
        for event, mark in batch:
            out += [encode(chunk) for chunk in decode(event)]
            if mark is Mark.END:
                out.append(self._writer.end())
        return b"".join(out)
