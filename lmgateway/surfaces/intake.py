"""
From an HTTP request to an exchange, and through the spine.

Every surface's calls come in here, so that ids, headers, time and failures are
treated in one way, whatever grammar is spoken.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from functools import cache, partial
from typing import Any, Protocol

from msgspec import Struct
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from lmgateway.chat import ChatRequest, Endpoint
from lmgateway.dialects.base import Dialect, SurfaceDialect
from lmgateway.errors import GatewayError, untie
from lmgateway.exchange import UNACCOUNTED, Exchange
from lmgateway.gateway import Gateway
from lmgateway.gateway import Responder as GatewayResponder
from lmgateway.surfaces.cors import Cors
from lmgateway.surfaces.flights import Flight
from lmgateway.surfaces.responder import Headers, Responder
from lmgateway.surfaces.sharing import Replay, Sharing, farewell, replaying
from lmgateway.surfaces.tape import Reader
from lmgateway.wire.door import Head
from lmgateway.wire.identity import request_id
from lmgateway.wire.request import Request
from lmgateway.wire.timers import Wheel
from lmgateway.wire.trace import PARENT, STATE, trace_of

_log = Logger()

Read = Callable[[], ChatRequest]
Answering = Coroutine[Any, Any, None]
"""What answers a request while it is awaited."""

_KEY = b"idempotency-key"
_OURS = b"x-lmg-"
_LOOKED_AT = frozenset((PARENT, STATE, _KEY))
_FORWARDED = {
    "completions": _LOOKED_AT | {b"openai-beta"},
    "openai": _LOOKED_AT | {b"openai-beta"},
    "responses": _LOOKED_AT | {b"openai-beta"},
    "anthropic": _LOOKED_AT | {b"anthropic-version", b"anthropic-beta"},
}


class _Responder(GatewayResponder, Protocol):
    async def fail(self, exchange: Exchange, error: GatewayError) -> None:
        """Tell the client what went wrong."""


class Intake(Struct, frozen=True, kw_only=True):
    """
    Takes requests in.

    Attributes:
        gateway: The spine.
        dialects: What backends speak, by name.
        wall: Seconds since the epoch, for records.
        debug: Whether the traffic log keeps what backends are sent.
        friendly_errors: What holds until a profile says otherwise.
        noted_headers: The names of further headers that routing rules look at.
        traced_share: Of the traces that begin here, the share that is recorded.
        sharing: Says which requests are made once; ``None``: none.
        capture_bytes: How much is kept of each answer; 0 for nothing.
    """

    gateway: Gateway
    dialects: Mapping[str, Dialect]
    wheel: Wheel
    wall: Callable[[], float]
    cors: Cors
    debug: bool = False
    friendly_errors: bool = False
    noted_headers: frozenset[str] = frozenset()
    traced_share: float = 0.0
    sharing: Sharing | None = None
    capture_bytes: int = 0

    def take(self, request: Request, dialect: SurfaceDialect, endpoint: Endpoint) -> Answering:
        """
        Serve one request in the grammar of *dialect*.

        Returns:
            What serves it, once it is awaited; all failures are told to the client.
        """
        exchange = self.begin(request, dialect.name)
        extra = [(b"x-request-id", exchange.id.encode())]
        if self.cors.origins:
            extra += self.cors.headers(request.head)
        responder = Responder(request, dialect, self.dialects, self.wheel, extra, self.wall)
        read: Read = partial(dialect.parse, request.body, endpoint)
        sharing = self.sharing
        if sharing is None or (exchange.idempotency_key is None and sharing.is_single is None):
            return self._serve(self.gateway, exchange, read, responder)
        return self._share(sharing, request, dialect, exchange, cache(read), responder, extra)

    async def _share(
        self,
        sharing: Sharing,
        request: Request,
        dialect: SurfaceDialect,
        exchange: Exchange,
        read: Read,
        responder: Responder,
        extra: Headers,
    ) -> None:
        """Serve what may have been asked before, or be asked again meanwhile."""
        flight = None
        try:
            flight = sharing.flight(request, exchange, read)
        except GatewayError as error:
            read = partial(_refuse, error)
        if flight is None:
            await self._serve(self.gateway, exchange, read, responder)
        elif flight.exchange is None:
            await self._lead(flight, request, dialect, exchange, read, responder, extra)
        else:
            replay = Replay(request, dialect, flight, responder, extra)
            await self._serve(replaying(self.gateway), exchange, read, replay)

    async def _lead(
        self,
        flight: Flight,
        request: Request,
        dialect: SurfaceDialect,
        exchange: Exchange,
        read: Read,
        own: Responder,
        extra: Headers,
    ) -> None:
        """Begin what others may ask for too, and be the first who is told."""
        tape = flight.tape
        reader = Reader(tape, request, lambda headers: [*headers, *extra], flight.interrupted)
        responder = Responder(tape, dialect, self.dialects, self.wheel, [], self.wall)
        flight.depart(exchange, self._serve(self.gateway, exchange, read, responder))
        try:
            await reader.play()
        except CancelledError:
            if request.interruption is None:
                raise
            await farewell(reader, request, dialect, own, exchange, request.interruption)

    async def _serve(
        self, gateway: Gateway, exchange: Exchange, read: Read, responder: _Responder
    ) -> None:
        try:
            await gateway.serve(exchange, read, responder)
        except GatewayError as error:
            await responder.fail(exchange, error)
        except CancelledError:
            interruption = exchange.interruption()
            if interruption is None:
                raise
            await responder.fail(exchange, interruption)
        except Exception:
            assert exchange.trace is not None, "every request belongs to one"
            trace_id = exchange.trace.id.decode()
            text = "Exchange {request_id} failed unexpectedly."
            _log.failure(text, request_id=exchange.id, trace_id=trace_id)
            await responder.fail(exchange, GatewayError())
        finally:
            _untie(exchange)

    def begin(self, request: Request, surface: str) -> Exchange:
        """Open the ledger of one request."""
        head, admitted = request.head, request.pass_
        forwarded = _forwarded(head, surface)
        key = forwarded.pop(_KEY, None) if forwarded else None
        return Exchange(
            id=request_id(head),
            surface=surface,
            path=head.path.decode("latin-1"),
            peer=admitted.address or head.peer,
            admitted=admitted.admitted,
            started=self.wheel.now(),
            wall=self.wall(),
            headers=_noted(head, self.noted_headers),
            trace=trace_of(forwarded, self.traced_share),
            forwarded=forwarded,
            idempotency_key=key,
            principal=admitted.principal,
            interrupt=request.interrupt,
            interruption=request.interrupted,
            debug=self.debug,
            capture_bytes=self.capture_bytes,
            friendly_errors=self.friendly_errors,
        )


def _untie(exchange: Exchange) -> None:
    """
    Let go of what leads back to an exchange that is over: its account, the frames of its error.

    They would keep its body of megabytes until somebody looks for cycles, and that is rarely
    done where little else is allocated.
    """
    exchange.account = UNACCOUNTED
    if exchange.error is not None:
        untie(exchange.error)


def _refuse(error: GatewayError) -> ChatRequest:
    raise error


def _noted(head: Head, names: frozenset[str]) -> dict[str, str]:
    noted: dict[str, str] = {}
    if _OURS in b"\n".join(head.first):  # in most requests it is not
        for given, said in head.headers:
            if given.startswith(_OURS):
                noted[given.decode("latin-1")] = said.decode("latin-1")
    for name in names:
        if (value := head.get(name.encode())) is not None:
            noted[name] = value.decode("latin-1")
    return noted


def _forwarded(head: Head, surface: str) -> dict[bytes, bytes]:
    names = _FORWARDED.get(surface, _LOOKED_AT)
    forwarded: dict[bytes, bytes] = {}
    if names.isdisjoint(head.first):
        return forwarded
    for name, value in head.headers:
        if name in names:
            forwarded[name] = forwarded[name] + b"," + value if name in forwarded else value
    return forwarded
