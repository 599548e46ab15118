"""A server in memory: routes, a door that keeps notes, and a client that speaks in bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from klein import Klein
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from lmgateway.errors import GatewayError, MethodNotAllowed, NotFound, Unauthenticated
from lmgateway.wire.door import Head, Pass, Refusal
from lmgateway.wire.limits import Limits
from lmgateway.wire.outlet import Outlet
from lmgateway.wire.request import Request
from lmgateway.wire.routes import Routes
from lmgateway.wire.server import ServerFactory
from lmgateway.wire.timers import Wheel

JSON = ((b"content-type", b"application/json"),)


class NotingDoor:
    """Admits all but the key ``bad``; remembers whom it saw and what the wire refused."""

    def __init__(self, max_body: int = 1000) -> None:
        self.max_body = max_body
        self.seen: list[Head] = []
        self.refusals: list[tuple[Head | None, str, GatewayError]] = []

    def admit(self, head: Head) -> Pass:
        self.seen.append(head)
        if head.get(b"authorization") == b"Bearer bad":
            raise Unauthenticated("This key is not known.")
        return Pass(self.max_body)

    def refuse(self, head: Head | None, error: GatewayError) -> Refusal:
        body = json.dumps({"error": {"code": error.kind, "message": str(error)}}).encode()
        headers: tuple[tuple[bytes, bytes], ...] = JSON
        if isinstance(error, MethodNotAllowed):
            headers = (*JSON, (b"allow", ", ".join(error.allow).encode()))
        return Refusal(error.status, headers, body)

    def refused(self, head: Head | None, peer: str, error: GatewayError) -> None:
        self.refusals.append((head, peer, error))


class Site:
    """Routes for tests; what they were asked, and what became of them, is kept."""

    app = Klein()

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.outlets: list[Outlet] = []
        self.waiting: list[Deferred[None]] = []
        self.cancelled = 0
        self.late: bytes | None = None

    @app.route("/echo", methods=["POST", "GET"])
    async def echo(self, request: Request) -> None:
        self.requests.append(request)
        request.respond(200, JSON, request.body)

    @app.route("/wait", methods=["POST", "GET"])
    async def wait(self, request: Request) -> None:
        self.requests.append(request)
        await self.pause()
        request.respond(200, JSON, b"waited")

    @app.route("/stream", methods=["POST", "GET"])
    async def stream(self, request: Request) -> None:
        self.requests.append(request)
        outlet = Outlet(request)
        self.outlets.append(outlet)
        outlet.open(200, ((b"content-type", b"text/event-stream"),), b"data: 1\n\n")
        try:
            await self.pause()
        except CancelledError:
            if request.interruption is not None:
                outlet.write(b"data: " + request.interruption.kind.encode() + b"\n\n")
                outlet.abort()
            raise
        outlet.finish(b"data: [DONE]\n\n")

    @app.route("/flood", methods=["GET"])
    async def flood(self, request: Request) -> None:
        self.requests.append(request)
        outlet = Outlet(request)
        self.outlets.append(outlet)
        outlet.open(200, ())
        try:
            while True:
                turn = outlet.write(b"x" * 16384)
                if turn is not None:
                    await turn
        except CancelledError:
            self.cancelled += 1
            raise

    @app.route("/big", methods=["GET"])
    async def big(self, request: Request) -> None:
        self.requests.append(request)
        request.respond(200, (), b"x" * 8_000_000)

    @app.route("/things/<path:name>", methods=["GET"])
    async def thing(self, request: Request, name: str) -> None:
        request.respond(200, (), name.encode())

    @app.route("/broken", methods=["GET"])
    async def broken(self, request: Request) -> None:
        raise RuntimeError("a bug")

    @app.route("/breaks", methods=["GET"])
    async def breaks(self, request: Request) -> None:
        request.begin(200, (), b"some")
        raise RuntimeError("a bug in mid-stream")

    @app.route("/silent", methods=["GET"])
    async def silent(self, request: Request) -> None:
        """Forgets to answer."""

    @app.route("/plain", methods=["GET", "POST"])
    def plain(self, request: Request) -> Deferred[None]:
        """Answers as any Klein route does."""
        request.setResponseCode(201)
        request.responseHeaders.addRawHeader(b"X-Thing", b"1")
        request.write(b"written ")
        request.write(request.content.read())
        request.finish()
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done

    async def pause(self) -> None:
        """Wait for ``go``."""
        turn: Deferred[None] = Deferred()
        self.waiting.append(turn)
        try:
            await turn
        except CancelledError:
            self.cancelled += 1
            raise

    def go(self) -> None:
        """Let what waits longest go on."""
        self.waiting.pop(0).callback(None)


class PlainFallback:
    """Answers in JSON what no route does."""

    def not_found(self, request: Request) -> None:
        request.respond(NotFound.status, JSON, b'{"error": "not_found"}')

    def method_not_allowed(self, request: Request, allow: Sequence[str]) -> None:
        allowed = (*JSON, (b"allow", ", ".join(allow).encode()))
        request.respond(MethodNotAllowed.status, allowed, b'{"error": "method_not_allowed"}')

    def failed(self, request: Request) -> None:
        kind = "internal_error" if request.interruption is None else request.interruption.kind
        request.respond(500, JSON, json.dumps({"error": kind}).encode())


class Server:
    """A server on a clock, without a network."""

    def __init__(self, limits: Limits | None = None, max_body: int = 1000) -> None:
        self.clock = Clock()
        self.wheel = Wheel(self.clock)
        self.site = Site()
        self.door = NotingDoor(max_body)
        self.routes = Routes([self.site.app], PlainFallback())
        self.factory = ServerFactory(self.routes, self.door, limits or Limits(), self.wheel)

    def connect(self) -> Client:
        """A new client."""
        return Client(self)

    def advance(self, seconds: float) -> None:
        """Let time pass, evenly."""
        for _ in range(int(seconds * 20)):
            self.clock.advance(0.05)


class Client:
    """One connection as its client sees it."""

    def __init__(self, server: Server) -> None:
        self.transport: Any = StringTransport(peerAddress=IPv4Address("TCP", "192.0.2.7", 4000))
        channel: Any = server.factory.buildProtocol(self.transport.getPeer())
        self.channel = channel
        self.channel.makeConnection(self.transport)

    def send(self, data: bytes) -> bytes:
        """Send, and return what came back at once."""
        before = len(self.received())
        self.channel.dataReceived(data)
        return self.received()[before:]

    def received(self) -> bytes:
        """All that came back."""
        received: bytes = self.transport.value()
        return received

    def leave(self) -> None:
        """Close the connection."""
        self.channel.connectionLost(Failure(ConnectionDone()))

    @property
    def closing(self) -> bool:
        """Whether the server is closing the connection, gently or not."""
        return bool(self.transport.disconnecting)

    @property
    def aborted(self) -> bool:
        """Whether the server aborted the connection."""
        return bool(self.transport.disconnected)


def post(path: bytes, body: bytes = b"", *headers: bytes, version: bytes = b"1.1") -> bytes:
    """A POST as bytes."""
    lines = [b"POST %b HTTP/%b" % (path, version), b"Host: gateway", *headers]
    lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def get(path: bytes, *headers: bytes, method: bytes = b"GET", version: bytes = b"1.1") -> bytes:
    """A request without a body, as bytes."""
    lines = [b"%b %b HTTP/%b" % (method, path, version), b"Host: gateway", *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def chunks(*pieces: bytes) -> bytes:
    """Pieces as a chunked body."""
    framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return framed + b"0\r\n\r\n"


def statuses(data: bytes) -> list[int]:
    """The status codes in a run of responses."""
    return [int(code) for code in re.findall(rb"HTTP/1\.1 (\d{3}) ", data)]


def body_of(data: bytes) -> bytes:
    """What follows the first head."""
    return data.partition(b"\r\n\r\n")[2]
