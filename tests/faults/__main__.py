"""
``make faults``: run the fault matrix, or some rows of it.

``python -m tests.faults [--times N] [ROW ...]`` runs the rows N times (3 by default), each time by
trial in a process of its own, and prints a line for each row.  The exit status is 1 if a row
failed even once.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests.faults.rows import ROWS, tests_of


def main() -> int:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("rows", nargs="*", type=int, metavar="ROW", help="all if none is given")
    parser.add_argument("--times", type=int, default=3, help="how often each is run")
    options = parser.parse_args()
    if any(row not in ROWS for row in options.rows):
        parser.error(f"rows are numbered 1 to {len(ROWS)}")
    rows = options.rows or [*ROWS]
    tried = [row for row in rows if not ROWS[row].skipped]
    names = sorted({name for row in tried for name in tests_of(row)})
    bad: dict[str, str] = {}
    for number in range(options.times):
        began = time.monotonic()
        bad |= _round(names)
        _say(f"round {number + 1} of {options.times}: {time.monotonic() - began:.0f} s")
    _say(_table(rows, bad))
    failed = [row for row in tried if _of_row(row, bad)]
    skipped = len(rows) - len(tried)
    _say(f"{len(tried) - len(failed)} of {len(tried)} rows as they should be, {skipped} skipped")
    return 1 if failed else 0


def _round(names: Sequence[str]) -> Mapping[str, str]:
    """Run tests once; give what went wrong, by the test's name."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [sys.executable, "-m", "tests.faults.once", str(report), *names]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if not report.exists():
            raise SystemExit(f"The tests did not run:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
        told: dict[str, str] = json.loads(report.read_text())
        return told


def _table(rows: Iterable[int], bad: Mapping[str, str]) -> str:
    lines = []
    for number in rows:
        row = ROWS[number]
        if row.skipped:
            lines.append(f"{number:>3}  skip  {row.what} ({row.skipped})")
            continue
        wrong = _of_row(number, bad)
        lines.append(f"{number:>3}  {'FAIL' if wrong else 'ok  '}  {row.what}")
        lines += [f"{name}\n{text}" for name, text in wrong.items()]
    return "\n".join(lines)


def _of_row(number: int, bad: Mapping[str, str]) -> Mapping[str, str]:
    """Give those failures that are of a row's tests."""
    mine = tests_of(number)
    return {
        name: text
        for name, text in bad.items()
        if any(name == own or name.startswith(f"{own}.") for own in mine)
    }


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
