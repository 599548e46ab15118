"""
The access log: one JSON line per exchange, from a buffer of its own.

The logger of operational events costs tens of microseconds a line; this one
keeps the entry, and encodes some of them at once.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec import UNSET
from twisted.internet.interfaces import IReactorTime

from lmgateway.telemetry.lines import FLUSH_BYTES, FLUSH_SECONDS, MAX_HELD, Lines
from lmgateway.telemetry.traffic import Entry

__all__ = ["FLUSH_BYTES", "FLUSH_SECONDS", "MAX_HELD", "AccessLog"]

BATCH = 32
"""Entries that are encoded at once: what little there is to do is done while it is at hand."""


class AccessLog(Lines):
    """
    Writes entries as lines: see ``Lines``.

    Attributes:
        share: Of what went well, the share that is written; a trace is all there, or not.
        slow_ms: What took longer is written whatever its share.
        left_out: Lines that fell out of the share.
    """

    def __init__(self, write: Callable[[bytes], object], clock: IReactorTime) -> None:
        super().__init__(write, clock)
        self._encode = msgspec.json.Encoder().encode_lines
        self._entries: list[Entry] = []
        self.share = 1.0
        self.slow_ms = 0.0
        self.left_out = 0

    @property
    def waiting(self) -> bool:
        """Whether there are lines that nobody took yet."""
        return bool(self._entries) or super().waiting

    def __call__(self, entry: Entry) -> None:
        """Take one entry; what is kept for the operator's eyes is not logged."""
        if self.share < 1.0 and self._is_left_out(entry):
            self.left_out += 1
        elif self.full:
            self.dropped += 1
        else:
            self._entries.append(entry)
            count = len(self._entries)
            if count == 1:
                self._leave()
            elif count >= BATCH:
                self._gather()
                self._leave()

    def _gather(self) -> None:
        entries, self._entries = self._entries, []
        self._lines += self._encode(
            [each if each.debug_request_body is UNSET else _fit(each) for each in entries]
        )

    def flush(self) -> None:
        """Write out what there is."""
        self._gather()
        super().flush()

    def abandon(self) -> None:
        """Give up what nobody took."""
        self._gather()
        super().abandon()

    def _is_left_out(self, entry: Entry) -> bool:
        if not entry.success or entry.latency_ms > self.slow_ms:
            return False
        number = int(entry.trace_id[-8:], 16) if entry.trace_id else 0
        return number >= self.share * 0x1_0000_0000


def encoded(encode: Callable[[Entry], bytes], entry: Entry) -> bytes:
    """Give an entry as JSON, without the body that is only for the operator's eyes."""
    return encode(_fit(entry))


def _fit(entry: Entry) -> Entry:
    """Give an entry without that body."""
    if entry.debug_request_body is msgspec.UNSET:
        return entry
    return msgspec.structs.replace(entry, debug_request_body=msgspec.UNSET)
