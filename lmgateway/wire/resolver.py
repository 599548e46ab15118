"""
Name look-ups that a slow name cannot block.

Twisted shares ten threads between all look-ups and everything else, sends
even literal addresses through them, and waits for them at exit.  Here a
literal is answered at once, answers are remembered for a while, and a name
that hangs holds one thread of its own, which nobody ever waits for.

The only names looked up are those of the configured backends.  An answer in
a link-local or metadata range is dropped: no DNS server may point this
gateway at a cloud's credentials.  Who means such an address writes it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_network
from socket import SOCK_STREAM, getaddrinfo
from threading import Thread
from typing import Any

import msgspec
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IResolutionReceiver,
)
from zope.interface import implementer

from lmgateway.wire.origin import is_literal

POSITIVE_SECONDS = 30.0
NEGATIVE_SECONDS = 5.0

_FORBIDDEN = tuple(map(ip_network, ("169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128")))


def is_forbidden(address: str) -> bool:
    """Whether a name must not lead to *address*."""
    ip = ip_address(address.partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None) or ip
    return any(mapped in network for network in _FORBIDDEN)


@implementer(IHostResolution)
class _Resolution:
    """One caller that waits for one name."""

    def __init__(
        self,
        name: str,
        receiver: IResolutionReceiver,
        port: int,
        kinds: Sequence[type[IAddress]] | None,
    ) -> None:
        self.name = name
        self._receiver: IResolutionReceiver | None = receiver
        self._port = port
        self._kinds = kinds
        receiver.resolutionBegan(self)

    def cancel(self) -> None:
        """Do not tell; the look-up goes on for others."""
        self._receiver = None

    def answer(self, addresses: Sequence[str]) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is None:
            return
        for address in addresses:
            kind = IPv6Address if ":" in address else IPv4Address
            if self._kinds is None or kind in self._kinds:
                receiver.addressResolved(kind("TCP", address, self._port))
        receiver.resolutionComplete()


class _Entry(msgspec.Struct, eq=False):
    """What is known of one name."""

    addresses: Sequence[str] = ()
    until: float = 0.0
    pending: bool = False
    waiting: list[_Resolution] = msgspec.field(default_factory=list)


@implementer(IHostnameResolver)
class Resolver:
    """
    A resolver for ``reactor.installNameResolver``.

    Args:
        reactor: Its clock, and its way back from threads.
        threads: The most look-ups at once.  A thread lives for one look-up, and each name has
            at most one: that many names must hang before another has to wait.
        look_up: ``socket.getaddrinfo``, or what stands in for it.
    """

    def __init__(
        self,
        reactor: Any,
        threads: int = 32,
        look_up: Callable[..., Sequence[tuple[Any, ...]]] = getaddrinfo,
    ) -> None:
        self._reactor = reactor
        self._free = threads
        self._look_up = look_up
        self._names: dict[str, _Entry] = {}
        self._queue: deque[str] = deque()
        self._stopped = False

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,  # noqa: N803 - Twisted's names, all of these
        hostName: str,  # noqa: N803
        portNumber: int = 0,  # noqa: N803
        addressTypes: Sequence[type[IAddress]] | None = None,  # noqa: N803
        transportSemantics: str = "TCP",  # noqa: N803
    ) -> IHostResolution:
        """Look *hostName* up; what is known already is told before this returns."""
        resolution = _Resolution(hostName, resolutionReceiver, portNumber, addressTypes)
        if is_literal(hostName):
            resolution.answer([hostName])
            return resolution
        entry = self._names.setdefault(hostName, _Entry())
        if entry.until > self._reactor.seconds() or self._stopped:
            resolution.answer(entry.addresses)
            return resolution
        entry.waiting.append(resolution)
        if not entry.pending:
            entry.pending = True
            self._queue.append(hostName)
            self._next()
        return resolution

    def stop(self) -> None:
        """Start no more look-ups, and forget those under way: their threads end by themselves."""
        self._stopped = True
        self._queue.clear()
        for entry in self._names.values():
            waiting, entry.waiting = entry.waiting, []
            for resolution in waiting:
                resolution.answer(())

    def _next(self) -> None:
        while self._queue and self._free > 0:
            self._free -= 1
            name = self._queue.popleft()
            # A daemon: the interpreter must not wait for it at exit.
            thread = Thread(target=self._work, args=(name,), daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no more threads
                self._found(name, [])

    def _work(self, name: str) -> None:
        """In a thread: ask the system, which may take long."""
        try:
            found = self._look_up(name, 0, type=SOCK_STREAM)
        except (OSError, UnicodeError):
            found = ()
        addresses = list(dict.fromkeys(str(answer[4][0]) for answer in found))
        if not self._stopped:
            self._reactor.callFromThread(self._found, name, addresses)

    def _found(self, name: str, addresses: list[str]) -> None:
        self._free += 1
        entry = self._names[name]
        entry.pending = False
        entry.addresses = [each for each in addresses if not is_forbidden(each)]
        keep = POSITIVE_SECONDS if entry.addresses else NEGATIVE_SECONDS
        entry.until = self._reactor.seconds() + keep
        waiting, entry.waiting = entry.waiting, []
        for resolution in waiting:
            resolution.answer(entry.addresses)
        if not self._stopped:
            self._next()
