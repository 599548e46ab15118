"""
What several workers cost and how the system spreads connections over them.

The default config is served by one process, and by two workers with the process that starts
them; all have the same core and take turns, so that what counts is the CPU time that a request
takes, of all processes together.  Requests per second of wall time on two cores are that,
times how evenly the two are used.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from benchmarks import profiles
from benchmarks.load import Load
from benchmarks.processes import BenchmarkError, free_port
from benchmarks.profiles import Ports
from benchmarks.subjects import HERE, Bench, Command, Mock, Subject, first_answer

_CONNECTIONS = 128
COUNTS = (1, 2)


class Workers:
    """
    Gateways of one process and of several.

    Args:
        bench: Starts them.
        mock: The backend behind them.
    """

    def __init__(self, bench: Bench, mock: Mock) -> None:
        self._bench = bench
        self._mock = mock
        self._load = Load(bench)
        self._up: dict[int, Subject] = {}
        self._admin: dict[int, int] = {}

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Run them while the block lasts."""
        with ExitStack() as stack:
            for count in COUNTS:
                command = self._command(count)
                core, name = self._bench.cores.subject, f"workers{count}"
                child = stack.enter_context(self._bench.running(name, command, core))
                self._up[count] = Subject(name, command.port, child)
            for subject in self._up.values():
                first_answer(subject.port, "POST", "/v1/chat/completions", subject.child)
                self._load.post(subject, _CONNECTIONS, 1)
            yield

    def turn(self, seconds: int) -> dict[str, float]:
        """Let each serve once; say how requests per CPU second compare, and how they are split."""
        taken = {count: self._microseconds(count, seconds) for count in COUNTS}
        before = self._served()
        self._load.post(self._up[2], _CONNECTIONS, seconds)
        served = [now - then for now, then in zip(self._served(), before, strict=True)]
        share = min(served) / sum(served)
        kept = taken[1] / taken[2]
        return {
            "workers_us": taken[2],
            "workers_kept": kept,
            "workers_smaller_share": share,
            "workers_speedup": kept / (1 - share),
        }

    def _microseconds(self, count: int, seconds: int) -> float:
        subject = self._up[count]
        served, cpu = self._mock.stats()["requests"], subject.child.cpu_seconds()
        seen = self._load.post(subject, _CONNECTIONS, seconds)
        served, cpu = self._mock.stats()["requests"] - served, subject.child.cpu_seconds() - cpu
        if seen.errors or not served:
            raise BenchmarkError(f"{seen.errors} requests to {subject.name} failed.")
        return cpu / served * 1e6

    def _served(self) -> list[int]:
        connection = http.client.HTTPConnection("127.0.0.1", self._admin[2], timeout=30)
        try:
            connection.request("GET", "/admin/workers")
            document = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return [each["served"] for each in document["processes"] if each["worker"]]

    def _command(self, count: int) -> Command:
        place = self._bench.folder / f"workers{count}"
        place.mkdir()
        ports = Ports(free_port(), free_port(), self._mock.port, self._mock.sink)
        self._admin[count] = ports.admin
        text = profiles.config(profiles.DEFAULT, ports)
        path = place / "gateway.toml"
        path.write_text(text.replace("[gateway]\n", f"[gateway]\nworkers = {count}\n", 1))
        options = ["--nodaemon", "--pidfile=", "--umask=0077"]
        arguments = [str(self._bench.twistd), *options, "lmgateway", "--config", str(path)]
        environ = {**profiles.environment(profiles.DEFAULT), "PYTHONPATH": str(HERE.parent)}
        return Command(arguments, ports.client, environ)
