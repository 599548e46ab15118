"""
``make faults``: run the fault matrix, or some rows of it.

``python -m tests.faults [--times N] [ROW ...]`` runs each row N times (3 by default) by trial, and
prints a line for each row and what came of all.  The exit status is 1 if a row failed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence

from tests.faults.rows import ROWS, tests_of


def main() -> int:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("rows", nargs="*", type=int, metavar="ROW", help="all if none is given")
    parser.add_argument("--times", type=int, default=3, help="how often each is run")
    options = parser.parse_args()
    unknown = [row for row in options.rows if row not in ROWS]
    if unknown:
        parser.error(f"rows are numbered 1 to {len(ROWS)}")
    failed = skipped = 0
    for number in options.rows or ROWS:
        row = ROWS[number]
        if row.skipped:
            skipped += 1
            _say(f"{number:>3}  skip            {row.what} ({row.skipped})")
            continue
        well, seconds, output = _run(tests_of(number), options.times)
        failed += not well
        _say(f"{number:>3}  {'ok  ' if well else 'FAIL'}  {seconds:6.1f} s  {row.what}")
        if not well:
            _say(output)
    ran = len(options.rows or ROWS) - skipped
    _say(f"\n{ran - failed} of {ran} rows as they should be, {skipped} skipped")
    return 1 if failed else 0


def _run(tests: Sequence[str], times: int) -> tuple[bool, float, str]:
    """Run tests some times over; say whether all went well, and what was said if not."""
    began = time.monotonic()
    command = [sys.executable, "-m", "twisted.trial", "--temp-directory=build/faults", *tests]
    for _ in range(times):
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        if done.returncode:
            return False, time.monotonic() - began, done.stdout[-6000:]
    return True, time.monotonic() - began, ""


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
