"""Tests for ``lmgateway.stores.usage`` and ``lmgateway.stores.usage_table``: one contract."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from stat import S_IMODE
from unittest import TestCase

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.stores.usage import Once, Record, UsageLines, _place
from lmgateway.stores.usage_table import UsageTable

KILLS = 12


def record(
    number: int, *, run: str = "run", at: float | None = None, cost: int | None = 7
) -> Record:
    """Give a record."""
    return Record(
        id=f"{run}-{number}",
        at=1_800_000_000.0 + number if at is None else at,
        request_id="r",
        attempt=1,
        client="ann",
        group="team",
        profile="default",
        tier="paid",
        backend="b",
        model="m",
        purpose="answer",
        outcome="ok",
        answered=True,
        input_tokens=3,
        output_tokens=5,
        estimated=bool(number % 2),
        cost=cost,
    )


class HistoryContract(TestCase):
    """What every file of records holds to."""

    def make(self, path: Path) -> UsageLines | UsageTable:
        """Give one."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Make one."""
        assert isinstance(self, SynchronousTestCase)
        self.path = Path(self.mktemp())
        self.archive = self.make(self.path)
        self.addCleanup(self.archive.close)

    def write(self, *records: Record) -> None:
        """Write records."""
        self.archive.take(records)
        self.archive.flush()

    def test_written_and_read(self) -> None:
        """What is read is what was written, in order; another reads it too."""
        records = [record(1), record(2, cost=None), record(3)]
        self.write(*records)
        self.assertEqual([*self.archive.read()], records)
        self.assertEqual([*self.make(self.path).read()], records)

    def test_nothing_there(self) -> None:
        """A file that is not there holds nothing, and is not made by reading."""
        self.assertEqual([*self.archive.read()], [])
        self.assertFalse(self.path.exists())

    def test_since(self) -> None:
        """Older records are left out."""
        self.write(*[record(number) for number in range(1, 10)])
        found = self.archive.read(1_800_000_000.0 + 8)
        self.assertEqual([each.id for each in found], ["run-8", "run-9"])

    def test_twice_is_once(self) -> None:
        """A record that was written again counts once."""
        self.write(record(1), record(2))
        again = self.make(self.path)
        self.addCleanup(again.close)
        again.take([record(2), record(3)])
        again.flush()
        self.assertEqual([each.id for each in self.archive.read()], ["run-1", "run-2", "run-3"])

    def test_private(self) -> None:
        """Nobody else may read it."""
        self.write(record(1))
        for path in self.path.parent.glob(f"{self.path.name}*"):
            self.assertEqual(S_IMODE(path.stat().st_mode), 0o600, path)

    def test_moved_away(self) -> None:
        """After a rotation records go to a new file."""
        self.write(record(1))
        self.path.rename(f"{self.path}.1")
        self.write(record(2))
        self.assertEqual([each.id for each in self.make(self.path).read()], ["run-2"])

    def test_killed_again_and_again(self) -> None:
        """A process that is killed leaves one torn line at most, no gap and nothing twice."""
        for number in range(KILLS):
            kill_writer(type(self.archive).__name__, self.path, f"run{number}")
            self.assertLessEqual(self.archive.torn, number + 1)
        last: dict[str, int] = {}
        for each in self.archive.read():
            run, _, place = each.id.rpartition("-")
            self.assertEqual(int(place), last.get(run, 0) + 1)
            last[run] = int(place)
        self.assertGreater(len(last), KILLS // 2)
        self.assertLessEqual(self.archive.torn, KILLS)


WRITER = """
import sys, time
from pathlib import Path
from lmgateway.stores.spool import Spool
from lmgateway.stores.usage import UsageLines
from lmgateway.stores.usage_table import UsageTable
from tests.stores.test_usage import record
kind, path, run = sys.argv[1:]
spool = Spool({"UsageLines": UsageLines, "UsageTable": UsageTable}[kind](Path(path)), interval=0.01)
print("begun", flush=True)
for number in range(1, 100000):
    spool.put(record(number, run=run))
    time.sleep(0.0002)
"""


def kill_writer(kind: str, path: Path, run: str) -> None:
    """Have a process write as fast as it can, and kill it at some moment."""
    command = [sys.executable, "-c", WRITER, kind, str(path.absolute()), run]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        try:
            writer.wait(random.uniform(0.05, 0.25))
        except subprocess.TimeoutExpired:
            writer.send_signal(signal.SIGKILL)


class UsageLinesTests(HistoryContract, SynchronousTestCase):
    """JSON lines."""

    def make(self, path: Path) -> UsageLines:
        """Give one."""
        return UsageLines(path)

    def test_torn_lines_are_skipped_and_counted(self) -> None:
        """So is whatever else is no record."""
        self.write(record(1))
        with self.path.open("ab") as file:
            file.write(b'{"id":"run-2","at"')
        self.archive.close()
        self.write(record(3))
        self.assertEqual([each.id for each in self.archive.read()], ["run-1", "run-3"])
        self.assertEqual(self.archive.torn, 1)

    def test_a_place_in_a_long_file(self) -> None:
        """Reading begins near the moment asked for, and misses nothing."""
        day = 86_400.0
        self.write(*[record(number, at=number * 600.0) for number in range(1, 5000)])
        since = 4000 * 600.0
        place = _place(self.path, since - day)
        self.assertGreater(place, 0)
        found = [each.at for each in self.archive.read(since)]
        self.assertEqual(found, [number * 600.0 for number in range(4000, 5000)])

    def test_no_prompt_and_no_key(self) -> None:
        """A line has these members and no more."""
        self.write(record(1))
        self.assertEqual(
            self.path.read_text(),
            '{"id":"run-1","at":1800000001.0,"request_id":"r","attempt":1,"client":"ann",'
            '"group":"team","profile":"default","tier":"paid","backend":"b","model":"m",'
            '"purpose":"answer","outcome":"ok","answered":true,"input_tokens":3,'
            '"output_tokens":5,"estimated":true,"cost_nano_usd":7}\n',
        )


class UsageTableTests(HistoryContract, SynchronousTestCase):
    """SQLite."""

    def make(self, path: Path) -> UsageTable:
        """Give one."""
        return UsageTable(path)

    def test_no_database(self) -> None:
        """A file that is something else is left alone."""
        self.path.write_bytes(b"something else" * 100)
        with self.assertRaises(OSError):
            [*self.archive.read()]
        self.archive.take([record(1)])
        with self.assertRaises(OSError):
            self.archive.flush()
        self.assertEqual(self.path.read_bytes(), b"something else" * 100)


class OnceTests(SynchronousTestCase):
    """Tests for ``Once``."""

    def test_runs_are_apart(self) -> None:
        """The same number of another run is another record; a foreign id is none."""
        once = Once()
        self.assertEqual(
            [
                once.is_new(record(n, run=run))
                for n, run in ((1, "a"), (1, "b"), (1, "a"), (2, "a"))
            ],
            [True, True, False, True],
        )
        foreign = record(1)
        foreign.id = "what-ever"
        self.assertFalse(once.is_new(foreign))


del HistoryContract  # it is run by those that derive from it
