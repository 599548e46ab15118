"""
Append-only files of JSON lines, each of which holds the SHA-256 of the one before.

So no line can be changed, taken out or put in without the next one telling; only the
end can be cut off, which the last hash tells to whoever keeps it elsewhere.  A file
that follows on another, after a rotation, begins with the last hash of that one.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import msgspec
from msgspec import Struct

from lmgateway.stores.lines import LineFile, lines_of

ORIGIN = "0" * 64
"""What the very first line holds."""
TAIL = 1 << 20
"""Bytes of the end of a file that are looked at, at most."""


class _Link(msgspec.Struct):
    prev: str


_link = msgspec.json.Decoder(_Link).decode


class Chain:
    """
    Takes JSON objects as bytes, and appends them.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = LineFile(path)
        self._last: str | None = None

    def take(self, items: Sequence[bytes]) -> None:
        """Hold objects for the next ``flush``."""
        if self._last is None:
            self._last = _last_hash(self._path)
        lines = []
        for item in items:
            line = b'{"prev":"%b",%b' % (self._last.encode(), item[1:])
            self._last = sha256(line).hexdigest()
            lines.append(line)
        self._file.take(lines)

    def flush(self) -> None:
        """Write what is held; raises ``OSError`` if that fails."""
        self._file.flush()

    def reopen(self) -> None:
        """The file was moved."""
        self._file.reopen()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def tail_of(path: Path) -> list[bytes]:
    """Give the last lines of a file that are part of a chain; none if it cannot be read."""
    try:
        start = max(0, path.stat().st_size - TAIL)
        lines = [line.rstrip(b"\n") for line in lines_of(path, start)]
    except OSError:
        return []
    return [line for line in lines if _prev_of(line) is not None]


def _last_hash(path: Path) -> str:
    lines = tail_of(path)
    return sha256(lines[-1]).hexdigest() if lines else ORIGIN


def _prev_of(line: bytes) -> str | None:
    try:
        return _link(line).prev
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


class Verdict(Struct, frozen=True, kw_only=True):
    """
    What a file is found to be.

    Attributes:
        lines: How many good lines it has.
        torn: How many lines a crash cut off.
        first: What the first line holds: ``ORIGIN``, or the last hash of another file.
        last: The hash of the last good line.
        broken: The number of the line from which the chain does not hold; ``None`` if it does.
    """

    lines: int
    torn: int
    first: str
    last: str
    broken: int | None = None


def verify(path: Path) -> Verdict:
    """
    Follow the chain of a file.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open("rb"):
        pass  # a file that is not there is no empty one
    lines = torn = 0
    first = last = ORIGIN
    for number, line in enumerate(lines_of(path), 1):
        line = line.rstrip(b"\n")
        prev = _prev_of(line)
        if prev is None:
            torn += 1
            continue
        if not lines:
            first = prev
        elif prev != last:
            return Verdict(lines=lines, torn=torn, first=first, last=last, broken=number)
        lines += 1
        last = sha256(line).hexdigest()
    return Verdict(lines=lines, torn=torn, first=first, last=last)
