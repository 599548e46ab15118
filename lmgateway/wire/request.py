"""
A request as routes see it: Twisted's, without its weight.

Header objects, arguments and the body as a file are made when they are asked
for; a route of ours asks for none of them and answers with ``respond``, or with
``begin``, ``write`` and ``finish``, or gives up with ``abort``.

======================  ==================================================
after                   then
======================  ==================================================
the client has left     ``respond``, ``write``, ``finish``, ``abort`` do nothing
``finish``, ``abort``   ``finish`` and ``abort`` do nothing
``begin``               ``respond`` and ``begin`` are errors of the caller
======================  ==================================================
"""

from __future__ import annotations

from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING, Any, Protocol, cast
from urllib.parse import parse_qs

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IPushProducer
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers as TwistedHeaders
from twisted.web.server import Request as TwistedRequest

from lmgateway.errors import GatewayError
from lmgateway.wire.door import Head, Pass
from lmgateway.wire.heads import CHUNKED, CLOSE, KEEP, LAST_CHUNK, NO_BODY, Headers, render_head

if TYPE_CHECKING:
    from collections.abc import Callable

    from lmgateway.wire.channel import Channel
    from lmgateway.wire.reader import Message


class Cancellable(Protocol):
    """What can be cut short."""

    def cancel(self) -> object:
        """Cut it short; harmless if it is over."""


_PROTOCOLS = (b"HTTP/1.0", b"HTTP/1.1")

on_demand = cast("Callable[[Callable[[Any], Any]], Any]", cached_property)
"""``cached_property`` in the place of what Twisted declares as plain attributes."""


class Request(TwistedRequest):
    r"""
    One complete request and the way to answer it.

    Attributes:
        head: The head, as the door saw it.
        pass\_: What the door said.
        body: The whole body.
        interruption: Why the gateway, not the client, ends this request early, if so.
        route: What is running to answer it; cancelled when the client leaves.
    """

    interruption: GatewayError | None = None
    route: Cancellable | None = None
    producer = None
    code = 200
    startedWriting = finished = chunked = 0
    _disconnected = _bodiless = _is_waited_for = False
    _left: int | None = None

    def __init__(self, channel: Channel, message: Message) -> None:
        # Not super().__init__: what it would make is made on demand below.
        self.channel = channel  # type: ignore[assignment]  # it does what Twisted asks of one
        self._channel = channel
        self.transport = channel.transport
        self.head: Head = message.head
        self.pass_: Pass = message.pass_
        body = message.body
        self.body: bytes = body if body.__class__ is bytes else bytes(body)
        self.method = message.method
        self.path = message.head.path
        self.uri = message.target
        self.clientproto = _PROTOCOLS[message.version == b"1.1"]

    # Made on demand -----------------------------------------------------------
    @on_demand
    def _adapterCache(self) -> dict[str, object]:  # noqa: N802 - Twisted's name
        return {}

    @on_demand
    def notifications(self) -> list[Deferred[None]]:
        """Who waits for the end."""
        self._is_waited_for = True
        return []

    @on_demand
    def requestHeaders(self) -> TwistedHeaders:
        """The request's headers as Twisted has them."""
        headers = TwistedHeaders()
        for name, value in self.head.headers:
            headers.addRawHeader(name, value)
        return headers

    @on_demand
    def responseHeaders(self) -> TwistedHeaders:
        """The response's headers, for those who set them one by one."""
        return TwistedHeaders()

    @on_demand
    def args(self) -> dict[bytes, list[bytes]]:
        """The arguments in the query; forms in the body are not read."""
        return parse_qs(self.head.query, keep_blank_values=True, max_num_fields=1000)

    @on_demand
    def content(self) -> BytesIO:
        """The body as a file."""
        return BytesIO(self.body)

    @on_demand
    def cookies(self) -> list[bytes]:
        """Cookies to set."""
        return []

    @on_demand
    def received_cookies(self) -> dict[bytes, bytes]:
        """None: cookies mean nothing here."""
        return {}

    @on_demand
    def prepath(self) -> list[bytes]:
        """No part of the path was used up."""
        return []

    @on_demand
    def postpath(self) -> list[bytes]:
        """All of the path."""
        return self.path[1:].split(b"/")

    @on_demand
    def client(self) -> IAddress:
        """The other end of the socket."""
        return self._channel.getPeer()

    @on_demand
    def host(self) -> IAddress:
        """Our end of the socket."""
        return self._channel.getHost()

    def getHeader(self, name: Any) -> Any:
        """The last value of a header; text for a text name."""
        wanted = name.lower() if isinstance(name, bytes) else name.lower().encode("latin-1")
        for given, value in reversed(self.head.headers):
            if given == wanted:
                return value if isinstance(name, bytes) else value.decode("latin-1")
        return None

    # Answering ----------------------------------------------------------------
    @property
    def gone(self) -> bool:
        """Whether nothing that is written now could arrive."""
        return bool(self._disconnected or self.finished)

    def respond(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer at once: head and body in one write, and done."""
        if self._disconnected or self.finished:
            return
        self._start(status)
        channel = self._channel
        framing = self._connection()
        if status not in NO_BODY:
            framing += b"content-length: %d\r\n" % len(body)
        head = render_head(status, headers, framing)
        channel.outflow.write(head if self._bodiless else head + body)
        self._conclude()
        channel.answered()

    def begin(self, status: int, headers: Headers, data: bytes = b"") -> None:
        """Begin a streamed answer, with its first bytes if there are any."""
        self._begin(status, headers, None, data)

    def _begin(self, status: int, headers: Headers, length: int | None, data: bytes) -> None:
        if self.gone:
            return
        self._start(status)
        self._left = length
        framing = b""
        if length is not None:
            framing = b"content-length: %d\r\n" % length
        elif status not in NO_BODY and self.clientproto == b"HTTP/1.1":
            framing = CHUNKED
            self.chunked = not self._bodiless
        elif status not in NO_BODY and not self._bodiless:
            self._channel.keep_alive = False
        head = render_head(status, headers, framing + self._connection())
        self._channel.outflow.write(head + self._frame(data) if data else head)
        self._channel.begun()

    def _start(self, status: int) -> None:
        if self.startedWriting:
            raise RuntimeError("An answer has begun already.")
        self.startedWriting = 1
        self.code = status
        self._bodiless = status in NO_BODY or self.method == b"HEAD"

    def _connection(self) -> bytes:
        """What to say of the connection's future, which is settled by this."""
        if not self._channel.settle_keep_alive():
            return CLOSE
        return KEEP if self.clientproto == b"HTTP/1.0" else b""

    def _frame(self, data: bytes) -> bytes:
        if self._bodiless:
            return b""
        if self.chunked:
            return b"%x\r\n%b\r\n" % (len(data), data)
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        return data

    def write(self, data: bytes) -> None:
        """Send a part of the answer; begins it, with the headers set so far, if needed."""
        if self._disconnected:
            return
        if self.finished:
            raise RuntimeError("The answer is finished already.")
        if not self.startedWriting:
            self._begin_as_set(data)
        elif data:
            framed = b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else self._frame(data)
            if framed:
                self._channel.outflow.write(framed)

    def _begin_as_set(self, data: bytes) -> None:
        """Begin with what ``setResponseCode`` and ``setHeader`` left."""
        fields = [
            (name, value)
            for name, values in self.responseHeaders.getAllRawHeaders()
            for value in values
        ]
        fields += [(b"set-cookie", cookie) for cookie in self.cookies]
        length = self.responseHeaders.getRawHeaders(b"content-length")
        known = int(length[0]) if length and length[0].isdigit() else None
        self._begin(self.code, fields, known, data)

    def finish(self, data: bytes = b"") -> None:
        """End the answer, with its last bytes if there are any."""
        if self.gone:
            return
        if not self.startedWriting:
            if not data and not self.responseHeaders.hasHeader(b"content-length"):
                self.responseHeaders.addRawHeader(b"content-length", b"0")
            self._begin_as_set(data)
            data = b""
        rest = (self._frame(data) if data else b"") + (LAST_CHUNK if self.chunked else b"")
        if rest:
            self._channel.outflow.write(rest)
        if self._left and not self._bodiless:
            self.abort()
        else:
            self._end()

    def abort(self) -> None:
        """End the connection so that the client sees the answer is not whole."""
        if self.gone:
            return
        plain = self.startedWriting and not self.chunked and self._left is None
        self._conclude()
        self._channel.break_off(unmistakably=bool(plain))

    def _end(self) -> None:
        self._conclude()
        self._channel.answered()

    def _conclude(self) -> None:
        self.finished = 1
        if self.producer is not None:
            self.unregisterProducer()
        if self._is_waited_for:
            waiting, self.notifications = self.notifications, []
            for waiter in waiting:
                waiter.callback(None)

    # What the channel says ------------------------------------------------------
    def connectionLost(self, reason: Failure) -> None:
        """The client left before the answer was whole."""
        self._disconnected = True
        self.producer = None
        if self._is_waited_for:
            waiting, self.notifications = self.notifications, []
            for waiter in waiting:
                waiter.errback(reason)
        if self.route is not None:
            self.route.cancel()

    def interrupted(self) -> GatewayError | None:
        """Say why the gateway, not the client, ended this early, if so."""
        return self.interruption

    def interrupt(self, error: GatewayError) -> None:
        """End this early: the route is cancelled and may still say *error* in its grammar."""
        if self.gone:
            return
        self.interruption = error
        if self.route is not None:
            self.route.cancel()

    # Back-pressure ------------------------------------------------------------
    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """Tell *producer* when to pause; only producers that push are served."""
        if not streaming:
            raise ValueError("Only push producers are supported.")
        if self.gone:
            producer.stopProducing()
            return
        self._channel.outflow.attach(producer)
        self.producer = producer

    def unregisterProducer(self) -> None:
        """Tell it no more; harmless after the end."""
        if self.producer is not None:
            self.producer = None
            self._channel.outflow.detach()
