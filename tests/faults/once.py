"""``python -m tests.faults.once REPORT TEST ...``: run tests once, and write down what failed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from twisted.python.failure import Failure
from twisted.trial.reporter import VerboseTextReporter
from twisted.trial.runner import TestLoader, TrialRunner


class Noting(VerboseTextReporter):
    """Notes failures by the tests' names."""

    def addFailure(self, test: Any, fail: Any) -> None:  # noqa: N802 - trial's own name
        """Note that a test failed."""
        self._note(test, fail)
        super().addFailure(test, fail)  # type: ignore[no-untyped-call]

    def addError(self, test: Any, error: Any) -> None:  # noqa: N802 - trial's own name
        """Note that a test broke."""
        self._note(test, error)
        super().addError(test, error)  # type: ignore[no-untyped-call]

    def _note(self, test: Any, what: Any) -> None:
        text = what.getTraceback() if isinstance(what, Failure) else str(what)
        BAD[test.id()] = text[-3000:]


BAD: dict[str, str] = {}


def main() -> None:
    """Run the tests that the command line names."""
    report, names = Path(sys.argv[1]), sys.argv[2:]
    suite = TestLoader().loadByNames(names)
    TrialRunner(Noting, workingDirectory="build/faults").run(suite)
    report.write_text(json.dumps(BAD))


if __name__ == "__main__":
    main()
