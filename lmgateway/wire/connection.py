"""
One client connection: HTTP/1.1 as a suspicious client reads it.

The parser is llhttp (``httptools``) with all its leniencies off.  What it
still lets through and two readers could understand differently is refused
here: other versions than 1.x, codes outside 100 to 599, any transfer coding
but ``chunked``, endless interim answers, heads and trailers, and bytes that
nobody asked for.

A connection is in one of five stages::

    OPENING --ready--> IDLE --start--> HEAD --> BODY --> (IDLE again, or LOST)

Whatever happens inside the parser is only noted; it is acted upon once the
parser has returned, so that nobody who is called can find it half way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHandshakeListener, ITCPTransport, ITransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Connection as TCPConnection
from twisted.python.failure import Failure
from twisted.web.http import PotentialDataLoss
from zope.interface import implementer

from lmgateway.backend_errors import (
    BackendError,
    BackendTimeout,
    ProtocolError,
    Unreachable,
    UnsupportedEncoding,
)
from lmgateway.wire.burst import NEVER, burst_of
from lmgateway.wire.deadline import Deadline
from lmgateway.wire.faults import connection_fault
from lmgateway.wire.names import NAMES, size_of, tokens
from lmgateway.wire.response import Response
from lmgateway.wire.timers import Timer

if TYPE_CHECKING:
    from lmgateway.wire.pool import Dial, Flight, Pool

MAX_HEAD = 65536
MAX_LINES = 100
MAX_INTERIM = 16

_OPENING, _IDLE, _HEAD, _BODY, _ENDED, _LOST = range(6)
_MALFORMED = "The backend's answer is not valid HTTP."
_WATCHED = frozenset((b"content-length", b"transfer-encoding", b"connection", b"content-encoding"))
_VERSIONS = ("1.1", "1.0")
_BODILESS = frozenset((204, 304))
_CODING = b"transfer-encoding"
_SIZED, _CHUNKED = {b"content-length"}, {_CODING}


@implementer(IHandshakeListener)
class Connection(Protocol):
    """
    Carries one request at a time.

    Args:
        pool: Where it goes to rest.
        dial: Who waits for it to open.
    """

    _keep: bool
    _modern: bool
    _long: bool
    _bodiless: bool

    def __init__(self, pool: Pool, dial: Dial) -> None:
        self._pool = pool
        self._dial: Dial | None = dial
        self._flight: Flight | None = None
        self._response: Response | None = None
        self._stage = _OPENING
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        # Called by llhttp for each piece of a body.
        self.on_body = self._body.append
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        self._fault: BackendError | None = None
        self._paused = False
        self._linger: Timer | None = None
        self._deadline = Deadline(pool.wheel, self._late)
        self._direct: TCPConnection | None = None
        self._burst = NEVER
        self.touched = False

    # Opening ---------------------------------------------------------------
    def connectionMade(self) -> None:
        """The TCP connection, or the tunnel, is there."""
        transport = cast(ITransport, self.transport)
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
            transport.setTcpKeepAlive(True)
        # Not by attribute: a TLS transport passes what it lacks on to the socket below it.
        if isinstance(transport, TCPConnection):
            self._direct = transport
            self._burst = burst_of(transport)
        if getattr(getattr(transport, "protocol", None), "_wrappedProtocol", None) is self:
            # What comes need not pass through the endpoint's wrapper.
            transport.protocol = self  # type: ignore[attr-defined]  # as Twisted itself switches
        dial = cast("Dial", self._dial)
        if not dial.opened(self):
            self._ready()

    def handshakeCompleted(self) -> None:
        """TLS is up and the certificate is good."""
        if self._stage == _OPENING:
            self._ready()

    def _ready(self) -> None:
        dial, self._dial = cast("Dial", self._dial), None
        self._stage = _IDLE
        dial.ready(self)

    # Asking ----------------------------------------------------------------
    def start(self, flight: Flight) -> None:
        """Send a request; the flight is told how it went."""
        self._flight = flight
        self._stage = _HEAD
        self._fed = self._interim = self._lines = 0
        self.touched = False
        self._deadline.set(flight.head_seconds)
        burst = self._burst
        for piece in flight.pieces:
            if burst.is_open:
                burst.send(self, piece)
            else:
                self.send(piece)

    def send(self, data: bytes) -> None:
        """
        Send, by trying the socket first.

        Twisted queues what is written and waits for the reactor to say that the
        socket takes it: two system calls and a turn of the reactor for nothing,
        where nothing else is queued.
        """
        if self._stage == _LOST:
            return
        direct = self._direct
        if (
            direct is not None
            and direct.connected
            and not (direct.dataBuffer or direct._tempDataBuffer)
        ):
            try:
                sent = direct.socket.send(data)
            except OSError:
                sent = 0  # met again, and reported, when the rest is written
            if sent == len(data):
                return
            data = data[sent:]
        self.transport.write(data)  # type: ignore[union-attr]  # a stream transport

    def _late(self) -> None:
        flight = self._flight
        self.abort()
        if flight is not None:
            flight.failed(BackendTimeout("The backend sent no answer in time."))

    def pause(self) -> None:
        """Stop reading."""
        if not self._paused and self._stage != _LOST:
            self._paused = True
            self.transport.pauseProducing()  # type: ignore[union-attr]  # a stream transport

    def resume(self) -> None:
        """Read again."""
        if self._paused and self._stage != _LOST:
            self._paused = False
            self.transport.resumeProducing()  # type: ignore[union-attr]  # a stream transport

    def abort(self) -> None:
        """Cut the connection at once; neither flight nor response is told."""
        stage, self._stage = self._stage, _LOST
        self._flight = self._response = self._dial = None
        if stage == _LOST:
            return
        self._deadline.close()
        if stage != _OPENING:
            self._pool.lost(self)
        self.transport.abortConnection()  # type: ignore[union-attr]  # a stream transport

    def close(self) -> None:
        """Hang up between two requests; politely, but not for long."""
        self._stage = _LOST
        self._deadline.close()
        self._pool.lost(self)
        self.transport.loseConnection()  # type: ignore[union-attr]  # made
        self._linger = self._pool.wheel.start(1.0, self.transport.abortConnection)  # type: ignore[union-attr]  # a stream transport

    # Parsing: called by llhttp ---------------------------------------------
    def on_message_begin(self) -> None:
        """Another message begins."""
        if self._stage != _HEAD:
            raise self._refused("The backend sent more than its answer.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header line, or one trailer."""
        if self._stage == _HEAD:
            self._headers.append((NAMES[name], value))

    def on_headers_complete(self) -> None:
        """The head is complete."""
        parser = self._parser
        assert parser is not None, "it calls this"
        version = "1.1" if self._modern else parser.get_http_version()
        code = parser.get_status_code()
        headers, self._headers = self._headers, []
        self._lines += len(headers)
        if self._lines > MAX_LINES:
            raise self._refused("The backend's headers are too many.")
        if code == 200 and self._modern:
            self._accept(code, headers, version)
            return
        if version not in _VERSIONS or not 100 <= code <= 599 or code == 101:
            raise self._refused(_MALFORMED)
        if code < 200:
            self._interim += 1
            self._modern = False  # what comes next has a version of its own
            if self._interim > MAX_INTERIM:
                raise self._refused("The backend sends interim answers without end.")
            return
        self._accept(code, headers, version)

    def on_message_complete(self) -> None:
        """The message is complete."""
        if self._stage == _BODY:
            self._stage = _ENDED

    def _refused(self, why: str, kind: type[BackendError] = ProtocolError) -> BackendError:
        self._fault = kind(why)
        return self._fault

    def _accept(self, code: int, headers: list[tuple[bytes, bytes]], version: str) -> None:
        flight = self._flight
        assert flight is not None, "an answer is to a request"
        self._deadline.lift()
        response = Response(code, headers, self, flight.target)
        words: list[bytes] = []
        given = dict(headers)
        watched = given.keys() & _WATCHED
        framed = True
        if watched == _SIZED:  # once: llhttp sees to that
            response.length = int(given[b"content-length"])
        elif (
            watched != _CHUNKED
            or given[_CODING] != b"chunked"
            or version != "1.1"
            or len(given) != len(headers)  # it may be there twice
        ):
            framed = self._judge(response, headers, version, words)
        if (self._fed or self._long) and size_of(headers) > MAX_HEAD:
            raise self._refused("The backend's headers are too large.")
        if words:
            # What a backend says is between it and us goes no further.
            response.raw_headers = [each for each in headers if each[0] not in words]
        bodiless = flight.bodiless or code in _BODILESS
        if not framed and not bodiless:
            response.proper_end = False
        alive = version == "1.1" or b"keep-alive" in words
        self._keep = alive and b"close" not in words and not flight.bodiless
        self._bodiless = bodiless
        self._response = response
        self._stage = _ENDED if flight.bodiless else _BODY

    def _judge(
        self,
        response: Response,
        headers: list[tuple[bytes, bytes]],
        version: str,
        words: list[bytes],
    ) -> bool:
        """Check the headers that matter; put those of the connection into *words*."""
        framed = False
        for name, value in headers:
            if name == b"content-length":
                framed = True
                response.length = int(value)
            elif name == b"transfer-encoding":
                if framed or value.lower() != b"chunked" or version != "1.1":
                    raise self._refused("The backend's answer has an unclear length.")
                framed = True
            elif name == b"connection":
                words += tokens(value)
            elif name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
                raise self._refused("The backend compressed its answer.", UnsupportedEncoding)
        return framed

    # Reading ---------------------------------------------------------------
    def dataReceived(self, data: bytes) -> None:
        """Bytes came."""
        if self._stage not in (_HEAD, _BODY):
            self.abort()
            return
        if not self.touched:
            self.touched = True
            self._modern = data[:9] == b"HTTP/1.1 "
            self._long = len(data) > MAX_HEAD
            if data[0] != 72:  # "H": llhttp would also take RTSP
                self._break(ProtocolError(_MALFORMED))
                return
        try:
            self._parser.feed_data(data)  # type: ignore[union-attr]  # there until it is lost
        except (HttpParserError, HttpParserUpgrade):
            self._break(self._fault or ProtocolError(_MALFORMED))
            return
        body = self._body
        if body:
            data = body[0] if len(body) == 1 else b"".join(body)
            body.clear()
            self._fed = 0
            response = self._response
            if self._stage != _BODY or self._flight is not None or response is None:
                self._deliver(data)
            elif response.reader is not None:
                response.reader.dataReceived(data)
            else:
                response.push(data)
            return
        self._fed += len(data)
        if self._fed > MAX_HEAD and self._stage != _ENDED:
            # A head, trailers or chunk extensions without end.
            self._break(ProtocolError("The backend's headers are too large."))
        else:
            self._deliver(b"")

    def _deliver(self, data: bytes) -> None:
        """Hand on what the parser noted; this connection may be another's afterwards."""
        response = self._response
        if response is None:
            return
        flight, self._flight = self._flight, None
        if self._stage == _ENDED:
            self._response = None
            data = b"" if self._bodiless else data
            self._rest()
            response.complete(data)
        elif data:
            response.push(data)
        if flight is not None:
            flight.answered(response)

    def _rest(self) -> None:
        """The answer is complete: wait for the next request, if the backend would."""
        if self._paused:
            self.resume()
        if self._keep:
            self._stage = _IDLE
            self._pool.release(self)
        else:
            self.close()

    def _break(self, error: BackendError) -> None:
        flight, response = self._flight, self._response
        self.abort()
        if flight is not None:
            flight.failed(error)
        elif response is not None:
            response.finish(Failure(error))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        # They refer to us.
        self._parser = None
        self._deadline.close()
        if self._linger is not None:
            self._linger.cancel()
        stage, self._stage = self._stage, _LOST
        if stage == _LOST:
            return
        dial, flight, response = self._dial, self._flight, self._response
        self._dial = self._flight = self._response = None
        if dial is None:
            self._pool.lost(self)
        if dial is not None:
            dial.lost(reason)
        elif flight is not None:
            flight.lost(reason)
        elif response is not None:
            response.finish(_end(response, reason))


def _end(response: Response, reason: Failure) -> Failure:
    """Say what the loss of the connection means to a body that was being received."""
    if not response.proper_end and reason.check(ConnectionDone):
        return Failure(PotentialDataLoss())
    fault = connection_fault(reason)
    if type(fault) is Unreachable:
        fault = Unreachable("The backend broke off its answer.")
    fault.__cause__ = reason.value
    return Failure(fault)
