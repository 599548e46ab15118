"""One port that is listened on, and what is swapped on it at a reload."""

from __future__ import annotations

import os
from pathlib import Path
from socket import AF_UNIX, SO_REUSEPORT, SOL_SOCKET, socket
from stat import S_IMODE
from typing import Any

from msgspec import Struct
from twisted.internet import unix
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.internet.tcp import Port as Socket
from twisted.python.failure import Failure

from lmgateway.config.schema import TlsSection
from lmgateway.config.values import is_loopback
from lmgateway.errors import ConfigError
from lmgateway.service.port import Place, Port
from lmgateway.service.resources import Resources
from lmgateway.wire.accepting import Acceptor
from lmgateway.wire.server import ServerFactory
from lmgateway.wire.tls import ServerTLS

BACKLOG = 4096


class _Bound(Struct, eq=False):
    """A listening socket, with what it is open for."""

    place: Place
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
        if bound is None or bound.place != port.place:
            return self._bind(port, self.factory)
        self._check_guard(port, bound.socket)
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
        """Where it listens: host and port number, or the path of a local socket."""
        assert self._bound is not None, "bound at the start"
        return _shown(self._bound.socket)

    @property
    def connections(self) -> int:
        """How many are open."""
        return 0 if self.factory is None else len(self.factory.connections)

    @property
    def expires(self) -> float | None:
        """When its certificate does, in seconds since the epoch."""
        certificate = None if self._bound is None else self._bound.certificate
        return None if certificate is None else certificate.not_after

    def close(self) -> Deferred[None] | None:
        """Accept no more connections."""
        bound, self._bound = self._bound, None
        return None if bound is None else bound.socket.stopListening()

    def _bind(self, port: Port, factory: ServerFactory) -> _Bound:
        bound = self._dress(port, factory, None)
        place = port.place
        try:
            if place.handed is None:
                bound.socket = self._listen(place, bound.factory, port.limits.stall_seconds)
            else:
                bound.socket = self._adopt(port, place.handed, bound.factory)
        except CannotListenError as error:
            why = getattr(error.socketError, "strerror", None) or error.socketError
            raise ConfigError(
                [f"cannot listen on {place.host}:{place.number} ({self._name} port): {why}"]
            ) from error
        if isinstance(bound.socket, Acceptor):
            bound.socket.room = factory.room
        return bound

    def _adopt(self, port: Port, handed: str, factory: Factory) -> Any:
        """
        Accept on a socket that was handed over, which stays with whoever did that.

        So connections that come while nobody accepts wait in it for the next process.
        """
        reactor: Any = self._resources.reactor
        with self._resources.handed.find(f"{self._name}_listen", handed) as found:
            self._check_guard(port, found)
            if found.family == AF_UNIX:
                local = _Local._fromListeningDescriptor(reactor, found.fileno(), factory)
                local.startListening()
                return local
            adopted = Acceptor._fromListeningDescriptor(
                reactor, found.fileno(), found.family, factory
            )
            adopted.startListening()
            adopted.socket.listen(BACKLOG)
            return adopted

    def _check_guard(self, port: Port, listening: Any) -> None:
        """Refuse what others can reach, if they must not; an address was checked with the file."""
        if port.unguarded is None or port.place.handed is None:
            return
        handle = getattr(listening, "socket", listening)
        if handle.family != AF_UNIX and not is_loopback(handle.getsockname()[0]):
            raise ConfigError([f"gateway.{self._name}_listen: {port.unguarded}"])

    def _listen(self, place: Place, factory: Factory, stall_seconds: float) -> Any:
        """Open a socket: beside our present one, if only the host changes."""
        reactor: Any = self._resources.reactor
        old = self._bound
        if old is None or old.place.handed or old.place.number != place.number:
            alone = Acceptor(place.number, factory, BACKLOG, place.host, reactor)
            alone.stall_seconds = stall_seconds
            alone.startListening()
            return alone
        beside = _Beside(place.number, factory, BACKLOG, place.host, reactor)
        beside.stall_seconds = stall_seconds
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
        return _Bound(port.place, port.tls, certificate, wrapped, socket)


class _Beside(Acceptor):
    """A socket on the port number of one that is open, until that is closed."""

    def createInternetSocket(self) -> socket:  # noqa: N802  # twisted's own name
        made = Acceptor.createInternetSocket(self)
        made.setsockopt(SOL_SOCKET, SO_REUSEPORT, True)
        return made


class _Local(unix.Port):
    """A local socket that was handed over: neither its mode nor its file is ours to change."""

    def startListening(self) -> None:
        self._shouldShutdown = False
        path = self._bindPath
        if path[:1] not in (b"", b"\0"):
            self.mode = S_IMODE(os.stat(path).st_mode)
        self.backlog = BACKLOG
        unix.Port.startListening(self)

    def connectionLost(self, reason: Failure) -> None:
        Socket.connectionLost(self, reason)


def _shown(listening: Any) -> str:
    """Say where a socket listens."""
    address: Any = listening.getHost()
    if listening.addressFamily != AF_UNIX:
        return f"{address.host}:{address.port}"
    return os.fsdecode(address.name or b"a nameless socket").replace("\0", "@")


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
