"""The headers of ours, on answers and on errors."""

from __future__ import annotations

from functools import lru_cache
from math import ceil

from lmgateway.chat import Usage
from lmgateway.errors import GatewayError, LimitError, MethodNotAllowed, Unauthenticated
from lmgateway.exchange import Exchange
from lmgateway.governance.pricing import usd
from lmgateway.surfaces.limit_headers import refusal_headers

MAX_DROPPED = 1000


def routing_headers(exchange: Exchange, now: float) -> list[tuple[bytes, bytes]]:
    """
    Say which target answered, why, and in what time.

    Args:
        now: Reactor seconds.
    """
    is_hidden, chain = exchange.undecided or not exchange.expose_routing, exchange.profile_chain
    if is_hidden:
        headers = [_profiles(chain)]
    else:
        headers = [*_route(chain, exchange.tier, exchange.backend, exchange.model)]
    if exchange.label:
        headers.append((b"x-lmg-class", _text(exchange.label)))
    if exchange.insufficient:
        headers.append((b"x-lmg-insufficient", _text(exchange.insufficient)))
    if exchange.downgraded:
        headers.append((b"x-lmg-downgraded", _text(exchange.downgraded)))
    if exchange.dropped:
        headers.append((b"x-lmg-dropped", _text(", ".join(exchange.dropped)[:MAX_DROPPED])))
    if is_hidden:
        return headers
    upstream, total = 0.0, now - exchange.started
    for attempt in exchange.attempts:
        upstream += attempt.seconds
    times = b"upstream;dur=%.2f, total;dur=%.2f" % (upstream * 1e3, total * 1e3)
    headers += ((b"x-lmg-attempts", b"%d" % len(exchange.attempts)), (b"server-timing", times))
    return headers


@lru_cache(maxsize=256)
def _route(
    chain: tuple[str, ...], tier: str, backend: str, model: str
) -> tuple[tuple[bytes, bytes], ...]:
    """Tell the profiles, and the names of a target."""
    names = ((b"x-lmg-tier", _text(tier)), (b"x-lmg-backend", _text(backend)))
    headers = (_profiles(chain), *names)
    return (*headers, (b"x-lmg-model", _text(model))) if model else headers


def _profiles(chain: tuple[str, ...]) -> tuple[bytes, bytes]:
    return (b"x-lmg-profile", _text(" -> ".join(chain)))


def cost_headers(exchange: Exchange, usage: Usage | None) -> list[tuple[bytes, bytes]]:
    """
    Say what a whole answer costs, if that is known and the client is told such things.

    Args:
        usage: That of the attempt which answered, and is not settled yet.
    """
    if not exchange.expose_routing:
        return []
    total, price = 0, exchange.account.price
    for attempt in exchange.attempts:
        cost = attempt.cost if attempt.settled else price(attempt, attempt.usage or usage)
        if cost is None:
            return []
        total += cost
    return [(b"x-lmg-cost", usd(total).encode() if total else b"0")]


def error_headers(error: GatewayError, exchange: Exchange | None) -> list[tuple[bytes, bytes]]:
    """Say what kind of failure this is, and when to come back."""
    headers = [(b"x-lmg-error", error.kind.encode())]
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, ceil(error.retry_after))))
    if isinstance(error, LimitError):
        headers += refusal_headers(error)
    if isinstance(error, Unauthenticated):
        headers.append((b"www-authenticate", b'Bearer realm="lm-gateway"'))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", ", ".join(error.allow).encode()))
    if exchange is not None and exchange.attempts:
        headers.append((b"x-lmg-attempts", b"%d" % len(exchange.attempts)))
    return headers


def _text(value: str) -> bytes:
    return value.encode("latin-1", "replace")
