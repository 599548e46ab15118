"""
Runs the tests as ``make test`` does, and says in one plain line how it went.

Trial's own last lines name only what there was any of; whoever counts (a
script, a reader in a hurry) gets ``N passed, N failed`` alone on a line.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable

_RESULT = re.compile(r"(?:PASSED|FAILED)(?: \((.*)\))?$")
_PASSED = ("successes", "expectedFailures")
_FAILED = ("failures", "errors", "unexpectedSuccesses")


def tally(result: str) -> tuple[int, int] | None:
    """Read how many tests passed and failed from trial's last line; None from any other."""
    match = _RESULT.match(result.strip())
    if match is None:
        return None
    counts = dict.fromkeys(_PASSED + _FAILED, 0)
    for part in (match[1] or "").split(", "):
        name, _, number = part.partition("=")
        counts[name] = int(number or 0)
    return sum(counts[name] for name in _PASSED), sum(counts[name] for name in _FAILED)


def run(tests: Iterable[str]) -> int:
    """Run *tests* by trial, in random order with the seed shown; return the exit status."""
    options = ["--random=0", "--temp-directory=build/trial"]
    flags = ["-b"] if sys.flags.bytes_warning else []
    command = [sys.executable, *flags, "-m", "twisted.trial", *options, *tests]
    passed = failed = 0
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as trial:
        for line in trial.stdout or ():
            sys.stdout.write(line)
            sys.stdout.flush()
            passed, failed = tally(line) or (passed, failed)
    if trial.returncode and not failed:
        failed = 1  # It died before it could say so.
    sys.stdout.write(f"\n{passed} passed, {failed} failed\n")
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:] or ["tests"]))
