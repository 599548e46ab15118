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
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import TypeVar

from benchmarks import micro
from benchmarks.growth import Growth, Large
from benchmarks.load import Load, sleep_until
from benchmarks.neighbours import Neighbours, stalled_kilobytes
from benchmarks.soak import soaked
from benchmarks.subjects import DIRECT, NGINX, OURS, Bench, Mock, Subject
from benchmarks.timing import Pace
from benchmarks.translation import added_microseconds

Samples = dict[str, dict[str, list[float]]]
"""Measure, subject, one value for each repetition."""

_T = TypeVar("_T")

GROUPS = {
    "memory": "memory and start-up",
    "requests": "requests",
    "open": "requests at a steady rate",
    "events": "events of paced streams",
    "first": "first events",
    "neighbours": "awkward neighbours",
    "growth": "more of everything",
    "translation": "translation of events",
    "micro": "single steps",
}
SOAK = "soak"
"""A group that only ``--soak`` asks for."""
IN_PROCESS = frozenset({"translation", "micro"})
"""Groups for which nothing is started, and no tool is needed."""
CONNECTIONS = (1, 16, 64, 256)
BUSY = 64
"""Connections at which what proxies take is compared, and saturation is found."""
_MAIN = (DIRECT, NGINX, OURS)
"""Subjects of which everything is measured; of the others, what is compared most."""


@dataclass(frozen=True)
class Paced:
    """
    Paced streams: body, events a second of all of them, path, and who takes part.

    Those that are looked at *once* are not measured in later repetitions.
    """

    body: str
    rate: int
    path: str = "/v1/chat/completions"
    only: Sequence[str] | None = None
    once: bool = False


PACED = {
    "2k": Paced("sse_paced50", 2000, only=(NGINX, OURS), once=True),
    "5k": Paced("sse_paced20", 5000),
    "5k_translated": Paced("sse_paced20_anthropic", 5000, "/v1/messages", only=(OURS,)),
}
"""What is measured of 100 streams at a time; translated: for an Anthropic client."""

_PACED_STREAMS = 100
_RAMP_SECONDS = 1.0
_SETTLE_SECONDS = 0.3
_STALLED = 10


@dataclass(frozen=True)
class Plan:
    """How long and how often to measure."""

    repetitions: int = 3
    request_seconds: int = 1
    open_seconds: float = 2.0
    beside_seconds: float = 3.0
    event_seconds: float = 1.5
    warm_seconds: int = 2
    first_events: int = 1000
    held_streams: int = 2000
    soak_seconds: float = 170.0
    large: Large = field(default_factory=Large)
    micro: Pace = field(default_factory=lambda: Pace(runs=9))

    @classmethod
    def quick(cls) -> Plan:
        """Measure once and shortly: for a look, not for a record."""
        return cls(
            repetitions=1,
            open_seconds=1.0,
            event_seconds=1.0,
            warm_seconds=1,
            first_events=300,
            soak_seconds=30.0,
            large=Large(entries=100_000),
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

    def latest(self, measure: str, subject: str) -> float | None:
        """Give the value that was written down last, if there is one."""
        values = self.samples.get(measure, {}).get(subject)
        return values[-1] if values else None

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
        self._neighbours = Neighbours(self._load)

    def run(self, groups: Collection[str]) -> None:
        """
        Measure the *groups*, by their names in ``GROUPS``.

        Raises:
            BenchmarkError: If a subject or a tool fails.
        """
        mine = OURS in self._subjects
        with ExitStack() as stack:
            if not IN_PROCESS.issuperset(groups):
                mock = stack.enter_context(self._bench.mock())
                self._run_against(mock, groups)
            grows = "growth" in groups and mine and not self._record.late()
            growth = Growth(self._bench, mock, self._plan.large) if grows else None
            # While those fill up on one core, what needs no subject is measured on the other.
            with nullcontext() if growth is None else growth.starting():
                if mine:
                    self._run_inside(groups)
                if growth is not None:
                    self._grow(growth)

    def _run_against(self, mock: Mock, groups: Collection[str]) -> None:
        if "memory" in groups:
            for name in self._turns("memory", self._subjects):
                if name != DIRECT:
                    with self._bench.subject(name, mock) as subject:
                        self._memory(subject)
        steps = {
            "requests": self._requests,
            "open": self._open,
            "events": self._events,
            "first": self._first,
            "neighbours": self._beside,
        }
        wanted = [name for name in steps if name in groups]
        if wanted:
            with ExitStack() as stack:
                up = [stack.enter_context(self._bench.subject(n, mock)) for n in self._subjects]
                for subject in up:
                    self._load.post(subject, 16, self._plan.warm_seconds)
                for group in wanted:
                    for subject in self._turns(group, up):
                        steps[group](subject, mock)
        if SOAK in groups:
            self._say("many requests")
            with self._bench.subject(OURS, mock) as subject:
                slope = soaked(self._load, subject, self._plan.soak_seconds, self._say)
                self._record.add("soak_mb_per_100k", OURS, slope)

    def _run_inside(self, groups: Collection[str]) -> None:
        if "translation" in groups:
            for _ in self._turns("translation", [OURS]):
                worst = max(added_microseconds(runs=5).values())
                self._record.add("translated_event_us", OURS, worst)
        if "micro" in groups and not self._record.late():
            for measure, value in micro.measure(self._plan.micro, self._bench.folder, self._say):
                self._record.add(measure, OURS, value)

    def _grow(self, growth: Growth) -> None:
        self._say("more of everything, filling up")
        if self._plan.large != Large():
            seen = self._plan.large.entries
            self._record.remark(f"Instead of a million entries, {seen:,} had been seen.")
        growth.wait()
        for _ in self._turns("growth", [OURS]):
            for measure, value in growth.turn(self._plan.request_seconds).items():
                self._record.add(measure, OURS, value)

    def _turns(self, group: str, subjects: Sequence[_T]) -> Iterator[_T]:
        """Let *subjects* take turns, as often as the plan says and while there is time."""
        for repetition in range(self._plan.repetitions):
            self._say(f"{GROUPS[group]}, {repetition + 1} of {self._plan.repetitions}")
            for subject in subjects:
                if self._record.late():
                    return
                yield subject

    def _requests(self, subject: Subject, mock: Mock) -> None:
        for connections in CONNECTIONS if subject.name in _MAIN else (1, BUSY):
            served, cpu = mock.stats()["requests"], subject.child.cpu_seconds()
            seen = self._load.post(subject, connections, self._plan.request_seconds)
            served, cpu = mock.stats()["requests"] - served, subject.child.cpu_seconds() - cpu
            self._count_errors(subject, f"{connections} connections", seen.errors)
            self._record.add(f"rps_c{connections}", subject.name, seen.per_second)
            if subject.name != DIRECT and served:
                self._record.add(f"request_cpu_us_c{connections}", subject.name, cpu / served * 1e6)
            if connections == 1:
                self._record.add("latency_p50_ms", subject.name, seen.p50_ms)
                self._record.add("latency_p99_ms", subject.name, seen.p99_ms)

    def _open(self, subject: Subject, mock: Mock) -> None:
        if subject.name != DIRECT:
            rate = self._half_of_saturation(subject)
            seen = self._load.open_loop(subject.port, rate, self._plan.open_seconds)
            self._count_errors(subject, "half of saturation", seen.errors)
            self._record.add("open_rps", subject.name, seen.per_second)
            self._record.add("open_p50_ms", subject.name, seen.p50_ms)
            self._record.add("open_p99_ms", subject.name, seen.p99_ms)

    def _half_of_saturation(self, subject: Subject) -> float:
        saturation = self._record.latest(f"rps_c{BUSY}", subject.name)
        if saturation is None:
            saturation = self._load.post(subject, BUSY, self._plan.request_seconds).per_second
            self._record.add(f"rps_c{BUSY}", subject.name, saturation)
        return saturation / 2

    def _events(self, subject: Subject, mock: Mock) -> None:
        for name, paced in PACED.items():
            if subject.name == DIRECT or (paced.only and subject.name not in paced.only):
                continue
            known = self._record.latest(f"event_cpu_us_{name}", subject.name) is not None
            if not known or not (paced.once or subject.name not in _MAIN):
                self._paced(name, paced, subject, mock)

    def _paced(self, name: str, paced: Paced, subject: Subject, mock: Mock) -> None:
        seconds, streams = self._plan.event_seconds, _PACED_STREAMS
        limit = _RAMP_SECONDS + seconds + 0.5
        begun = time.perf_counter()
        with self._load.paced(subject.port, paced.body, streams, limit, paced.path) as seen:
            sleep_until(begun + _RAMP_SECONDS)
            start, events, cpu = _reading(subject, mock)
            sleep_until(begun + _RAMP_SECONDS + seconds)
            end, events_then, cpu_then = _reading(subject, mock)
        self._count_errors(subject, f"{name} events/s", seen[0].errors)
        sent = events_then - events
        if sent < 0.95 * paced.rate * (end - start):
            self._record.remark(f"{subject.name} slowed the stream of {name} events/s down.")
        self._record.add(f"event_cpu_us_{name}", subject.name, (cpu_then - cpu) / sent * 1e6)
        time.sleep(_SETTLE_SECONDS)

    def _first(self, subject: Subject, mock: Mock) -> None:
        if subject.name not in _MAIN:
            return
        before = mock.stats()["streams"]
        seen = self._load.open_one_by_one(subject.port, self._plan.first_events, 15)
        self._count_errors(subject, "streams one by one", seen.errors)
        if mock.stats()["streams"] - before < self._plan.first_events:
            self._record.remark(f"{subject.name} was too slow for all streams one by one.")
        self._record.add("first_event_p50_ms", subject.name, seen.first_p50_ms)
        self._record.add("first_event_p99_ms", subject.name, seen.first_p99_ms)

    def _beside(self, subject: Subject, mock: Mock) -> None:
        if subject.name == OURS:
            rate = self._half_of_saturation(subject)
            moved = self._neighbours.moved(subject.port, rate, self._plan.beside_seconds)
            for measure, value in moved.items():
                self._record.add(measure, OURS, value)
            self._record.add("stalled_kb", OURS, stalled_kilobytes(subject, _STALLED))

    def _memory(self, subject: Subject) -> None:
        known = self._record.latest("stream_kb", subject.name) is not None
        self._record.add("start_healthz_s", subject.name, subject.healthz_seconds)
        self._record.add("start_answer_s", subject.name, subject.answer_seconds)
        time.sleep(_SETTLE_SECONDS)
        idle = subject.child.rss_bytes()
        self._record.add("idle_rss_mb", subject.name, idle / 2**20)
        if known and subject.name not in _MAIN:
            return
        with self._load.held(subject.port, self._plan.held_streams, 10) as streams:
            time.sleep(_SETTLE_SECONDS)
            grown = subject.child.rss_bytes() - idle
            self._record.add("stream_kb", subject.name, grown / streams / 1024)

    def _count_errors(self, subject: Subject, where: str, errors: int) -> None:
        if errors:
            self._record.remark(f"{subject.name} failed {errors} times at {where}.")


def _reading(subject: Subject, mock: Mock) -> tuple[float, int, float]:
    return time.perf_counter(), mock.stats()["events"], subject.child.cpu_seconds()
