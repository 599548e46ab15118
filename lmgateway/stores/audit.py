"""
The audit log: who did what on the admin port, who was turned away, what was configured.

The newest rows are in memory; all are in a file too where one is configured, each
chained to the one before (see ``lmgateway.stores.chain``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from cachetools import LRUCache
from msgspec import Struct

from lmgateway.stores.chain import Chain, tail_of
from lmgateway.stores.spool import Spool

MAX_ROWS = 1_000
"""Rows kept in memory."""
MINUTE = 60.0
MAX_DENIALS = 60
"""Denials that are written in a minute; further ones are counted."""
MAX_DENIALS_EACH = 5
"""Denials of one address that are written in a minute."""


class Row(msgspec.Struct, frozen=True):
    """
    One thing that was done, or tried.

    Attributes:
        n: Its number, which only grows.
        at: When; ISO 8601, UTC.
        kind: ``action``, ``denied``, ``config`` or ``alarm``.
        facts: What is known of it; never a secret.
    """

    n: int
    at: str
    kind: str
    facts: dict[str, Any]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Row).decode


class _Minute(Struct):
    since: float
    count: int = 0


class AuditLog:
    """
    Writes rows.

    Args:
        wall: Seconds since the epoch.
        now: Monotonic seconds.

    Attributes:
        newest: The latest rows.
    """

    def __init__(self, wall: Callable[[], float], now: Callable[[], float]) -> None:
        self._wall = wall
        self._now = now
        self._number = 0
        self._path: Path | None = None
        self._spool: Spool[bytes] | None = None
        self._lost = 0
        self._denials: LRUCache[str, _Minute] = LRUCache(MAX_ROWS)
        self._all_denials = _Minute(now())
        self._unwritten = 0
        self.newest: deque[Row] = deque(maxlen=MAX_ROWS)

    def write(self, kind: str, facts: dict[str, Any]) -> None:
        """Write one row."""
        self._number += 1
        at = datetime.fromtimestamp(self._wall(), UTC).isoformat(timespec="milliseconds")
        row = Row(self._number, at, kind, facts)
        self.newest.append(row)
        if self._spool is not None:
            self._spool.put(_encode(row))

    def deny(self, address: str, facts: dict[str, Any]) -> None:
        """Write that somebody was turned away; of a flood the first, and how many more."""
        now = self._now()
        if now - self._all_denials.since >= MINUTE:
            self._all_denials = _Minute(now)
        every, each = self._all_denials, self._denials.get(address)
        if each is None or now - each.since >= MINUTE:
            each = self._denials[address] = _Minute(now)
        if each.count >= MAX_DENIALS_EACH or every.count >= MAX_DENIALS:
            self._unwritten += 1
            return
        each.count += 1
        every.count += 1
        unwritten, self._unwritten = self._unwritten, 0
        more = {"unwritten_before": unwritten} if unwritten else {}
        self.write("denied", {"ip": address, **facts, **more})

    # The file --------------------------------------------------------------
    def keep(self, path: Path | None, told: Callable[[OSError | None], object]) -> None:
        """Keep rows in a file from now on; the latest of those that are there are shown too."""
        if path is not None and path == self._path:
            if self._spool is not None:
                self._spool.reopen()
            return
        self.close()
        self._path = path
        if path is not None:
            if not self._number:
                self._recall(tail_of(path))
            self._spool = Spool(Chain(path), changed=told)

    def _recall(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            try:
                row = _decode(line)
            except msgspec.DecodeError:
                continue
            self.newest.append(row)
            self._number = max(self._number, row.n)

    def close(self) -> None:
        """Write what is left, and end; blocks for some seconds at most."""
        if self._spool is not None:
            spool, self._spool = self._spool, None
            spool.close()
            self._lost += spool.dropped
        self._path = None

    @property
    def kept(self) -> bool:
        """Whether there is a file to be closed."""
        return self._spool is not None

    @property
    def dropped(self) -> int:
        """How many rows are not in the file although they should be."""
        return self._lost + (0 if self._spool is None else self._spool.dropped)
