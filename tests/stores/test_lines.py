"""Tests for ``lmgateway.stores.lines``."""

from __future__ import annotations

import os
from pathlib import Path
from stat import S_IMODE
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.stores.lines import LineFile, lines_of


class LineFileTests(SynchronousTestCase):
    """Tests for ``LineFile``."""

    def setUp(self) -> None:
        """Name a file that is not there."""
        self.path = Path(self.mktemp())
        self.file = LineFile(self.path)
        self.addCleanup(self.file.close)

    def write(self, *lines: bytes) -> None:
        """Write lines."""
        self.file.take(lines)
        self.file.flush()

    def test_private(self) -> None:
        """Nobody else may read a new file."""
        self.write(b"a", b"b")
        self.assertEqual(self.path.read_bytes(), b"a\nb\n")
        self.assertEqual(S_IMODE(self.path.stat().st_mode), 0o600)

    def test_appends(self) -> None:
        """What was there stays."""
        self.path.write_bytes(b"old\n")
        self.write(b"new")
        self.assertEqual(self.path.read_bytes(), b"old\nnew\n")

    def test_a_torn_line_stays_alone(self) -> None:
        """What a crash left at the end spoils no further line."""
        self.path.write_bytes(b'whole\n{"tor')
        self.write(b"new")
        self.assertEqual([*lines_of(self.path)], [b"whole\n", b'{"tor\n', b"new\n"])

    def test_moved_away(self) -> None:
        """After a rotation lines go to a new file, without being told of it."""
        self.write(b"a")
        self.path.rename(f"{self.path}.1")
        self.write(b"b")
        self.assertEqual(self.path.read_bytes(), b"b\n")
        self.path.unlink()
        self.write(b"c")
        self.assertEqual(self.path.read_bytes(), b"c\n")

    def test_a_full_disk(self) -> None:
        """What was written so far is not written again; the line goes on where it was cut."""
        room = [3, 0]
        real = os.write

        def write(file: int, data: bytes) -> int:
            if not (left := room.pop(0) if room else len(data)):
                raise OSError(28, "No space left on device")
            return real(file, data[:left])

        self.file.take([b"first", b"second"])
        with patch("os.write", write):
            with self.assertRaises(OSError):
                self.file.flush()
            self.assertEqual(self.path.read_bytes(), b"fir")
            self.file.flush()
        self.assertEqual(self.path.read_bytes(), b"first\nsecond\n")

    def test_a_file_moved_in_the_middle_of_a_line(self) -> None:
        """The new one begins with a whole line."""
        self.file.take([b"first", b"second"])
        real, room = os.write, [3, 0]

        def write(file: int, data: bytes) -> int:
            if room and not room[0]:
                raise OSError(28, "No space left on device")
            return real(file, data[: room.pop(0)] if room else data)

        with patch("os.write", write), self.assertRaises(OSError):
            self.file.flush()
        self.path.rename(f"{self.path}.1")
        self.file.flush()
        self.assertEqual(self.path.read_bytes(), b"second\n")

    def test_no_pipe(self) -> None:
        """A pipe would hold up the writer for ever."""
        os.mkfifo(self.path)
        self.file.take([b"a"])
        with self.assertRaises(OSError):
            self.file.flush()


class LinesOfTests(SynchronousTestCase):
    """Tests for ``lines_of``."""

    def test_missing(self) -> None:
        """A file that is not there has no lines."""
        self.assertEqual([*lines_of(Path(self.mktemp()))], [])

    def test_from_the_middle(self) -> None:
        """The line that the place is in is left out, but not one that begins there."""
        path = Path(self.mktemp())
        path.write_bytes(b"one\ntwo\n\nthree\n")
        self.assertEqual([*lines_of(path, 4)], [b"two\n", b"three\n"])
        self.assertEqual([*lines_of(path, 5)], [b"three\n"])
