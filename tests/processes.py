"""A gateway in a process of its own, handed sockets and told how it is as by systemd."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent

CONFIG = """
[gateway]
{gateway}

[backends.mock]
provider = "mock"
mock = {{ {mock} }}

[[tiers]]
name = "t"
backend = "mock"
model = "m"

[profiles.default]
classifier = "t"
"""


class Telling:
    """
    Where processes tell how they are: the other end of ``NOTIFY_SOCKET``.

    Attributes:
        said: Every message so far, as a mapping of its lines.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.said: list[dict[str, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address[0] == "@" else address)

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()

    def hear(self, seconds: float) -> dict[str, str] | None:
        """Wait for the next message; ``None`` if none comes in time."""
        if not select.select([self._socket], [], [], max(0.0, seconds))[0]:
            return None
        lines = self._socket.recv(4096).decode().split("\n")
        self.said.append(dict(line.split("=", 1) for line in lines))
        return self.said[-1]

    def wait_for(self, key: str, seconds: float = 60) -> dict[str, str]:
        """Wait for a message that has *key*; raises ``AssertionError`` if none comes."""
        end = time.monotonic() + seconds
        while (message := self.hear(end - time.monotonic())) is not None:
            if key in message:
                return message
        raise AssertionError(f"{key} was not heard, only {self.said}")


def listening(family: int = socket.AF_INET, address: object = ("127.0.0.1", 0)) -> socket.socket:
    """Give a socket that listens, to be handed over."""
    made = socket.socket(family)
    made.bind(address)  # type: ignore[arg-type]  # a path for a local one
    made.listen(1024)
    return made


def free_port() -> int:
    """Give the number of a port that nobody listens on."""
    with listening() as probe:
        return int(probe.getsockname()[1])


def spawn(
    command: Sequence[str],
    sockets: Sequence[tuple[socket.socket, str]] = (),
    environ: Mapping[str, str] | None = None,
    stderr: int = subprocess.PIPE,
    talking: bool = False,
) -> subprocess.Popen[bytes]:
    """
    Start ``python -m COMMAND`` from this checkout.

    Args:
        command: The module and its arguments.
        sockets: Handed over as systemd does it, each with its name or none.
        environ: Added to the environment.
        stderr: Where its log goes.
        talking: Whether it is talked to, by its standard input and output.
    """
    line = [sys.executable, "-m", *command]
    if sockets:
        given = [f"{s.fileno()}={name}" if name else str(s.fileno()) for s, name in sockets]
        line = [sys.executable, "-m", "tests.activated", *given, "--", *line]
    return subprocess.Popen(
        line,
        env={
            **os.environ,
            "PYTHONPATH": str(CHECKOUT),
            "PYTHONDONTWRITEBYTECODE": "1",
            **(environ or {}),
        },
        pass_fds=[s.fileno() for s, _ in sockets],
        stdin=subprocess.PIPE if talking else None,
        stdout=subprocess.PIPE if talking else subprocess.DEVNULL,
        stderr=None if talking else stderr,
    )


@contextlib.contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """See to it that a process is gone."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
