"""
``make bench BENCH=--workers``: what several workers cost, and how they share connections.

Three take turns on one core, with the default config: one process; two gateways of one process
each, which know nothing of each other; and two workers, with the process that starts them.  The
CPU time of a request is that of all processes together.  Two that know nothing of each other cost
more than one there, by what they push out of each other's caches: not so on two cores.  What
workers cost beyond them is what they do to keep limits, budgets and records together.  Requests
per second of wall time on two cores are that, times how evenly the two are used.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from statistics import median
from threading import Thread

from benchmarks import profiles
from benchmarks.load import Load
from benchmarks.processes import BenchmarkError, free_port
from benchmarks.profiles import Ports
from benchmarks.subjects import HERE, Bench, Command, Mock, Subject, first_answer

CONNECTIONS = 128
TURNS, SECONDS = 5, 1
_GATEWAYS = {"one": 1, "first": 1, "second": 1, "workers": 2}
_SUBJECTS: dict[str, tuple[str, ...]] = {
    "one": ("one",),
    "two alone": ("first", "second"),
    "two workers": ("workers",),
}


class Workers:
    """
    The gateways that are compared.

    Args:
        bench: Starts them.
        mock: The backend behind them.
    """

    def __init__(self, bench: Bench, mock: Mock) -> None:
        self._bench = bench
        self._mock = mock
        self._load = Load(bench)
        self._up: dict[str, Subject] = {}
        self._admin: dict[str, int] = {}

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Run them while the block lasts."""
        with ExitStack() as stack:
            for name, count in _GATEWAYS.items():
                command = self._command(name, count)
                running = self._bench.running(name, command, self._bench.cores.subject)
                self._up[name] = Subject(name, command.port, stack.enter_context(running))
            for subject in self._up.values():
                first_answer(subject.port, "POST", "/v1/chat/completions", subject.child)
                self._load.post(subject, CONNECTIONS, 1)
            yield

    def turn(self, seconds: int) -> dict[str, float]:
        """Let each serve once; give the microseconds of a request, and how workers share them."""
        before = self._served()
        found = {name: self._microseconds(each, seconds) for name, each in _SUBJECTS.items()}
        served = [now - then for now, then in zip(self._served(), before, strict=True)]
        return {**found, "smaller share": min(served) / sum(served)}

    def _microseconds(self, names: Sequence[str], seconds: int) -> float:
        subjects = [self._up[name] for name in names]
        served = self._mock.stats()["requests"]
        cpu = sum(subject.child.cpu_seconds() for subject in subjects)
        share = CONNECTIONS // len(subjects)
        loads = [Thread(target=self._load.post, args=(each, share, seconds)) for each in subjects]
        for load in loads:
            load.start()
        for load in loads:
            load.join()
        served = self._mock.stats()["requests"] - served
        cpu = sum(subject.child.cpu_seconds() for subject in subjects) - cpu
        if not served:
            raise BenchmarkError(f"{names} served nothing.")
        return cpu / served * 1e6

    def _served(self) -> list[int]:
        connection = http.client.HTTPConnection("127.0.0.1", self._admin["workers"], timeout=30)
        try:
            connection.request("GET", "/admin/workers")
            document = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return [each["served"] for each in document["processes"] if each["worker"]]

    def _command(self, name: str, count: int) -> Command:
        place = self._bench.folder / f"cores-{name}"
        place.mkdir()
        ports = Ports(free_port(), free_port(), self._mock.port, self._mock.sink)
        self._admin[name] = ports.admin
        text = profiles.config(profiles.DEFAULT, ports)
        path = place / "gateway.toml"
        path.write_text(text.replace("[gateway]\n", f"[gateway]\nworkers = {count}\n", 1))
        options = ["--nodaemon", "--pidfile=", "--umask=0077"]
        arguments = [str(self._bench.twistd), *options, "lmgateway", "--config", str(path)]
        environ = {**profiles.environment(profiles.DEFAULT), "PYTHONPATH": str(HERE.parent)}
        return Command(arguments, ports.client, environ)


def compare(bench: Bench) -> str:
    """Measure, and give the table."""
    with bench.mock() as mock:
        workers = Workers(bench, mock)
        with workers.serving():
            turns = [workers.turn(SECONDS) for _ in range(TURNS)]
    found = {name: median(turn[name] for turn in turns) for name in turns[0]}
    return table(found)


def table(found: dict[str, float]) -> str:
    """Write what was found."""
    kept = found["two alone"] / found["two workers"]
    share = found["smaller share"]
    rows = [
        *(f"{name:32} {found[name]:8.0f} us of CPU time a request" for name in _SUBJECTS),
        f"{'requests per CPU second':32} {kept:8.2f} of two that know nothing of each other",
        f"{'of one alone on that core':32} {found['one'] / found['two workers']:8.2f}",
        f"{'smaller share of the requests':32} {share:8.2f} (0.40 to 0.60 is even)",
        f"{'so two cores serve':32} {kept / (1 - share):8.2f} times what one does",
    ]
    return "\n".join(rows)
