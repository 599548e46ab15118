"""
The records of keys, in one SQLite file.

One row a key, written whole and at once: a change that was told is on the disk,
one that was cut off never happened.  The file is for its owner only.  Several
threads may call, one at a time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import msgspec

from lmgateway.errors import ConfigError
from lmgateway.stores import sqlite
from lmgateway.stores.keys import KeyRecord, StoreFailed
from lmgateway.stores.lines import MODE, check_place

VERSION = 1
"""Of the tables, as the file itself tells."""

_TABLE = """
CREATE TABLE IF NOT EXISTS keys (
    id TEXT PRIMARY KEY, created REAL NOT NULL, record BLOB NOT NULL, last_used REAL
) STRICT
"""
_SAVE = """
INSERT INTO keys VALUES (?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET record = excluded.record
"""


class SqliteKeys:
    """
    Keeps records in a file: see ``stores.keys.KeyStore``.

    Raises:
        ConfigError: If the file cannot be used.
    """

    blocks = True

    def __init__(self, path: Path) -> None:
        self._lock = Lock()
        try:
            check_place(path)
            self._connection = sqlite.connect(path)
            if path.stat().st_mode & ~MODE & 0o777:
                path.chmod(MODE)
        except OSError as error:
            raise _unusable(path, error.strerror) from error
        try:
            self._prepare()
            self.load()
        except (OSError, StoreFailed) as error:
            self._connection.close()
            raise _unusable(path, getattr(error, "strerror", str(error))) from error

    def _prepare(self) -> None:
        with sqlite.mapped():
            ask = self._connection.execute
            (version,) = ask("PRAGMA user_version").fetchone()
            if version not in (0, VERSION):
                raise StoreFailed(f"it is of version {version}, not {VERSION}")
            if ask("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise StoreFailed("it is damaged")
            ask(_TABLE)
            ask(f"PRAGMA user_version = {VERSION}")

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._connection
            except (sqlite3.Error, msgspec.DecodeError) as error:
                raise StoreFailed("it cannot be read or written") from error

    def load(self) -> list[KeyRecord]:
        """Give all records, the oldest first."""
        with self._database() as database:
            rows = database.execute("SELECT record, last_used FROM keys ORDER BY created, id")
            return [
                msgspec.structs.replace(_decode(record), last_used=used) for record, used in rows
            ]

    def save(self, record: KeyRecord) -> None:
        """Keep a record."""
        row = (record.id, record.created, msgspec.json.encode(record), record.last_used)
        with self._database() as database:
            database.execute(_SAVE, row)

    def remove(self, identity: str) -> None:
        """Keep it no longer."""
        with self._database() as database:
            database.execute("DELETE FROM keys WHERE id = ?", (identity,))

    def note_used(self, used: Mapping[str, float]) -> None:
        """Keep when keys were shown last."""
        rows = [(when, identity) for identity, when in used.items()]
        with self._database() as database:
            database.execute("BEGIN")
            try:
                database.executemany("UPDATE keys SET last_used = ? WHERE id = ?", rows)
            finally:
                database.execute("COMMIT")

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()


_decode = msgspec.json.Decoder(KeyRecord).decode


def _unusable(path: Path, reason: str | None) -> ConfigError:
    return ConfigError([f'state.keys: "{path}" cannot be used: {reason}'])
