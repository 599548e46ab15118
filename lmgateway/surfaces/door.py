"""The client port's door: who is let in, decided before a byte of body is read."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from lmgateway.errors import GatewayError, Unauthenticated, UnsupportedMediaType
from lmgateway.exchange import Exchange
from lmgateway.governance.addresses import Proxies
from lmgateway.governance.keys import Keys, check_path
from lmgateway.governance.limits import Limits
from lmgateway.surfaces.answers import Answers
from lmgateway.telemetry.traffic import Traffic
from lmgateway.wire.door import Head, Pass, Refusal
from lmgateway.wire.identity import request_id
from lmgateway.wire.trace import trace_of_head

OPEN_PATHS = frozenset(
    {
        b"/health",
        b"/health/live",
        b"/health/liveliness",
        b"/health/liveness",
        b"/health/readiness",
        b"/health/ready",
        b"/healthz",
        b"/livez",
        b"/readyz",
        b"/status",
        b"/openapi.json",
        b"/docs",
        b"/",
    }
)
"""Answered without a key, and not limited."""

_BEARER = b"bearer "
_FORM = b"application/x-www-form-urlencoded"
_JSON = b"application/json"
_NOTHING = Pass(max_body=0, principal=None)


class ClientDoor(Struct, frozen=True, eq=False):
    """
    Lets requests in: see ``wire.door.Door``.

    Attributes:
        max_body: The largest body, in bytes.
        seconds: Reactor seconds.
        wall: Seconds since the epoch.
    """

    keys: Keys
    limits: Limits
    proxies: Proxies
    answers: Answers
    traffic: Traffic
    max_body: int
    seconds: Callable[[], float]
    wall: Callable[[], float]

    def admit(self, head: Head) -> Pass:
        """
        Say who asks, and how much they may send.

        Raises:
            RateLimited: If the address has asked, or shown wrong keys, too often.
            Unauthenticated: If the key is wrong, or missing where one is needed.
            Forbidden: If the key is not for this path.
            UnsupportedMediaType: If the body is declared to be no JSON.
        """
        if head.path in OPEN_PATHS or head.method == b"OPTIONS":
            return _NOTHING
        proxies, keys = self.proxies, self.keys
        address = proxies.client_of(head) if proxies.networks else head.peer
        if self.limits.address is not None:
            self.limits.knock(address)
        # Where nobody has a key, what is shown may be meant for a proxy before us.
        shown = None if keys.is_open else shown_key(head)
        try:
            principal = keys.identify(shown)
        except Unauthenticated as error:
            refusal = self.limits.stumble(address) if shown else None
            if refusal is not None:
                raise refusal from error
            raise
        if principal.allow_endpoints is not None:
            check_path(principal, head.path.decode("latin-1"))
        if head.method == b"POST":
            first = head.first
            if first.get(b"content-type") != _JSON or b"content-encoding" in first:
                _refuse_kind(head)
        return Pass(self.max_body, principal, address, self.seconds())

    def refuse(self, head: Head | None, error: GatewayError) -> Refusal:
        """Give the answer to a request that is not let in."""
        return self.answers.refusal(head, error)

    def refused(self, head: Head | None, peer: str, error: GatewayError) -> None:
        """Record that a request was not let in."""
        exchange = Exchange(
            id=request_id(head),
            trace=trace_of_head(head),
            surface=self.answers.surface(head),
            path="" if head is None else head.path.decode("latin-1")[:256],
            peer=peer if head is None else self.proxies.client_of(head),
            started=self.seconds(),
            wall=self.wall(),
        )
        exchange.outcome = error.kind
        exchange.error = error
        exchange.status = error.status
        self.traffic.write(exchange)


def shown_key(head: Head) -> str | None:
    """
    Give the key that a request shows.

    ``Authorization: Bearer`` everywhere; ``x-api-key`` too on Anthropic's paths.

    Raises:
        Unauthenticated: If there is an ``Authorization`` of another scheme.
    """
    key = head.first.get(b"x-api-key")
    if key and head.path.startswith(b"/v1/"):
        return key.decode("latin-1")
    value = head.first.get(b"authorization")
    if value is None:
        return None
    if value[:7].lower() != _BEARER:
        raise Unauthenticated("The Authorization header must be of the Bearer scheme.")
    return value[7:].strip().decode("latin-1")


def _refuse_compressed(head: Head) -> None:
    for name, given in head.headers:
        if name == b"content-encoding" and given.lower() not in (b"", b"identity"):
            raise UnsupportedMediaType("A compressed body is not accepted.")


def _refuse_kind(head: Head) -> None:
    """
    Refuse a body that is declared to be anything but plain JSON; undeclared is taken for it.

    Ollama's own server does not look, and its examples leave ``curl -d`` to declare a form: so
    that passes on its paths, unless a browser may have sent it for a page of another site.
    """
    if b"content-encoding" in head.first:
        _refuse_compressed(head)
    value = head.first.get(b"content-type")
    if value is None or value == _JSON:
        return
    kind = value.partition(b";")[0].strip().lower()
    if kind == _JSON or kind.endswith(b"+json"):
        return
    if kind == _FORM and head.path.startswith(b"/api/") and head.get(b"origin") is None:
        return
    raise UnsupportedMediaType("The body must be application/json.")
