"""Clients that leave, each in a phase of its request, and the backend that watches them."""

from __future__ import annotations

import json
import select
import socket
import ssl
import struct
import time
from typing import Literal

from tests.gates.dawdlers import request

Phase = Literal["head", "body", "waiting", "opened", "streaming", "stalled"]

PHASES: dict[Phase, str] = {
    "head": "before its head is whole",
    "body": "before its body is whole",
    "waiting": "while headers are waited for",
    "opened": "between headers and the first event",
    "streaming": "in mid-stream",
    "stalled": "after it stopped to read",
}

_PATIENCE = 10.0
_GONE = select.POLLRDHUP | select.POLLHUP | select.POLLERR
_LINGER_0 = struct.pack("ii", 1, 0)
_OPENED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_FULL = 0.05
"""Seconds without room in the socket after which the gateway reads no more."""


def event(text: str) -> bytes:
    """Give an event of a stream, as a chunk."""
    choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
    document = {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [choice],
    }
    line = b"data: " + json.dumps(document).encode() + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(line), line)


_EVENT = event("hello ")
_LARGE = event("x" * 30_000)


class Quitters:
    """
    One client after the other, and what its backend sees of it.

    Args:
        client: TLS of the clients, if they speak it.
        backend: TLS of the backend, likewise.

    Attributes:
        port: Where the gateway serves.
        backend_port: Where the backend does.
        kept: How many connections the gateway did not close in time.
    """

    def __init__(self, client: ssl.SSLContext | None, backend: ssl.SSLContext | None) -> None:
        self._client = client
        self._backend = backend
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(_PATIENCE)
        self.port = 0
        self.backend_port = int(self._listener.getsockname()[1])
        self.kept = 0

    def close(self) -> None:
        """Stop the backend."""
        self._listener.close()

    def strays(self) -> int:
        """Count connections to the backend that no whole request was the reason of."""
        count = 0
        while select.select([self._listener], [], [], 0)[0]:
            self._listener.accept()[0].close()
            count += 1
        return count

    def once(self, phase: Phase, *, reset: bool) -> float | None:
        """
        Have a client leave.

        Args:
            phase: When.
            reset: Whether by a reset.

        Returns:
            The seconds until the gateway closed; none if that cannot be seen.
        """
        whole = request("scripted", stream=True)
        client = self._dial(deaf=phase == "stalled")
        if phase in ("head", "body"):
            client.sendall(whole[:60] if phase == "head" else whole[:-5])
            return self._left_early(client, reset=reset)
        client.sendall(whole)
        backend = self._asked()
        try:
            self._reach(phase, client, backend)
            began = time.monotonic()
            leave(client, reset=reset)
            if not gone(backend):
                self.kept += 1
            return time.monotonic() - began
        finally:
            backend.close()

    def _reach(self, phase: Phase, client: socket.socket, backend: socket.socket) -> None:
        """Go on until the phase is reached."""
        if phase == "waiting":
            return
        backend.sendall(_OPENED)
        if phase == "opened":
            time.sleep(0.005)
        elif phase == "streaming":
            backend.sendall(_EVENT * 2)
            while b"hello" not in client.recv(65536):
                pass
            backend.sendall(_EVENT)
        else:
            flood(backend)

    def _dial(self, *, deaf: bool) -> socket.socket:
        made = socket.socket()
        made.settimeout(_PATIENCE)
        if deaf:  # so that little need be sent until nothing more fits
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1000)
        made.connect(("127.0.0.1", self.port))
        if self._client is None:
            return made
        return self._client.wrap_socket(made, server_hostname="127.0.0.1")

    def _asked(self) -> socket.socket:
        """Take the gateway's connection, and read its request to the end."""
        connection, _ = self._listener.accept()
        connection.settimeout(_PATIENCE)
        if self._backend is not None:
            connection = self._backend.wrap_socket(connection, server_side=True)
        text = b""
        while b"\r\n\r\n" not in text or not text.endswith(b"}"):
            part = connection.recv(65536)
            if not part:
                raise ConnectionError("the gateway left before its client did")
            text += part
        return connection

    def _left_early(self, client: socket.socket, *, reset: bool) -> float | None:
        """Leave with a request that is not whole; say when the gateway let go, if it can."""
        began = time.monotonic()
        if reset:
            leave(client, reset=True)
            return None
        raw = socket.socket(fileno=client.detach())
        raw.settimeout(_PATIENCE)
        with raw:
            raw.shutdown(socket.SHUT_WR)
            try:
                while raw.recv(65536):
                    pass
            except TimeoutError:
                self.kept += 1
            except OSError:  # a reset is an end as well
                pass
            return time.monotonic() - began


def leave(client: socket.socket, *, reset: bool) -> None:
    """Close a connection as a process that ends does: without a word of TLS."""
    with socket.socket(fileno=client.detach()) as raw:
        if reset:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)


def gone(connection: socket.socket) -> bool:
    """Wait until the other side has closed a connection, whatever there is still to read."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLRDHUP)
    return any(what & _GONE for _, what in poll.poll(_PATIENCE * 1000))


def flood(connection: socket.socket) -> None:
    """Send events until the other side reads no more."""
    connection.setblocking(False)
    while True:
        data = _LARGE
        while data:
            try:
                data = data[connection.send(data) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                if not select.select([], [connection], [], _FULL)[1]:
                    return
