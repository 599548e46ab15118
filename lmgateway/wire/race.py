"""
Connect to whichever address of a name answers first (RFC 8305, in small).

Twisted's ``HostnameEndpoint`` waits 0.3 s before the next address even if
the first has refused at once, which is what happens with ``localhost``
wherever a backend listens on IPv4 only; and it refuses names with an
underscore, which container networks are full of.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHostResolution,
    IProtocol,
    IProtocolFactory,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from twisted.python.failure import Failure
from zope.interface import implementer

STAGGER = 0.25
"""Seconds that an address has to itself before the next one is tried as well."""


def literal_endpoint(reactor: Any, host: str, port: int, seconds: float) -> IStreamClientEndpoint:
    """Give the endpoint for an IP address."""
    kind = TCP6ClientEndpoint if ":" in host else TCP4ClientEndpoint
    endpoint: IStreamClientEndpoint = kind(reactor, host, port, timeout=seconds)
    return endpoint


@implementer(IResolutionReceiver)
class _Race:
    """One connection in the making."""

    def __init__(self, reactor: Any, factory: IProtocolFactory, seconds: float) -> None:
        self.winner: Deferred[IProtocol] = Deferred(lambda _: self._finish())
        self._reactor = reactor
        self._factory = factory
        self._seconds = seconds
        self._addresses: deque[IPv4Address | IPv6Address] = deque()
        self._running: list[Deferred[IProtocol]] = []
        self._over = False
        self._next: IDelayedCall | None = None

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:  # noqa: N802, N803
        """The look-up goes on even if nobody waits any more: others may."""

    def addressResolved(self, address: IAddress) -> None:  # noqa: N802
        """One more address to try."""
        if isinstance(address, (IPv4Address, IPv6Address)):
            self._addresses.append(address)

    def resolutionComplete(self) -> None:  # noqa: N802
        """All addresses are known."""
        if self._over:
            return
        if self._addresses:
            self._start()
        else:
            self._finish()
            self.winner.errback(DNSLookupError())

    def _start(self) -> None:
        self._hold()
        address = self._addresses.popleft()
        if self._addresses:
            self._next = self._reactor.callLater(STAGGER, self._start)
        endpoint = literal_endpoint(self._reactor, address.host, address.port, self._seconds)
        runner = endpoint.connect(self._factory)
        self._running.append(runner)
        runner.addCallbacks(self._won, self._lost, (runner,), {}, (runner,), {})

    def _won(self, protocol: IProtocol, runner: Deferred[IProtocol]) -> None:
        self._running.remove(runner)
        if not self._over:
            self._finish()
            self.winner.callback(protocol)

    def _lost(self, reason: Failure, runner: Deferred[IProtocol]) -> None:
        self._running.remove(runner)
        if self._over:
            return
        if self._addresses:
            self._start()
        elif not self._running:
            self._finish()
            self.winner.errback(reason)

    def _hold(self) -> None:
        following, self._next = self._next, None
        if following is not None and following.active():
            following.cancel()

    def _finish(self) -> None:
        self._over = True
        self._hold()
        for runner in list(self._running):
            runner.cancel()


@implementer(IStreamClientEndpoint)
class NameEndpoint:
    """
    Leads to a host by its name.

    Args:
        reactor: Resolves the name, and connects.
        seconds: How long one address may take.
    """

    def __init__(self, reactor: Any, host: str, port: int, seconds: float) -> None:
        self._reactor = reactor
        self._host = host
        self._port = port
        self._seconds = seconds

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect; the result fires with the first connection there is."""
        race = _Race(self._reactor, factory, self._seconds)
        self._reactor.nameResolver.resolveHostName(race, self._host, portNumber=self._port)
        return race.winner
