"""
How backends do, as the admin port shows it, and what the operator may impose on them.

Seen from attempts and probes as they come, and asked on demand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, gatherResults

from lmgateway.backend_errors import BackendTimeout, BackendTLS, Unreachable
from lmgateway.backends.base import Backend
from lmgateway.backends.breaker import Forced, State
from lmgateway.backends.health import Health, Override, Probed, TargetHealth
from lmgateway.backends.probes import Probes
from lmgateway.backends.retries import SECONDS
from lmgateway.classes import frozen
from lmgateway.errors import NotFound
from lmgateway.routing.queues import Gate, Gates
from lmgateway.service.sums import retries_of, targets_of

if TYPE_CHECKING:
    from lmgateway.service.together import Crew

Document = dict[str, Any]

_OUT_OF_REACH = (Unreachable.kind, BackendTimeout.kind, BackendTLS.kind)
_WELL = ("closed", "forced_closed")


@frozen(kw_only=True)
class Wellness:
    """
    What is known of the backends of one config.

    Attributes:
        wall: Seconds since the epoch.
        crew: Who makes the attempts; ``None``: this process.
    """

    backends: Mapping[str, Backend]
    health: Health
    probes: Probes
    queues: Gates
    bulkheads: Gates
    queue_names: Sequence[str]
    wall: Callable[[], float]
    crew: Crew | None = None

    async def observed(self) -> Document:
        """Give what attempts and probes have shown, and who waits for what."""
        await self._ask_crew()
        queues = [self.queues.find(name) for name in self.queue_names]
        return {
            "backends": [self._backend(name) for name in self.backends],
            "queues": [{"queue": gate.name, **_gate(gate)} for gate in queues if gate is not None],
        }

    async def _ask_crew(self) -> None:
        if self.crew is not None:
            await self.crew.reports()

    def _targets(self, name: str) -> list[Document]:
        if self.crew is None:
            return [target_document(target) for target in self.health.of_backend(name)]
        return targets_of(self.crew.latest, name)

    def _retries(self, name: str) -> Document:
        if self.crew is None:
            attempts, retries = self.health.backend(name).retries.counts(self.health.now())
        else:
            attempts, retries = retries_of(self.crew.latest, name)
        return {"seconds": SECONDS, "attempts": attempts, "retries": retries}

    def _backend(self, name: str) -> Document:
        targets = self._targets(name)
        shared = self.health.backend(name)
        bulkhead = self.bulkheads.find(name)
        errors = sum(target["errors"] for target in targets)
        samples = sum(target["samples"] for target in targets)
        return {
            "backend": name,
            "state": _worst([target["state"] for target in targets]),
            "drained": self.health.is_drained(name),
            "errors": errors,
            "samples": samples,
            "error_rate": _rate(errors, samples),
            "in_flight": sum(target["in_flight"] for target in targets),
            "queue": None if bulkhead is None else _gate(bulkhead),
            "probe": None if shared.probed is None else _probe(shared.probed),
            "retries": self._retries(name),
            "targets": targets,
        }

    # asked on demand ------------------------------------------------------------
    async def probed(self) -> Document:
        """Ask all backends at once whether they are well; in the reference's shape."""
        await self._ask_crew()
        found = await gatherResults(
            [Deferred.fromCoroutine(self._ask(name)) for name in self.backends],
            consumeErrors=True,
        )
        return {"backends": found}

    async def _ask(self, name: str) -> Document:
        probed = await self.probes.check(name)
        document: Document = {"backend": name, "status": "ok"}
        if probed.error:
            document["status"] = "unreachable" if probed.error in _OUT_OF_REACH else "error"
            document["error"] = f"{probed.error}: {probed.message}"
        document["traffic"] = self._traffic(name)
        return document

    def _traffic(self, name: str) -> Document | None:
        targets = self._targets(name)
        samples = sum(target["samples"] for target in targets)
        errors = sum(target["errors"] for target in targets)
        if not samples:
            return None
        return {
            "window": samples,
            "errors": errors,
            "error_rate": errors / samples,
            "healthy": any(target["state"] in _WELL for target in targets),
        }

    async def check(self, name: str) -> Document:
        """
        Probe one backend now; what comes of it counts like any probe.

        Raises:
            NotFound: If there is none of that name.
        """
        self._known(name)
        return {"backend": name, **_probe(await self.probes.check(name))}

    # imposed --------------------------------------------------------------------
    async def force(
        self, name: str, model: str | None, state: Forced | None, seconds: float
    ) -> Document:
        """
        Force breakers for a time, or let them be as they are by themselves again.

        Raises:
            NotFound: If there is no such backend, or no such target of it.
        """
        self._known(name)
        if model is not None and model not in [t.model for t in self.health.of_backend(name)]:
            raise NotFound("This backend has no target of that model.")
        self.health.force(name, model, state, seconds)
        await self._ask_crew()
        return self._backend(name)

    async def drain(self, name: str, seconds: float) -> Document:
        """
        Let no new attempts go to a backend for a time; 0 ends that.

        Raises:
            NotFound: If there is none of that name.
        """
        self._known(name)
        self.health.drain(name, seconds)
        await self._ask_crew()
        return self._backend(name)

    def overrides(self) -> list[Document]:
        """Give all that is imposed on backends now."""
        return [self._override(override) for override in self.health.overrides()]

    def _override(self, override: Override) -> Document:
        left = override.until - self.health.now()
        return {
            "kind": "drain" if override.what == "drained" else "breaker",
            "target": override.backend + ("" if override.model is None else f"/{override.model}"),
            "value": override.what,
            "expires": round(self.wall() + left, 3),
            "seconds_left": round(left, 3),
        }

    def _known(self, name: str) -> None:
        if name not in self.backends:
            raise NotFound("There is no backend of that name.")


def _gate(gate: Gate) -> Document:
    return {
        "in_flight": gate.in_flight,
        "pending": gate.pending,
        "max_concurrent": gate.limits.max_concurrent,
        "queue_depth": gate.limits.queue_depth,
    }


def _probe(probed: Probed) -> Document:
    return {
        "at": round(probed.at, 3),
        "ms": round(probed.seconds * 1000, 3),
        "well": probed.well,
        "status": probed.status,
        "error": probed.error or None,
    }


def target_document(target: TargetHealth) -> Document:
    """Give what is known of a target, as the admin port shows it."""
    state = target.state
    return {
        "model": target.model,
        "state": state,
        "cause": target.cause if state in ("open", "half_open") else None,
        "errors": target.errors,
        "samples": target.samples,
        "error_rate": _rate(target.errors, target.samples),
        "in_flight": target.in_flight,
        "retry_in_seconds": round(target.blocked_for(), 3),
        "against": target.against() or None,
        "first_output_ms": _ms(target.first_output.seconds, target.first_output.samples),
        "whole_ms": _ms(target.whole.seconds, target.whole.samples),
    }


def _rate(errors: int, samples: int) -> float | None:
    return round(errors / samples, 4) if samples else None


def _ms(seconds: float, samples: int) -> float | None:
    return round(seconds * 1000, 3) if samples else None


def _worst(states: Sequence[State]) -> str:
    """One word for all targets: what they share, or ``partial``."""
    different = set(states) or {"closed"}
    return different.pop() if len(different) == 1 else "partial"
