"""
A proxy that harms what passes: between the gateway and a backend that is well.

It delays, splits, drips, truncates, resets and swallows the backend's bytes; it
is told how by a ``Harm``, which may be changed between connections.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field, frozen
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import CancelledError, ensureDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from tests.faults.scripted import reset

reactor: Any = the_reactor


@frozen(kw_only=True)
class Harm:
    """
    What is done to the backend's bytes.

    Attributes:
        delay: Seconds before anything is passed on.
        size: Bytes in one segment; 0 leaves them as they come.
        gap: Seconds between segments.
        after: Bytes that are passed on before it ends; ``None`` for all.
        ending: How it ends then: in order, by a reset, or with silence.
        swallow: Whether nothing reaches the backend at all.
    """

    delay: float = 0.0
    size: int = 0
    gap: float = 0.0
    after: int | None = None
    ending: str = "close"
    swallow: bool = False


class _Back(Protocol):
    """The proxy's connection to the backend."""

    def __init__(self, front: _Front) -> None:
        self.front = front

    def dataReceived(self, data: bytes) -> None:
        self.front.queue.append(data)
        self.front.work()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.front.queue.append(None)
        self.front.work()


class _Front(Protocol):
    """The gateway's connection to the proxy."""

    factory: FaultProxy

    def connectionMade(self) -> None:
        self.queue: list[bytes | None] = []
        self.harm = self.factory.harm
        self.passed = 0
        self.busy = self.gone = False
        self.back: _Back | None = None
        self.early: list[bytes] = []
        self.factory.fronts.append(self)
        if not self.harm.swallow:
            ensureDeferred(self._dial())

    async def _dial(self) -> None:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.factory.backend)
        back = await connectProtocol(endpoint, _Back(self))
        self.back = back
        for data in self.early:
            back.transport.write(data)
        if self.gone:
            back.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        if self.back is None:
            self.early.append(data)
        else:
            transport: Any = self.back.transport
            transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.gone = True
        if self.back is not None:
            transport: Any = self.back.transport
            transport.abortConnection()

    def work(self) -> None:
        if not self.busy:
            self.busy = True
            ensureDeferred(self._pass_on()).addErrback(lambda failure: failure.trap(CancelledError))

    async def _pass_on(self) -> None:
        if self.harm.delay and not self.passed:
            await deferLater(reactor, self.harm.delay)
        while self.queue and not self.gone:
            data = self.queue.pop(0)
            if data is None:
                self._transport.loseConnection()
                break
            await self._write(data)
        self.busy = False

    async def _write(self, data: bytes) -> None:
        harm = self.harm
        if harm.after is not None:
            data = data[: max(0, harm.after - self.passed)]
        step = harm.size or len(data) or 1
        for start in range(0, len(data), step):
            if self.gone:
                return
            self._transport.write(data[start : start + step])
            if harm.size:
                await deferLater(reactor, harm.gap)
        self.passed += len(data)
        if harm.after is not None and self.passed >= harm.after:
            self._end(harm.ending)

    def _end(self, ending: str) -> None:
        if ending == "reset":
            reset(self._transport)
        elif ending == "close":
            self._transport.loseConnection()

    @property
    def _transport(self) -> Any:
        return self.transport


@define(eq=False)
class FaultProxy(Factory):
    """Listens for the gateway, and harms what *backend* (a port) says to it."""

    backend: int
    harm: Harm = field(factory=Harm)
    fronts: list[_Front] = field(factory=list)
    protocol: Any = _Front

    def listen(self) -> int:
        """Open a port; give its number."""
        self.port = reactor.listenTCP(0, self, interface="127.0.0.1")
        return int(self.port.getHost().port)

    async def stop(self) -> None:
        """Close the port and all connections."""
        await self.port.stopListening()
        for front in self.fronts:
            front._transport.abortConnection()
        await deferLater(reactor, 0.05)
