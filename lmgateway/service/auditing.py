"""What of all that happens goes into the audit log."""

from __future__ import annotations

from lmgateway.errors import AccessError
from lmgateway.exchange import Exchange
from lmgateway.stores.audit import AuditLog
from lmgateway.telemetry.events import Event, Events
from lmgateway.telemetry.traffic import Traffic

_KINDS = {"audit": "action", "reload": "config", "start": "config", "alarm": "alarm"}
"""Events and what they are called there; what a key or override event tells, an action does."""


def audited(events: Events, traffic: Traffic, log: AuditLog) -> None:
    """Have events, and those who were turned away, written down."""

    def heard(event: Event) -> None:
        if event.kind == "denied":
            facts = dict(event.facts)
            log.deny(str(facts.pop("ip", "")), facts)
        elif event.kind in _KINDS:
            log.write(_KINDS[event.kind], event.facts)

    def failed(exchange: Exchange) -> None:
        if not isinstance(exchange.error, AccessError):
            return
        log.deny(*denial(exchange))

    events.listen(heard)
    traffic.failed = failed


def denial(exchange: Exchange) -> tuple[str, dict[str, object]]:
    """Give the address of somebody who was turned away, and what is known of that."""
    principal = exchange.principal
    facts: dict[str, object] = {
        "port": "client",
        "request_id": exchange.id,
        "path": exchange.path[:256],
        "outcome": exchange.outcome,
        "status": exchange.status,
    }
    if principal is not None and principal.name:
        facts["client"] = principal.name
    return exchange.peer, facts
