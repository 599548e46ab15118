"""
Which requests are made once: those with an ``Idempotency-Key``, and identical ones in flight.

Shared is what a client is sent, not what a backend sent: only those bytes are the same for
everyone who asks, ids and times in them included.  Whoever asks again is admitted like anybody
else, counts as a request in every limit of theirs, reserves and pays nothing, and has a record of
their own, marked with ``cache``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from hashlib import sha256

from msgspec import Struct
from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from lmgateway.backends.base import Reply
from lmgateway.chat import ChatRequest
from lmgateway.dialects.base import SurfaceDialect
from lmgateway.errors import GatewayError, MalformedRequest
from lmgateway.exchange import Exchange
from lmgateway.gateway import Gateway
from lmgateway.governance.pricing import usd
from lmgateway.routing.deadline import DEADLINE_HEADER, deadline
from lmgateway.surfaces.flights import Flight, Flights, Ticket
from lmgateway.surfaces.responder import Responder
from lmgateway.surfaces.tape import Reader
from lmgateway.wire.heads import Headers
from lmgateway.wire.request import Request
from lmgateway.wire.trace import PARENT, STATE

_DECENT = re.compile(rb"[ -~]{1,255}")
_OWN = re.compile(rb"(?:x|anthropic)-ratelimit-|server-timing$")
"""Headers that are of one request, not of the answer."""

_UNLIKE = frozenset((PARENT, STATE))


class Sharing(Struct, frozen=True, kw_only=True):
    """
    Says whose answer a request is given.

    Attributes:
        flights: What is under way, and what is kept.
        is_single: Whether identical requests like this one are made once; ``None``: none are.
    """

    flights: Flights
    is_single: Callable[[Exchange, ChatRequest], bool] | None = None

    def flight(
        self, request: Request, exchange: Exchange, read: Callable[[], ChatRequest]
    ) -> Flight | None:
        """
        Give the flight that answers a request, if it is made once.

        Raises:
            MalformedRequest: If its key is none.
            IdempotencyConflict: If its key was used for another request.
        """
        key = exchange.idempotency_key
        if key is not None and self.flights.window > 0:
            if not _DECENT.fullmatch(key):
                raise _bad_key()
            return self.flights.of(Ticket(_owner(exchange), key, _digest(request), "idempotent"))
        if self.is_single is None:
            return None
        try:
            if not self.is_single(exchange, read()):
                return None
            digest = _digest(request, exchange.headers, exchange.forwarded)
            return self.flights.of(Ticket(_owner(exchange), digest, digest, "single_flight"))
        except GatewayError:
            return None  # it is told in the ordinary way, or its answer cannot be shared


def _owner(exchange: Exchange) -> str:
    """Name whose requests are compared: a client's; without a name, those of one address."""
    principal = exchange.principal
    return principal.name if principal is not None and principal.name else f"@{exchange.peer}"


def _bad_key() -> MalformedRequest:
    return MalformedRequest(
        "Idempotency-Key must be 1 to 255 printable ASCII characters.", param="Idempotency-Key"
    )


def _digest(
    request: Request, noted: Mapping[str, str] = {}, forwarded: Mapping[bytes, bytes] = {}
) -> bytes:
    """Give what tells a request from another: its target, its body, headers that matter."""
    digest = sha256()
    more = [f"{name}={value}".encode() for name, value in sorted(noted.items())]
    more += [b"%b=%b" % item for item in sorted(forwarded.items()) if item[0] not in _UNLIKE]
    for part in (request.head.path, request.head.query, request.body, *more):
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.digest()


# Those who ask again ---------------------------------------------------------------
def replaying(gateway: Gateway) -> Gateway:
    """Give the spine of those who are answered from a tape: nothing is opened."""
    return replace(gateway, open=_nothing)


def _nothing(exchange: Exchange) -> AbstractAsyncContextManager[Reply]:
    return nullcontext(Reply(dialect=""))


class Replay:
    """
    Answers one request from a flight that another one began: see ``gateway.Responder``.

    Args:
        own: Tells what goes wrong before anything was sent, and how this client's limits stand.
        extra: Headers that every answer to this request carries.
    """

    def __init__(
        self,
        request: Request,
        dialect: SurfaceDialect,
        flight: Flight,
        own: Responder,
        extra: Headers,
    ) -> None:
        self._request = request
        self._dialect = dialect
        self._flight = flight
        self._own = own
        self._extra = extra
        self._exchange: Exchange | None = None

    async def relay(self, exchange: Exchange, reply: Reply) -> None:
        """
        Send what was written, and what is still to come.

        Raises:
            MalformedRequest: If this client's deadline is none.
            BackendTimeout: If the answer has not begun by then.
            GatewayError: What the first client was told, once this one was told it too.
        """
        within = _by_deadline(exchange, self._flight.clock)
        self._exchange = exchange
        exchange.cache = self._flight.ticket.kind
        flight = self._flight
        self._reader = Reader(flight.tape, self._request, self._headers, flight.interrupted)
        try:
            await self._reader.play(within)
        finally:
            exchange.status = flight.tape.status
            exchange.bytes_out = self._reader.offset
            _take_over(exchange, flight.exchange)
        flight.check()

    def _headers(self, theirs: Headers) -> Headers:
        assert self._exchange is not None, "asked for while it is answered"
        kept = [_free(header) for header in theirs if not _OWN.match(header[0])]
        kind = self._flight.ticket.kind
        marks = [(b"x-lmg-cache", kind.encode())]
        if kind == "idempotent":
            marks.append((b"idempotent-replayed", b"true"))
        return [*kept, *marks, *self._own.limits(self._exchange), *self._extra]

    async def fail(self, exchange: Exchange, error: GatewayError) -> None:
        """Tell the client what went wrong, in whatever way is still open."""
        if self._exchange is None:
            await self._own.fail(exchange, error)
        else:
            await farewell(self._reader, self._request, self._dialect, self._own, exchange, error)


def _by_deadline(
    exchange: Exchange, clock: IReactorTime
) -> Callable[[Deferred[None]], object] | None:
    """Give what ends a wait at the client's own deadline, if it has one."""
    if DEADLINE_HEADER not in exchange.headers:
        return None
    due = exchange.started + deadline(exchange.headers[DEADLINE_HEADER])
    return lambda waiting: waiting.addTimeout(max(due - clock.seconds(), 0), clock)


def _free(header: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """What a replay costs, where a cost is told."""
    return (header[0], usd(0).encode()) if header[0] == b"x-lmg-cost" else header


def _take_over(exchange: Exchange, first: Exchange | None) -> None:
    """Note who answered, where that was for another."""
    assert first is not None, "a flight that is read was begun"
    exchange.profile_chain = first.profile_chain
    exchange.mode = first.mode
    exchange.tier, exchange.backend, exchange.model = first.tier, first.backend, first.model
    exchange.finish_reason = first.finish_reason


async def farewell(
    reader: Reader,
    request: Request,
    dialect: SurfaceDialect,
    own: Responder,
    exchange: Exchange,
    error: GatewayError,
) -> None:
    """End an answer that was read from a tape, when the gateway itself must."""
    if request.gone or reader.catch_up():
        return
    if not request.startedWriting:
        await own.fail(exchange, error)
        return
    if exchange.request is not None and exchange.request.stream:
        request.write(dialect.writer(exchange.request).error(error))
    request.abort()
