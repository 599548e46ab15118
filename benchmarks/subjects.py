"""
What is measured: the mock itself, nginx in front of it, and the gateway in front of it.

All of them answer ``POST /v1/chat/completions`` on loopback.  The gateway runs
as it is installed, by ``twistd``, with each of three configs; nginx logs nothing.
"""

from __future__ import annotations

import http.client
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import profiles
from benchmarks.processes import BenchmarkError, Cores, Running, free_port, running
from benchmarks.profiles import Ports

HERE = Path(__file__).parent
DIRECT, NGINX, BARE, OURS, EVERYTHING = "direct", "nginx", "bare", "ours", "everything"
SUBJECTS = (DIRECT, NGINX, BARE, OURS, EVERYTHING)
PROFILES = {BARE: profiles.BARE, OURS: profiles.DEFAULT, EVERYTHING: profiles.EVERYTHING}
"""With which config the gateway is which subject."""

_PATIENCE = 15.0
_CHAT = (HERE / "bodies" / "chat.json").read_bytes()
_HEADERS = {
    "Content-Type": "application/json",
    "Authorization": f"Bearer {profiles.key(0)}",
}


@dataclass(frozen=True)
class Subject:
    """
    One thing under test, up and answering.

    Attributes:
        headers: What it has to be sent besides what the load tools send.
    """

    name: str
    port: int
    child: Running
    healthz_seconds: float = 0.0
    answer_seconds: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Command:
    """
    How something is started.

    Attributes:
        arguments: The command.
        port: Where it will listen.
        environ: What it finds in its environment besides what all do.
        headers: What it has to be sent besides what the load tools send.
        health: What it answers when it is up; empty if only a request shows that.
        patience: Seconds that it may take to answer.
    """

    arguments: Sequence[str]
    port: int
    environ: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    health: str = "/healthz"
    patience: float = _PATIENCE


@dataclass(frozen=True)
class Mock:
    """
    The backend behind them all.

    Attributes:
        sink: The port of another one, which takes spans, exports and webhooks.
    """

    port: int
    child: Running
    sink: int

    def stats(self) -> Mapping[str, int]:
        """Ask what it has served so far."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/stats")
            counts: Mapping[str, int] = json.loads(connection.getresponse().read())
            return counts
        finally:
            connection.close()


class Bench:
    """
    Starts what is measured.

    Args:
        folder: Where logs and generated files go.
        tools: Where the compiled load tools are.
        twistd: The ``twistd`` of the environment in which the gateway is installed.
        cores: Who runs where.
    """

    def __init__(self, folder: Path, tools: Path, twistd: Path, cores: Cores) -> None:
        self.folder = folder
        self.tools = tools
        self.cores = cores
        self.twistd = twistd
        self.environ = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}

    @contextmanager
    def mock(self) -> Iterator[Mock]:
        """Run the mock backend, and another one that takes what is told."""
        ports = {name: free_port() for name in ("mock", "sink")}
        commands = {
            name: Command([str(self.tools / "mock"), str(p)], p) for name, p in ports.items()
        }
        core = self.cores.load
        with self.running("mock", commands["mock"], core) as child:
            with self.running("sink", commands["sink"], core) as sink:
                first_answer(ports["mock"], "GET", "/stats", child)
                first_answer(ports["sink"], "GET", "/stats", sink)
                yield Mock(ports["mock"], child, ports["sink"])

    @contextmanager
    def subject(self, name: str, mock: Mock) -> Iterator[Subject]:
        """Run one subject before *mock*, until it has answered."""
        if name == DIRECT:
            yield Subject(name, mock.port, mock.child)
            return
        with self.started(
            name, self._nginx(mock) if name == NGINX else self.ours(name, mock)
        ) as up:
            yield up

    @contextmanager
    def started(self, name: str, command: Command) -> Iterator[Subject]:
        """Run a command on the core of what is measured, until it has answered a request."""
        with self.running(name, command, self.cores.subject) as child:
            healthy, patience = 0.0, command.patience
            if command.health:
                healthy = first_answer(command.port, "GET", command.health, child, {}, patience)
            path, headers = "/v1/chat/completions", command.headers
            answered = first_answer(command.port, "POST", path, child, headers, patience)
            yield Subject(name, command.port, child, healthy, answered, headers)

    def ours(self, name: str, mock: Mock) -> Command:
        """Write the config of the gateway with one of its three, and say how it is started."""
        place = self.folder / name
        place.mkdir(exist_ok=True)
        ports = Ports(free_port(), free_port(), mock.port, mock.sink)
        path = place / "gateway.toml"
        path.write_text(profiles.config(PROFILES[name], ports))
        options = ["--nodaemon", "--pidfile=", "--umask=0077"]
        arguments = [str(self.twistd), *options, "lmgateway", "--config", str(path)]
        return Command(arguments, ports.client, profiles.environment(PROFILES[name]))

    def _nginx(self, mock: Mock) -> Command:
        prefix, port = self.folder / "nginx", free_port()
        prefix.mkdir(exist_ok=True)
        text = (HERE / "nginx.conf").read_text()
        text = text.replace("@PORT@", str(port)).replace("@BACKEND@", str(mock.port))
        (prefix / "nginx.conf").write_text(text)
        return Command(["nginx", "-p", f"{prefix}/", "-c", "nginx.conf", "-e", "stderr"], port)

    @contextmanager
    def running(self, name: str, command: Command, core: int) -> Iterator[Running]:
        """Run a command while the block lasts; where it fails, say what it wrote last."""
        log, environ = self.folder / f"{name}.log", {**self.environ, **command.environ}
        try:
            with running(
                command.arguments, name=name, core=core, log=log, environ=environ
            ) as child:
                yield child
        except BenchmarkError as error:
            last = log.read_text(errors="replace").splitlines()[-8:]
            raise BenchmarkError("\n".join([str(error), *last])) from None


def first_answer(
    port: int,
    method: str,
    path: str,
    child: Running,
    headers: Mapping[str, str] | None = None,
    patience: float = _PATIENCE,
) -> float:
    """
    Wait for a 200, asking again and again; say how long after its start it came.

    Raises:
        BenchmarkError: If it does not come.
    """
    body = _CHAT if method == "POST" else None
    sent = {**_HEADERS, **(headers or {})} if body else {}
    reason = "no answer"
    while time.perf_counter() - child.started < patience:
        child.check()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            text = response.read()
            if response.status == 200:
                return time.perf_counter() - child.started
            reason = f"{response.status} {text[:300].decode(errors='replace')}"
        except (OSError, http.client.HTTPException) as error:
            reason = str(error)
        finally:
            connection.close()
        time.sleep(0.001)
    raise BenchmarkError(f"{child.name} did not answer {method} {path}: {reason}")
