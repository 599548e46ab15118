"""
A backend that does exactly what a test writes down, byte by byte, on a raw socket.

``tests.fakes.FakeBackend`` is a well-behaved web server; this one need not be
one at all: it can be silent, cut, reset, drip and lie.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

from attrs import define, field
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

reactor: Any = the_reactor

_LINGER_0 = struct.pack("ii", 1, 0)


def reset(transport: Any) -> None:
    """End a connection with a reset (RST), losing what was not sent."""
    transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
    transport.abortConnection()


class Connection(Protocol):
    """
    One connection to the backend, as its script sees it.

    Attributes:
        lost: Whether the other side has gone.
        head: What the last request's head was.
        body: What its body was.
    """

    factory: ScriptedBackend

    def __init__(self) -> None:
        self.lost = False
        self.head = b""
        self.body = b""
        self._buffer = b""
        self._waiting: Deferred[None] | None = None

    def connectionMade(self) -> None:
        """Run the script that is this connection's turn."""
        backend = self.factory
        number = len(backend.connections)
        backend.connections.append(self)
        script = backend.scripts[min(number, len(backend.scripts) - 1)]
        self._run = ensureDeferred(self._follow(script))

    async def _follow(self, script: Script) -> None:
        try:
            await script(self)
        except (Gone, CancelledError):
            return

    def dataReceived(self, data: bytes) -> None:
        """Keep what comes, for ``request``."""
        self._buffer += data
        self._wake()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note that the other side went."""
        self.lost = True
        self.lost_at = reactor.seconds()
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    async def _more(self) -> None:
        if self.lost:
            raise Gone
        self._waiting = Deferred()
        await self._waiting

    async def request(self) -> bytes:
        """Read one whole request; give its body.  Raises ``Gone`` if none comes."""
        while b"\r\n\r\n" not in self._buffer:
            await self._more()
        self.head, _, rest = self._buffer.partition(b"\r\n\r\n")
        length = 0
        for line in self.head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        while len(rest) < length:
            self._buffer = self.head + b"\r\n\r\n" + rest
            await self._more()
            rest = self._buffer.partition(b"\r\n\r\n")[2]
        self.body, self._buffer = rest[:length], rest[length:]
        self.factory.requests += 1
        return self.body

    def send(self, data: bytes) -> None:
        """Write bytes."""
        if not self.lost:
            assert self.transport is not None
            self.transport.write(data)

    async def drip(self, data: bytes, *, size: int = 1, gap: float = 0.0) -> None:
        """Write in pieces of *size* bytes, each in a segment of its own."""
        for start in range(0, len(data), size):
            if self.lost:
                raise Gone
            self.send(data[start : start + size])
            await deferLater(reactor, gap)

    async def drained(self) -> None:
        """Wait until what was written has gone, as far as the other side reads."""
        transport: Any = self.transport
        while not self.lost and (transport.dataBuffer or transport._tempDataLen):
            await deferLater(reactor, 0.01)
        await deferLater(reactor, 0)

    async def pause(self, seconds: float) -> None:
        """Do nothing for a while."""
        await deferLater(reactor, seconds)

    async def hold(self) -> None:
        """Do nothing until the other side goes."""
        while not self.lost:
            await self._more()

    def close(self) -> None:
        """End the connection in order, once all is written."""
        assert self.transport is not None
        self.transport.loseConnection()

    def reset(self) -> None:
        """End it with a reset, losing what was not sent."""
        reset(self.transport)


Script = Callable[[Connection], Awaitable[object]]


class Gone(Exception):
    """The other side went while the script waited for it."""


@define(eq=False)
class ScriptedBackend(Factory):
    """
    Listens, and follows a script per connection: the last one for all further ones.

    Attributes:
        requests: How many whole requests came.
    """

    scripts: list[Script]
    connections: list[Connection] = field(factory=list)
    requests: int = 0
    protocol: Any = Connection

    @classmethod
    def following(cls, *scripts: Script) -> ScriptedBackend:
        """Make one."""
        return cls(list(scripts))

    def listen(self, ssl: Any = None, backlog: int = 50) -> int:
        """Open a port, with TLS if a context factory is given; give its number."""
        if ssl is None:
            self.port = reactor.listenTCP(0, self, backlog=backlog, interface="127.0.0.1")
        else:
            self.port = reactor.listenSSL(0, self, ssl, interface="127.0.0.1")
        return int(self.port.getHost().port)

    async def stop(self) -> None:
        """Close the port and all connections."""
        await self.port.stopListening()
        for connection in self.connections:
            if not connection.lost:
                transport: Any = connection.transport
                transport.abortConnection()
                await connection.hold()


HEAD = b"HTTP/1.1 200 OK\r\n"
EVENTS = HEAD + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunked(*parts: bytes, end: bool = False) -> bytes:
    """Give parts in chunked coding."""
    text = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return text + b"0\r\n\r\n" if end else text


def answer(body: bytes, *more: bytes, status: bytes = b"200 OK") -> bytes:
    """Give a whole JSON answer, with more header lines."""
    lines = [b"HTTP/1.1 " + status, b"Content-Type: application/json", *more]
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", body])
