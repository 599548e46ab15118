"""Slow clients, many at once, in one loop that costs next to nothing."""

from __future__ import annotations

import json
import select
import socket
import time
from collections import Counter, deque
from pathlib import Path
from typing import Literal

from attrs import define, field

Kind = Literal["headers", "bodies", "readers"]

GAP = 1.0
"""Seconds between two bytes that one of them sends."""
TASTE = 16
"""Bytes that one of them reads at a time."""
_GONE = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_SEGMENT = 1000
_ESTABLISHED = "01"
_LOOK = 0.5
"""How often it is looked up who of the readers is shut: they themselves are not told."""

_HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
)


def request(model: str, *, stream: bool) -> bytes:
    """Give the bytes of a chat request."""
    ask = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "hi"}]}
    body = json.dumps(ask).encode()
    return _HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


_FIRST = {
    "headers": _HEAD + b"X-Slow: ",
    "bodies": _HEAD + b"Content-Length: 100000\r\n\r\n",
    "readers": request("big", stream=True),
}


@define
class _Dawdler:
    """One of them."""

    socket: socket.socket
    began: float
    answer: bytes = b""


@define
class Dawdlers:
    """
    A crowd of slow clients of one kind.

    Attributes:
        port: Where they connect.
        kind: What is slow.
        count: How many.
        opening: Seconds over which they come.
        ages: How long each was borne that the gateway has shut.
        statuses: What they were told, by status.
        left: How many it has not shut.
    """

    port: int
    kind: Kind
    count: int
    opening: float
    ages: list[float] = field(factory=list)
    statuses: Counter[str] = field(factory=Counter)
    left: int = 0
    _open: dict[int, _Dawdler] = field(factory=dict)
    _due: deque[tuple[float, _Dawdler]] = field(factory=deque)
    _looked: float = 0.0

    def run(self, patience: float) -> None:
        """
        Come, dawdle, and wait until all are shut.

        Args:
            patience: Seconds after the last one came, after which this gives up.
        """
        began, came = time.monotonic(), 0
        end = began + self.opening + patience
        with select.epoll() as epoll:
            while (came < self.count or self._open) and time.monotonic() < end:
                came = self._come(epoll, came, time.monotonic() - began)
                for number, event in epoll.poll(0.01):
                    self._met(epoll, self._open[number], event)
                while self._due and self._due[0][0] <= time.monotonic():
                    self._poke(epoll, self._due.popleft()[1])
                if self.kind == "readers" and time.monotonic() > self._looked + _LOOK:
                    self._look(epoll)
            self.left = self.count - came + len(self._open)
            for one in self._open.values():
                one.socket.close()
            self._open.clear()

    def _come(self, epoll: select.epoll, came: int, passed: float) -> int:
        share = passed / self.opening if self.opening else 1.0
        wanted = min(self.count, int(share * self.count) + 1)
        for _ in range(came, wanted):
            made = socket.socket()
            if self.kind == "readers":  # so that neither kernel holds much for it
                made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SEGMENT)
            made.connect(("127.0.0.1", self.port))
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.setblocking(False)
            made.send(_FIRST[self.kind])
            one = _Dawdler(made, time.monotonic())
            self._open[made.fileno()] = one
            epoll.register(made, _GONE if self.kind == "readers" else _GONE | select.EPOLLIN)
            self._due.append((one.began + GAP, one))
        return wanted

    def _met(self, epoll: select.epoll, one: _Dawdler, event: int) -> None:
        if event & select.EPOLLIN:
            self._read(one, 4096)
        if event & _GONE:
            self._shut(epoll, one)

    def _read(self, one: _Dawdler, most: int) -> None:
        try:
            one.answer += one.socket.recv(most)
        except OSError:  # nothing there, or gone: the loop is told the latter
            return

    def _poke(self, epoll: select.epoll, one: _Dawdler) -> None:
        """Send a byte, or read a few."""
        if one.socket.fileno() not in self._open:
            return
        if self.kind == "readers":
            self._read(one, TASTE)
        else:
            try:
                one.socket.send(b"x")
            except OSError:
                self._shut(epoll, one)
                return
        self._due.append((time.monotonic() + GAP, one))

    def _look(self, epoll: select.epoll) -> None:
        """Find those whose connection the gateway no longer has: no reset fits into no window."""
        self._looked = now = time.monotonic()
        had = {one.socket.getsockname()[1]: one for one in self._open.values()}
        for port in connected(self.port):
            had.pop(port, None)
        for one in had.values():
            if one.began < now - _LOOK:
                self._shut(epoll, one)

    def _shut(self, epoll: select.epoll, one: _Dawdler) -> None:
        self.ages.append(time.monotonic() - one.began)
        self.statuses[one.answer[9:12].decode() or "cut"] += 1
        epoll.unregister(one.socket)
        del self._open[one.socket.fileno()]
        one.socket.close()


def connected(port: int) -> set[int]:
    """Give the ports of those who are connected to a port of this machine, as its end sees it."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    ends = (line.split(None, 4)[1:4] for line in lines)
    return {
        int(theirs.rpartition(":")[2], 16)
        for ours, theirs, state in ends
        if state == _ESTABLISHED and ours.endswith(f":{port:04X}")
    }
