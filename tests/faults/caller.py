"""A client that does exactly what a test writes down, byte by byte, on a raw socket."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

reactor: Any = the_reactor


class Caller(Protocol):
    """
    One connection to the gateway.

    Attributes:
        received: All that came.
        gone: Whether the gateway ended it.
    """

    def __init__(self) -> None:
        self.received = b""
        self.gone = False
        self._waiting: Deferred[None] | None = None

    @classmethod
    async def dial(cls, port: int) -> Caller:
        """Connect."""
        caller = cls()
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), caller)
        return caller

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.received += data
        self._wake()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note that it is over."""
        self.gone = True
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def send(self, data: bytes) -> None:
        """Write bytes."""
        if not self.gone:
            assert self.transport is not None
            self.transport.write(data)

    async def drip(self, data: bytes, gap: float) -> None:
        """Write a byte now and then, until all is written or the gateway has enough."""
        for byte in data:
            if self.gone:
                return
            self.send(bytes([byte]))
            await deferLater(reactor, gap)

    async def until(self, text: bytes) -> bytes:
        """Wait for *text*; give all that came, also if it ended without."""
        while text not in self.received and not self.gone:
            self._waiting = Deferred()
            await self._waiting
        return self.received

    async def end(self) -> bytes:
        """Wait until the gateway ends it; give all that came."""
        while not self.gone:
            self._waiting = Deferred()
            await self._waiting
        return self.received

    async def leave(self) -> None:
        """Go, at once."""
        transport: Any = self.transport
        transport.abortConnection()
        await self.end()

    def deafen(self) -> None:
        """Read nothing from now on."""
        transport: Any = self.transport
        transport.pauseProducing()


def request(stream: bool = False, **members: Any) -> bytes:
    """Give the bytes of a chat request."""
    document = {"model": "a", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    body = json.dumps(document | members).encode()
    return post(body)


def post(body: bytes, *headers: bytes, length: int | None = None) -> bytes:
    """Give the bytes of a POST to the chat endpoint."""
    lines = [
        b"POST /v1/chat/completions HTTP/1.1",
        b"Host: localhost",
        b"Content-Type: application/json",
        *headers,
    ]
    if length is None or length >= 0:
        lines.append(b"Content-Length: %d" % (len(body) if length is None else length))
    return b"\r\n".join([*lines, b"", body])
