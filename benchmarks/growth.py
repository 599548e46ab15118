"""
Whether a request costs more where there is more of everything.

The default config serves ten clients and ten tiers, and has seen 500 requests.
Beside it stand gateways with 100,000 clients, with 1,000 tiers, and with a
million requests behind them, and the first one with 5,000 idle connections.
They take turns, so that a slow moment slows them all.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from attrs import evolve, frozen

from benchmarks import profiles
from benchmarks.load import Load
from benchmarks.processes import BenchmarkError, free_port
from benchmarks.profiles import Ports
from benchmarks.subjects import HERE, Bench, Command, Mock, Subject, first_answer

_CONNECTIONS = 64
_PATIENCE = 240.0
_SETTLE_SECONDS = 0.5
_LOGS = "[logs]\naccess_sample = 0.0\n"
_IDLE_LONG = "header_timeout_ms = 600000\nkeep_alive_timeout_ms = 600000\n"


@frozen
class Size:
    """How much of everything there is."""

    keys: int = 10
    tiers: int = 10
    entries: int = 500
    idle: int = 0


@frozen
class Large:
    """The larger sizes: how many keys, tiers and entries, and how many idle connections."""

    keys: int = 100_000
    tiers: int = 1000
    entries: int = 1_000_000
    idle: int = 5000

    def sizes(self) -> dict[str, Size]:
        """Give the sizes that are compared with the usual one, by measure."""
        return {
            "growth_keys": Size(keys=self.keys),
            "growth_tiers": Size(tiers=self.tiers),
            "growth_entries": Size(entries=self.entries),
            "growth_idle": Size(idle=self.idle),
        }


class Growth:
    """
    The gateways that are compared.

    Args:
        bench: Starts them.
        mock: The backend behind them.
        large: How much the large ones have.
    """

    def __init__(self, bench: Bench, mock: Mock, large: Large) -> None:
        self._bench = bench
        self._mock = mock
        self._load = Load(bench)
        self._sizes = {"": Size(), **large.sizes()}
        self._up: dict[Size, Subject] = {}

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Run them while the block lasts; they begin with what they are to have seen."""
        with ExitStack() as stack:
            for name, size in self._sizes.items():
                served = evolve(size, idle=0)
                if served not in self._up:
                    command = self._command(name, served)
                    core = self._bench.cores.subject
                    child = stack.enter_context(self._bench.running(f"grown{name}", command, core))
                    self._up[served] = Subject(name, command.port, child)
            yield

    def wait(self) -> None:
        """Wait until all of them answer."""
        for subject in self._up.values():
            path = "/v1/chat/completions"
            first_answer(subject.port, "POST", path, subject.child, patience=_PATIENCE)
            self._load.post(subject, _CONNECTIONS, 1)

    def turn(self, seconds: int) -> dict[str, float]:
        """Let each serve once; give what a request took, over what it took the usual one."""
        taken = {name: self._microseconds(size, seconds) for name, size in self._sizes.items()}
        usual = taken.pop("")
        return {name: each / usual for name, each in taken.items()}

    def _microseconds(self, size: Size, seconds: int) -> float:
        subject = self._up[evolve(size, idle=0)]
        with idling(subject.port, size.idle) as others:
            time.sleep(_SETTLE_SECONDS if others else 0)
            served, cpu = self._mock.stats()["requests"], subject.child.cpu_seconds()
            variables = {"KEYS": str(size.keys), "TIERS": str(size.tiers)}
            seen = self._load.post(subject, _CONNECTIONS, seconds, **variables)
            served, cpu = self._mock.stats()["requests"] - served, subject.child.cpu_seconds() - cpu
        if seen.errors or not served:
            raise BenchmarkError(f"{seen.errors} requests of {size} failed.")
        return cpu / served * 1e6

    def _command(self, name: str, size: Size) -> Command:
        place = self._bench.folder / f"grown{name}"
        place.mkdir()
        ports = Ports(free_port(), free_port(), self._mock.port, self._mock.sink)
        path = place / "gateway.toml"
        path.write_text(config(ports, size.tiers))
        arguments = [sys.executable, "-m", "benchmarks.grown", str(path)]
        arguments += [str(size.keys), str(size.entries)]
        environ = {**profiles.environment(profiles.DEFAULT), "PYTHONPATH": str(HERE.parent)}
        return Command(arguments, ports.client, environ)


def config(ports: Ports, tiers: int) -> str:
    """Write the default config with more tiers, and connections that may idle for long."""
    text = profiles.config(profiles.DEFAULT, ports)
    text = text.replace("[gateway]\n", f"[gateway]\n{_IDLE_LONG}", 1)
    more = (
        f'[[tiers]]\nname = "tier{number}"\nbackend = "mock"\nmodel = "mock"\n{profiles.PRICED}\n'
        for number in range(tiers)
    )
    return "".join([text, *more, _LOGS])


@contextmanager
def idling(port: int, count: int) -> Iterator[Sequence[socket.socket]]:
    """Keep so many connections open while the block lasts."""
    with ExitStack() as stack:
        address = ("127.0.0.1", port)
        yield [stack.enter_context(socket.create_connection(address, 5)) for _ in range(count)]
