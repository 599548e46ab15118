"""Tests for ``lmgateway.stores.chain`` and ``lmgateway.stores.audit``."""

from __future__ import annotations

from pathlib import Path
from stat import S_IMODE

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.stores.audit import MAX_DENIALS, MAX_DENIALS_EACH, AuditLog
from lmgateway.stores.chain import ORIGIN, Chain, verify


class ChainTests(SynchronousTestCase):
    """Tests for ``Chain`` and ``verify``."""

    def setUp(self) -> None:
        """Write three lines."""
        self.path = Path(self.mktemp())
        self.write(b'{"a":1}', b'{"a":2}')
        self.write(b'{"a":3}')

    def write(self, *items: bytes) -> None:
        """Write lines as another process would."""
        chain = Chain(self.path)
        chain.take(items)
        chain.flush()
        chain.close()

    def change(self, number: int, line: bytes | None) -> None:
        """Change a line, or take it out."""
        lines = self.path.read_bytes().splitlines(keepends=True)
        lines[number - 1 : number] = [] if line is None else [line]
        self.path.write_bytes(b"".join(lines))

    def test_whole(self) -> None:
        """What was written is one chain, whoever wrote it; nobody else may read it."""
        found = verify(self.path)
        self.assertEqual((found.lines, found.torn, found.broken), (3, 0, None))
        self.assertEqual(found.first, ORIGIN)
        self.assertEqual(S_IMODE(self.path.stat().st_mode), 0o600)

    def test_a_changed_line(self) -> None:
        """The one after it tells."""
        line = self.path.read_bytes().splitlines()[1]
        self.change(2, line.replace(b'"a":2', b'"a":9') + b"\n")
        self.assertEqual(verify(self.path).broken, 3)

    def test_a_line_that_was_taken_out(self) -> None:
        """So does it there; also the first one."""
        self.change(2, None)
        self.assertEqual(verify(self.path).broken, 2)

    def test_lines_in_another_order(self) -> None:
        """And there."""
        lines = self.path.read_bytes().splitlines(keepends=True)
        self.path.write_bytes(b"".join([lines[0], lines[2], lines[1]]))
        self.assertEqual(verify(self.path).broken, 2)

    def test_a_crash(self) -> None:
        """A torn line is told of, and the chain goes on after it."""
        with self.path.open("ab") as file:
            file.write(b'{"prev":"abc')
        self.write(b'{"a":4}')
        found = verify(self.path)
        self.assertEqual((found.lines, found.torn, found.broken), (4, 1, None))

    def test_another_file(self) -> None:
        """After a rotation the chain goes on in the new one."""
        chain = Chain(self.path)
        self.addCleanup(chain.close)
        chain.take([b'{"a":4}'])
        chain.flush()
        last = verify(self.path).last
        self.path.rename(f"{self.path}.1")
        chain.take([b'{"a":5}'])
        chain.flush()
        self.assertEqual(verify(self.path).first, last)


class AuditLogTests(SynchronousTestCase):
    """Tests for ``AuditLog``."""

    def setUp(self) -> None:
        """Make one whose clocks stand still."""
        self.now = 1000.0
        self.log = self.another()

    def another(self) -> AuditLog:
        """Make one more."""
        log = AuditLog(lambda: 1_800_000_000.0, lambda: self.now)
        self.addCleanup(log.close)
        return log

    def test_rows(self) -> None:
        """They are numbered, and say when."""
        self.log.write("action", {"route": "POST /x"})
        self.log.write("config", {"generation": 2})
        self.assertEqual(
            [(row.n, row.kind) for row in self.log.newest], [(1, "action"), (2, "config")]
        )
        self.assertEqual(self.log.newest[0].at, "2027-01-15T08:00:00.000+00:00")

    def test_a_flood_of_one(self) -> None:
        """Of one address a few are written; how many more there were is told later."""
        for _ in range(100):
            self.log.deny("10.0.0.1", {})
        self.assertEqual(len(self.log.newest), MAX_DENIALS_EACH)
        self.log.deny("10.0.0.2", {"path": "/"})
        self.assertEqual(
            self.log.newest[-1].facts,
            {"ip": "10.0.0.2", "path": "/", "unwritten_before": 100 - MAX_DENIALS_EACH},
        )
        self.now += 61
        self.log.deny("10.0.0.1", {})
        self.assertEqual(len(self.log.newest), MAX_DENIALS_EACH + 2)

    def test_a_flood_of_many(self) -> None:
        """Of all addresses together not many more."""
        for number in range(10_000):
            self.log.deny(f"address-{number}", {})
        self.assertEqual(len(self.log.newest), MAX_DENIALS)

    def test_a_restart_goes_on(self) -> None:
        """Numbers and chain go on, and the latest rows of before are shown."""
        path = Path(self.mktemp())
        self.log.keep(path, lambda error: None)
        for number in range(3):
            self.log.write("action", {"number": number})
        self.log.close()
        again = self.another()
        again.keep(path, lambda error: None)
        again.write("action", {"number": 3})
        again.close()
        self.assertEqual([row.facts["number"] for row in again.newest], [0, 1, 2, 3])
        self.assertEqual([row.n for row in again.newest], [1, 2, 3, 4])
        found = verify(path)
        self.assertEqual((found.lines, found.broken), (4, None))
