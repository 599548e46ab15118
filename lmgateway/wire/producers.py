"""Request bodies between bytes, which is all that this gateway sends, and Twisted's producers."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer
from twisted.python.failure import Failure
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

MAX_BODY = 64 * 1024 * 1024


@implementer(IBodyProducer)
class BytesProducer:
    """Bytes, for agents that want a producer."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """Write all of it at once."""
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Nothing is left to pause."""

    def resumeProducing(self) -> None:
        """Nothing is left to resume."""

    def stopProducing(self) -> None:
        """Nothing is left to stop."""


@implementer(IConsumer)
class _Basket:
    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self.full = False

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """Body producers are told to write here; they need not register."""

    def unregisterProducer(self) -> None:
        """As above."""

    def write(self, data: bytes) -> None:
        """Keep it, within bounds."""
        self.size += len(data)
        if self.size > MAX_BODY:
            self.full = True
            self.parts.clear()
        else:
            self.parts.append(data)


def gather(producer: IBodyProducer) -> Deferred[bytes]:
    """
    Take a whole body from *producer*.

    The result fails with ``ValueError`` if it is larger than ``MAX_BODY``.
    """
    basket = _Basket()

    def whole(_: object) -> bytes:
        if basket.full:
            raise ValueError("the request body is too large")
        return b"".join(basket.parts)

    produced: Deferred[None] = producer.startProducing(basket)
    gathered: Deferred[bytes] = Deferred(lambda _: producer.stopProducing())

    def finish(outcome: bytes | Failure) -> None:
        if not gathered.called:
            gathered.callback(outcome)

    produced.addCallback(whole).addBoth(finish)
    return gathered
