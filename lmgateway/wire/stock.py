"""
The short request path over an agent that is not ours.

The floors above are tested over treq's in-memory agent; and either end of
the wire can so be swapped back for Twisted's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IResponse

from lmgateway.backend_errors import BackendTimeout, UnsupportedEncoding
from lmgateway.wire.body import BodyReader
from lmgateway.wire.faults import stock_fault
from lmgateway.wire.origin import Target
from lmgateway.wire.producers import BytesProducer
from lmgateway.wire.response import Response, StockResponse
from lmgateway.wire.timers import Wheel


class StockFlight:
    """
    One request over *agent*, until the head of its answer is there.

    Args:
        wheel: Keeps the deadline.
    """

    def __init__(self, agent: IAgent, wheel: Wheel) -> None:
        self._agent = agent
        self._wheel = wheel
        self._late = False
        self._answer: Deferred[Response] = Deferred(self._cancelled)

    def depart(
        self,
        target: Target,
        body: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        head_seconds: float,
    ) -> Deferred[Response]:
        """Send it."""
        target.render(body, headers)  # for its checks
        lines = Headers()
        for name, value in (*target.headers, *headers, (b"accept-encoding", b"identity")):
            lines.addRawHeader(name, value)
        producer = BytesProducer(body) if body or target.method not in (b"GET", b"HEAD") else None
        self._timer = self._wheel.start(head_seconds, self._expire)
        self._asked = self._agent.request(target.method, target.uri, lines, producer)
        self._asked.addCallbacks(self._answered, self._failed)
        return self._answer

    def _expire(self) -> None:
        self._late = True
        self._asked.cancel()

    def _cancelled(self, answer: Deferred[Response]) -> None:
        answer.errback(CancelledError())
        self._asked.cancel()

    def _answered(self, response: IResponse) -> None:
        self._timer.cancel()
        answer = cast(Response, StockResponse(response))
        encoding = answer.get(b"content-encoding") or b"identity"
        if encoding.strip().lower() == b"identity":
            self._answer.callback(answer)
        else:
            BodyReader(answer, self._wheel).abort()
            self._answer.errback(UnsupportedEncoding("The backend compressed its answer."))

    def _failed(self, reason: Failure) -> None:
        self._timer.cancel()
        if self._answer.called:
            return
        if self._late:
            self._answer.errback(BackendTimeout("The backend sent no answer in time."))
        else:
            self._answer.errback(stock_fault(reason))
