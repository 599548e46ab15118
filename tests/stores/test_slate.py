"""Tests for the memory that processes share."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.errors import Overloaded
from lmgateway.stores.slate import AT, HELD, OWN, Row, Shape, Slate

CHECKOUT = Path(__file__).parent.parent.parent
SHAPES = (Shape(6, 64), Shape(6, 64, forgets=False))

CODE = """
import os, sys
from lmgateway.stores.slate import OWN, Row, Shape, Slate
slate = Slate((Shape(6, 64), Shape(6, 64, forgets=False)), int(sys.argv[1]), 3)
row = Row(slate.tables[0], slate.key("a"))
"""


class SlateTests(SynchronousTestCase):
    """Tests for records that several processes see."""

    def setUp(self) -> None:
        """Make one, and see it as another process does."""
        self.slate = Slate(SHAPES)
        self.other = Slate(SHAPES, os.dup(self.slate.file), 1)
        self.addCleanup(self.slate.close)
        self.addCleanup(self.other.close)

    def child(self, code: str) -> subprocess.Popen[bytes]:
        """Start a process that has the memory, too."""
        file = self.slate.file
        return subprocess.Popen(
            [sys.executable, "-c", CODE + code, str(file)],
            pass_fds=(file,),
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            stdout=subprocess.PIPE,
        )

    def test_a_record_is_the_same_for_all(self) -> None:
        """What one process writes under a name another reads there."""
        mine = Row(self.slate.tables[0], self.slate.key("client", "a"))
        theirs = Row(self.other.tables[0], self.other.key("client", "a"))
        with self.slate.lock:
            self.slate.whole[mine.at() + OWN] = 7
        with self.other.lock:
            self.assertEqual(self.other.whole[theirs.at() + OWN], 7)

    def test_other_names_have_other_records(self) -> None:
        """Names that only look alike when they are put together are different."""
        table = self.slate.tables[0]
        places = {
            Row(table, self.slate.key(*name)).at() for name in (("a", "b"), ("ab",), ("", "ab"))
        }
        self.assertEqual(len(places), 3)

    def test_what_a_process_held_is_given_back(self) -> None:
        """Of a record only what that one process held goes, whatever others hold."""
        for slate, amount in ((self.slate, 5), (self.other, 3)):
            row = Row(slate.tables[0], slate.key("a"))
            with slate.lock:
                row.hold(slate.whole[row.at() + HELD] + amount)
        self.slate.release(1)
        row = Row(self.slate.tables[0], self.slate.key("a"))
        self.assertEqual(self.slate.whole[row.at() + HELD], 5)
        self.slate.release(1)
        self.assertEqual(self.slate.whole[row.at() + HELD], 5)

    def test_the_oldest_makes_room(self) -> None:
        """A table that is full forgets what was unused for longest, and what is held never."""
        slate, table = self.slate, self.slate.tables[0]
        rows = [Row(table, slate.key(str(number))) for number in range(64)]
        for number, row in enumerate(rows):
            slate.real[row.at() + AT] = float(number + 1)
        rows[0].hold(1)
        Row(table, slate.key("new")).at()
        self.assertEqual(slate.moved, 1)
        self.assertEqual(slate.whole[rows[0].at() + HELD], 1)

    def test_what_is_never_forgotten_refuses(self) -> None:
        """A table that may not forget says that it is full."""
        slate, table = self.slate, self.slate.tables[1]

        def fill() -> None:
            for number in range(65):
                Row(table, slate.key(str(number))).at()

        self.assertRaises(Overloaded, fill)

    def test_what_a_killed_process_held_by_half_is_given_back(self) -> None:
        """One that dies between the sum and its own note leaves nothing held, or given twice."""
        for torn, held in (
            ("slate.whole[row.at() + HELD] += 1", 7),
            ("slate.whole[row.own] += 1", 7),
        ):
            for slate in (self.slate, self.other):
                row = Row(slate.tables[0], slate.key("a"))
                with slate.lock:
                    row.hold(slate.whole[row.at() + HELD] + held)
            child = self.child(
                "import signal\nfrom lmgateway.stores.slate import HELD\n"
                "slate.lock.__enter__()\n"
                f"row.hold(slate.whole[row.at() + HELD] + 2)\n{torn}\n"
                "os.kill(os.getpid(), signal.SIGKILL)\n"
            )
            with child:
                pass
            self.slate.release(3)
            self.assertEqual(self.slate.whole[row.at() + HELD], 14)
            self.slate.release(1)
            self.slate.release(0)
            self.assertEqual(self.slate.whole[row.at() + HELD], 0)

    def test_the_lock_of_a_killed_process_is_had_by_the_next(self) -> None:
        """A process that is killed within a step holds up nobody."""
        child = self.child(
            "with slate.lock:\n"
            "    slate.whole[row.at() + OWN] = 9\n"
            "    print('locked', flush=True)\n"
            "    sys.stdin.read()\n"
            "    import time; time.sleep(60)\n"
        )
        assert child.stdout is not None
        self.assertEqual(child.stdout.readline(), b"locked\n")
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        row = Row(self.slate.tables[0], self.slate.key("a"))
        for _ in range(2):
            with self.slate.lock:
                self.assertEqual(self.slate.whole[row.at() + OWN], 9)

    def test_two_processes_lose_no_step(self) -> None:
        """What two add to at the same time is the sum."""
        code = (
            "for _ in range(20000):\n"
            "    with slate.lock:\n"
            "        slate.whole[row.at() + OWN] += 1\n"
        )
        children = [self.child(code), self.child(code)]
        for child in children:
            child.communicate()
            self.assertEqual(child.returncode, 0)
        row = Row(self.slate.tables[0], self.slate.key("a"))
        self.assertEqual(self.slate.whole[row.at() + OWN], 40000)
