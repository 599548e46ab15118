"""
Where clients' connections are accepted: Twisted's port, with less done for each of them.

Twisted makes a buffered log, two texts for a log in free text and an address for each
connection, looks for interfaces, and asks the system more than is needed.  A client that
opens a connection for each request waits for all of it, so that it is a part of the time
to the first event of its stream.  What is rare (no descriptor left, say) is left to
Twisted, which meets it again and knows what to do.

The options of a connection are those of the socket that it was accepted on, so they are
set once there, before it listens: a connection that it takes earlier would not have them.
"""

from __future__ import annotations

from collections.abc import Callable
from select import EPOLLIN
from socket import (
    IPPROTO_TCP,
    NI_NUMERICHOST,
    NI_NUMERICSERV,
    SO_KEEPALIVE,
    SOL_SOCKET,
    TCP_NODELAY,
    TCP_USER_TIMEOUT,
    SocketType,
    getnameinfo,
    socket,
)
from typing import Any

from twisted.internet.address import IPv6Address
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IAddress
from twisted.internet.tcp import Port, Server
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

_log = Logger()

_STEP = 20
"""How many more connections are accepted at once when there may be more."""


def tune(accepting: Any, stall_seconds: float) -> None:
    """
    Set a connection's options, on it or on the socket that it will be accepted on.

    Small writes are sent at once, and the kernel notices peers that vanish.
    """
    accepting.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
    accepting.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1)
    accepting.setsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT, int(stall_seconds * 1000))


def _patience(listening: socket) -> int:
    """Give the milliseconds that ``tune`` has set on a socket; -1 where it was not done."""
    if not listening.getsockopt(IPPROTO_TCP, TCP_NODELAY):
        return -1
    if not listening.getsockopt(SOL_SOCKET, SO_KEEPALIVE):
        return -1
    return listening.getsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT)


def _watch(reactor: Any, connection: Served, number: int) -> None:
    """Do what ``addReader`` does for a descriptor that is new."""
    reactor._poller.register(number, EPOLLIN)
    reactor._reads.add(number)
    reactor._selectables[number] = connection


def _unwatch(reactor: Any, number: int) -> bool:
    """Do what ``removeReader`` does where nobody waits to write; tell whether that was so."""
    if number not in reactor._reads or number in reactor._writes:
        return False
    reactor._poller.unregister(number)
    reactor._reads.remove(number)
    del reactor._selectables[number]
    return True


@implementer(IAddress)
class Peer:
    """Where a connection comes from, for the factory that is to serve it."""

    __slots__ = ("host",)

    def __init__(self, host: str) -> None:
        self.host = host


class Served(Server):
    """
    A client's connection.

    Attributes:
        patience: Milliseconds after which the kernel gives up on unsent output, as far as the
            connection was accepted with its options; -1 where they are yet to be set.
    """

    def __init__(
        self,
        sock: Any,
        protocol: Any,
        client: tuple[Any, ...],
        server: Any,
        sessionno: int,
        reactor: Any,
    ) -> None:
        # Not super().__init__, which writes texts that nobody reads.
        self.reactor = reactor
        self._tempDataBuffer = []
        self._tempDataLen = 0
        sock.setblocking(False)
        self.socket = sock
        self.fileno = sock.fileno
        self.protocol = protocol
        self.server = server
        self.client = client
        self.sessionno = sessionno
        self.hostname = client[0]
        if len(client) != 2:
            self._addressType = IPv6Address
        self.patience: int = server.patience
        if type(reactor) is EPollReactor:
            _watch(reactor, self, sock.fileno())
        else:
            reactor.addReader(self)
        self.connected = 1

    def logPrefix(self) -> str:
        """Name it in a log."""
        return f"{type(self.protocol).__name__},{self.sessionno},{self.client[0]}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} #{self.sessionno}>"

    def connectionLost(self, reason: Failure) -> None:
        """Do as Twisted does, but do not shut down what is about to be closed by both ends."""
        if not self.connected:
            return
        self.disconnected, self.connected = 1, 0
        if self.producer is not None:
            self.producer.stopProducing()
            self.producer = None
        reactor: Any = self.reactor
        if type(reactor) is not EPollReactor or not _unwatch(reactor, self.fileno()):
            reactor.removeReader(self)
            reactor.removeWriter(self)
        aborted = isinstance(reason.value, ConnectionAborted)
        if aborted or self.disconnecting:
            self._closeSocket(not aborted)
        else:
            self.socket.close()
        protocol = self.protocol
        del self.protocol, self.socket, self.fileno
        protocol.connectionLost(reason)


class Acceptor(Port):
    """
    A port whose connections are ``Served``.

    Attributes:
        stall_seconds: How long unsent output may stand still; set it before it listens.
        patience: What its connections get of that from the socket.
        room: Tells how many more connections it may have; without it, it is taken for full.
    """

    transport = Served
    stall_seconds: float | None = None
    patience = -1
    room: Callable[[], float] | None = None

    def is_crowded(self) -> bool:
        """Whether what is accepted next may be too much, unless another leaves."""
        return self.room is None or self.room() < self.numberAccepts

    def createInternetSocket(self) -> socket:  # noqa: N802  # twisted's own name
        """Make a socket whose connections need no options of their own."""
        made: socket = Port.createInternetSocket(self)
        if self.stall_seconds is not None:
            tune(made, self.stall_seconds)
        return made

    def startListening(self) -> None:
        """Listen."""
        Port.startListening(self)
        self.patience = _patience(self.socket)
        self._kind = int(self.socket.family), int(self.socket.type)

    def doRead(self) -> None:  # noqa: N802  # twisted's own name
        """Accept what waits."""
        self.accept()

    def accept(self) -> list[Served]:
        """Accept what waits, up to a bound that grows with it; give what is open now."""
        listening: Any = self.socket
        accepted: list[Served] = []
        count = 0
        while count < self.numberAccepts:
            try:
                number, address = listening._accept()
            except BlockingIOError:
                break
            except OSError:
                Port.doRead(self)
                return accepted
            count += 1
            try:
                served = self._serve(SocketType(*self._kind, 0, number), address)
            except Exception:
                _log.failure("A connection could not be served.")
            else:
                if served is not None and served.connected:
                    accepted.append(served)
        self.numberAccepts = count + _STEP if count == self.numberAccepts else max(1, count)
        return accepted

    def _serve(self, client: Any, address: tuple[Any, ...]) -> Served | None:
        if len(address) == 4:  # IPv6: with its scope, where it has one
            host = getnameinfo(address, NI_NUMERICHOST | NI_NUMERICSERV)[0]
            address = (host, *address[1:])
        factory: Any = self.factory
        protocol = factory.buildProtocol(Peer(address[0]))
        if protocol is None:
            client.close()
            return None
        self.sessionno += 1
        served = Served(client, protocol, address, self, self.sessionno, self.reactor)
        protocol.makeConnection(served)
        return served


__all__ = ["Acceptor", "Peer", "Served", "tune"]
