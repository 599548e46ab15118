"""
SQLite files, as everything here opens them: private, in WAL mode, patient with others.

Blocking: for start-up, and for threads.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from errno import EIO
from pathlib import Path

from lmgateway.stores.lines import MODE, check_place

PATIENCE = 5.0
"""Seconds to wait for another process that writes."""


def connect(path: Path) -> sqlite3.Connection:
    """
    Open a database, made readable by nobody else if it is new.

    Raises:
        OSError: If it cannot be opened, or is no database.
    """
    with mapped():
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, MODE))
        connection = sqlite3.connect(
            path, timeout=PATIENCE, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            connection.close()
            raise
        return connection


def check(path: Path) -> None:
    """
    See that a database can be used, without making one.

    Raises:
        OSError: If it is there and is no database, or could not be made.
    """
    if not path.exists():
        check_place(path)
        return
    with mapped(), closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True)) as connection:
        connection.execute("PRAGMA schema_version").fetchone()


@contextmanager
def mapped() -> Iterator[None]:
    """Turn the errors of ``sqlite3`` into ``OSError``."""
    try:
        yield
    except sqlite3.Error as error:
        raise OSError(EIO, f"{type(error).__name__}: {error}") from error
