"""One port that is listened on, and what is swapped on it at a reload."""

from __future__ import annotations

from pathlib import Path
from socket import SO_REUSEPORT, SOL_SOCKET, socket
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.internet.tcp import Port as Socket

from lmgateway.config.schema import TlsSection
from lmgateway.errors import ConfigError
from lmgateway.service.port import Port
from lmgateway.service.resources import Resources
from lmgateway.wire.server import ServerFactory
from lmgateway.wire.tls import ServerTLS

BACKLOG = 4096


@define(eq=False)
class _Bound:
    """A listening socket, with what it is open for."""

    host: str
    number: int
    tls: TlsSection | None
    certificate: ServerTLS | None
    factory: Factory
    socket: Any  # of twisted.internet.tcp


class Listener:
    """
    One of the two ports.

    Attributes:
        factory: Serves every connection, of an earlier socket too.
    """

    def __init__(self, name: str, folder: Path, resources: Resources) -> None:
        self._name = name
        self._folder = folder
        self._resources = resources
        self._bound: _Bound | None = None
        self.factory: ServerFactory | None = None

    def prepare(self, port: Port) -> _Bound | None:
        """
        Open whatever *port* needs that is not open yet; nothing is changed for clients.

        Returns:
            What is new, or ``None`` if all is as it was.

        Raises:
            ConfigError: If the address cannot be listened on, or the certificate not used.
        """
        if self.factory is None:
            self.factory = ServerFactory(port.routes, port.door, port.limits, self._resources.wheel)
        bound = self._bound
        if bound is None or (bound.host, bound.number) != (port.host, port.number):
            return self._bind(port, self.factory)
        if bound.tls != port.tls:
            return self._dress(port, self.factory, bound.socket)
        if bound.certificate is not None:
            bound.certificate.reload()
        return None

    def apply(self, port: Port, bound: _Bound | None) -> None:
        """Serve *port* from now on, on the socket that ``prepare`` gave."""
        assert self.factory is not None, "prepared first"
        self.factory.resource = port.routes
        self.factory.door = port.door
        self.factory.limits = port.limits
        self.factory.secure = port.tls is not None
        if bound is not None:
            old, self._bound = self._bound, bound
            self._take_over(bound, old)

    def discard(self, bound: _Bound | None) -> None:
        """Close a socket that ``prepare`` gave and nothing will use."""
        present = None if self._bound is None else self._bound.socket
        if bound is None or bound.socket is present:
            return
        bound.socket.stopListening()
        if present is not None:
            _share(present, False)

    def _take_over(self, bound: _Bound, old: _Bound | None) -> None:
        if old is None:
            return
        if old.socket is bound.socket:
            bound.factory.doStart()
            bound.socket.factory = bound.factory
            old.factory.doStop()
        else:
            old.socket.stopListening()
            _share(bound.socket, False)

    @property
    def address(self) -> str:
        """Where it listens: host and port number."""
        assert self._bound is not None, "bound at the start"
        host: Any = self._bound.socket.getHost()
        return f"{host.host}:{host.port}"

    def close(self) -> Deferred[None] | None:
        """Accept no more connections."""
        bound, self._bound = self._bound, None
        return None if bound is None else bound.socket.stopListening()

    def _bind(self, port: Port, factory: ServerFactory) -> _Bound:
        bound = self._dress(port, factory, None)
        try:
            bound.socket = self._listen(port, bound.factory)
        except CannotListenError as error:
            why = getattr(error.socketError, "strerror", None) or error.socketError
            raise ConfigError(
                [f"cannot listen on {port.host}:{port.number} ({self._name} port): {why}"]
            ) from error
        return bound

    def _listen(self, port: Port, factory: Factory) -> Any:
        """Open a socket: beside our present one, if only the host changes."""
        reactor: Any = self._resources.reactor
        old = self._bound
        if old is None or old.number != port.number:
            return reactor.listenTCP(port.number, factory, backlog=BACKLOG, interface=port.host)
        beside = _Beside(port.number, factory, BACKLOG, port.host, reactor)
        _share(old.socket, True)
        try:
            beside.startListening()
        except CannotListenError:
            _share(old.socket, False)
            raise
        return beside

    def _dress(self, port: Port, factory: ServerFactory, socket: Any) -> _Bound:
        """Put TLS round the connections, if there is to be any."""
        certificate = None if port.tls is None else certificate_of(port.tls, self._folder)
        wrapped: Any = factory
        if certificate is not None:
            wrapped = certificate.wrap(factory, self._resources.reactor)
        return _Bound(port.host, port.number, port.tls, certificate, wrapped, socket)


class _Beside(Socket):
    """A socket on the port number of one that is open, until that is closed."""

    def createInternetSocket(self) -> socket:  # noqa: N802  # twisted's own name
        made: socket = Socket.createInternetSocket(self)
        made.setsockopt(SOL_SOCKET, SO_REUSEPORT, True)
        return made


def _share(listening: Any, allowed: bool) -> None:
    """Say whether others of this user may listen on the same port number."""
    listening.socket.setsockopt(SOL_SOCKET, SO_REUSEPORT, allowed)


def certificate_of(tls: TlsSection, folder: Path) -> ServerTLS:
    """
    Read the certificate of a listener.

    Args:
        folder: What file names are relative to.

    Raises:
        ConfigError: If it cannot be used.
    """
    return ServerTLS(
        folder / tls.cert,
        folder / tls.key,
        None if tls.client_ca is None else folder / tls.client_ca,
        tls.client_names,
    )
