"""
The access log: one JSON line per exchange, from a buffer of its own.

The logger of operational events costs tens of microseconds a line; this one
encodes a struct and appends.  Lines leave in blocks, within ``FLUSH_SECONDS``
or as soon as the buffer is full, and the last ones when the service stops.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from lmgateway.telemetry.traffic import Entry

FLUSH_SECONDS = 0.25
FLUSH_BYTES = 64 * 1024
MAX_HELD = 1024 * 1024
"""Bytes kept while the writer takes none; further lines are dropped."""


class AccessLog:
    """
    Writes entries as lines.

    Args:
        write: Takes a block of whole lines.  A ``BlockingIOError`` says how much of it was
            taken: the rest is offered again.  Any other ``OSError`` loses the block, which is
            counted, and nothing else.
        clock: Delays the flush.
    """

    _log = Logger()

    def __init__(self, write: Callable[[bytes], object], clock: IReactorTime) -> None:
        self._write = write
        self._clock = clock
        self._lines = bytearray()
        self._flush: IDelayedCall | None = None
        self._encode = msgspec.json.Encoder().encode
        self._stuck = False
        self.dropped = 0

    def __call__(self, entry: Entry) -> None:
        """Take one entry."""
        if len(self._lines) >= MAX_HELD:
            self.dropped += 1
            return
        self._lines += self._encode(entry)
        self._lines += b"\n"
        if self._flush is None:
            self._flush = self._clock.callLater(FLUSH_SECONDS, self._due)
        if len(self._lines) >= FLUSH_BYTES and not self._stuck:
            self.flush()

    def _due(self) -> None:
        self._flush = None
        self.flush()

    def flush(self) -> None:
        """Write out what there is."""
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        block, self._lines = bytes(self._lines), bytearray()
        if not block:
            return
        self._stuck = False
        try:
            self._write(block)
        except BlockingIOError as stuck:
            self._stuck = True
            self._lines += block[stuck.characters_written :]
            self._flush = self._clock.callLater(FLUSH_SECONDS, self._due)
        except OSError as error:
            self.dropped += block.count(b"\n")
            self._log.warn("Access log lines are lost: {error}", error=error)
