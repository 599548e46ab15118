"""What is under way: ``/admin/inflight``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar, Protocol

from msgspec import Meta

from lmgateway.admin.answers import Query, Shape
from lmgateway.admin.declared import Call, Topic
from lmgateway.classes import frozen
from lmgateway.errors import CancelledByOperator, NotFound
from lmgateway.exchange import Exchange
from lmgateway.telemetry.traffic import Traffic

topic = Topic("inflight")
BYTES_PER_TOKEN = 4


class Bound(Query, frozen=True):
    """How many."""

    limit: Annotated[int, Meta(ge=0, le=10_000)] = 1000


class Open(Shape, frozen=True):
    """
    One exchange that has not ended.

    Attributes:
        requested_model: What the client asked for; ``model`` is what it gets, once that is known.
        phase: ``reading`` its body, ``deciding`` where it goes (admission, routing, waiting for a
            place or between attempts), ``waiting`` for a backend, or ``answering``.
        attempts: How many were begun.
        tokens_out: About how many came so far, of a stream.
    """

    id: str
    client: str | None
    group: str | None
    surface: str
    path: str
    peer: str
    profile: str | None
    requested_model: str | None
    tier: str | None
    backend: str | None
    model: str | None
    stream: bool
    priority: int
    phase: str
    age_ms: float
    ttft_ms: float | None
    attempts: int
    bytes_out: int
    tokens_out: int


class InFlight(Shape, frozen=True):
    """
    What is under way, the oldest first.

    Attributes:
        total: How many there are, whatever was asked for.
    """

    total: int
    in_flight: list[Open]


class Cancelled(Shape, frozen=True):
    """How many exchanges of that id were ended."""

    cancelled: int


class Elsewhere(Protocol):
    """Other processes, where it is those that serve."""

    async def under_way(self, limit: int) -> InFlight:
        """Give what is under way at all of them, the oldest first."""

    async def cancel(self, identity: str) -> list[str | None]:
        """End an exchange, wherever it is; gives whose it was, of each that was found."""


@frozen(eq=False)
class InFlightRoutes:
    """
    The routes.

    Attributes:
        now: Reactor seconds.
        elsewhere: Who serves; ``None``: this process.
    """

    traffic: Traffic
    now: Callable[[], float]
    elsewhere: Elsewhere | None = None
    topic: ClassVar[Topic] = topic

    @topic.route(
        "GET", "/admin/inflight", role="viewer", query=Bound, answer=InFlight, summary="Under way"
    )
    async def all(self, call: Call, query: Bound) -> InFlight:
        """List the exchanges under way."""
        if self.elsewhere is not None:
            return await self.elsewhere.under_way(query.limit)
        return listed(self.traffic, query.limit, self.now())

    @topic.route(
        "POST", "/admin/inflight/<id>/cancel", role="operator", answer=Cancelled, errors=(404,),
        summary="End an exchange",
    )  # fmt: skip
    async def cancel(self, call: Call, id: str) -> Cancelled:  # noqa: A002 - its name in the path
        """End an exchange: the client is told, the backend is hung up on."""
        if self.elsewhere is not None:
            clients = await self.elsewhere.cancel(id)
        else:
            clients = ended(self.traffic, id)
        if not clients:
            raise NotFound("No such exchange is under way.")
        call.note(exchange=id, client=clients)
        return Cancelled(cancelled=len(clients))


def listed(traffic: Traffic, limit: int, now: float) -> InFlight:
    """List what is under way in this process, the oldest first."""
    oldest = sorted(traffic.open, key=lambda exchange: exchange.started)
    found = [_open(exchange, now) for exchange in oldest[:limit]]
    return InFlight(total=len(oldest), in_flight=found)


def ended(traffic: Traffic, identity: str) -> list[str | None]:
    """End all exchanges of an id in this process, and say whose they were."""
    found = [exchange for exchange in traffic.open if exchange.id == identity]
    clients = [_client(exchange) for exchange in found]
    for exchange in found:
        exchange.interrupt(CancelledByOperator())
    return clients


def _open(exchange: Exchange, now: float) -> Open:
    request, principal, last = exchange.request, exchange.principal, _last(exchange)
    first, progress = exchange.first_output, exchange.progress
    return Open(
        id=exchange.id,
        client=_client(exchange),
        group=None if principal is None else principal.group or None,
        surface=exchange.surface,
        path=exchange.path,
        peer=exchange.peer,
        profile=exchange.profile_chain[-1] if exchange.profile_chain else None,
        requested_model=(exchange.requested_model or "")[:128] or None,
        tier=exchange.tier or last[0],
        backend=exchange.backend or last[1],
        model=exchange.model or last[2],
        stream=request is not None and request.stream,
        priority=exchange.priority,
        phase=_phase(exchange),
        age_ms=round((now - exchange.started) * 1000, 1),
        ttft_ms=None if first is None else round((first - exchange.started) * 1000, 1),
        attempts=len(exchange.attempts),
        bytes_out=exchange.bytes_out,
        tokens_out=0 if progress is None else -(-progress.output_bytes // BYTES_PER_TOKEN),
    )


def _last(exchange: Exchange) -> tuple[str | None, str | None, str | None]:
    """Tier, backend and model of the latest attempt."""
    if not exchange.attempts:
        return None, None, None
    attempt = exchange.attempts[-1]
    return attempt.tier, attempt.backend, attempt.model


def _client(exchange: Exchange) -> str | None:
    return None if exchange.principal is None else exchange.principal.name or None


def _phase(exchange: Exchange) -> str:
    if exchange.request is None:
        return "reading"
    if exchange.first_output is not None or exchange.status:
        return "answering"
    if exchange.attempts and exchange.attempts[-1].outcome == "open":
        return "waiting"
    return "deciding"
