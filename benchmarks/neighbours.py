"""
What one awkward client does to the others, and what it costs.

The others ask at half of saturation, open loop, so that whatever holds up the
gateway shows in their latency.  Beside them somebody posts 10 MiB, once, or
reads a stream that never ends far more slowly than it comes.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from benchmarks.load import Load, Requests
from benchmarks.processes import BenchmarkError
from benchmarks.profiles import key
from benchmarks.subjects import HERE, Subject

BIG_BYTES = 10 * 2**20
_BIG_AFTER_SECONDS = 1.0
_SLOW_BYTES = 4096
_SLOW_SECONDS = 0.1
_SMALL_WINDOW = 16384
_STALL_SECONDS = 1.5
_FLOOD = (HERE / "bodies" / "sse_flood.json").read_bytes()


def request(body: bytes) -> bytes:
    """Give the bytes of a request with this body."""
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: application/json\r\nAuthorization: Bearer {key(0)}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def big_request() -> bytes:
    """Make a request of 10 MiB: one long message."""
    text = "All work and no play makes Jack a dull boy. "
    message = {"role": "user", "content": text * (BIG_BYTES // len(text))}
    return request(json.dumps({"model": "mock", "stream": False, "messages": [message]}).encode())


class Neighbours:
    """
    Measures what others feel of an awkward client.

    Args:
        load: Who the others are.
    """

    def __init__(self, load: Load) -> None:
        self._load = load
        self._big = big_request()

    def moved(self, port: int, rate: float, seconds: float) -> dict[str, float]:
        """Give how many times higher the p99 of the others is, and their longest wait."""
        alone = self._others(port, rate, seconds)
        with beside(self._post_big, port):
            big = self._others(port, rate, seconds)
        with beside(_read_slowly, port):
            slow = self._others(port, rate, seconds)
        return {
            "p99_beside_big": big.p99_ms / alone.p99_ms,
            "longest_beside_big_ms": big.longest_ms,
            "p99_beside_slow": slow.p99_ms / alone.p99_ms,
        }

    def _others(self, port: int, rate: float, seconds: float) -> Requests:
        seen = self._load.open_loop(port, rate, seconds)
        if seen.errors:
            raise BenchmarkError(f"{seen.errors} requests failed beside an awkward client.")
        return seen

    def _post_big(self, port: int, ended: threading.Event) -> None:
        if ended.wait(_BIG_AFTER_SECONDS):
            raise BenchmarkError("There was no time to post it.")
        with socket.create_connection(("127.0.0.1", port), 30) as peer:
            peer.sendall(self._big)
            answer = peer.recv(4096)
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise BenchmarkError(f"10 MiB were answered with {answer[:300]!r}.")


def _read_slowly(port: int, ended: threading.Event) -> None:
    with flood(port) as peer:
        while not ended.wait(_SLOW_SECONDS):
            if not peer.recv(_SLOW_BYTES):
                raise BenchmarkError("The gateway hung up on a slow reader.")


@contextmanager
def flood(port: int) -> Iterator[socket.socket]:
    """Ask for a stream that comes as fast as it is read, and never ends."""
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_WINDOW)
        peer.settimeout(30)
        peer.connect(("127.0.0.1", port))
        peer.sendall(request(_FLOOD))
        yield peer


@contextmanager
def beside(act: Callable[[int, threading.Event], None], port: int) -> Iterator[None]:
    """Let somebody else act, in a thread, while the block lasts."""
    ended = threading.Event()
    failed: list[Exception] = []

    def run() -> None:
        try:
            act(port, ended)
        except (OSError, BenchmarkError) as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    if failed:
        raise BenchmarkError(f"The awkward client failed: {failed[0]}")


def stalled_kilobytes(subject: Subject, readers: int) -> float:
    """Give the memory that a stream costs whose client reads nothing."""
    before = subject.child.rss_bytes()
    with ExitStack() as stack:
        for _ in range(readers):
            stack.enter_context(flood(subject.port))
        time.sleep(_STALL_SECONDS)
        return (subject.child.rss_bytes() - before) / readers / 1024
