"""
Keys that were made through the admin API, as records; never the keys themselves.

A store keeps what it is told and gives it back after a restart.  Its methods may
wait for a disk, so that whoever has one that ``blocks`` calls it in a thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from lmgateway.chat import Document


class StoreFailed(Exception):
    """What keeps records failed; nothing was changed."""


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """
    One key.

    Attributes:
        id: What it is called by; also the second part of the key.
        digest: The SHA-256 of the key, in hexadecimal digits.
        members: What its holder may do: as in ``[[clients]]``, but for the key.
        created: Seconds since the epoch.
        blocked: Whether it is not good for now.
        old_digest: Of the key before it was rotated; empty if it never was.
        old_until: Until when that one is good, in seconds since the epoch.
        last_used: When it was shown last, in seconds since the epoch.
    """

    id: str
    digest: str
    members: Document
    created: float
    blocked: bool = False
    old_digest: str = ""
    old_until: float = 0.0
    last_used: float | None = None


class KeyStore(Protocol):
    """Where records are kept."""

    @property
    def blocks(self) -> bool:
        """Whether its methods may wait for a disk."""

    def load(self) -> list[KeyRecord]:
        """Give all records, the oldest first."""

    def save(self, record: KeyRecord) -> None:
        """Keep a record in the place of the one with its id; it is there for good on return."""

    def remove(self, identity: str) -> None:
        """Keep it no longer."""

    def note_used(self, used: Mapping[str, float]) -> None:
        """Keep when keys were shown last, by id."""

    def close(self) -> None:
        """Let go of the file."""


class MemoryKeys:
    """Keeps nothing beyond the process: see ``KeyStore``."""

    blocks = False

    def __init__(self) -> None:
        self._records: dict[str, KeyRecord] = {}

    def load(self) -> list[KeyRecord]:
        """Give all records."""
        return [*self._records.values()]

    def save(self, record: KeyRecord) -> None:
        """Keep a record."""
        self._records[record.id] = record

    def remove(self, identity: str) -> None:
        """Keep it no longer."""
        self._records.pop(identity, None)

    def note_used(self, used: Mapping[str, float]) -> None:
        """Keep when keys were shown last."""
        for identity, when in used.items():
            if identity in self._records:
                self._records[identity] = msgspec.structs.replace(
                    self._records[identity], last_used=when
                )

    def close(self) -> None:
        """Nothing is open."""
