"""
What a request costs in instructions of the processor: calls weigh what they weigh.

The gateway of ``benchmarks.whole`` runs under callgrind (Debian: valgrind),
which is slow, and counts the same on a machine that does other work.  What is
given is not the number itself but how often a fixed loop of plain Python, with
some JSON in it, could have been done instead: that differs less between
builds of the interpreter.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from benchmarks.counted import CALIBRATION
from benchmarks.lockstep import AT_ONCE, Asking
from benchmarks.processes import BenchmarkError
from benchmarks.whole import EVENTS, Gateway, Scenario, gateway_of

_SUMMARY = re.compile(r"(?m)^summary: (\d+)$")
_WARM, _TIMES, _SLICES = 30, 20, 3
_PATIENCE = 20.0


def counted(scenarios: Sequence[Scenario], folder: Path) -> dict[str, float]:
    """
    Give what each scenario takes, in turns of the loop.

    Raises:
        BenchmarkError: If valgrind is missing or fails.
    """
    if shutil.which("valgrind") is None:
        raise BenchmarkError("Instructions are counted by valgrind: apt-get install valgrind")
    found = {}
    for profile in dict.fromkeys(scenario.profile for scenario in scenarios):
        parts = folder / f"callgrind {profile}"
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={parts}"]
        command += ["--instr-atstart=no", "--dump-before=getpriority"]
        with gateway_of(profile, folder, command) as gateway:
            marks = Marks(gateway, parts)
            turn = marks.calibrated()
            for scenario in scenarios:
                if scenario.profile == profile:
                    found[scenario.name] = marks.of(scenario) / turn
    return found


class Marks:
    """
    Reads how many instructions lie between one mark and the next.

    Args:
        gateway: Runs under callgrind, which does not count yet.
        parts: What callgrind calls its files, without their numbers.
    """

    def __init__(self, gateway: Gateway, parts: Path) -> None:
        self._gateway = gateway
        self._parts = parts
        self._marks = 0
        process = str(gateway.child.process.pid)
        command = ["callgrind_control", "-i", "on", process]
        if subprocess.run(command, check=False, capture_output=True, timeout=60).returncode:
            raise BenchmarkError("callgrind could not be told to count.")
        self.passed()

    def calibrated(self) -> float:
        """Give the instructions of one turn of the loop."""
        self._gateway.command("calibrate")
        self.passed()
        self._gateway.command("calibrate")
        return self.passed() / CALIBRATION

    def of(self, scenario: Scenario) -> float:
        """Give the instructions that a scenario takes."""
        asked = scenario.asked
        self._gateway.ask(asked, _WARM)
        self.passed()
        if scenario.kind != "event":
            return self._median(asked, AT_ONCE, _TIMES)
        longer = self._median(asked, AT_ONCE + EVENTS, 2)
        return (longer - self._median(asked, AT_ONCE, 2)) / EVENTS

    def _median(self, asked: Asking, events: int, times: int) -> float:
        taken = []
        for _ in range(_SLICES):
            self._gateway.ask(asked, times, events)
            taken.append(self.passed())
        return median(taken) / times

    def passed(self) -> int:
        """Give the instructions since the last mark, and set another one."""
        self._gateway.command("mark")
        self._marks += 1
        part = self._parts.with_name(f"{self._parts.name}.{self._marks}")
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            if part.exists() and (found := _SUMMARY.search(part.read_text())):
                return int(found[1])
            time.sleep(0.01)
        raise BenchmarkError("callgrind wrote down nothing.")
