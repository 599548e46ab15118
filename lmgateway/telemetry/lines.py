"""
Lines that wait to be written: in blocks, and never in anybody's way.

Lines leave within ``FLUSH_SECONDS`` or as soon as there are many, and the last
ones when the service stops.  What a writer does not take is held, up to a bound.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

FLUSH_SECONDS = 0.25
FLUSH_BYTES = 64 * 1024
MAX_HELD = 1024 * 1024
"""Bytes kept while the writer takes none; further lines are dropped."""


class Lines:
    """
    Holds lines until they are written.

    Args:
        write: Takes a block of whole lines.  A ``BlockingIOError`` says how much of it was
            taken: the rest is offered again.  Any other ``OSError`` loses the block, which is
            counted, and nothing else.
        clock: Delays the flush.
        held: Bytes kept while the writer takes none.

    Attributes:
        dropped: Lines that were lost.
    """

    _log = Logger()

    def __init__(
        self, write: Callable[[bytes], object], clock: IReactorTime, held: int = MAX_HELD
    ) -> None:
        self._write = write
        self._clock = clock
        self._held = held
        self._lines = bytearray()
        self._flush: IDelayedCall | None = None
        self._stuck = False
        self.dropped = 0

    @property
    def full(self) -> bool:
        """Whether further lines are dropped."""
        return len(self._lines) >= self._held

    @property
    def waiting(self) -> bool:
        """Whether there are lines that nobody took yet."""
        return bool(self._lines)

    def put(self, line: bytes) -> None:
        """Take one line, without its end."""
        if self.full:
            self.dropped += 1
            return
        self._lines += line
        self._lines += b"\n"
        self._leave()

    def _leave(self) -> None:
        """Have what there is written soon, or now if it is much."""
        if self._flush is None:
            self._flush = self._clock.callLater(FLUSH_SECONDS, self._due)
        if len(self._lines) >= FLUSH_BYTES and not self._stuck:
            self.flush()

    def redirect(self, write: Callable[[bytes], object]) -> None:
        """Write what comes, and what waits, somewhere else."""
        self._write = write

    def resume(self) -> None:
        """Learn that the writer takes more: what is much is written at once."""
        self._stuck = False
        if len(self._lines) >= FLUSH_BYTES:
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

    def abandon(self) -> None:
        """Give up what nobody took."""
        self.dropped += self._lines.count(b"\n")
        self._lines.clear()
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
