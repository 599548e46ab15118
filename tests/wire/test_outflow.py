"""Sending: what the socket takes, what it does not, and what it never will."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.task import Clock
from twisted.internet.tcp import Connection
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.wire.outflow import CONGESTED, Outflow
from lmgateway.wire.timers import Wheel


class OutflowTests(SynchronousTestCase):
    """An outflow on one end of a real pair of sockets, without a reactor."""

    def setUp(self) -> None:
        ours, self.theirs = socket.socketpair()
        self.addCleanup(self.theirs.close)
        self.addCleanup(ours.close)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.reactor: Any = MemoryReactor()
        nobody: Any = object()
        self.connection = Connection(ours, nobody, self.reactor)
        self.connection.connected = 1
        self.clock = Clock()
        self.stalls = self.eases = 0
        self.wheel = Wheel(self.clock)
        self.outflow = Outflow(self.connection, self.wheel, 10.0, self)

    def abort(self) -> None:
        """Count that output stood still."""
        self.stalls += 1

    def eased(self) -> None:
        """Count that output has left."""
        self.eases += 1

    def _advance(self, seconds: int) -> None:
        for _ in range(seconds * 20):
            self.clock.advance(0.05)

    def test_straight_to_the_socket(self) -> None:
        """What the socket takes is gone when the call returns, and nothing is watched."""
        self.outflow.write(b"hello")
        self.assertEqual(self.theirs.recv(100), b"hello")
        self.assertEqual(self.wheel.pending, 0)
        self.assertEqual(self.reactor.getWriters(), [])

    def test_rest_is_kept_in_order(self) -> None:
        """What the socket does not take waits, and what comes later waits behind it."""
        self.outflow.write(b"a" * 500_000)
        self.outflow.write(b"b" * 10)
        self.assertGreater(self.outflow.unsent(), CONGESTED)
        self.assertTrue(self.outflow.congested)
        received = b""
        while len(received) < 500_010:
            received += self.theirs.recv(1_000_000)
            self.connection.doWrite()
        self.assertEqual(received, b"a" * 500_000 + b"b" * 10)
        self._advance(2)
        self.assertEqual((self.stalls, self.eases), (0, 1))
        self.assertEqual(self.wheel.pending, 0)

    def test_c9_stall(self) -> None:
        """C9: output that does not move is reported once, after its time and not long after."""
        self.outflow.write(b"a" * 500_000)
        self._advance(9)
        self.assertEqual(self.stalls, 0)
        self._advance(3)
        self.assertEqual(self.stalls, 1)
        self._advance(30)
        self.assertEqual(self.stalls, 1)

    def test_c9_slow_but_moving(self) -> None:
        """C9: output that moves, however slowly, is not stalled, and new writes do not count."""
        self.outflow.write(b"a" * 1_000_000)
        for _ in range(5):
            self._advance(6)
            self.theirs.recv(50_000)
            self.connection.doWrite()
            self.outflow.write(b"more")
        self.assertEqual(self.stalls, 0)
        for _ in range(12):
            self._advance(1)
            self.outflow.write(b"more")
        self.assertEqual(self.stalls, 1)

    def test_broken_socket(self) -> None:
        """A socket that is broken is left to the transport to find out."""
        self.theirs.close()
        self.outflow.write(b"hello")
        self.assertEqual(self.reactor.getWriters(), [self.connection])

    def test_close(self) -> None:
        """After the end nothing is watched, and nobody is told anything."""
        self.outflow.write(b"a" * 500_000)
        self.outflow.close()
        self.assertEqual(self.wheel.pending, 0)
        self.outflow.pauseProducing()
        self.outflow.resumeProducing()
        self.outflow.stopProducing()
        self.assertFalse(self.outflow.paused)
