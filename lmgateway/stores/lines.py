"""
Append-only files of JSON lines.

A file may be moved away at any time, as log rotation does: before each block it is
seen whether the path still leads to the open file, and if not, the path is opened
anew.  A crash leaves at most one torn line, at the end; whoever reads skips and
counts it, and whoever goes on writing begins a new line after it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from errno import EINVAL, EIO
from pathlib import Path
from stat import S_ISREG

MODE = 0o600
MAX_LINE = 64 * 1024
"""Bytes of a line; a longer one is none of ours."""
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK


def check_place(path: Path) -> None:
    """
    See that a file could be made or opened for writing, without doing it.

    Raises:
        OSError: If it could not.
    """
    there = path.exists()
    if there and not path.is_file():
        raise OSError(EIO, "is not a regular file")
    if not os.access(path if there else path.parent, os.W_OK):
        reason = "is not writable" if path.parent.is_dir() else "its folder is not there"
        raise OSError(EIO, reason)


class LineFile:
    """
    Takes lines and appends them.

    Args:
        path: The file; made when there is something to write.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._pending = bytearray()
        self._within_line = False

    def take(self, items: Sequence[bytes]) -> None:
        """Hold lines, each without its end, for the next ``flush``."""
        for line in items:
            self._pending += line
            self._pending += b"\n"

    def flush(self) -> None:
        """
        Write the lines that are held, and have the disk confirm it.

        Raises:
            OSError: If the disk does not take all; the rest is still held.
        """
        if self._file is not None and not _leads_to(self._path, self._file):
            self.reopen()
        if self._file is None:
            self._file = self._open()
        while self._pending:
            written = os.write(self._file, self._pending)
            self._within_line = self._pending[written - 1] != 0x0A
            del self._pending[:written]
        os.fsync(self._file)

    def _open(self) -> int:
        file = open_regular(self._path)
        if _is_torn(file):
            self._pending[:0] = b"\n"
        return file

    def reopen(self) -> None:
        """Let go of the file; a line that is half in it stays torn."""
        self.close()
        if self._within_line:
            del self._pending[: self._pending.find(b"\n") + 1]
            self._within_line = False

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            file, self._file = self._file, None
            with suppress(OSError):
                os.close(file)


def open_regular(path: Path) -> int:
    """
    Open a file to append to, readable by nobody else if it is new.

    Raises:
        OSError: If that cannot be done, or it is a pipe or a device.
    """
    file = os.open(path, _FLAGS, MODE)
    if not S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(EINVAL, "not a regular file", str(path))
    return file


def lines_of(path: Path, start: int = 0) -> Iterator[bytes]:
    """
    Go through the lines of a file; none if it is not there.

    Args:
        start: The byte to begin at; the line that it is in is left out.

    Raises:
        OSError: If it cannot be read.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        if start:
            file.seek(start - 1)
            file.readline()
        while line := file.readline(MAX_LINE):
            if line != b"\n":
                yield line


def _leads_to(path: Path, file: int) -> bool:
    try:
        there = os.stat(path)
    except OSError:
        return False
    here = os.fstat(file)
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _is_torn(file: int) -> bool:
    size = os.fstat(file).st_size
    return size > 0 and os.pread(file, 1, size - 1) != b"\n"
