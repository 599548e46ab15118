"""What records are given to: each has a name, counts what it loses, and can be closed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, ensureDeferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from lmgateway.classes import frozen
from lmgateway.exchange import Exchange
from lmgateway.telemetry.line_file import LineFile
from lmgateway.telemetry.lines import Lines

EXPIRY_SECONDS = 600.0


class Sink(Protocol):
    """Something that records go to."""

    @property
    def name(self) -> str:
        """What metrics call it."""

    @property
    def dropped(self) -> int:
        """How many records were lost."""

    async def close(self, seconds: float) -> None:
        """Write or send what is left, as far as that takes no longer."""


@frozen
class Opened:
    """
    A sink that is in use.

    Attributes:
        key: All that it depends on.
        take: Takes exchanges, if it does.
        stop: Has it be given no more entries.
        put: Takes what another process has made of exchanges, if it does.
    """

    key: object
    sink: Sink
    take: Callable[[Exchange], object] | None = None
    stop: Callable[[], object] | None = None
    put: Callable[[Any], object] | None = None


class FileSink:
    """
    Lines that go to a file.

    Args:
        name: What metrics call it.
        lines: Holds them; writes to *file*.
        clock: Whose time counts.
        shared: Whether *lines* go on after this sink, and tell themselves what they lose.
        expires: Whether the file has lines that are to be deleted in time.
    """

    def __init__(
        self,
        name: str,
        lines: Lines,
        file: LineFile,
        clock: IReactorTime,
        *,
        shared: bool = False,
        expires: bool = False,
    ) -> None:
        self.name = name
        self.lines = lines
        self._file = file
        self._shared = shared
        self._clock = clock
        self._expiry: IDelayedCall | None = None
        lines.redirect(file.write)
        file.freed = lines.resume
        if expires:
            self._expire()

    @property
    def dropped(self) -> int:
        """How many lines were lost."""
        return self._file.dropped + (0 if self._shared else self.lines.dropped)

    def _expire(self) -> None:
        self._file.expire()
        self._expiry = self._clock.callLater(EXPIRY_SECONDS, self._expire)

    async def close(self, seconds: float) -> None:
        """Write what is left, and let go of the file."""
        if self._expiry is not None:
            self._expiry.cancel()
        self._file.freed = None
        try:
            await ensureDeferred(self._finish()).addTimeout(seconds, self._clock)
        except (CancelledError, TookTooLong):
            self.lines.abandon()

    async def _finish(self) -> None:
        await self._file.idle()
        while self.lines.waiting:
            self.lines.flush()
            await self._file.idle()
        await self._file.close()
