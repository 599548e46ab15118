"""Tests for ``lmgateway.stores.program``."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.stores.deadline import Deadline, Refused
from lmgateway.stores.program import first_line


class FirstLineTests(SynchronousTestCase):
    """Tests for ``first_line``."""

    def run_python(self, code: str, seconds: float = 20.0, **environ: str) -> str:
        """Run a few lines of Python."""
        return first_line([sys.executable, "-c", code], environ, ("MORE",), Deadline(seconds))

    def refusal(self, code: str, seconds: float = 20.0) -> str:
        """Say why that is not good."""
        with self.assertRaises(Refused) as caught:
            self.run_python(code, seconds)
        return str(caught.exception)

    def test_the_first_line(self) -> None:
        """Is the secret, without its end."""
        self.assertEqual(self.run_python("print('sk-1'); print('of no matter')"), "sk-1")
        self.assertEqual(self.run_python("print('sk-1', end='')"), "sk-1")

    def test_few_variables(self) -> None:
        """Nothing of the gateway's own secrets is passed on."""
        code = "import os; print(sorted(k for k in os.environ if k != 'LC_CTYPE'))"
        got = self.run_python(code, HOME="/h", MORE="m", OPENAI_API_KEY="canary")
        self.assertEqual(got, "['HOME', 'MORE', 'PATH']")

    def test_no_shell(self) -> None:
        """An argument is an argument."""
        deadline = Deadline(20.0)
        self.assertEqual(first_line(["echo", "$(id);x"], os.environ, (), deadline), "$(id);x")

    def test_what_goes_wrong(self) -> None:
        """Is told without what the program said."""
        self.assertEqual(
            self.refusal("import sys; print('canary'); sys.exit(3)"), "it ended with status 3"
        )
        self.assertEqual(self.refusal("print('x' * 100000)"), "it writes too much")
        self.assertEqual(
            self.refusal("import sys; sys.stdout.buffer.write(bytes([255]))"),
            "its output is not text",
        )
        with self.assertRaises(Refused) as caught:
            first_line(["/no/such/program"], {}, (), Deadline(20.0))
        self.assertEqual(str(caught.exception), "it cannot be started: No such file or directory")

    def test_one_that_hangs(self) -> None:
        """Is ended, with all that it started."""
        mark = Path(self.mktemp()).absolute()
        code = (
            "import subprocess, sys, time;"
            "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
            f"open({str(mark)!r}, 'w').write(str(child.pid));"
            "time.sleep(600)"
        )
        self.assertEqual(self.refusal(code, 2.0), "it takes too long")
        child = int(mark.read_text())
        for _ in range(1000):
            if is_gone(child):
                return
            time.sleep(0.01)
        self.fail("it runs on")


def is_gone(process: int) -> bool:
    """Tell whether a process has ended; nobody may have asked for its status yet."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
