"""The table of the fault matrix is whole."""

from __future__ import annotations

from importlib import import_module

from twisted.trial.unittest import SynchronousTestCase

from tests.faults.rows import ROWS, here, tests_of


class TableTests(SynchronousTestCase):
    """See ``tests.faults.rows``."""

    def test_all_rows(self) -> None:
        """There are 61 rows, and each is tried somewhere or says why not."""
        self.assertEqual([*ROWS], [*range(1, 62)])
        for number, row in ROWS.items():
            self.assertNotEqual(bool(tests_of(number)), bool(row.skipped), number)

    def test_names(self) -> None:
        """Every test that the table names is there."""
        self.assertLessEqual({*here()}, {*ROWS})
        for row in ROWS.values():
            for name in row.elsewhere:
                parts = name.split(".")
                module, _, rest = (parts[:3], ".", parts[3:])
                found = import_module(".".join(module))
                for part in rest:
                    found = getattr(found, part)
