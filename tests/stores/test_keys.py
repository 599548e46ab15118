"""What every store of keys must do, and what the file must besides."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

import lmgateway
from lmgateway.errors import ConfigError
from lmgateway.stores.keys import KeyRecord, KeyStore, MemoryKeys, StoreFailed
from lmgateway.stores.sqlite_keys import SqliteKeys

ONE = KeyRecord(id="one", digest="11" * 32, members={"name": "ann"}, created=1.0)
TWO = KeyRecord(
    id="two",
    digest="22" * 32,
    members={"name": "bob", "allow_models": ["a", "b"], "rate_limit_rpm": 5},
    created=2.0,
    blocked=True,
    old_digest="33" * 32,
    old_until=9.5,
)


class MemoryKeysTests(SynchronousTestCase):
    """Tests for records in memory: what every store must do."""

    def store(self) -> KeyStore:
        """Give an empty store."""
        return MemoryKeys()

    def test_gives_back_what_it_keeps(self) -> None:
        """All of it, the oldest first."""
        store = self.store()
        store.save(ONE)
        store.save(TWO)
        self.assertEqual(store.load(), [ONE, TWO])

    def test_one_record_for_each_id(self) -> None:
        """The newer takes the place of the older."""
        store = self.store()
        store.save(ONE)
        store.save(replace(ONE, blocked=True))
        self.assertEqual(store.load(), [replace(ONE, blocked=True)])

    def test_forgets(self) -> None:
        """What is removed; what is not there cannot be, and that is no fault."""
        store = self.store()
        store.save(ONE)
        store.save(TWO)
        store.remove("one")
        store.remove("nobody")
        self.assertEqual(store.load(), [TWO])

    def test_use(self) -> None:
        """The time of the last use is kept, and a change does not forget it."""
        store = self.store()
        store.save(ONE)
        store.note_used({"one": 7.5, "nobody": 8.0})
        self.assertEqual(store.load(), [replace(ONE, last_used=7.5)])


_WRITER = """
import os, signal, sys
from pathlib import Path
from lmgateway.stores.keys import KeyRecord
from lmgateway.stores.sqlite_keys import SqliteKeys
store = SqliteKeys(Path(sys.argv[1]))
for number in range(20):
    store.save(KeyRecord(id=f"k{number}", digest="00" * 32, members={}, created=float(number)))
os.kill(os.getpid(), signal.SIGKILL)
"""


class SqliteKeysTests(MemoryKeysTests):
    """The same for records in a file, and what the file must do besides."""

    def path(self) -> Path:
        """Name the file."""
        folder = Path(self.mktemp())
        folder.mkdir()
        return folder / "keys.sqlite"

    def open(self, path: Path) -> SqliteKeys:
        """Open a file until the test ends."""
        store = SqliteKeys(path)
        self.addCleanup(store.close)
        return store

    def store(self) -> KeyStore:
        """Give an empty store."""
        return self.open(self.path())

    def test_opened_again(self) -> None:
        """It has what was there."""
        path = self.path()
        store = SqliteKeys(path)
        store.save(TWO)
        store.note_used({"two": 3.0})
        store.close()
        self.assertEqual(self.open(path).load(), [replace(TWO, last_used=3.0)])

    def test_survives_being_killed(self) -> None:
        """Whatever was kept before a ``kill -9`` is there after it."""
        path = self.path()
        environ = {"PYTHONPATH": str(Path(lmgateway.__file__).parents[1])}
        command = [sys.executable, "-c", _WRITER, str(path)]
        done = subprocess.run(command, timeout=60, env=environ)
        self.assertEqual(done.returncode, -9)
        self.assertEqual([each.id for each in self.open(path).load()], [f"k{n}" for n in range(20)])

    def test_for_its_owner_only(self) -> None:
        """Nobody else may read it, nor its log; even if it was there before."""
        path = self.path()
        path.touch(0o644)
        self.open(path).save(ONE)
        modes = {each.name: each.stat().st_mode & 0o777 for each in path.parent.iterdir()}
        self.assertIn("keys.sqlite-wal", modes)
        self.assertEqual(set(modes.values()), {0o600})

    def test_no_database(self) -> None:
        """A file that is something else is named, and left as it is."""
        path = self.path()
        path.write_bytes(b"this is no database, but a text of some length\n" * 100)
        with self.assertRaisesRegex(ConfigError, r"state\.keys: .*keys\.sqlite.*not a database"):
            SqliteKeys(path)
        self.assertTrue(path.read_bytes().startswith(b"this is no database"))

    def test_damaged(self) -> None:
        """So is a database in which something was overwritten."""
        path = self.path()
        store = SqliteKeys(path)
        for number in range(200):
            store.save(replace(TWO, id=f"k{number}"))
        store.close()
        whole = path.read_bytes()
        path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
        with self.assertRaisesRegex(ConfigError, r"state\.keys: .*keys\.sqlite"):
            SqliteKeys(path)

    def test_no_record(self) -> None:
        """So is one whose rows are not ours."""
        path = self.path()
        store = SqliteKeys(path)
        store._connection.execute("INSERT INTO keys VALUES ('x', 1, x'7b7d', NULL)")
        store.close()
        with self.assertRaisesRegex(ConfigError, r"state\.keys: .*keys\.sqlite"):
            SqliteKeys(path)

    def test_of_another_version(self) -> None:
        """So is one that a newer gateway wrote."""
        path = self.path()
        store = SqliteKeys(path)
        store._connection.execute("PRAGMA user_version = 99")
        store.close()
        with self.assertRaisesRegex(ConfigError, "version 99"):
            SqliteKeys(path)

    def test_no_folder(self) -> None:
        """So is a file that cannot be made."""
        with self.assertRaisesRegex(ConfigError, "its folder is not there"):
            SqliteKeys(self.path() / "nothing" / "keys.sqlite")

    def test_failing(self) -> None:
        """What cannot be written is told, and nothing of it is kept."""
        path = self.path()
        store = self.open(path)
        store._connection.execute("PRAGMA query_only = 1")
        with self.assertRaises(StoreFailed):
            store.save(ONE)
        self.assertEqual(store.load(), [])
