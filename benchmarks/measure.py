"""
What is measured, and how.

CPU per request and per event is user and system time of the subject's process
tree, over what the mock behind it has served in the same time: other work on
the machine disturbs that least.  Subjects take turns within each repetition,
so that a machine which slows down slows them all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TypeVar

from benchmarks import micro
from benchmarks.load import Load, sleep_until
from benchmarks.subjects import DIRECT, OURS, Bench, Mock, Subject
from benchmarks.timing import Pace
from benchmarks.translation import added_microseconds

Samples = dict[str, dict[str, list[float]]]
"""Measure, subject, one value for each repetition."""

_T = TypeVar("_T")

GROUPS = {
    "memory": "memory and start-up",
    "requests": "requests",
    "events": "events of paced streams",
    "first": "first events",
    "translation": "translation of events",
    "micro": "single steps",
}
IN_PROCESS = frozenset({"translation", "micro"})
"""Groups for which nothing is started, and no tool is needed."""
CONNECTIONS = (1, 16, 64, 256)
PACED = {"2k": ("sse_paced50", 2000), "5k": ("sse_paced20", 5000)}
"""Name, body and events a second of the paced streams; 100 of them at a time."""

_PACED_STREAMS = 100
_RAMP_SECONDS = 1.0
_SETTLE_SECONDS = 0.3


@dataclass(frozen=True)
class Plan:
    """How long and how often to measure."""

    repetitions: int = 3
    request_seconds: int = 2
    event_seconds: float = 2.5
    warm_seconds: int = 2
    first_events: int = 1000
    held_streams: int = 2000
    micro: Pace = field(default_factory=Pace)

    @classmethod
    def quick(cls) -> Plan:
        """Measure once and shortly: for a look, not for a record."""
        return cls(
            repetitions=1,
            request_seconds=1,
            event_seconds=1.5,
            warm_seconds=1,
            first_events=300,
            micro=Pace(runs=5),
        )


@dataclass
class Record:
    """What was measured so far, and what must be said about it."""

    deadline: float
    samples: Samples = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def add(self, measure: str, subject: str, value: float) -> None:
        """Write down one value."""
        self.samples.setdefault(measure, {}).setdefault(subject, []).append(value)

    def remark(self, text: str) -> None:
        """Write down what makes a value doubtful, once."""
        if text not in self.remarks:
            self.remarks.append(text)

    def late(self) -> bool:
        """Whether the time for the whole run is over."""
        late = time.perf_counter() > self.deadline
        if late:
            self.remark("The time was over before everything was measured.")
        return late


class Measuring:
    """
    One run over all subjects.

    Args:
        bench: Starts the subjects.
        plan: How long and how often.
        subjects: Their names, in the order in which they take turns.
        record: Where values are written down.
        say: Told what is being done.
    """

    def __init__(
        self,
        bench: Bench,
        plan: Plan,
        subjects: Sequence[str],
        record: Record,
        say: Callable[[str], None],
    ) -> None:
        self._bench = bench
        self._load = Load(bench)
        self._plan = plan
        self._subjects = subjects
        self._record = record
        self._say = say

    def run(self, groups: Collection[str]) -> None:
        """
        Measure the *groups*, by their names in ``GROUPS``.

        Raises:
            BenchmarkError: If a subject or a tool fails.
        """
        if "translation" in groups and OURS in self._subjects:
            for _ in self._turns("translation", [OURS]):
                worst = max(added_microseconds(runs=5).values())
                self._record.add("translated_event_us", OURS, worst)
        if not IN_PROCESS.issuperset(groups):
            self._run_against_mock(groups)
        if "micro" in groups and OURS in self._subjects and not self._record.late():
            for measure, value in micro.measure(self._plan.micro, self._bench.folder, self._say):
                self._record.add(measure, OURS, value)

    def _run_against_mock(self, groups: Collection[str]) -> None:
        with self._bench.mock() as mock:
            if "memory" in groups:
                for name in self._turns("memory", self._subjects):
                    if name != DIRECT:
                        with self._bench.subject(name, mock) as subject:
                            self._memory(subject)
            steps = {"requests": self._requests, "events": self._events, "first": self._first}
            wanted = [name for name in steps if name in groups]
            if not wanted:
                return
            with ExitStack() as stack:
                up = [stack.enter_context(self._bench.subject(n, mock)) for n in self._subjects]
                for subject in up:
                    self._load.post(subject.port, 16, self._plan.warm_seconds)
                for group in wanted:
                    for subject in self._turns(group, up):
                        steps[group](subject, mock)

    def _turns(self, group: str, subjects: Sequence[_T]) -> Iterator[_T]:
        """Let *subjects* take turns, as often as the plan says and while there is time."""
        for repetition in range(self._plan.repetitions):
            self._say(f"{GROUPS[group]}, {repetition + 1} of {self._plan.repetitions}")
            for subject in subjects:
                if self._record.late():
                    return
                yield subject

    def _requests(self, subject: Subject, mock: Mock) -> None:
        for connections in CONNECTIONS:
            served, cpu = mock.stats()["requests"], subject.child.cpu_seconds()
            seen = self._load.post(subject.port, connections, self._plan.request_seconds)
            served, cpu = mock.stats()["requests"] - served, subject.child.cpu_seconds() - cpu
            self._count_errors(subject, f"{connections} connections", seen.errors)
            self._record.add(f"rps_c{connections}", subject.name, seen.per_second)
            if subject.name != DIRECT and served:
                self._record.add(f"request_cpu_us_c{connections}", subject.name, cpu / served * 1e6)
            if connections == 1:
                self._record.add("latency_p50_ms", subject.name, seen.p50_ms)
                self._record.add("latency_p99_ms", subject.name, seen.p99_ms)

    def _events(self, subject: Subject, mock: Mock) -> None:
        if subject.name == DIRECT:
            return
        for name, (body, rate) in PACED.items():
            seconds = self._plan.event_seconds
            limit = _RAMP_SECONDS + seconds + 0.5
            begun = time.perf_counter()
            with self._load.paced(subject.port, body, _PACED_STREAMS, limit) as seen:
                sleep_until(begun + _RAMP_SECONDS)
                start, events, cpu = _reading(subject, mock)
                sleep_until(begun + _RAMP_SECONDS + seconds)
                end, events_then, cpu_then = _reading(subject, mock)
            self._count_errors(subject, f"{name} events/s", seen[0].errors)
            sent = events_then - events
            if sent < 0.95 * rate * (end - start):
                self._record.remark(f"{subject.name} slowed the stream of {name} events/s down.")
            self._record.add(f"event_cpu_us_{name}", subject.name, (cpu_then - cpu) / sent * 1e6)
            time.sleep(_SETTLE_SECONDS)

    def _first(self, subject: Subject, mock: Mock) -> None:
        before = mock.stats()["streams"]
        seen = self._load.open_one_by_one(subject.port, self._plan.first_events, 15)
        self._count_errors(subject, "streams one by one", seen.errors)
        if mock.stats()["streams"] - before < self._plan.first_events:
            self._record.remark(f"{subject.name} was too slow for all streams one by one.")
        self._record.add("first_event_p50_ms", subject.name, seen.first_p50_ms)
        self._record.add("first_event_p99_ms", subject.name, seen.first_p99_ms)

    def _memory(self, subject: Subject) -> None:
        self._record.add("start_healthz_s", subject.name, subject.healthz_seconds)
        self._record.add("start_answer_s", subject.name, subject.answer_seconds)
        time.sleep(_SETTLE_SECONDS)
        idle = subject.child.rss_bytes()
        self._record.add("idle_rss_mb", subject.name, idle / 2**20)
        with self._load.held(subject.port, self._plan.held_streams, 10) as streams:
            time.sleep(_SETTLE_SECONDS)
            grown = subject.child.rss_bytes() - idle
            self._record.add("stream_kb", subject.name, grown / streams / 1024)

    def _count_errors(self, subject: Subject, where: str, errors: int) -> None:
        if errors:
            self._record.remark(f"{subject.name} failed {errors} times at {where}.")


def _reading(subject: Subject, mock: Mock) -> tuple[float, int, float]:
    return time.perf_counter(), mock.stats()["events"], subject.child.cpu_seconds()
