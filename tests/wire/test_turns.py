"""The lighter turn does what Twisted's own does."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.internet.tcp import Server
from twisted.internet.testing import MemoryReactor
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.wire.outflow import Outflow
from lmgateway.wire.turns import lighten
from tests.wire.serving import Server as Serving


class Listener(Protocol):
    """Notes what it is told; fails when told to."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.reason: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        """Bytes came."""
        if data == b"fail":
            raise ValueError("told to")
        self.got.append(data)

    def connectionLost(self, reason: Any = None) -> None:
        """The end."""
        self.reason = reason


class TurnTests(SynchronousTestCase):
    """One connection on a reactor of its own, which is turned by hand."""

    def setUp(self) -> None:
        self.reactor: Any = EPollReactor()
        self.addCleanup(self.reactor._poller.close)
        lighten(self.reactor)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.theirs = socket.create_connection(listening.getsockname())
            ours, _ = listening.accept()
        self.addCleanup(self.theirs.close)
        self.addCleanup(ours.close)
        self.protocol = Listener()
        address: Any = ("127.0.0.1", 1)
        port: Any = None
        self.server = Server(ours, self.protocol, address, port, 1, self.reactor)
        self.protocol.makeConnection(self.server)
        self.server.startReading()

    def test_bytes(self) -> None:
        """What was sent is received."""
        self.theirs.send(b"hello")
        self.reactor.doIteration(1)
        self.reactor.doIteration(0)
        self.assertEqual(self.protocol.got, [b"hello"])

    def test_written_bytes(self) -> None:
        """What waits to be sent is sent when the socket takes it."""
        self.server.write(b"hello")
        self.reactor.doIteration(1)
        self.assertEqual(self.theirs.recv(9), b"hello")

    def test_end(self) -> None:
        """A peer that closes is noticed, after what it sent."""
        self.theirs.send(b"last")
        self.theirs.close()
        for _ in range(2):
            self.reactor.doIteration(1)
        self.assertEqual(self.protocol.got, [b"last"])
        assert self.protocol.reason is not None
        self.protocol.reason.trap(ConnectionDone)

    def test_reset(self) -> None:
        """A connection that cannot be read is lost."""
        self.theirs.send(b"x")

        class Broken:
            fileno = self.server.socket.fileno
            close = self.server.socket.close
            shutdown = self.server.socket.shutdown

            def recv(self, size: int) -> bytes:
                raise ConnectionResetError

        self.server.socket = Broken()  # type: ignore[assignment]
        self.reactor.doIteration(1)
        assert self.protocol.reason is not None
        self.protocol.reason.trap(ConnectionLost)

    def test_a_failing_protocol(self) -> None:
        """A protocol that raises loses its connection; the failure is logged, and no other."""
        self.theirs.send(b"fail")
        self.reactor.doIteration(1)
        assert self.protocol.reason is not None
        self.protocol.reason.trap(ValueError)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_other_descriptors(self) -> None:
        """Whatever else is waited for is read as Twisted reads it."""
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        self.addCleanup(os.close, write)
        seen: list[bytes] = []

        class Pipe:
            def fileno(self) -> int:
                return read

            def doRead(self) -> None:  # noqa: N802  # Twisted's name
                seen.append(os.read(read, 9))

            def logPrefix(self) -> str:
                return "pipe"

        self.reactor.addReader(Pipe())
        os.write(write, b"x")
        self.reactor.doIteration(1)
        self.assertEqual(seen, [b"x"])

    def test_a_client_that_leaves(self) -> None:
        """The gateway's own connections are lost at the end of what comes."""
        served = Serving()
        factory = served.factory
        channel = factory.buildProtocol(None)
        assert channel is not None
        self.server.protocol = channel
        channel.makeConnection(self.server)
        self.theirs.send(b"GET / HTTP/1.1\r\n")
        self.theirs.close()
        for _ in range(2):
            self.reactor.doIteration(1)
        self.assertEqual(factory.connections, set())
        self.assertNotIn(self.server, self.reactor.getReaders())
        self.assertEqual(served.wheel.pending, 0)

    def second(self) -> tuple[socket.socket, Server, Listener]:
        """Make one more connection on the same reactor."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            theirs = socket.create_connection(listening.getsockname())
            ours, _ = listening.accept()
        self.addCleanup(theirs.close)
        self.addCleanup(ours.close)
        protocol = Listener()
        address: Any = ("127.0.0.1", 1)
        port: Any = None
        server = Server(ours, protocol, address, port, 2, self.reactor)
        protocol.makeConnection(server)
        server.startReading()
        return theirs, server, protocol

    def both(self, act: Callable[[Server], object]) -> tuple[Listener, Listener]:
        """Send to two connections; whichever hears of it first does *act* to the other."""
        theirs, server, protocol = self.second()
        order = {self.protocol: server, protocol: self.server}

        def heard(listener: Listener, data: bytes) -> None:
            listener.got.append(data)
            if len(self.protocol.got) + len(protocol.got) == 1:
                act(order[listener])

        for each in (self.protocol, protocol):
            each.dataReceived = partial(heard, each)  # type: ignore[method-assign]
        self.theirs.send(b"one")
        theirs.send(b"two")
        self.reactor.doIteration(1)
        return self.protocol, protocol

    def test_one_that_was_cut_hears_nothing(self) -> None:
        """A connection that another's event aborts in the same turn is told nothing more."""
        one, other = self.both(lambda server: server.abortConnection())
        self.assertEqual(len(one.got) + len(other.got), 1)

    def test_one_that_pauses_loses_nothing(self) -> None:
        """What was read of a connection that is then paused is still handed on."""
        one, other = self.both(lambda server: server.pauseProducing())
        self.assertEqual([*one.got, *other.got], [b"one", b"two"])

    def _answers(self) -> Outflow:
        """Give what writes to the first connection, whenever that hears of something."""

        class Owner:
            def abort(self) -> None:
                raise AssertionError

            eased = abort

        outflow = Outflow(self.server, Serving().wheel, 10.0, Owner())

        def answer(data: bytes) -> None:
            outflow.write(b"answer")

        self.protocol.dataReceived = answer  # type: ignore[method-assign]
        self.theirs.setblocking(False)
        return outflow

    def test_what_is_written_in_a_turn_leaves_at_its_end(self) -> None:
        """Where several connections are served, writes of ours wait for all, and no longer."""
        outflow = self._answers()
        seen: list[bytes] = []

        def hear(data: bytes) -> None:
            outflow.write(b"more")
            self.assertRaises(BlockingIOError, self.theirs.recv, 99)
            seen.append(data)

        theirs, _, protocol = self.second()
        protocol.dataReceived = hear  # type: ignore[method-assign]
        self.theirs.send(b"ask")
        theirs.send(b"ask too")
        self.reactor.doIteration(1)
        self.assertEqual(seen, [b"ask too"])
        self.assertEqual(sorted(self.theirs.recv(99)), sorted(b"answermore"))
        outflow.write(b"late")
        self.assertEqual(self.theirs.recv(9), b"late")

    def test_what_is_written_alone_leaves_at_once(self) -> None:
        """Where one connection is served, nothing waits for what is done after it is written."""
        outflow = self._answers()

        def answer(data: bytes) -> None:
            outflow.write(b"answer")
            self.assertEqual(self.theirs.recv(9), b"answer")

        self.protocol.dataReceived = answer  # type: ignore[method-assign]
        self.theirs.send(b"ask")
        self.reactor.doIteration(1)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_only_on_epoll(self) -> None:
        """Other reactors are left as they are."""
        other = MemoryReactor()
        lighten(other)
        self.assertFalse(hasattr(other, "doPoll"))
