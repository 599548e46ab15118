"""
What a request costs that goes all the way, counted in calls instead of seconds.

The gateway runs in a process of its own (``benchmarks.counted``) between the
client and the backend of ``benchmarks.lockstep``: door, admission, routing, the
backend's codec, the wire on both sides, the responder, and what is recorded.
Load on the machine changes nothing about how many calls that takes.  Timers
of the gateway fall into it at random; so the median of some slices counts.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from attrs import frozen

from benchmarks import growth
from benchmarks.lockstep import AT_ONCE, Asking, Backend, Client, asking
from benchmarks.processes import BenchmarkError, Cores, Running, free_port, running
from benchmarks.profiles import DEFAULT, PROFILES, Ports, config, environment

EVENTS = 100
"""By how many more events the streams differ of which the cost of one is found."""

MANY = "many of everything"
"""The default config with far more of everything: what is counted is to stay the same."""
MANY_KEYS, MANY_TIERS, MANY_ENTRIES = 10_000, 1000, 20_000

_ROOT = Path(__file__).parents[1]
_PATIENCE = 180.0


@frozen
class Scenario:
    """
    One figure: what a request, a stream or an event of one costs.

    Attributes:
        kind: ``request``, or ``stream``: one of ``AT_ONCE`` events, or ``event``: one more.
        profile: Of ``benchmarks.profiles``, or ``MANY``.
        surface: Whose grammar the client speaks; the backend speaks OpenAI's.
    """

    kind: str
    profile: str
    surface: str = "openai"

    @property
    def name(self) -> str:
        """What budgets call it."""
        translated = "" if self.surface == "openai" else " translated"
        return f"{self.kind}{translated}, {self.profile}"

    @property
    def asked(self) -> Asking:
        """What is asked."""
        return asking(self.surface, stream=self.kind != "request")


KINDS = ("request", "stream", "event")
SCENARIOS = (
    *(Scenario(kind, profile) for profile in PROFILES for kind in KINDS),
    *(Scenario(kind, DEFAULT, "anthropic") for kind in KINDS),
    Scenario("request", MANY),
)


@frozen
class Slices:
    """How much is done: requests of a slice, slices, and requests before the first."""

    requests: int = 10
    slices: int = 9
    warm: int = 30


class Gateway:
    """
    A gateway that counts, and who asks it.

    Args:
        port: Its client port.
        backend: What answers it.
        control: Takes commands, as ``benchmarks.counted`` says.
        child: Its process.
    """

    def __init__(self, port: int, backend: Backend, control: socket.socket, child: Running) -> None:
        self.child = child
        self.backend = backend
        self.client = Client(port, backend)
        self._control = control
        self._answers = control.makefile("rb")

    def close(self) -> None:
        """Hang up."""
        self.client.close()
        self._answers.close()
        self._control.close()

    def command(self, what: str) -> Any:
        """Have something done; give the answer."""
        self._control.sendall(what.encode() + b"\n")
        line = self._answers.readline()
        if not line:
            raise BenchmarkError("The gateway ended by itself.")
        return json.loads(line)

    def ask(self, what: Asking, times: int, events: int = AT_ONCE) -> None:
        """Ask so many times; streams have so many events."""
        self.backend.events = events
        for _ in range(times):
            self.client.ask(what)


def calls(gateway: Gateway, scenario: Scenario, slices: Slices) -> float:
    """Give the calls that a scenario takes."""
    asked, kind = scenario.asked, scenario.kind
    gateway.ask(asked, slices.warm)
    if kind != "event":
        return _median(gateway, asked, slices, AT_ONCE)
    fewer = Slices(max(1, slices.requests // 5), slices.slices, 0)
    longer = _median(gateway, asked, fewer, AT_ONCE + EVENTS)
    return (longer - _median(gateway, asked, fewer, AT_ONCE)) / EVENTS


def _median(gateway: Gateway, asked: Asking, slices: Slices, events: int) -> float:
    """Give the median of what each request takes, over the slices."""
    empty = -gateway.command("count") + gateway.command("count")
    taken: list[int] = []
    for _ in range(slices.slices):
        before = gateway.command("count")
        gateway.ask(asked, slices.requests, events)
        taken.append(gateway.command("count") - before - empty)
    return median(taken) / slices.requests


def top(gateway: Gateway, scenario: Scenario, slices: Slices) -> Mapping[str, float]:
    """Give the calls that a request or stream takes by name, most first."""
    events = AT_ONCE + EVENTS if scenario.kind == "event" else AT_ONCE
    gateway.ask(scenario.asked, slices.warm, events)
    gateway.command("names")
    gateway.ask(scenario.asked, slices.requests, events)
    found = gateway.command("top")
    shares = {name: calls / slices.requests for name, calls in found.items()}
    return dict(sorted(shares.items(), key=lambda pair: -pair[1]))


@contextmanager
def gateway_of(profile: str, folder: Path, under: Sequence[str] = ()) -> Iterator[Gateway]:
    """
    Run a gateway with one of the configs while the block lasts.

    Args:
        profile: Of a scenario.
        folder: For its files, in a folder of their own.
        under: A command that it is run by.
    """
    with ExitStack() as stack:
        backend = Backend()
        stack.callback(backend.close)
        ours, theirs = socket.socketpair()
        ports = Ports(free_port(), free_port(), backend.port, backend.port)
        place = folder / profile
        place.mkdir()
        path = _written(profile, place, ports)
        command = [*under, sys.executable, "-m", "benchmarks.counted", str(path)]
        with theirs:
            child = stack.enter_context(
                running(
                    [*command, str(theirs.fileno()), *_size(profile)],
                    name="gateway",
                    core=Cores.available().subject,
                    log=place / "gateway.log",
                    environ={**_environ(), **environment(_config_of(profile))},
                    inherited=[theirs.fileno()],
                )
            )
        gateway = _connected(ports.client, backend, ours, child, place)
        stack.callback(gateway.close)
        yield gateway


def _config_of(profile: str) -> str:
    return DEFAULT if profile == MANY else profile


def _size(profile: str) -> list[str]:
    return [str(MANY_KEYS), str(MANY_ENTRIES)] if profile == MANY else []


def _written(profile: str, place: Path, ports: Ports) -> Path:
    """Write the config of a profile."""
    many = profile == MANY
    path = place / "config.toml"
    path.write_text(growth.config(ports, MANY_TIERS) if many else config(profile, ports))
    return path


def _environ() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, "PYTHONPATH": str(_ROOT), "PYTHONHASHSEED": "0"}


def _connected(
    port: int, backend: Backend, control: socket.socket, child: Running, place: Path
) -> Gateway:
    """Wait until the gateway does what it is told."""
    control.settimeout(_PATIENCE)
    control.sendall(b"ready\n")
    try:
        if control.recv(100) == b"null\n":
            return Gateway(port, backend, control, child)
    except OSError:
        pass
    child.stop()
    said = (place / "gateway.log").read_text(errors="replace")
    raise BenchmarkError(f"The gateway did not start:\n{said[-2000:]}")
