"""One port that is listened on, and what is swapped on it at a reload."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort

from lmgateway.config.schema import TlsSection
from lmgateway.errors import ConfigError
from lmgateway.service.graph import Port
from lmgateway.service.resources import Resources
from lmgateway.wire.server import ServerFactory
from lmgateway.wire.tls import ServerTLS

BACKLOG = 4096


@define(eq=False)
class _Bound:
    """A listening socket, with what it was opened for."""

    host: str
    number: int
    tls: TlsSection | None
    certificate: ServerTLS | None
    socket: IListeningPort


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
            The new socket, or ``None`` if the present one serves.

        Raises:
            ConfigError: If the address cannot be listened on, or the certificate not used.
        """
        bound = self._bound
        if bound is not None and (bound.host, bound.number, bound.tls) == (
            port.host,
            port.number,
            port.tls,
        ):
            if bound.certificate is not None:
                bound.certificate.reload()
            return None
        if self.factory is None:
            self.factory = ServerFactory(
                port.routes,
                port.door,
                port.limits,
                self._resources.wheel,
                secure=port.tls is not None,
            )
        return self._bind(port, self.factory)

    def apply(self, port: Port, bound: _Bound | None) -> None:
        """Serve *port* from now on, on the socket that ``prepare`` gave."""
        assert self.factory is not None, "prepared first"
        self.factory.resource = port.routes
        self.factory.door = port.door
        self.factory.limits = port.limits
        if bound is not None:
            old, self._bound = self._bound, bound
            if old is not None:
                old.socket.stopListening()

    def discard(self, bound: _Bound | None) -> None:
        """Close a socket that ``prepare`` gave and nothing will use."""
        if bound is not None:
            bound.socket.stopListening()

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
        certificate = None if port.tls is None else self._certificate(port.tls)
        wrapped: Any = factory
        if certificate is not None:
            wrapped = certificate.wrap(factory, self._resources.reactor)
        try:
            socket = self._resources.reactor.listenTCP(
                port.number, wrapped, backlog=BACKLOG, interface=port.host
            )
        except CannotListenError as error:
            why = getattr(error.socketError, "strerror", None) or error.socketError
            raise ConfigError(
                [f"cannot listen on {port.host}:{port.number} ({self._name} port): {why}"]
            ) from error
        return _Bound(port.host, port.number, port.tls, certificate, socket)

    def _certificate(self, tls: TlsSection) -> ServerTLS:
        folder = self._folder
        return ServerTLS(
            folder / tls.cert,
            folder / tls.key,
            None if tls.client_ca is None else folder / tls.client_ca,
            tls.client_names,
        )
