"""
Good clients, in a process of their own so that nothing but the gateway makes them wait.

``python -m tests.gates.goods PORT`` asks until its standard input ends.  For each line there it
writes one: how long each answer since the last took, in seconds, and what failed.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator

from attrs import define, field, frozen

from tests.gates.load import ask
from tests.processes import ended, spawn

_CLIENTS = 2
_PAUSE = 0.01


@frozen
class Seen:
    """
    What they met in some time.

    Attributes:
        took: The seconds of each whole answer.
        failed: What went wrong, and how often.
    """

    took: list[float]
    failed: dict[str, int]


class Goods:
    """The process, from outside."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def seen(self) -> Seen:
        """Give what they met since this was asked last."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        return Seen(**json.loads(self._process.stdout.readline()))


@contextlib.contextmanager
def asking(port: int) -> Iterator[Goods]:
    """Have good clients ask, all the while."""
    with ended(spawn(["tests.gates.goods", str(port)], talking=True)) as process:
        yield Goods(process)


@define
class _Clients:
    """The clients, from inside."""

    port: int
    lock: threading.Lock = field(factory=threading.Lock)
    took: list[float] = field(factory=list)
    failed: Counter[str] = field(factory=Counter)

    def run(self, stream: bool) -> None:
        """Be one of them."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        while True:
            began, why = time.monotonic(), ""
            try:
                ask(connection, stream=stream)
            except (OSError, http.client.HTTPException, ValueError) as error:
                why = f"{type(error).__name__}: {error}"
                connection.close()
            took = time.monotonic() - began
            with self.lock:
                if why:
                    self.failed[why] += 1
                else:
                    self.took.append(took)
            time.sleep(_PAUSE)

    def report(self) -> str:
        """Give all since the last time, as JSON."""
        with self.lock:
            text = json.dumps({"took": self.took, "failed": self.failed})
            self.took, self.failed = [], Counter()
        return text


def main() -> None:
    """Ask, and tell."""
    clients = _Clients(int(sys.argv[1]))
    for number in range(_CLIENTS):
        threading.Thread(target=clients.run, args=(number % 2 == 1,), daemon=True).start()
    for _ in sys.stdin:
        sys.stdout.write(clients.report() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
