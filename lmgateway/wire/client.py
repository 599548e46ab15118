"""
The client side of HTTP/1.1: one agent per backend, behind Twisted's and treq's interfaces.

``WireAgent`` is an ``IAgent`` with its own pool; stock treq runs over it.
``WireClient`` is treq's ``HTTPClient`` with a short path, ``send``, for the
one thing a gateway does all day: prepared target in, response head out.  The
same ``send`` works over any other ``IAgent``, which is how the floors above
are tested without a socket.

No redirects, cookies, decompression or proxy by environment, on either path.
"""

from __future__ import annotations

from collections.abc import Sequence
from http.cookiejar import Cookie
from typing import Any, cast

from attrs import evolve
from treq.client import HTTPClient
from treq.cookies import IndexableCookieJar
from twisted.internet.defer import Deferred, fail, succeed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from lmgateway.wire.dial import endpoint_for
from lmgateway.wire.origin import Origin, Target
from lmgateway.wire.pool import Flight, Pool
from lmgateway.wire.producers import BytesProducer, gather
from lmgateway.wire.response import Response, StockResponse
from lmgateway.wire.stock import StockFlight
from lmgateway.wire.timers import Wheel

__all__ = ["Origin", "Response", "StockResponse", "Target", "WireAgent", "WireClient"]

_LARGE = 65536
_OURS = frozenset(
    (
        b"accept-encoding",
        b"connection",
        b"content-length",
        b"expect",
        b"host",
        b"keep-alive",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)

Pairs = Sequence[tuple[bytes, bytes]]


@implementer(IAgent)
class WireAgent:
    """
    Sends requests to one origin over pooled connections.

    Args:
        reactor: Makes connections.
        wheel: Keeps the deadlines.
        origin: The only place this agent talks to.
        connect_seconds: How long a connection may take, from name look-up to TLS.
        pool_idle_seconds: How long an unused connection is kept; less than the backend does.
        max_idle: How many unused connections are kept.

    Raises:
        ValueError: If a certificate file of the origin cannot be used.
    """

    def __init__(
        self,
        reactor: Any,
        wheel: Wheel,
        origin: Origin,
        *,
        connect_seconds: float = 3.0,
        pool_idle_seconds: float = 4.0,
        max_idle: int = 256,
    ) -> None:
        self.origin = origin
        self.wheel = wheel
        self._pool = Pool(
            wheel,
            endpoint_for(reactor, origin, connect_seconds),
            secure=origin.scheme == "https",
            first_phase="connection" if origin.proxy is None else "connection through the proxy",
            connect_seconds=connect_seconds,
            idle_seconds=pool_idle_seconds,
            max_idle=max_idle,
            name=f"{origin.scheme}://{origin.host}:{origin.port}",
        )

    @property
    def opened(self) -> int:
        """Connections made, ever."""
        return self._pool.opened

    @property
    def reused(self) -> int:
        """Requests that did not need a new connection."""
        return self._pool.reused

    @property
    def idle(self) -> int:
        """Connections that wait for a request."""
        return self._pool.idle

    @property
    def active(self) -> int:
        """Connections that carry a request."""
        return self._pool.live - self._pool.idle

    def close(self) -> None:
        """Close idle connections now, and others once they have carried their answer."""
        self._pool.close()

    def send(
        self, target: Target, body: bytes, headers: Pairs = (), *, head_seconds: float
    ) -> Deferred[Response]:
        """
        Send one request; cancel the result to cut it off at once, in whatever phase.

        Args:
            target: Must have been prepared for this agent's origin.
            headers: What this request adds to the target's fixed headers.
            head_seconds: From the request sent to the answer's head.

        Raises:
            ValueError: If a header value would end its line early, or *target* is elsewhere.
        """
        if target.origin is not self.origin and target.origin != self.origin:
            raise ValueError("this target belongs to another origin")
        head = target.render(body, headers)
        pieces = (head, body) if len(body) > _LARGE else (head + body,)
        return Flight(self._pool, target, pieces, head_seconds).depart()

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """
        Send a request as any Twisted agent does.

        It must be for this agent's origin.  Framing headers and ``Accept-Encoding`` are set
        here, whatever *headers* says of them.
        """
        here = self.origin.url
        path = uri.partition(b"#")[0][len(here) :] or b"/"
        if not uri.startswith(here) or path[:1] not in (b"/", b"?"):
            return fail(ValueError("this agent does not talk to that origin"))
        whole = path.decode("latin-1")
        flat = [] if headers is None else list(_flatten(headers))
        try:
            bare = Origin(scheme=self.origin.scheme, host=self.origin.host, port=self.origin.port)
            target = Target.prepare(bare, method, whole if path[:1] == b"/" else "/" + whole, flat)
            target = evolve(target, origin=self.origin)
        except ValueError as error:
            return fail(error)
        body = succeed(b"") if bodyProducer is None else gather(bodyProducer)
        sent = body.addCallback(lambda data: self.send(target, data, head_seconds=60.0))
        return cast("Deferred[IResponse]", sent)


def _flatten(headers: Headers) -> Pairs:
    return [
        (name, value)
        for name, values in headers.getAllRawHeaders()
        if name.lower() not in _OURS
        for value in values
    ]


class _NoCookies(IndexableCookieJar):
    """A cookie jar that stays empty: one backend's answers must not mark later requests."""

    def set_cookie(self, cookie: Cookie) -> None:
        """Do not keep it."""


def _producer(data: Any) -> IBodyProducer:
    # treq's own way reads bytes through a file and a global cooperator.
    return BytesProducer(data) if isinstance(data, bytes) else IBodyProducer(data)


class WireClient(HTTPClient):
    """
    treq's client, without its browser's habits and with a short path.

    Args:
        agent: A ``WireAgent``; or any other, for tests without sockets.
        wheel: Keeps the deadlines.
    """

    def __init__(self, agent: IAgent, wheel: Wheel) -> None:
        super().__init__(agent, cookiejar=_NoCookies(), data_to_body_producer=_producer)
        self._wheel = wheel
        if isinstance(agent, WireAgent):
            self.send = agent.send  # type: ignore[method-assign]  # the same, one call nearer

    def send(
        self, target: Target, body: bytes, headers: Pairs = (), *, head_seconds: float
    ) -> Deferred[Response]:
        """
        Send one request and wait for the head of its answer.

        Cancelling the result closes the connection at once.  It fails with a
        ``BackendError``, and with nothing else but ``CancelledError``.

        Args:
            headers: What this request adds to the target's fixed headers.
            head_seconds: From the request sent to the answer's head.

        Raises:
            ValueError: If a header value would end its line early.
        """
        flight = StockFlight(self._agent, self._wheel)
        return flight.depart(target, body, headers, head_seconds)

    def request(self, method: str, url: Any, **kwargs: Any) -> Deferred[Any]:
        """Send a request as treq does, but follow no redirect and buffer no body."""
        kwargs.setdefault("allow_redirects", False)
        kwargs.setdefault("unbuffered", True)
        kwargs.setdefault("reactor", self._wheel.clock)
        return super().request(method, url, **kwargs)
