"""
The server side of the wire: HTTP/1.1 connections, under limits, behind a door.

``ServerFactory`` is what a port listens with.  Its ``limits``, ``door`` and
``resource`` may be replaced at any time: each request uses those that were
there when its headers were complete.
"""

from __future__ import annotations

from math import inf
from typing import Protocol as Interface

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory

from lmgateway.errors import GatewayError
from lmgateway.wire.channel import Channel
from lmgateway.wire.door import Door
from lmgateway.wire.limits import Limits
from lmgateway.wire.request import Request
from lmgateway.wire.timers import Wheel

_SURPLUS = 64
"""How many connections above the limit are told so; the rest is closed without a word."""


class Resource(Interface):
    """What answers complete requests."""

    def dispatch(self, request: Request) -> None:
        """Answer *request*, now or later, through its own methods.  Must not raise."""


class ServerFactory(Factory):
    """
    Makes and keeps the connections of one port.

    Args:
        resource: What answers requests.
        door: What decides on heads.
        limits: The bounds of each connection.
        wheel: Whose time counts.
        secure: Whether the port speaks TLS.

    Attributes:
        connections: All that are open.
        draining: Whether connections end with their present answer.
    """

    noisy = False

    def __init__(
        self, resource: Resource, door: Door, limits: Limits, wheel: Wheel, secure: bool = False
    ) -> None:
        self.resource = resource
        self.door = door
        self.limits = limits
        self.wheel = wheel
        self.secure = secure
        self.connections: set[Channel] = set()
        self.draining = False
        self._drained: list[Deferred[None]] = []

    def buildProtocol(self, addr: IAddress | None) -> Channel | None:  # type: ignore[override]
        """Take a new connection, or not."""
        limit, count = self.limits.max_connections, len(self.connections)
        surplus = limit is not None and count >= limit
        if surplus and limit is not None and count >= limit + _SURPLUS:
            return None
        return Channel(self, str(getattr(addr, "host", "") or ""), surplus)

    def room(self) -> float:
        """Tell how many more connections may be open."""
        limit = self.limits.max_connections
        return inf if limit is None else limit - len(self.connections)

    def lost(self, channel: Channel) -> None:
        """A connection is gone."""
        self.connections.discard(channel)
        if self.draining and not self.connections:
            waiting, self._drained = self._drained, []
            for waiter in waiting:
                waiter.callback(None)

    def drain(self) -> Deferred[None]:
        """
        Finish: busy connections close after their present answer, idle ones in a second.

        Returns:
            Fires when the last connection is lost.
        """
        self.draining = True
        for channel in list(self.connections):
            channel.rest_or_finish()
        if not self.connections:
            return succeed(None)
        drained: Deferred[None] = Deferred()
        self._drained.append(drained)
        return drained

    def interrupt(self, error: GatewayError) -> None:
        """End all requests in flight early, each told *error* in its own grammar."""
        for channel in list(self.connections):
            channel.interrupt(error)

    def abort(self) -> None:
        """End all connections now."""
        for channel in list(self.connections):
            channel.abort()


__all__ = ["Channel", "Limits", "Request", "Resource", "ServerFactory"]
