"""A backend without a network: what the client sends, and whatever is answered."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from lmgateway.wire.body import BodyReader
from lmgateway.wire.client import Origin, Response, Target, WireAgent, WireClient
from lmgateway.wire.timers import Wheel

T = TypeVar("T")
URL = "http://127.0.0.1:8000/v1"
SECRET = b"canary-7f3a"


def run(awaitable: Awaitable[T]) -> Deferred[T]:
    """Start a coroutine."""

    async def body() -> T:
        return await awaitable

    return ensureDeferred(body())


class Wire:
    """The backend's end of one connection."""

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self.transport = StringTransport()
        protocol.makeConnection(self.transport)

    def sent(self) -> bytes:
        """Give what the client has sent since the last call."""
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

    def answer(self, *pieces: bytes) -> None:
        """Let pieces arrive, each as one read."""
        for piece in pieces:
            self.protocol.dataReceived(piece)

    def close(self, clean: bool = True) -> None:
        """Close the connection from the backend's side."""
        self.protocol.connectionLost(Failure(ConnectionDone() if clean else ConnectionLost()))

    @property
    def aborted(self) -> bool:
        """Whether the client has cut it."""
        return self.transport.disconnected

    @property
    def closing(self) -> bool:
        """Whether the client has closed it, in whatever way."""
        return self.transport.disconnecting

    @property
    def paused(self) -> bool:
        """Whether the client has stopped reading."""
        return self.transport.producerState == "paused"


class Memory:
    """One agent and client over a reactor in memory."""

    def __init__(self, url: str = URL, *, proxy: str | None = None, **settings: Any) -> None:
        self.reactor = MemoryReactorClock()
        self.wheel = Wheel(self.reactor)
        self.origin = Origin.parse(url, proxy=proxy)
        self.agent = WireAgent(self.reactor, self.wheel, self.origin, **settings)
        self.client = WireClient(self.agent, self.wheel)
        self.target = Target.prepare(
            self.origin, b"POST", "/chat/completions", [(b"authorization", b"Bearer " + SECRET)]
        )
        self.wires: list[Wire] = []

    def send(
        self,
        body: bytes = b"{}",
        headers: Sequence[tuple[bytes, bytes]] = (),
        head_seconds: float = 10.0,
    ) -> Deferred[Response]:
        """Send a request."""
        return self.client.send(self.target, body, headers, head_seconds=head_seconds)

    def accept(self) -> Wire:
        """Let the connection that the client is opening succeed."""
        factory = self.reactor.tcpClients[-1][2]
        factory.doStart()  # as a real connector does
        wire = Wire(factory.buildProtocol(self.reactor.connectors[-1].getDestination()))
        self.wires.append(wire)
        return wire

    def refuse(self, error: Exception) -> None:
        """Let the connection that the client is opening fail."""
        factory = self.reactor.tcpClients[-1][2]
        factory.clientConnectionFailed(self.reactor.connectors[-1], Failure(error))

    def reader(self, response: Response) -> BodyReader:
        """Begin to read a body."""
        return BodyReader(response, self.wheel)

    def pass_time(self, seconds: float) -> None:
        """Let time pass in small steps, as it does."""
        for _ in range(round(seconds / 0.05)):
            self.reactor.advance(0.05)

    @property
    def connections(self) -> int:
        """How many connections were tried."""
        return len(self.reactor.tcpClients)


def ok(body: bytes = b"ok", *lines: bytes) -> bytes:
    """Give a well-behaved response."""
    head = b"".join(line + b"\r\n" for line in lines)
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b\r\n%b" % (len(body), head, body)


def chunked(*pieces: bytes, end: bool = True) -> bytes:
    """Give chunks."""
    parts = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
    return b"".join(parts) + (b"0\r\n\r\n" if end else b"")


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"
