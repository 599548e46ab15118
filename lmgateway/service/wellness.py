"""How backends do, as the admin port shows it: passively observed, and asked on demand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, gatherResults

from lmgateway.backends.base import Backend
from lmgateway.backends.health import Health, State, TargetHealth
from lmgateway.errors import BackendError, BackendTimeout, BackendTLS, Unreachable
from lmgateway.routing.queues import Gate, Gates

Document = dict[str, Any]

_OUT_OF_REACH = (Unreachable, BackendTimeout, BackendTLS)


@frozen(kw_only=True)
class Wellness:
    """What is known of the backends of one config."""

    backends: Mapping[str, Backend]
    health: Health
    queues: Gates
    bulkheads: Gates
    queue_names: Sequence[str]

    def observed(self) -> Document:
        """Give what the attempts made have shown, and who waits for what."""
        queues = [self.queues.find(name) for name in self.queue_names]
        return {
            "backends": [self._backend(name) for name in self.backends],
            "queues": [{"queue": gate.name, **_gate(gate)} for gate in queues if gate is not None],
        }

    def _backend(self, name: str) -> Document:
        targets = self.health.of_backend(name)
        bulkhead = self.bulkheads.find(name)
        return {
            "backend": name,
            "state": _worst([target.state for target in targets]),
            "errors": sum(target.errors for target in targets),
            "samples": sum(target.samples for target in targets),
            "in_flight": sum(target.in_flight for target in targets),
            "queue": None if bulkhead is None else _gate(bulkhead),
            "targets": [_target(target) for target in targets],
        }

    async def probed(self) -> Document:
        """Ask all backends at once whether they are well; in the reference's shape."""
        found = await gatherResults(
            [Deferred.fromCoroutine(self._probe(b)) for b in self.backends.values()],
            consumeErrors=True,
        )
        return {"backends": found}

    async def _probe(self, backend: Backend) -> Document:
        document: Document = {"backend": backend.name, "status": "ok"}
        try:
            await backend.probe()
        except BackendError as error:
            out_of_reach = isinstance(error, _OUT_OF_REACH)
            document["status"] = "unreachable" if out_of_reach else "error"
            document["error"] = f"{error.kind}: {type(error).default_message()}"
        document["traffic"] = self._traffic(backend.name)
        return document

    def _traffic(self, name: str) -> Document | None:
        targets = self.health.of_backend(name)
        samples = sum(target.samples for target in targets)
        errors = sum(target.errors for target in targets)
        if not samples:
            return None
        return {
            "window": samples,
            "errors": errors,
            "error_rate": errors / samples,
            "healthy": any(target.state == "closed" for target in targets),
        }


def _gate(gate: Gate) -> Document:
    return {
        "in_flight": gate.in_flight,
        "pending": gate.pending,
        "max_concurrent": gate.limits.max_concurrent,
        "queue_depth": gate.limits.queue_depth,
    }


def _target(target: TargetHealth) -> Document:
    return {
        "model": target.model,
        "state": target.state,
        "errors": target.errors,
        "samples": target.samples,
        "in_flight": target.in_flight,
        "retry_in_seconds": round(target.blocked_for(), 3),
        "first_output_ms": _ms(target.first_output.seconds, target.first_output.samples),
        "whole_ms": _ms(target.whole.seconds, target.whole.samples),
    }


def _ms(seconds: float, samples: int) -> float | None:
    return round(seconds * 1000, 3) if samples else None


def _worst(states: Sequence[State]) -> str:
    """One word for all targets: what they share, or ``partial``."""
    different = set(states) or {"closed"}
    return different.pop() if len(different) == 1 else "partial"
