"""The gateway that a gate looks at: in a process of its own, seen from outside."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import resource
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import define

from tests.gates.figures import Figure, none_of
from tests.processes import Telling, ended, free_port, spawn

_SAMPLE = re.compile(r"(\w+)(\{.*\})? (\S+)")
_SETTLING = 20.0
_LET_GO = (
    "lmg_in_flight_requests",
    "lmg_backend_in_flight",
    "lmg_queue_in_flight",
    "lmg_queue_depth",
    'lmg_connections{port="client"}',
)
"""What must be back at nothing when all clients have gone."""


@define
class Subject:
    """
    A running gateway.

    Attributes:
        process: It.
        client_port: Where clients ask.
        admin_port: Where operators do.
        log: What it has logged.
    """

    process: subprocess.Popen[bytes]
    client_port: int
    admin_port: int
    log: Path

    def descriptors(self) -> int:
        """Count its open files."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resident(self) -> int:
        """Give its resident memory, in bytes."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def cpu(self) -> float:
        """Give the seconds of processor time that it has taken."""
        text = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(text[11]) + int(text[12])) / os.sysconf("SC_CLK_TCK")

    def metrics(self) -> dict[str, float]:
        """Read all its series."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", "/metrics", headers={"connection": "close"})
            text = connection.getresponse().read().decode()
        matches = (_SAMPLE.fullmatch(line) for line in text.splitlines())
        return {m[1] + (m[2] or ""): float(m[3]) for m in matches if m is not None}

    def leaked(self, descriptors: int) -> list[Figure]:
        """
        Say what is still held once all clients have gone: it has some seconds to let go.

        Args:
            descriptors: How many files were open before.
        """
        end = time.monotonic() + _SETTLING
        while True:
            files = max(0, self.descriptors() - descriptors)
            held = {k: v for k, v in self.metrics().items() if v and k.startswith(_LET_GO)}
            if not (files or held) or time.monotonic() > end:
                break
            time.sleep(0.2)
        return [
            none_of("connections and files leaked", files),
            none_of("requests, places and queues leaked", sum(held.values()), str(held)),
        ]

    def unexpected(self) -> Figure:
        """Say how often it met what nobody had thought of."""
        count = self.metrics().get('lmg_log_events_total{level="critical"}', 0.0)
        return none_of("unexpected errors logged", count, self.log.read_text()[-2000:])


@contextlib.contextmanager
def serving(config: str, files: Mapping[str, bytes] | None = None) -> Iterator[Subject]:
    """
    Run a gateway on free ports of this machine alone.

    Args:
        config: Its config, with ``@ports`` in the section ``[gateway]``.
        files: What lies beside that, by name.
    """
    client, admin = free_port(), free_port()
    with tempfile.TemporaryDirectory() as made, contextlib.ExitStack() as ends:
        folder = Path(made)
        ports = f"client_port = {client}\nadmin_port = {admin}"
        (folder / "config.toml").write_text(config.replace("@ports", ports))
        for name, content in (files or {}).items():
            (folder / name).write_bytes(content)
        telling = Telling(f"@lmgateway-gate-{os.getpid()}-{client}")
        ends.callback(telling.close)
        with (folder / "log").open("wb") as log:
            command = ["lmgateway", "serve", "--config", str(folder / "config.toml")]
            environ = {"NOTIFY_SOCKET": telling.address}
            process = ends.enter_context(
                ended(spawn(command, environ=environ, stderr=log.fileno()))
            )
        try:
            telling.wait_for("READY", 30)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{(folder / 'log').read_text()}") from error
        yield Subject(process, client, admin, folder / "log")


def files_allowed() -> int:
    """Raise this process's limit on open files as far as may be, and give it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = max(soft, 65536)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
