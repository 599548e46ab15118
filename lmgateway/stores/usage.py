"""
Records of usage: what each attempt took and cost, and the files that keep them.

A record is named by its run of the process and a number within it, never by
anything that a client sent: a line that was written twice counts once.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from lmgateway.stores.lines import LineFile, lines_of

DISORDER = 86_400.0
"""Seconds that records may lie out of order in a file: the clock was put back."""
_BLOCK = 1 << 16


class Record(
    msgspec.Struct,
    gc=False,
    omit_defaults=True,
    rename={"cost": "cost_nano_usd", "saved": "saved_nano_usd"},
):
    """
    One settled attempt.

    Attributes:
        id: Our own: the run, a dash, and a number that only grows.
        at: Seconds since the epoch at which it was settled.
        request_id: What the request goes by elsewhere; a client may have chosen it.
        attempt: Which one of its request, from 1.
        client: Who asked; empty if nobody in particular.
        purpose: ``answer``, or ``classify`` or ``judge`` on the way to one.
        outcome: How it ended.
        answered: Whether it gave the client's answer, or the beginning of one.
        cached_read: Part of the input.
        cached_write: Part of the input.
        reasoning: Part of the output.
        estimated: Whether the backend told nothing, and we counted.
        cost: Nano-dollars; ``None`` if the target has no price.
        saved: Nano-dollars less than the baseline; ``None`` without one.
    """

    id: str
    at: float
    request_id: str
    attempt: int
    client: str
    group: str
    profile: str
    tier: str
    backend: str
    model: str
    purpose: str
    outcome: str
    answered: bool = False
    input_tokens: int = 0
    output_tokens: int = 0
    cached_read: int = 0
    cached_write: int = 0
    reasoning: int = 0
    estimated: bool = False
    cost: int | None = 0
    saved: int | None = None


encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Record).decode


class Once:
    """Lets each record through once, by its own id."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def is_new(self, record: Record) -> bool:
        """Tell whether a record was not seen yet; within a run they come in order."""
        run, _, number = record.id.rpartition("-")
        if not number.isdigit() or int(number) <= self._last.get(run, -1):
            return False
        self._last[run] = int(number)
        return True


class UsageLines:
    """
    Keeps records as JSON lines.

    Attributes:
        torn: How many lines were unreadable when the file was last read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = LineFile(path)
        self.torn = 0

    def take(self, items: Sequence[Record]) -> None:
        """Hold records for the next ``flush``."""
        self._file.take([encode(record) for record in items])

    def flush(self) -> None:
        """Write what is held; raises ``OSError`` if that fails."""
        self._file.flush()

    def reopen(self) -> None:
        """The file was moved."""
        self._file.reopen()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def read(self, since: float = 0.0) -> Iterator[Record]:
        """
        Go through the records since a moment, oldest first; blocks.

        Raises:
            OSError: If the file cannot be read.
        """
        self.torn = 0
        once = Once()
        for line in lines_of(self._path, _place(self._path, since - DISORDER)):
            try:
                record = _decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                self.torn += 1
                continue
            if once.is_new(record) and record.at >= since:
                yield record


class _Blocks(Sequence[float]):
    """The times at which the blocks of a file begin, as a sequence to search in."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._count = path.stat().st_size // _BLOCK

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> float:  # type: ignore[override]  # no slices
        for line in lines_of(self._path, index * _BLOCK):
            try:
                return _decode(line).at
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
        return float("inf")


def _place(path: Path, since: float) -> int:
    """Give a byte of the file before which all records are older."""
    if since <= 0 or not path.exists():
        return 0
    return max(0, bisect_left(_Blocks(path), since) - 1) * _BLOCK
