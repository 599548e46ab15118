"""
What is measured: the mock itself, nginx in front of it, and the gateway in front of it.

All three answer ``POST /v1/chat/completions`` on loopback.  The gateway runs as
it is installed, by ``twistd``, with its access log on; nginx logs nothing.
"""

from __future__ import annotations

import http.client
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import BenchmarkError, Cores, Running, free_port, running

HERE = Path(__file__).parent
DIRECT, NGINX, OURS = "direct", "nginx", "ours"
SUBJECTS = (DIRECT, NGINX, OURS)

_PATIENCE = 15.0
_CHAT = (HERE / "bodies" / "chat.json").read_bytes()


@dataclass(frozen=True)
class Subject:
    """One thing under test, up and answering."""

    name: str
    port: int
    child: Running
    healthz_seconds: float
    answer_seconds: float


@dataclass(frozen=True)
class Mock:
    """The backend behind them all."""

    port: int
    child: Running

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
        self._twistd = twistd
        self.environ = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}

    @contextmanager
    def mock(self) -> Iterator[Mock]:
        """Run the mock backend."""
        port = free_port()
        with self._running("mock", [str(self.tools / "mock"), str(port)], self.cores.load) as child:
            _first_answer(port, "GET", "/stats", child)
            yield Mock(port, child)

    @contextmanager
    def subject(self, name: str, mock: Mock) -> Iterator[Subject]:
        """Run one subject before *mock*, until it has answered."""
        if name == DIRECT:
            yield Subject(name, mock.port, mock.child, 0.0, 0.0)
            return
        port = free_port()
        command = {NGINX: self._nginx, OURS: self._ours}[name](port, mock.port)
        with self._running(name, command, self.cores.subject) as child:
            healthy = _first_answer(port, "GET", "/healthz", child)
            answered = _first_answer(port, "POST", "/v1/chat/completions", child)
            yield Subject(name, port, child, healthy, answered)

    def _nginx(self, port: int, backend: int) -> list[str]:
        prefix = self.folder / "nginx"
        prefix.mkdir(exist_ok=True)
        text = (HERE / "nginx.conf").read_text()
        text = text.replace("@PORT@", str(port)).replace("@BACKEND@", str(backend))
        (prefix / "nginx.conf").write_text(text)
        return ["nginx", "-p", f"{prefix}/", "-c", "nginx.conf", "-e", "stderr"]

    def _ours(self, port: int, backend: int) -> list[str]:
        path = self.folder / "gateway.toml"
        path.write_text(gateway_config(port, free_port(), backend))
        options = ["--nodaemon", "--pidfile=", "--umask=0077"]
        return [str(self._twistd), *options, "lmgateway", "--config", str(path)]

    @contextmanager
    def _running(self, name: str, command: list[str], core: int) -> Iterator[Running]:
        log = self.folder / f"{name}.log"
        try:
            with running(command, name=name, core=core, log=log, environ=self.environ) as child:
                yield child
        except BenchmarkError as error:
            last = log.read_text(errors="replace").splitlines()[-8:]
            raise BenchmarkError("\n".join([str(error), *last])) from None


def models() -> list[str]:
    """List the model names that the bodies ask for; each tells the mock what to do."""
    bodies = sorted((HERE / "bodies").glob("*.json"))
    return sorted({json.loads(body.read_bytes())["model"] for body in bodies})


def gateway_config(port: int, admin_port: int, backend: int) -> str:
    """Write the gateway's config: one backend, and a tier for each model that is asked for."""
    tiers = "".join(
        f'[[tiers]]\nname = "{model}"\nbackend = "mock"\nmodel = "{model}"\n' for model in models()
    )
    return (
        f"[gateway]\nclient_port = {port}\nadmin_port = {admin_port}\n\n"
        f'[backends.mock]\nprovider = "openai"\nbase_url = "http://127.0.0.1:{backend}"\n\n'
        f'{tiers}\n[profiles.default]\nmode = "dispatch"\nclassifier = "mock"\n'
    )


def _first_answer(port: int, method: str, path: str, child: Running) -> float:
    """Wait for a 200, asking again and again; say how long after its start it came."""
    body = _CHAT if method == "POST" else None
    headers = {"Content-Type": "application/json"} if body else {}
    reason = "no answer"
    while time.perf_counter() - child.started < _PATIENCE:
        child.check()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request(method, path, body, headers)
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
