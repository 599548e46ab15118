"""
A client and a backend that take turns with the gateway, so that each run is the same.

The client has one connection, and sends a request when the answer to the last
one is there.  The backend sends an event of a stream when the client has the
one before.  So the gateway reads and writes the same pieces each time, and
what it does for them can be counted.
"""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, BinaryIO

from attrs import frozen

from benchmarks.processes import BenchmarkError
from benchmarks.profiles import key

AT_ONCE = 10
"""Events that come together at the head of a stream: more than a gate holds back for."""

_WORDS = "tokens tokens "
"""What each event says; looked for in what the client is sent, whatever its grammar."""
_SECONDS = 60.0
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_GOOD = b"HTTP/1.1 200 "
_LAST_CHUNK = b"0\r\n\r\n"


@frozen
class Asking:
    """A kind of request: where it is sent, and what."""

    path: str
    body: bytes
    stream: bool

    @property
    def sent(self) -> bytes:
        """The bytes of it."""
        lines = (
            f"POST {self.path} HTTP/1.1",
            "Host: 127.0.0.1",
            "Accept: application/json",
            "User-Agent: OpenAI/Python 1.99.0",
            f"Authorization: Bearer {key(0)}",
            "Content-Type: application/json",
            f"Content-Length: {len(self.body)}",
        )
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + self.body


def asking(surface: str, *, stream: bool) -> Asking:
    """Make a request of about 1 KB in the grammar of a surface, ``openai`` or ``anthropic``."""
    turns = [{"role": "user", "content": "All work and no play makes Jack a dull boy. " * 20}]
    if surface == "openai":
        turns.insert(0, {"role": "system", "content": "You are a helpful assistant."})
    body = {"model": "mock", "max_tokens": 256, "stream": stream, "messages": turns}
    path = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}[surface]
    return Asking(path, json.dumps(body).encode(), stream)


class Backend:
    """Answers like an OpenAI backend, and takes whatever else is posted to it."""

    def __init__(self) -> None:
        self.events = AT_ONCE
        """How many events a stream has; at least those that come at once."""
        self.read = threading.Semaphore(0)
        """Released by the client for each event that it has."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accept no more; what is open ends when its peer closes it."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError), peer, peer.makefile("rb") as received:
            while (message := _message(received)) is not None:
                head, body = message
                if b"/chat/completions" not in head:
                    peer.sendall(_TAKEN)
                elif b'"stream":true' in body.replace(b" ", b""):
                    self._stream(peer)
                else:
                    peer.sendall(_ANSWER)

    def _stream(self, peer: socket.socket) -> None:
        peer.sendall(_STREAM_HEAD + _EVENT * AT_ONCE)
        self._wait_for(AT_ONCE)
        for _ in range(self.events - AT_ONCE):
            peer.sendall(_EVENT)
            self._wait_for(1)
        peer.sendall(_STREAM_END)

    def _wait_for(self, events: int) -> None:
        for _ in range(events):
            self.read.acquire(timeout=_SECONDS)


class Client:
    """
    Asks a gateway over one connection, again and again.

    Args:
        port: Where the gateway listens.
        backend: Told of each event that has come.
    """

    def __init__(self, port: int, backend: Backend) -> None:
        self._backend = backend
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def ask(self, what: Asking) -> bytes:
        """
        Send a request; give the answer, when it has come whole.

        Raises:
            BenchmarkError: If it is not a good one.
        """
        self._socket.sendall(what.sent)
        answer, seen = b"", 0
        while not _is_whole(answer):
            piece = self._socket.recv(1 << 16)
            answer += piece
            if not piece or not answer.startswith(_GOOD):
                raise BenchmarkError(f"The gateway answered {answer[:500]!r}.")
            if what.stream:
                said = answer.count(_WORDS.encode())
                self._backend.read.release(said - seen) if said > seen else None
                seen = said
        return answer


def _message(received: BinaryIO) -> tuple[bytes, bytes] | None:
    """Read the head and the body of a request; ``None`` when there are no more."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = received.readline()
        if not line:
            return None
        head += line
    length = _LENGTH.search(head)
    return head, received.read(int(length[1])) if length else b""


def _is_whole(answer: bytes) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return answer.endswith(_LAST_CHUNK) if length is None else len(body) >= int(length[1])


def _whole(document: Mapping[str, Any]) -> bytes:
    body = json.dumps(document).encode()
    head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-request-id: req_mock\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _framed(text: str) -> bytes:
    return f"{len(text):x}\r\n{text}\r\n".encode()


def _event(delta: Mapping[str, Any] | None, reason: str | None = None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": reason}]
    document = {**_MEMBERS, "object": "chat.completion.chunk", "choices": choices, **more}
    return _framed(f"data: {json.dumps(document)}\n\n")


_MEMBERS = {"id": "chatcmpl-mock0123456789abcdef", "created": 1700000000, "model": "mock"}
_USAGE = {"prompt_tokens": 200, "completion_tokens": 100, "total_tokens": 300}
_TEXT = "".join(" " if place % 6 == 5 else "a" for place in range(600))
_SAID = {"role": "assistant", "content": _TEXT, "refusal": None}
_CHOICE = {"index": 0, "message": _SAID, "logprobs": None, "finish_reason": "stop"}

_TAKEN = _whole({})
_ANSWER = _whole({**_MEMBERS, "object": "chat.completion", "choices": [_CHOICE], "usage": _USAGE})
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    b"Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_EVENT = _event({"content": _WORDS})
_STREAM_END = b"".join(
    (_event({}, "stop"), _event(None, usage=_USAGE), _framed("data: [DONE]\n\n"), _LAST_CHUNK)
)
