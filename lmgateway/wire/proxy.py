"""
Through an outbound HTTP proxy, as one backend's configuration says.

Never by environment.  ``CONNECT`` is used for ``http`` origins too: one path
through the code, and the proxy need not be trusted with what goes through.
"""

from __future__ import annotations

import re

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from lmgateway.backend_errors import BackendError, ProtocolError, Unreachable
from lmgateway.wire.origin import Way

_MAX_HEAD = 16384
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: [^\r\n]*)?\r?\n")


class _Tunnel(Protocol):
    """Asks for the tunnel, then hands the connection to the protocol that wants it."""

    def __init__(
        self, ask: bytes, inner: IProtocolFactory, address: IAddress, opened: Deferred[IProtocol]
    ) -> None:
        self._ask = ask
        self._factory = inner
        self._address = address
        self._opened: Deferred[IProtocol] | None = opened
        self._inner: IProtocol | None = None
        self._head = b""

    def connectionMade(self) -> None:
        """Ask."""
        self.transport.write(self._ask)  # type: ignore[union-attr]  # made

    def dataReceived(self, data: bytes) -> None:
        """Read the proxy's answer; what follows it belongs to the inner protocol."""
        if self._inner is not None:
            self._inner.dataReceived(data)
            return
        if self._opened is None:
            return
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            if len(self._head) > _MAX_HEAD:
                self._fail(ProtocolError("The proxy's answer is not valid HTTP."))
            return
        status = _STATUS.match(self._head)
        if status is None:
            self._fail(ProtocolError("The proxy's answer is not valid HTTP."))
        elif not status[1].startswith(b"2"):
            self._fail(Unreachable(f"The proxy refused the connection ({int(status[1])})."))
        else:
            self._open(self._head[end + 4 :])

    def _open(self, rest: bytes) -> None:
        opened, self._opened = self._opened, None
        self._head = b""
        inner = self._factory.buildProtocol(self._address)
        if inner is None or rest:
            # Nobody wants it any more, or the proxy spoke where only we may.
            self.transport.abortConnection()  # type: ignore[union-attr]  # a stream transport
            if opened is not None:
                opened.errback(Failure(ProtocolError("The proxy's answer is not valid HTTP.")))
            return
        self._inner = inner
        inner.makeConnection(self.transport)  # type: ignore[arg-type]  # made
        if opened is not None:
            opened.callback(inner)

    def abandon(self, _: object = None) -> None:
        """Cut it: nobody waits any more."""
        self._opened = None
        self.transport.abortConnection()  # type: ignore[union-attr]  # a stream transport

    def _fail(self, error: BackendError) -> None:
        opened = self._opened
        self.abandon()
        if opened is not None:
            opened.errback(Failure(error))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        opened, self._opened = self._opened, None
        if self._inner is not None:
            self._inner.connectionLost(reason)
        elif opened is not None:
            opened.errback(Failure(Unreachable("The proxy closed the connection.")))


class _TunnelFactory(Factory):
    noisy = False

    def __init__(self, ask: bytes, inner: IProtocolFactory) -> None:
        self._ask = ask
        self._inner = inner
        self.tunnel: _Tunnel | None = None
        self.opened: Deferred[IProtocol] = Deferred(self._cancelled)

    def startFactory(self) -> None:
        """Twisted begins to connect to the proxy."""
        self._inner.doStart()

    def stopFactory(self) -> None:
        """The connection, or the attempt, is over."""
        self._inner.doStop()

    def buildProtocol(self, address: IAddress | None) -> _Tunnel:
        """The proxy is there."""
        assert address is not None
        self.tunnel = _Tunnel(self._ask, self._inner, address, self.opened)
        return self.tunnel

    def _cancelled(self, _: Deferred[IProtocol]) -> None:
        if self.tunnel is not None:
            self.tunnel.abandon()


@implementer(IStreamClientEndpoint)
class ProxyEndpoint:
    """
    Connects to *host* through a proxy.

    Args:
        below: Leads to the proxy.
        way: What the proxy wants to be told.
    """

    def __init__(self, below: IStreamClientEndpoint, way: Way, host: str, port: int) -> None:
        self._below = below
        self._ask = way.ask(host, port)

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect; the result fires once the tunnel is open."""
        tunnels = _TunnelFactory(self._ask, factory)
        connected = self._below.connect(tunnels)
        opened = tunnels.opened

        def cancel(_: Deferred[IProtocol]) -> None:
            connected.cancel()
            opened.cancel()

        result: Deferred[IProtocol] = Deferred(cancel)

        def unreachable(reason: Failure) -> None:
            fault = Unreachable("The proxy cannot be reached.")
            fault.__cause__ = reason.value
            if not opened.called:
                opened.errback(Failure(fault))

        def finish(outcome: IProtocol | Failure) -> None:
            if not result.called:
                result.callback(outcome)

        connected.addErrback(unreachable)
        opened.addBoth(finish)
        return result
