"""A gateway of several processes, on loopback ports: real ones, for tests of what they do."""

from __future__ import annotations

import atexit
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

from tests.harness import free_port

CHECKOUT = Path(__file__).parent.parent

CONFIG = """
[gateway]
client_port = {client}
admin_port = {admin}
workers = {workers}
drain_timeout_ms = 10000
idempotency_window_ms = 0
allow_anonymous = true

[backends.mock]
provider = "mock"
[backends.slow]
provider = "mock"
mock = {{ tokens_per_second = {pace} }}

[[tiers]]
name = "t"
backend = "mock"
model = "m"

[[tiers]]
name = "dear"
backend = "mock"
model = "dear"
price = {{ input = 0, output = 0, request = 0.01 }}

[[tiers]]
name = "queued"
backend = "slow"
model = "queued"
max_concurrent = 2
queue_depth = 3

[[tiers]]
name = "slow"
backend = "slow"
model = "slow"

[profiles.default]
classifier = "t"

[[budgets]]
name = "pocket"
scope = "client"
period = "total"
limit_usd = 0.23
"""

CLIENT = """
[[clients]]
name = "{name}"
profile = "default"
allow_models = ["*"]
key_sha256 = "{digest}"
{more}
"""
CLIENTS = {
    "plain": "",
    "rate": "rate_limit_rpm = 1\nburst = 17",
    "purse": 'budgets = ["pocket"]',
    "busy": "max_concurrent = 5",
    "held": "max_concurrent = 4",
}


def key_of(name: str) -> str:
    """Give the key of a client."""
    return f"sk-test-{name}-0123456789"


class Running:
    """A gateway in a process of its own."""

    def __init__(self, workers: int = 2, pace: int = 20) -> None:
        self.folder = Path(mkdtemp())
        self.port, self.admin = free_port(), free_port()
        self.config = self.folder / "config.toml"
        self.write(workers=workers, pace=pace)
        self.process: subprocess.Popen[bytes] | None = None

    def write(self, *, workers: int = 2, pace: int = 20, more: str = "") -> None:
        """Write the config."""
        text = CONFIG.format(
            client=self.port,
            admin=self.admin,
            workers=workers,
            pace=pace,
        )
        for name, limits in CLIENTS.items():
            digest = sha256(key_of(name).encode()).hexdigest()
            text += CLIENT.format(name=name, digest=digest, more=limits)
        self.config.write_text(text + more)

    def start(self, path: str = "") -> None:
        """
        Start it; its log goes to a file.

        Args:
            path: A folder with modules of its own.
        """
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    *["tests.twistd", "-n", "lmgateway", "--config"],
                    self.config,
                ],
                cwd=self.folder,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(filter(None, (path, str(CHECKOUT)))),
                    "PYTHONDONTWRITEBYTECODE": "1",
                },
                stdout=log,
                stderr=log,
            )

    def serve(self) -> None:
        """Start it, and wait until all workers serve."""
        self.start()
        self.wait(lambda: "Serving " in self.log())

    def log(self) -> str:
        """Give what it has logged."""
        return (self.folder / "log").read_text()

    def wait(self, condition: Callable[[], Any], *, ended: bool = False) -> None:
        """Wait for up to two minutes: the machine may be busy."""
        assert self.process is not None, "started"
        until = time.monotonic() + 120
        while True:
            try:
                if condition():
                    return
            except (OSError, http.client.HTTPException, ValueError):
                pass
            if time.monotonic() > until or (not ended and self.process.poll() is not None):
                raise AssertionError(f"waited in vain: {self.log()}")
            time.sleep(0.03)

    def close(self) -> None:
        """End it, whatever became of it, and leave nothing of it."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        rmtree(self.folder, ignore_errors=True)

    # Asking ------------------------------------------------------------------
    def begin(
        self, client: str, model: str, *, stream: bool = False, port: int = 0
    ) -> tuple[http.client.HTTPResponse, http.client.HTTPConnection]:
        """Ask on a connection of its own, and give the answer's head."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=60)
        body = {"model": model, "stream": stream, "max_tokens": 50}
        connection.request(
            "POST",
            "/v1/chat/completions",
            json.dumps({**body, "messages": [{"role": "user", "content": "hi"}]}),
            {"Authorization": f"Bearer {client}", "Content-Type": "application/json"},
        )
        return connection.getresponse(), connection

    def ask(self, client: str, model: str = "t", port: int = 0) -> int:
        """Ask, and give the status."""
        response, connection = self.begin(client, model, port=port)
        response.read()
        connection.close()
        return response.status

    def many(self, count: int, ask: Callable[[], Any]) -> list[Any]:
        """Ask many times at once."""
        with ThreadPoolExecutor(count) as pool:
            return [each.result() for each in [pool.submit(ask) for _ in range(count)]]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Call the admin port; gives the document, or the text."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=60)
        headers = {"Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        if answer.status >= 400:
            raise AssertionError(f"{answer.status}: {text.decode()}")
        return json.loads(text) if path != "/metrics" else text.decode()

    def states(self) -> list[tuple[str, int]]:
        """Give how the workers are, and the generation that they serve."""
        document = self.call("GET", "/admin/workers")
        found = [each for each in document["processes"] if each["worker"]]
        return [(each["state"], each.get("generation", 0)) for each in found]

    def pids(self) -> list[int]:
        """Give the processes of the workers that serve."""
        document = self.call("GET", "/admin/workers")
        found = [each for each in document["processes"] if each["worker"]]
        return [each["pid"] for each in found if each["state"] == "serving" and each["pid"]]


@cache
def shared() -> Running:
    """Start the gateway that many tests use; it ends with this process."""
    gateway = Running()
    atexit.register(gateway.close)
    gateway.serve()
    return gateway


def is_alive(pid: int) -> bool:
    """Say whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def rest_of(response: http.client.HTTPResponse) -> bytes:
    """Read an answer to its end, also where that is early."""
    try:
        return response.read()
    except http.client.IncompleteRead as error:
        return error.partial
