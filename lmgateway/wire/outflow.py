"""
What leaves on one connection: as directly as possible, and never stuck for long.

Bytes go straight to the socket while nothing waits before them: that saves two
calls to epoll and a turn of the reactor for each answer.  What the socket does
not take is left to the transport, and from then on somebody looks, now and
then, whether it moves.  Twisted itself would wait for ever.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IPushProducer
from twisted.internet.tcp import Connection, Server
from twisted.protocols.policies import ProtocolWrapper
from zope.interface import implementer

from lmgateway.wire.accepting import Served, tune
from lmgateway.wire.burst import NEVER, burst_of
from lmgateway.wire.timers import Timer, Wheel

CONGESTED = 65536
"""Unsent bytes from which nothing more is begun on a connection."""


class Owner(Protocol):
    """Whoever writes on a connection."""

    def abort(self) -> None:
        """Output stood still for ``stall_seconds``."""

    def eased(self) -> None:
        """Output that was looked after has all left."""


@implementer(IPushProducer)
class Outflow:
    """
    The sending half of a connection.

    Args:
        transport: Where bytes go: a socket, TLS over one, or a test's memory.
        wheel: Measures how long output stands still.
        owner: Told how output fares.

    Attributes:
        paused: Whether the transport asked for a pause.
        watch: The next look at output that waits; ``None`` while all of it leaves at once.
    """

    __slots__ = (
        "_base",
        "_burst",
        "_direct",
        "_mark",
        "_moved",
        "_owner",
        "_producer",
        "_transport",
        "_wheel",
        "paused",
        "stall_seconds",
        "watch",
    )

    def __init__(
        self,
        transport: Any,  # ITransport and IConsumer in one
        wheel: Wheel,
        stall_seconds: float,
        owner: Owner,
    ) -> None:
        self._transport = transport
        self._wheel = wheel
        self._owner: Owner | None = owner
        self._base = _descriptor(transport)
        self._direct = transport if isinstance(transport, Connection) else None
        self._burst = NEVER if self._direct is None else burst_of(transport)
        self._producer: IPushProducer | None = None
        self.watch: Timer | None = None
        self._mark = (0, 0)
        self._moved = 0.0
        self.stall_seconds = stall_seconds
        self.paused = False

    def tune(self) -> None:
        """Set the connection's options, unless it was accepted with them."""
        base = self._base
        if base.__class__ is Served:
            if base.patience != int(self.stall_seconds * 1000):
                tune(base.socket, self.stall_seconds)
        elif base.__class__ is Server:  # and not what serves local sockets, which descends from it
            tune(base.socket, self.stall_seconds)

    def write(self, data: bytes) -> None:
        """Send *data*, after whatever waits; at the end of this turn of the reactor."""
        if self._burst.is_open:
            self._burst.send(self, data)
        else:
            self.send(data)

    def send(self, data: bytes) -> None:
        """Send *data* now, after whatever waits."""
        direct = self._direct
        if (
            direct is not None
            and not direct.dataBuffer
            and not direct._tempDataBuffer
            and direct.connected
            and not direct.disconnecting
        ):
            try:
                sent = direct.socket.send(data)
            except OSError:
                sent = 0  # met again, and reported, when the rest is written
            if sent == len(data):
                return
            data = data[sent:]
        self._transport.write(data)
        if self.watch is None and self._base is not None and self._owner is not None:
            self._watch()

    def unsent(self) -> int:
        """How many bytes the transport still holds, as far as can be known."""
        base = self._base
        if base is None or not base.connected:
            return 0
        return int(len(base.dataBuffer) - base.offset + base._tempDataLen)

    @property
    def congested(self) -> bool:
        """Whether so much waits that nothing more should be begun."""
        return self.watch is not None and self.unsent() > CONGESTED

    def stop_reading(self) -> None:
        """Leave what comes in to the kernel."""
        if self._base is not None:
            self._base.stopReading()

    def let_go(self) -> bool:
        """
        Close the socket under everything; the kernel still delivers what it holds.

        Returns:
            Whether there is one.
        """
        if self._base is None:
            return False
        self._base.loseConnection()
        return True

    def close(self) -> None:
        """Let go: the connection is lost."""
        self._producer = None
        self.paused = False
        self._owner = None  # it leads back to whoever has this
        if self.watch is not None:
            self.watch.cancel()
            self.watch = None

    # Who is told to wait ------------------------------------------------------
    def attach(self, producer: IPushProducer) -> None:
        """Tell *producer* when to wait and when to go on."""
        if self._producer is not None:
            raise RuntimeError("Somebody writes already.")
        self._producer = producer
        self._transport.registerProducer(self, True)

    def detach(self) -> None:
        """Tell nobody any more."""
        self._producer = None
        self.paused = False
        self._transport.unregisterProducer()

    def pauseProducing(self) -> None:
        """The transport holds enough."""
        if self.paused or self._producer is None:
            return
        self.paused = True
        if self.watch is None:
            self._watch()
        self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        """The transport has sent everything."""
        if not self.paused or self._producer is None:
            return
        self.paused = False
        self._producer.resumeProducing()

    def stopProducing(self) -> None:
        """The connection is lost; its protocol is told next."""

    # Whether it moves ---------------------------------------------------------
    def _watch(self) -> None:
        self._mark = self._position()
        self._moved = self._wheel.now()
        self._look_later()

    def _look_later(self) -> None:
        self.watch = self._wheel.start(min(1.0, self.stall_seconds / 4), self._look)

    def _look(self) -> None:
        """See whether output moved since the last look."""
        self.watch = None
        owner = self._owner
        if owner is None:
            return
        if not self.unsent() and not self.paused:
            owner.eased()
            return
        position, now = self._position(), self._wheel.now()
        if position != self._mark:
            self._mark, self._moved = position, now
        elif now - self._moved >= self.stall_seconds:
            owner.abort()
            return
        self._look_later()

    def _position(self) -> tuple[int, int]:
        """Where the transport is in its buffer: changes with each send, not with a write."""
        base = self._base
        return (0, 0) if base is None else (id(base.dataBuffer), base.offset)


def _descriptor(transport: object) -> FileDescriptor | None:
    """The socket under *transport*, if there is one."""
    while isinstance(transport, ProtocolWrapper):
        transport = transport.transport
    return transport if isinstance(transport, FileDescriptor) else None
