"""Files of lines: moved away, filled up, expired or gone, no line that was taken is lost."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.telemetry.line_file import LineFile, Shelf
from lmgateway.telemetry.lines import FLUSH_SECONDS, Lines
from lmgateway.telemetry.sinks import EXPIRY_SECONDS, FileSink


class ShelfTests(SynchronousTestCase):
    """See ``lmgateway.telemetry.line_file``."""

    def setUp(self) -> None:
        """Choose a place."""
        folder = Path(self.mktemp())
        folder.mkdir()
        self.path = folder / "log.jsonl"
        self.now = 1000.0

    def shelf(self, **more: float) -> Shelf:
        """Make a shelf that is closed in the end."""
        shelf = Shelf(path=self.path, wall=lambda: self.now, **more)  # type: ignore[arg-type]
        self.addCleanup(shelf.close)
        return shelf

    def test_L8_5_moved_away(self) -> None:
        """After the file was renamed or deleted, the next lines go to a new one."""
        shelf = self.shelf()
        shelf.append(b"1\n")
        self.path.rename(self.path.with_suffix(".old"))
        shelf.append(b"2\n")
        self.assertEqual(self.path.with_suffix(".old").read_bytes(), b"1\n")
        self.assertEqual(self.path.read_bytes(), b"2\n")
        self.path.unlink()
        shelf.append(b"3\n")
        self.assertEqual(self.path.read_bytes(), b"3\n")

    def test_a_file_that_is_there_is_gone_on_with(self) -> None:
        """What an earlier process wrote stays."""
        self.path.write_bytes(b"1\n")
        self.shelf().append(b"2\n")
        self.assertEqual(self.path.read_bytes(), b"1\n2\n")

    def test_L8_5_rotation_by_size(self) -> None:
        """A full file is moved aside; so many are kept, the newest as number one."""
        shelf = self.shelf(max_bytes=4, keep=2)
        for number in range(5):
            shelf.append(b"%d\n" % number * 2)
        names = sorted(path.name for path in self.path.parent.iterdir())
        self.assertEqual(names, ["log.jsonl", "log.jsonl.1", "log.jsonl.2"])
        self.assertEqual(self.path.read_bytes(), b"4\n4\n")
        self.assertEqual(self.path.with_name("log.jsonl.1").read_bytes(), b"3\n3\n")

    def test_nothing_is_kept_beside(self) -> None:
        """With none to keep, a full file is begun anew."""
        shelf = self.shelf(max_bytes=2, keep=0)
        shelf.append(b"1\n")
        shelf.append(b"2\n")
        self.assertEqual([*self.path.parent.iterdir()], [self.path])
        self.assertEqual(self.path.read_bytes(), b"2\n")

    def test_expiry(self) -> None:
        """No line stays longer than the age that is set, whether or not more come."""
        shelf = self.shelf(max_seconds=100, keep=2)
        shelf.append(b"1\n")
        os.utime(self.path, (self.now, self.now))
        self.now += 60
        shelf.append(b"2\n")
        aside = self.path.with_name("log.jsonl.1")
        self.assertEqual(aside.read_bytes(), b"1\n")
        os.utime(self.path, (self.now, self.now))
        self.now += 50
        shelf.expire()
        self.assertFalse(aside.exists())
        self.assertTrue(self.path.exists())
        self.now += 100
        shelf.expire()
        self.assertFalse(self.path.exists())
        shelf.append(b"3\n")
        self.assertEqual(self.path.read_bytes(), b"3\n")

    def test_without_an_age_nothing_expires(self) -> None:
        """A file that has no age is left alone."""
        shelf = self.shelf()
        shelf.append(b"1\n")
        self.now += 1e9
        shelf.expire()
        self.assertTrue(self.path.exists())

    def test_the_mode(self) -> None:
        """A file is begun with the mode that is asked for."""
        self.shelf(mode=0o600).append(b"1\n")
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)

    def test_no_link_is_followed(self) -> None:
        """A link in the place of the file does not make us write elsewhere."""
        self.path.symlink_to(self.path.with_name("elsewhere"))
        with self.assertRaises(OSError):
            self.shelf().append(b"1\n")


class SinkTests(SynchronousTestCase):
    """Lines that go to a file by way of a thread."""

    def setUp(self) -> None:
        """Make a sink whose thread does its work when it is told to."""
        folder = Path(self.mktemp())
        folder.mkdir()
        self.path = folder / "log.jsonl"
        self.clock = Clock()
        self.waiting: list[tuple[Callable[[], None], Deferred[None]]] = []
        self.at_once = True
        self.shelf = Shelf(path=self.path)
        self.addCleanup(self.shelf.close)
        self.file = LineFile(self.shelf, self.in_thread)
        self.lines = Lines(self.file.write, self.clock)
        self.sink = FileSink("test", self.lines, self.file, self.clock)

    def in_thread(self, function: Callable[[], None]) -> Deferred[None]:
        """Do it at once, or when the thread is let go."""
        if self.at_once:
            return _tried(function)
        done: Deferred[None] = Deferred()
        self.waiting.append((function, done))
        return done

    def work(self) -> None:
        """Have the thread do what it was given."""
        while self.waiting:
            function, done = self.waiting.pop(0)
            _tried(function).chainDeferred(done)

    def test_a_slow_disk_holds_nobody_up(self) -> None:
        """While a block is being written, lines wait, and are written after it."""
        self.at_once = False
        self.lines.put(b"1")
        self.clock.advance(FLUSH_SECONDS)
        self.lines.put(b"2")
        self.clock.advance(FLUSH_SECONDS)
        self.assertEqual(len(self.waiting), 1)
        self.work()
        self.clock.advance(FLUSH_SECONDS)
        self.work()
        self.assertEqual(self.path.read_bytes(), b"1\n2\n")
        self.assertEqual(self.sink.dropped, 0)

    def test_L8_5_a_full_disk_loses_lines_and_nothing_else(self) -> None:
        """Lines that cannot be written are counted; afterwards it goes on."""
        self.path.mkdir()
        for _ in range(3):
            self.lines.put(b"1")
        self.clock.advance(FLUSH_SECONDS)
        self.assertEqual(self.sink.dropped, 3)
        self.path.rmdir()
        self.lines.put(b"2")
        self.clock.advance(FLUSH_SECONDS)
        self.assertEqual(self.path.read_bytes(), b"2\n")

    def test_what_waits_is_written_in_the_end(self) -> None:
        """Closing writes what is there, after what is being written."""
        self.at_once = False
        self.lines.put(b"1")
        self.clock.advance(FLUSH_SECONDS)
        self.lines.put(b"2")
        closed = Deferred.fromCoroutine(self.sink.close(3.0))
        for _ in range(4):
            self.work()
        self.successResultOf(closed)
        self.assertEqual(self.path.read_bytes(), b"1\n2\n")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_disk_that_hangs_does_not_keep_us(self) -> None:
        """Closing gives up after its time, and counts what was not written."""
        self.at_once = False
        self.lines.put(b"1")
        self.clock.advance(FLUSH_SECONDS)
        self.lines.put(b"2")
        closed = Deferred.fromCoroutine(self.sink.close(3.0))
        self.assertNoResult(closed)
        self.clock.advance(3.0)
        self.successResultOf(closed)
        self.assertEqual(self.sink.dropped, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_expiry_is_looked_after(self) -> None:
        """A sink whose lines expire looks for old ones from time to time, until it is closed."""
        shelf = Shelf(path=self.path.with_name("c"), max_seconds=0.0001)
        file = LineFile(shelf, self.in_thread)
        sink = FileSink("c", Lines(file.write, self.clock), file, self.clock, expires=True)
        shelf.path.write_bytes(b"old\n")
        os.utime(shelf.path, (1, 1))
        self.clock.advance(EXPIRY_SECONDS)
        self.assertFalse(shelf.path.exists())
        self.successResultOf(Deferred.fromCoroutine(sink.close(1.0)))
        self.assertEqual(self.clock.getDelayedCalls(), [])


def _tried(function: Callable[[], None]) -> Deferred[None]:
    done: Deferred[None] = succeed(None)
    return done.addCallback(lambda _: function())
