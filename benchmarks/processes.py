"""
Processes that the runner starts, pins, looks at and ends.

CPU time and memory are those of a process with all its descendants, read from
``/proc``.  Nothing but what was started here is ever ended, by its own id.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_STOP_SECONDS = 5.0
_LOWEST_PORT = 10240


class BenchmarkError(Exception):
    """The run cannot go on; the message says why."""


@dataclass(frozen=True)
class Cores:
    """Which core the measured process has, and which the load and the mock share."""

    subject: int
    load: int

    @classmethod
    def available(cls) -> Cores:
        """Take the first two cores that this process may use; the same twice on one core."""
        cores = sorted(os.sched_getaffinity(0))
        return cls(cores[0], cores[min(1, len(cores) - 1)])

    @property
    def apart(self) -> bool:
        """Whether the load runs beside the subject rather than in its way."""
        return self.subject != self.load


def cpu_ticks(stat: str) -> int:
    """Sum user and system time, of the process and of its dead children, in a ``stat`` line."""
    fields = stat.rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15])


class Running:
    """One process that was started here."""

    def __init__(self, process: subprocess.Popen[bytes], name: str) -> None:
        self.process = process
        self.name = name
        self.started = time.perf_counter()

    def family(self) -> Iterator[int]:
        """Give the ids of the process and all that descend from it."""
        waiting = [self.process.pid]
        while waiting:
            pid = waiting.pop()
            yield pid
            for path in Path(f"/proc/{pid}/task").glob("*/children"):
                try:
                    waiting.extend(int(child) for child in path.read_text().split())
                except OSError:
                    continue

    def cpu_seconds(self) -> float:
        """Give the user and system time used so far."""
        return sum(cpu_ticks(_read(pid, "stat")) for pid in self.family()) / _TICKS

    def rss_bytes(self) -> int:
        """Give the resident memory."""
        return sum(int(_read(pid, "statm").split()[1]) for pid in self.family()) * _PAGE

    def check(self) -> None:
        """
        Make sure that it still runs.

        Raises:
            BenchmarkError: If it has ended by itself.
        """
        if self.process.poll() is not None:
            raise BenchmarkError(f"{self.name} ended with status {self.process.returncode}.")

    def stop(self) -> None:
        """End it: gently, then not."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                family = list(self.family())
                for pid in family:
                    os.kill(pid, signal.SIGKILL)
                self.process.wait()


def _read(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()


@contextmanager
def running(
    command: Sequence[str],
    *,
    name: str,
    core: int,
    log: Path,
    environ: Mapping[str, str],
    inherited: Sequence[int] = (),
) -> Iterator[Running]:
    """Run *command* on one core while the block lasts; what it says goes to *log*."""
    with log.open("ab") as output:
        process = start(command, core=core, output=output, environ=environ, inherited=inherited)
    child = Running(process, name)
    try:
        yield child
    finally:
        child.stop()


def start(
    command: Sequence[str],
    *,
    core: int,
    output: IO[bytes] | int,
    environ: Mapping[str, str],
    inherited: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """
    Start *command* on one core; the one that starts it is on the load's core itself.

    Args:
        inherited: Descriptors that it has, too.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output != subprocess.PIPE else None,
            env=dict(environ),
            pass_fds=tuple(inherited),
        )
    finally:
        os.sched_setaffinity(0, before)


def raise_file_limit() -> int:
    """Allow as many open files as the system lets us have; children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def free_port() -> int:
    """
    Find a loopback port that nobody listens on.

    It is none of those that the system gives to connections which go out: one of them
    could take it before who is to listen there does.

    Raises:
        BenchmarkError: If there is none.
    """
    first_given = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = range(_LOWEST_PORT, max(first_given, _LOWEST_PORT + 1000))
    for port in random.sample(ports, 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise BenchmarkError("There is no free port on 127.0.0.1.")
