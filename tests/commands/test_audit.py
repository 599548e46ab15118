"""Tests for ``lmgateway audit verify``."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.commands.cli import main
from lmgateway.stores.chain import Chain


class AuditVerifyTests(SynchronousTestCase):
    """Tests for the command."""

    def setUp(self) -> None:
        """Write a log."""
        self.path = Path(self.mktemp())
        chain = Chain(self.path)
        chain.take([b'{"n":1}', b'{"n":2}', b'{"n":3}'])
        chain.flush()
        chain.close()

    def verify(self, *more: str) -> tuple[int, str]:
        """Run it; give the exit status and what it says."""
        result = CliRunner().invoke(main, ["audit", "verify", str(self.path), *more])
        return result.exit_code, result.output

    def test_whole(self) -> None:
        """Says so, with the last hash."""
        status, words = self.verify()
        self.assertEqual(status, 0)
        self.assertRegex(words, r"whole: 3 lines, the last with the hash [0-9a-f]{64}\n$")

    def test_broken(self) -> None:
        """Says where."""
        lines = self.path.read_bytes().splitlines(keepends=True)
        self.path.write_bytes(lines[0] + lines[2])
        status, words = self.verify()
        self.assertEqual(status, 1)
        self.assertIn("broken: line 2 does not follow", words)

    def test_a_cut_end(self) -> None:
        """Is seen by whoever kept the last hash; a file that has grown is not taken for cut."""
        last = self.verify()[1].split()[-1]
        self.assertEqual(self.verify("--last", last)[0], 0)
        whole = self.path.read_bytes()
        self.path.write_bytes(b"".join(whole.splitlines(keepends=True)[:2]))
        self.assertEqual(self.verify()[0], 0)
        self.assertEqual(self.verify("--last", last)[0], 1)
        self.path.write_bytes(whole)
        chain = Chain(self.path)
        chain.take([b'{"n":4}'])
        chain.flush()
        chain.close()
        self.assertEqual(self.verify("--last", last)[0], 0)

    def test_missing(self) -> None:
        """A file that is not there is not whole."""
        self.path.unlink()
        status, words = self.verify()
        self.assertEqual(status, 1)
        self.assertIn("cannot be read: No such file", words)
