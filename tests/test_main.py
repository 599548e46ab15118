"""Tests of the line that tells how the tests went."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.__main__ import tally


class TallyTests(SynchronousTestCase):
    def test_all_passed(self) -> None:
        """Skipped tests are neither passed nor failed."""
        self.assertEqual(tally("PASSED (skips=2, successes=10)\n"), (10, 0))

    def test_errors_count_as_failed(self) -> None:
        """A test that raised has failed, whatever trial calls it."""
        self.assertEqual(tally("FAILED (failures=1, errors=2, successes=3)"), (3, 3))

    def test_nothing_ran(self) -> None:
        """No test at all is told apart from a line that says nothing."""
        self.assertEqual(tally("PASSED"), (0, 0))
        self.assertIsNone(tally("Ran 3 tests in 0.010s"))
