"""
A backend's answer: its head, and its body as it comes.

``Response`` is Twisted's ``IResponse`` over this package's own connections;
``StockResponse`` gives the two accessors that the gateway uses to the
response of any other agent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from twisted.internet.interfaces import IProtocol, ITransport
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import RESPONSES
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IClientRequest, IResponse
from zope.interface import implementer

if TYPE_CHECKING:
    from lmgateway.wire.connection import Connection
    from lmgateway.wire.origin import Target

HIGH_WATER = 65536
"""Bytes that may wait for a slow reader before the backend is asked to pause."""

DONE = Failure(ResponseDone())


def _first(headers: list[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    for each, value in headers:
        if each == name:
            return value
    return None


@implementer(IClientRequest)
class AskedRequest:
    """What was asked, as far as whoever holds the response may know."""

    def __init__(self, method: bytes, uri: bytes) -> None:
        self.method = method
        self.absoluteURI = uri
        self.headers = Headers()


@implementer(IResponse)
class Response:
    """
    The answer to one request.

    Whoever does not read the body to its end must ``abortConnection``.

    Attributes:
        code: The status.
        raw_headers: Names are lower-case; nothing is folded, sorted or left out.
        length: The body's length as told, or ``UNKNOWN_LENGTH``.
        arrived: Whether all of the body is here.
        reader: Who reads the body, if anybody does yet.
        proper_end: Whether the body's end can be told from a broken connection; false where
            there is neither a length nor chunks.
    """

    version = (b"HTTP", 1, 1)
    previousResponse = None
    length: int | object = UNKNOWN_LENGTH
    proper_end = True
    arrived = False
    reader: IProtocol | None = None
    _size = 0
    _end: Failure | None = None

    def __init__(
        self,
        code: int,
        raw_headers: list[tuple[bytes, bytes]],
        connection: Connection,
        target: Target,
    ) -> None:
        self.code = code
        self.raw_headers = raw_headers
        self._target = target
        self._connection: Connection | None = connection
        self._parts: list[bytes] = []

    def __repr__(self) -> str:
        return f"<Response {self.code}>"

    @property
    def phrase(self) -> bytes:
        """The standard words for ``code``; what the backend said is not kept."""
        return RESPONSES.get(self.code, b"")

    @property
    def request(self) -> AskedRequest:
        """What was asked."""
        return AskedRequest(self._target.method, self._target.uri)

    @property
    def headers(self) -> Headers:
        """The headers as Twisted likes them, built when asked for."""
        headers = Headers()
        for name, value in self.raw_headers:
            headers.addRawHeader(name, value)
        return headers

    def get(self, name: bytes) -> bytes | None:
        """Give the first value of the header *name* (lower-case)."""
        return _first(self.raw_headers, name)

    def setPreviousResponse(self, response: IResponse) -> None:
        """Remember the answer that led to this one."""
        self.previousResponse = response

    # The reader's side -----------------------------------------------------
    def deliverBody(self, protocol: IProtocol) -> None:
        """Give *protocol* the body, what has come of it at once."""
        if self.reader is not None:
            raise RuntimeError("The body is already being read.")
        self.reader = protocol
        protocol.makeConnection(cast(ITransport, self))
        parts, self._parts = self._parts, []
        for part in parts:
            protocol.dataReceived(part)
        if self._end is not None:
            protocol.connectionLost(self._end)
        elif self._size > HIGH_WATER:
            self.resumeProducing()

    def pauseProducing(self) -> None:
        """Ask the backend to wait."""
        if self._connection is not None:
            self._connection.pause()

    def resumeProducing(self) -> None:
        """Ask the backend to go on."""
        if self._connection is not None:
            self._connection.resume()

    def abortConnection(self) -> None:
        """Cut the connection at once, unless the whole answer has been received."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    stopProducing = abortConnection
    loseConnection = abortConnection

    def claim(self) -> list[bytes] | None:
        """Give a whole body that nobody reads yet, in one step; ``None`` if it is not there."""
        if self._end is not DONE or self.reader is not None:
            return None
        self.reader = _CLAIMED
        return self._parts

    # The connection's side -------------------------------------------------
    def push(self, data: bytes) -> None:
        """Take one more piece of the body."""
        if self.reader is not None:
            self.reader.dataReceived(data)
            return
        self._parts.append(data)
        self._size += len(data)
        if self._size > HIGH_WATER:
            self.pauseProducing()

    def complete(self, data: bytes) -> None:
        """Take the last piece; the connection may be another's by now and is let go first."""
        self._connection = None
        self.arrived = True
        reader = self.reader
        if reader is None:
            self._end = DONE
            if data:
                self._parts.append(data)
        else:
            if data:
                reader.dataReceived(data)
            self.finish(DONE)

    def finish(self, reason: Failure) -> None:
        """Take note that no more will come, and why: ``ResponseDone`` if it is whole."""
        self._connection = None
        self._end = reason
        if self.reader is not None:
            self.reader.connectionLost(reason)


_CLAIMED = Protocol()


class StockResponse:
    """
    The response of any agent, with the accessors that the gateway uses.

    Args:
        response: What the agent gave.
    """

    def __init__(self, response: IResponse) -> None:
        self.original = response
        self.code: int = response.code
        self.length: int | object = response.length
        self.proper_end = True
        self.raw_headers: list[tuple[bytes, bytes]] = [
            (name.lower(), value)
            for name, values in response.headers.getAllRawHeaders()
            for value in values
        ]

    def __repr__(self) -> str:
        return f"<Response {self.code}>"

    def get(self, name: bytes) -> bytes | None:
        """Give the first value of the header *name* (lower-case)."""
        return _first(self.raw_headers, name)

    def claim(self) -> None:
        """Give nothing: other agents tell their bodies piece by piece."""

    def deliverBody(self, protocol: IProtocol) -> None:
        """Give *protocol* the body."""
        self.original.deliverBody(protocol)
