"""How a streamed answer leaves: no faster than the client takes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from lmgateway.wire.heads import Headers


class Sink(Protocol):
    """What an answer is written on: a request, or what stands in its place."""

    @property
    def startedWriting(self) -> int:
        """Whether the answer has begun."""

    @property
    def gone(self) -> bool:
        """Whether nothing that is written now could arrive."""

    def respond(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer at once, and done."""

    def begin(self, status: int, headers: Headers, data: bytes = b"") -> None:
        """Begin a streamed answer, with its first bytes if there are any."""

    def write(self, data: bytes) -> None:
        """Send a part."""

    def finish(self, data: bytes = b"") -> None:
        """End the answer well."""

    def abort(self) -> None:
        """End the answer so that the client sees that it is not whole."""

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """Tell *producer* when to pause."""


@implementer(IPushProducer)
class Outlet:
    """
    Streams an answer with back-pressure.

    A client that takes nothing for the channel's stall time is disconnected there, and
    the route that waits here is cancelled with it.

    Args:
        request: What is answered.

    Attributes:
        paused: Whether the client is slower than we are.
    """

    __slots__ = ("_request", "_waiting", "paused")

    def __init__(self, request: Sink) -> None:
        self._request = request
        self.paused = False
        self._waiting: Sequence[Deferred[None]] = ()

    def open(self, status: int, headers: Headers, data: bytes = b"") -> None:
        """Begin the answer, with its first bytes if they are at hand."""
        self._request.registerProducer(self, True)
        self._request.begin(status, headers, data)

    def write(self, data: bytes) -> Deferred[None] | None:
        """
        Send *data*.

        Returns:
            ``None`` to go on at once, or what to wait for before the next write.
        """
        self._request.write(data)
        return self.gate() if self.paused else None

    def gate(self) -> Deferred[None] | None:
        """Give what to wait for while ``paused``; ``None`` if that would not come."""
        if self._request.gone:
            return None
        waiter: Deferred[None] = Deferred()
        self._waiting = (*self._waiting, waiter)
        return waiter

    def finish(self, data: bytes = b"") -> None:
        """End the answer, with its last bytes if there are any."""
        self._request.finish(data)

    def abort(self) -> None:
        """Break the answer off so that the client sees it is not whole."""
        self._request.abort()

    def pauseProducing(self) -> None:
        """The client is slower than we are."""
        self.paused = True

    def resumeProducing(self) -> None:
        """Everything written has left."""
        self.paused = False
        waiting, self._waiting = self._waiting, ()
        for waiter in waiting:
            if not waiter.called:  # or it was cancelled meanwhile
                waiter.callback(None)

    def stopProducing(self) -> None:
        """The connection is lost; the route is cancelled by the channel."""
