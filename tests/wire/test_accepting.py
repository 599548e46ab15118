"""Accepting connections does what Twisted's own port does."""

from __future__ import annotations

import os
import resource
import socket
from socket import IPPROTO_TCP, SO_KEEPALIVE, SOL_SOCKET, TCP_NODELAY, TCP_USER_TIMEOUT
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.wire.accepting import Acceptor, Served, tune
from lmgateway.wire.limits import Limits
from lmgateway.wire.turns import lighten
from tests.wire.serving import Server as Serving
from tests.wire.serving import get, statuses


class Kept(Protocol):
    """Notes what came, and why it was lost."""

    reason: Failure | None = None
    got = b""

    def dataReceived(self, data: bytes) -> None:
        """Bytes came."""
        self.got += data

    def connectionLost(self, reason: Any = None) -> None:
        """The end."""
        self.reason = reason


class Maker:
    """Makes protocols; refuses or fails when told to."""

    def __init__(self) -> None:
        self.hosts: list[str] = []
        self.made: list[Any] = []
        self.refuses = self.fails = False

    def buildProtocol(self, peer: Any) -> Kept | None:
        """One more connection."""
        self.hosts.append(peer.host)
        if self.fails:
            raise ValueError("told to")
        if self.refuses:
            return None
        made = Kept()
        self.made.append(made)
        return made

    def doStart(self) -> None:
        """A port listens."""

    def doStop(self) -> None:
        """It does so no more."""


class AcceptorTests(SynchronousTestCase):
    """A port on a reactor of its own, which is turned by hand."""

    def setUp(self) -> None:
        self.reactor: Any = EPollReactor()
        self.addCleanup(self.reactor._poller.close)
        self.maker: Any = Maker()

    def _listen(self, factory: Any = None, host: str = "127.0.0.1") -> Acceptor:
        port = Acceptor(0, factory or self.maker, 50, host, self.reactor)
        port.stall_seconds = 7.0
        self._start(port)
        return port

    def _start(self, port: Acceptor) -> None:
        port.startListening()
        self.addCleanup(port.connectionLost, Failure(ConnectionDone()))

    def _connect(self, port: Acceptor) -> socket.socket:
        family = socket.AF_INET6 if ":" in port.interface else socket.AF_INET
        client = socket.socket(family)
        client.settimeout(5)
        self.addCleanup(client.close)
        client.connect((port.interface, port.getHost().port))
        return client

    def _accepted(self, port: Acceptor) -> Served:
        self._connect(port)
        self.reactor.doIteration(1)
        transport: Served = self.maker.made[-1].transport
        self.addCleanup(transport.connectionLost, Failure(ConnectionDone()))
        return transport

    def test_bytes_and_end(self) -> None:
        """A client that comes is served until it leaves."""
        port = self._listen()
        client = self._connect(port)
        self.reactor.doIteration(1)
        (made,) = self.maker.made
        self.assertEqual(self.maker.hosts, ["127.0.0.1"])
        self.assertEqual(made.transport.getPeer(), IPv4Address("TCP", *client.getsockname()))
        self.assertIn("Kept", made.transport.logPrefix())
        self.assertIn("Served", repr(made.transport))
        made.transport.write(b"hello")
        self.reactor.doIteration(1)
        self.assertEqual(client.recv(9), b"hello")
        transport = made.transport
        client.close()
        self.reactor.doIteration(1)
        made.reason.trap(ConnectionDone)
        self.assertNotIn(transport, self.reactor.removeAll())

    def test_we_end_it(self) -> None:
        """A connection that is closed here delivers what was written before."""
        served = self._listen()
        client = self._connect(served)
        self.reactor.doIteration(1)
        (made,) = self.maker.made
        made.transport.write(b"last")
        made.transport.loseConnection()
        for _ in range(2):
            self.reactor.doIteration(1)
        self.assertEqual(client.recv(9) + client.recv(9), b"last")
        made.reason.trap(ConnectionDone)
        made.transport.connectionLost(made.reason)  # twice, as Twisted may do

    def test_ipv6(self) -> None:
        """A client's IPv6 address is told as it is."""
        try:
            port = self._listen(host="::1")
        except Exception as error:
            raise self.skipTest(f"no IPv6 here: {error}") from error
        served = self._accepted(port)
        self.assertEqual(self.maker.hosts, ["::1"])
        self.assertIsInstance(served.getPeer(), IPv6Address)

    def test_options(self) -> None:
        """A connection has the options of the port that accepted it."""
        served = self._accepted(self._listen())
        self.assertEqual(served.patience, 7000)
        self._check_options(served, 7000)

    def test_a_port_that_others_opened(self) -> None:
        """What is known of a socket's options is what they are."""
        for tuned, patience in ((True, 3000), (False, -1)):
            with socket.create_server(("127.0.0.1", 0)) as listening:
                listening.setblocking(False)
                if tuned:
                    tune(listening, 3.0)
                port: Any = Acceptor._fromListeningDescriptor(
                    self.reactor, listening.fileno(), listening.family, self.maker
                )
                self._start(port)
                self.assertEqual(self._accepted(port).patience, patience)

    def test_options_of_channels(self) -> None:
        """However a connection was accepted, it has the options that the limits ask for."""
        for seconds in (7.0, 8.0):
            serving = Serving(Limits(stall_seconds=seconds))
            port = self._listen(serving.factory)
            self._connect(port)
            self.reactor.doIteration(1)
            (channel,) = serving.factory.connections
            served: Any = channel.transport
            self._check_options(served, int(seconds * 1000))
            served.connectionLost(Failure(ConnectionDone()))
            self.assertEqual(serving.factory.connections, set())

    def _check_options(self, served: Served, patience: int) -> None:
        self.assertTrue(served.getTcpNoDelay())
        self.assertTrue(served.socket.getsockopt(SOL_SOCKET, SO_KEEPALIVE))
        self.assertTrue(served.socket.getsockopt(IPPROTO_TCP, TCP_NODELAY))
        self.assertEqual(served.socket.getsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT), patience)

    def test_many_at_once(self) -> None:
        """All who wait come in within a few turns; where none waits no more, nothing happens."""
        port = self._listen()
        port.numberAccepts = 1
        clients = [self._connect(port) for _ in range(30)]
        for _ in range(4):
            self.reactor.doIteration(0.01)
        self.assertEqual(len(self.maker.made), len(clients))
        port.doRead()
        self.assertEqual(port.numberAccepts, 1)
        for made in self.maker.made:
            made.transport.connectionLost(Failure(ConnectionDone()))

    def test_what_opens_a_connection_is_read_with_it(self) -> None:
        """What a client has sent already is read in the turn in which it is accepted."""
        lighten(self.reactor)
        port = self._listen()
        clients = [self._connect(port) for _ in range(3)]
        clients[0].send(b"hello")
        clients[1].close()
        self.reactor.doIteration(1)
        self.assertEqual([made.got for made in self.maker.made], [b"hello", b"", b""])
        self.assertIsNone(self.maker.made[1].reason)
        clients[2].send(b"later")
        for _ in range(2):
            self.reactor.doIteration(1)
        self.assertEqual([made.got for made in self.maker.made], [b"hello", b"", b"later"])
        self.maker.made[1].reason.trap(ConnectionDone)
        self.maker.refuses = True
        self._connect(port).send(b"hello")
        self.reactor.doIteration(1)
        for made in self.maker.made[::2]:
            made.transport.connectionLost(Failure(ConnectionDone()))

    def test_limit(self) -> None:
        """Who comes when another has just left finds the place free, though it is the last."""
        lighten(self.reactor)
        serving = Serving(Limits(max_connections=1))
        port = self._listen(serving.factory)
        port.room = serving.factory.room
        client = self._connect(port)
        self.reactor.doIteration(1)
        for _ in range(3):
            client.close()
            client = self._connect(port)
            client.sendall(get(b"/echo"))
            self.reactor.doIteration(1)
            self.reactor.doIteration(0)
            self.assertEqual(statuses(client.recv(9999)), [200])
            self.assertEqual(len(serving.factory.connections), 1)
        serving.factory.abort()
        self.reactor.runUntilCurrent()

    def test_room(self) -> None:
        """A port is crowded where it may not have as many more as may come at once."""
        port = self._listen()
        self.assertTrue(port.is_crowded())
        factory = Serving(Limits(max_connections=None)).factory
        port.room = factory.room
        self.assertFalse(port.is_crowded())
        factory.limits = Limits(max_connections=port.numberAccepts)
        self.assertFalse(port.is_crowded())
        factory.limits = Limits(max_connections=port.numberAccepts - 1)
        self.assertTrue(port.is_crowded())

    def test_who_leaves_is_seen_to_last(self) -> None:
        """A request is not kept waiting until others that left are let go."""
        lighten(self.reactor)
        serving = Serving()
        port = self._listen(serving.factory)
        port.room = serving.factory.room
        gone, other = self._connect(port), self._connect(port)
        self.reactor.doIteration(1)
        self.assertEqual(len(serving.factory.connections), 2)
        gone.close()
        other.sendall(get(b"/echo"))
        self.reactor.doIteration(1)
        self.assertEqual(statuses(other.recv(9999)), [200])
        self.assertEqual(len(serving.factory.connections), 1)
        serving.factory.abort()
        self.reactor.runUntilCurrent()

    def test_refused(self) -> None:
        """A connection that the factory does not want is closed."""
        self.maker.refuses = True
        port = self._listen()
        client = self._connect(port)
        self.reactor.doIteration(1)
        self.assertEqual(client.recv(1), b"")

    def test_failing_factory(self) -> None:
        """A connection that cannot be served keeps nobody else from coming in."""
        self.maker.fails = True
        port = self._listen()
        self._connect(port)
        self.reactor.doIteration(1)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.maker.fails = False
        self._accepted(port)

    def test_no_descriptor_left(self) -> None:
        """Without a descriptor left, a client is hung up on and later ones are served."""
        port = self._listen()
        client = self._connect(port)
        lowest = os.dup(0)
        os.close(lowest)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        try:
            self.reactor.doIteration(1)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        self.assertEqual(client.recv(1), b"")
        self.assertEqual(self.maker.made, [])
        self._accepted(port)
