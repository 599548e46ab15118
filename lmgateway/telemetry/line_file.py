"""
A file of lines that is written in a thread, and survives being moved away.

Before each write the file at the path is compared with the one that is open: a
``logrotate`` that renamed it, or somebody who deleted it, gets a new one begun.
Where a size or an age is set, the file is moved aside by itself (``.1`` is the
newest of ``keep``), and what is older than the age is deleted.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from errno import EAGAIN
from pathlib import Path
from time import time
from typing import Protocol

from attrs import field
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from lmgateway.classes import define


class _InThread(Protocol):
    def __call__(self, function: Callable[[], None]) -> Deferred[None]: ...


@define(kw_only=True, eq=False)
class Shelf:
    """
    The file itself; used by one thread at a time.

    Attributes:
        mode: Of a file that is begun.
        max_bytes: How large it may become; 0 for any.
        max_seconds: How old its oldest line may become, and those of the files moved aside;
            0 for any.
        keep: How many files are kept beside it.
        wall: Seconds since the epoch.
    """

    path: Path
    mode: int = 0o640
    max_bytes: int = 0
    max_seconds: float = 0.0
    keep: int = 5
    wall: Callable[[], float] = time
    _file: int | None = None
    _begun: float = 0.0

    def append(self, block: bytes) -> None:
        """
        Write whole lines.

        Raises:
            OSError: If that cannot be done.
        """
        file = self._opened()
        size = os.fstat(file).st_size
        full = self.max_bytes and size and size + len(block) > self.max_bytes
        # Aside after half its time, so that the last line is gone when its own is over.
        old = self.max_seconds and self.wall() - self._begun > self.max_seconds / 2
        if full or (old and size):
            self._move_aside()
            file = self._opened()
        view = memoryview(block)
        while view:
            view = view[os.write(file, view) :]

    def _opened(self) -> int:
        if self._file is not None:
            here = os.fstat(self._file)
            try:
                there = os.stat(self.path)
            except FileNotFoundError:
                there = None
            if there is not None and os.path.samestat(here, there):
                return self._file
            self.close()
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(self.path, flags, self.mode)
        found = os.fstat(self._file)
        self._begun = found.st_mtime if found.st_size else self.wall()
        return self._file

    def _move_aside(self) -> None:
        self.close()
        for number in range(self.keep, 0, -1):
            older = self._aside(number)
            newer = self._aside(number - 1) if number > 1 else self.path
            if newer.exists():
                newer.rename(older)
        if not self.keep:
            self.path.unlink()

    def _aside(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    def expire(self) -> None:
        """Delete what is older than the age that is set."""
        if not self.max_seconds:
            return
        limit = self.wall() - self.max_seconds
        for number in range(self.keep + 1):
            path = self._aside(number) if number else self.path
            try:
                if path.stat().st_mtime < limit:
                    path.unlink()
            except FileNotFoundError:
                continue

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


@define(eq=False)
class LineFile:
    """
    Writes blocks of lines to a shelf, one block at a time, in a thread.

    Attributes:
        dropped: Lines that were lost because the file could not be written.
        freed: Called whenever a block is written.
    """

    shelf: Shelf
    in_thread: _InThread
    dropped: int = 0
    freed: Callable[[], object] | None = None
    _busy: Deferred[None] | None = field(default=None, init=False)
    _failing: bool = field(default=False, init=False)
    _log = Logger()

    def write(self, block: bytes) -> None:
        """
        Write whole lines, soon.

        Raises:
            BlockingIOError: If the last block is not written yet; none of this one was taken.
        """
        if self._busy is not None:
            raise BlockingIOError(EAGAIN, "the last block is not written yet", 0)
        busy = self._busy = self.in_thread(lambda: self.shelf.append(block))
        busy.addCallbacks(self._written, self._lost, errbackArgs=(block.count(b"\n"),))

    def _written(self, _: object) -> None:
        self._busy = None
        if self._failing:
            self._failing = False
            self._log.info("{path} is written again.", path=str(self.shelf.path))
        if self.freed is not None:
            self.freed()

    def _lost(self, failure: object, lines: int) -> None:
        self._busy = None
        self.dropped += lines
        if not self._failing:
            self._failing = True
            why = getattr(failure, "value", failure)
            self._log.error("{path}: lines are lost: {error}", path=self.shelf.path, error=why)

    def expire(self) -> None:
        """Delete what is too old, if the file is not just being written."""
        if self._busy is None:
            self._busy = self.in_thread(self.shelf.expire)
            self._busy.addCallbacks(self._written, self._lost, errbackArgs=(0,))

    def idle(self) -> Deferred[None]:
        """Fire once nothing is being written."""
        if self._busy is None:
            return succeed(None)
        waiter: Deferred[None] = Deferred()
        self._busy.addBoth(lambda _: waiter.callback(None))
        return waiter

    async def close(self) -> None:
        """Let go of the file."""
        await self.in_thread(self.shelf.close)
