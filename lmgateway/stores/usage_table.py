"""Records of usage in a SQLite table: the same as in lines, and quicker to find."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

import msgspec

from lmgateway.stores.sqlite import connect, mapped
from lmgateway.stores.usage import Record

_COLUMNS = tuple(f'"{field.name}"' for field in msgspec.structs.fields(Record))
_TABLE = f"""
CREATE TABLE IF NOT EXISTS usage ({", ".join(_COLUMNS)}, PRIMARY KEY (id)) WITHOUT ROWID
"""
_INDEX = "CREATE INDEX IF NOT EXISTS usage_at ON usage (at)"
_INSERT = f"INSERT OR IGNORE INTO usage VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM usage WHERE at >= ? ORDER BY at"  # noqa: S608
_FLAGS = ("answered", "estimated")


class UsageTable:
    """
    Keeps records in a database.

    Attributes:
        torn: Nothing is ever torn here: a transaction is whole, or not there.
    """

    torn = 0

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._pending: list[Record] = []

    def take(self, items: Sequence[Record]) -> None:
        """Hold records for the next ``flush``."""
        self._pending += items

    def flush(self) -> None:
        """Write what is held, in one transaction; raises ``OSError`` if that fails."""
        if self._identity != _identity(self._path):
            self.close()
        if self._connection is None:
            self._connection = _opened(self._path)
            self._identity = _identity(self._path)
        rows = [msgspec.structs.astuple(record) for record in self._pending]
        with mapped():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._connection.executemany(_INSERT, rows)
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise
        self._pending.clear()

    def reopen(self) -> None:
        """The file was moved."""
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            with suppress(sqlite3.Error):
                connection.close()

    def read(self, since: float = 0.0) -> Iterator[Record]:
        """
        Go through the records since a moment, oldest first; blocks.

        Raises:
            OSError: If the file cannot be read.
        """
        if not self._path.exists():
            return
        with mapped(), closing(_opened(self._path)) as connection:
            for row in connection.execute(_SELECT, (since,)):
                record = Record(*row)
                for flag in _FLAGS:
                    setattr(record, flag, bool(getattr(record, flag)))
                yield record


def _opened(path: Path) -> sqlite3.Connection:
    connection = connect(path)
    try:
        with mapped():
            connection.execute(_TABLE)
            connection.execute(_INDEX)
    except OSError:
        connection.close()
        raise
    return connection


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
