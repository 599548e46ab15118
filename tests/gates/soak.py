"""
Gate G5: under a steady load, faults and all, nothing grows and the loop is never late.

Memory is looked at every second, and its slope after the warm-up is found by least squares.  How
late the loop is, the gateway measures itself.  Then streams are stalled, in a gateway of their own,
and what they take is counted.
"""

from __future__ import annotations

import contextlib
import math
import re
import socket
import socketserver
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from attrs import frozen

from tests.gates.dawdlers import request
from tests.gates.figures import Figure, none_of, slope, told
from tests.gates.load import Load
from tests.gates.mixture import SORTS, Mixture
from tests.gates.quitters import event
from tests.gates.subject import Subject, files_allowed, serving

MIB = 1024 * 1024
LAG_SECONDS = 0.05
_LATE = 0.001
"""The share of looks at the loop that may find it later than that."""
_SLACK = 8
"""Files more or less: how many streams run at a moment varies."""

_CONFIG = """
[gateway]
@ports

[backends.mock]
provider = "mock"
idle_timeout_ms = 1000
first_byte_timeout_ms = 1000
timeout_ms = 1000
breaker = { window = 0, consecutive_failures = 0 }
mock = { first_token_ms = 5, allow_model_faults = true }

[backends.flood]
provider = "openai"
base_url = "http://127.0.0.1:@flood"
probe_interval_ms = 0

[[tiers]]
name = "t"
backend = "mock"
model = "m"

[[tiers]]
name = "flood"
backend = "flood"
model = "m"

[profiles.default]
classifier = "t"
"""


@frozen
class Plan:
    """
    How much is done.

    Attributes:
        seconds: How long the load lasts.
        rate: Requests a second; less if that is too much for the machine.
        stalled: How many streams are stalled.
        timed: Whether goals count that a slow machine alone can miss.
    """

    seconds: float = 300.0
    rate: float = 150.0
    stalled: int = 100
    timed: bool = True

    @property
    def warm_up(self) -> float:
        """Give the seconds in which memory may grow yet, until all that is kept has its size."""
        return min(max(self.seconds / 5, 90.0), self.seconds / 2)


@frozen
class _Sample:
    """One look at the process."""

    at: float
    resident: int
    descriptors: int


def soak(plan: Plan) -> bool:
    """Run the gate, print its figures, and tell whether it is passed."""
    files_allowed()
    figures = [*_loaded(plan), *_stalled(plan)]
    return told(figures, timed=plan.timed)


# Under load ---------------------------------------------------------------------
def _loaded(plan: Plan) -> Iterator[Figure]:
    with serving(_CONFIG.replace("@flood", "9")) as subject:
        idle = subject.descriptors()
        load = Mixture(subject.client_port, plan.rate)
        load.start()
        try:
            _watch(subject, plan.warm_up)
            before, cpu = subject.metrics(), subject.cpu()
            samples = _watch(subject, plan.seconds - plan.warm_up)
            after, cpu = subject.metrics(), subject.cpu() - cpu
        finally:
            load.stop()
        lasted = samples[-1].at - samples[0].at
        yield from _answered(plan, load, cpu / lasted)
        yield _memory(samples)
        yield _files(samples)
        yield _lag(before, after)
        yield from subject.leaked(idle + _SLACK)
        yield subject.unexpected()


def _watch(subject: Subject, seconds: float) -> list[_Sample]:
    began, samples = time.monotonic(), list[_Sample]()
    while (at := time.monotonic() - began) < seconds or len(samples) < 2:
        samples.append(_Sample(at, subject.resident(), subject.descriptors()))
        time.sleep(min(1.0, seconds / 4))
    return samples


def _answered(plan: Plan, load: Mixture, cpu: float) -> Iterator[Figure]:
    served, failed = load.served.total(), load.failed.total()
    rate = (served + failed) / plan.seconds
    sorts = ", ".join(f"{count} {name}" for name, count in load.served.most_common())
    yield Figure("load", f"{rate:.0f} requests/s for {plan.seconds:g} s, {cpu:.0%} of a core")
    yield Figure("answers as they should be", f"{served} ({sorts})")
    missing = [sort.name for sort in SORTS if not load.served[sort.name]]
    yield none_of("sorts of requests never made", len(missing), ", ".join(missing))
    yield none_of("answers that were not", failed, str(load.failed.most_common(10)))


def _memory(samples: Sequence[_Sample]) -> Figure:
    lasted = samples[-1].at - samples[0].at
    grown = slope([(each.at, each.resident / MIB) for each in samples]) * 3600
    most = max(1.0, 3600 / lasted)  # memory comes by the MiB: a short soak cannot tell less
    first, last = samples[0].resident / MIB, samples[-1].resident / MIB
    text = f"{grown:+.2f} MiB/h ({first:.1f} -> {last:.1f} MiB in {lasted:.0f} s)"
    goal = f"less than {most:.1f} in so short a time, 1.0 in an hour"
    return Figure("slope of memory", text, goal, grown < most, timed=True)


def _files(samples: Sequence[_Sample]) -> Figure:
    third = max(1, len(samples) // 3)
    first = median(each.descriptors for each in samples[:third])
    last = median(each.descriptors for each in samples[-third:])
    text = f"{first:g} in the first third, {last:g} in the last"
    return Figure("open files", text, f"{_SLACK} more at most", last <= first + _SLACK, timed=True)


def _lag(before: Mapping[str, float], after: Mapping[str, float]) -> Figure:
    """Say how late the loop was, by the gateway's own histogram."""
    since = {name: value - before.get(name, 0.0) for name, value in after.items()}
    counts = {float(m[1]): v for name, v in since.items() if (m := _BUCKET.fullmatch(name))}
    looks = counts.get(math.inf, 0.0)
    late = looks - counts.get(LAG_SECONDS, 0.0)
    reached = min((le for le, n in counts.items() if n >= looks * (1 - _LATE)), default=math.nan)
    text = f"p99.9 at most {reached * 1000:g} ms, {late:g} of {looks:g} looks beyond 50 ms"
    met = late <= looks * _LATE
    return Figure("lag of the loop", text, "p99.9 below 50 ms", met, timed=True)


_BUCKET = re.compile(r'lmg_loop_lag_seconds_bucket\{le="(.+)"\}')


# Stalled ------------------------------------------------------------------------
class _Flood(socketserver.BaseRequestHandler):
    """Sends events without end."""

    def handle(self) -> None:
        """Answer one request."""
        self.request.recv(65536)
        part = event("x" * 8000)
        head = b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        with contextlib.suppress(OSError):
            self.request.sendall(b"HTTP/1.1 200 OK\r\n" + head)
            while True:
                self.request.sendall(part)


class _Floods(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024


def _stalled(plan: Plan) -> Iterator[Figure]:
    """Have clients read nothing of an endless stream, and see what each takes."""
    with _Floods(("127.0.0.1", 0), _Flood) as backend:
        threading.Thread(target=backend.serve_forever, daemon=True).start()
        port = backend.server_address[1]
        try:
            with serving(_CONFIG.replace("@flood", str(port))) as subject:
                yield from _counted(plan.stalled, subject)
        finally:
            backend.shutdown()


def _counted(number: int, subject: Subject) -> Iterator[Figure]:
    load = Load("127.0.0.1", subject.client_port)
    load.start()
    time.sleep(1)
    load.stop()
    idle, before = subject.descriptors(), subject.resident()
    clients = [socket.create_connection(("127.0.0.1", subject.client_port)) for _ in range(number)]
    for client in clients:
        client.sendall(request("flood", stream=True))
    resident = _still(subject)
    streams = subject.metrics().get("lmg_in_flight_requests", 0)
    each = (resident - before) / number / MIB
    yield Figure("streams stalled", f"{streams:g}", f"{number}", streams == number)
    yield Figure("memory of a stalled stream", f"{each:.3f} MiB", "at most 1 MiB", each <= 1)
    for client in clients:
        client.close()
    yield from subject.leaked(idle)
    yield subject.unexpected()


def _still(subject: Subject) -> int:
    """Wait until memory grows no more, at most for some seconds; give what it is."""
    end, before = time.monotonic() + 20, 0
    time.sleep(1)
    while (now := subject.resident()) > before + MIB // 4 and time.monotonic() < end:
        before = now
        time.sleep(0.5)
    return now
