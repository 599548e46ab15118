"""
What ``/metrics`` shows: what was counted, and how things stand at this moment.

Gauges are read from the live objects when somebody asks, so that they cost nothing otherwise.
The text is written family by family, with a turn of the loop between any two that are long.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING

from twisted.internet.task import deferLater

from lmgateway.classes import frozen
from lmgateway.config.schema import Config
from lmgateway.governance.budgets import Budgets
from lmgateway.routing.queues import Gates
from lmgateway.service import sums
from lmgateway.service.listener import Listener
from lmgateway.service.resources import Resources
from lmgateway.telemetry import families as counted
from lmgateway.telemetry import reference
from lmgateway.telemetry.exposition import Family, Sample, written
from lmgateway.telemetry.spread import Buckets
from lmgateway.telemetry.system import System

if TYPE_CHECKING:
    from lmgateway.service.together import Crew

WAIT = Buckets((1, 5, 10, 50, 100, 500, 1000, 5000, 10_000, 30_000, 60_000))
TURN_LINES = 400
"""Lines that are written before other work has its turn."""

STATES = {"closed": 0, "half_open": 1, "open": 2, "forced_closed": 3, "forced_open": 4}
MAX_OWNERS = 500
"""Shares of budgets that are shown."""


@frozen(kw_only=True)
class Scrape:
    """The metrics of one config."""

    config: Config
    resources: Resources
    budgets: Budgets

    async def text(self, *, openmetrics: bool) -> bytes:
        """Give all series, without holding up the loop for long."""
        parts, crew = [], self._crew
        if crew is not None:
            await crew.reports()
        for part in self.slices(await self._system(), openmetrics=openmetrics):
            parts.append(part)
            await deferLater(self.resources.reactor, 0)
        return b"".join(parts)

    def slices(self, system: System, *, openmetrics: bool) -> Iterator[bytes]:
        """Give all series in pieces of some lines each."""
        parts, lines = [], 0
        for family in chain(self.families(), system.families()):
            if family.plain_only and openmetrics:
                continue
            part = written([family], openmetrics=openmetrics, last=False)
            parts.append(part)
            lines += part.count(b"\n")
            if lines > TURN_LINES:
                yield b"".join(parts)
                parts, lines = [], 0
        yield b"".join(parts) + written([], openmetrics=openmetrics)

    async def _system(self) -> System:
        """Know what the system tells of processes; that is 0.1 s of imports, the first time."""
        resources = self.resources
        if resources.system is None:
            resources.system = await resources.in_thread(System)
        return resources.system

    def families(self) -> Iterator[Family]:
        """Give all families but those of the system."""
        resources = self.resources
        yield from counted.families(resources.meters)
        yield from resources.happened.families()
        yield from resources.vitals.families()
        for source in resources.sources:
            yield from source()
        yield from self._backends()
        yield from self._queues()
        yield from self._budgets()
        yield from self._process()
        newest = resources.traffic.newest(reference.MAX_ENTRIES)
        yield from reference.families(newest)

        if (crew := self._crew) is not None:
            yield from sums.families(crew.latest, crew.deaths)

    @property
    def _crew(self) -> Crew | None:
        together = self.resources.together
        return None if together is None else together.crew

    def _targets(self) -> list[tuple[tuple[str, str], int, str]]:
        """Give each target, how many attempts are under way there, and its breaker's state."""
        if self._crew is None:
            health = self.resources.health
            return [((t.backend, t.model), t.in_flight, t.state) for t in health]
        return [
            ((name, target["model"]), target["in_flight"], target["state"])
            for name in self.config.backends
            for target in sums.targets_of(self._crew.latest, name)
        ]

    def _backends(self) -> Iterator[Family]:
        targets = self._targets()
        labels = ("backend", "model")
        yield Family(
            "lmg_backend_in_flight",
            "gauge",
            "Attempts under way, open streams included.",
            labels,
            [(key, in_flight) for key, in_flight, _ in targets],
        )
        yield Family(
            "lmg_breaker_state",
            "gauge",
            "Breakers: 0 closed, 1 half open, 2 open; by force 3 closed, 4 open.",
            labels,
            [(key, STATES[state]) for key, _, state in targets],
        )

        probes = {name: self.resources.health.backend(name).probed for name in self.config.backends}
        up = [((name,), int(probe.well)) for name, probe in probes.items() if probe is not None]
        text = "Whether the last probe of a backend found it well."
        yield Family("lmg_backend_up", "gauge", text, ("backend",), up)

    def _queues(self) -> Iterator[Family]:
        resources = self.resources
        kinds: list[tuple[str, Gates]] = [
            ("tier", resources.queues),
            ("backend", resources.bulkheads),
        ]
        gates = [((kind, gate.name), gate) for kind, every in kinds for gate in every]
        labels = ("kind", "queue")
        depths: list[Sample] = [(key, gate.pending) for key, gate in gates]
        held: list[Sample] = [(key, gate.in_flight) for key, gate in gates]
        refused: list[Sample] = [((*key, "full"), gate.full) for key, gate in gates]
        refused += [((*key, "timeout"), gate.late) for key, gate in gates]
        yield Family("lmg_queue_depth", "gauge", "Who waits for a place.", labels, depths)
        yield Family("lmg_queue_in_flight", "gauge", "Places that are taken.", labels, held)
        yield Family(
            "lmg_queue_refused",
            "counter",
            "Requests that got no place: the queue was full, or they waited in vain.",
            (*labels, "reason"),
            refused,
        )
        yield Family(
            "lmg_queue_wait_seconds",
            "histogram",
            "How long those waited who got a place, but not at once.",
            labels,
            spreads=[(key, gate.waits) for key, gate in gates],
            buckets=WAIT,
        )

    def _budgets(self) -> Iterator[Family]:
        stands = [*islice(self.budgets.stands(), MAX_OWNERS)]
        shown = {
            "limit": ("What may be spent in a period.", [s.limit for _, s in stands]),
            "spent": ("What was spent in this period.", [s.spent for _, s in stands]),
            "reserved": (
                "What is set aside for requests under way.",
                [s.reserved for _, s in stands],
            ),
        }
        for what, (text, amounts) in shown.items():
            samples: Sequence[Sample] = [
                ((stand.name, owner), amount / 1e9)
                for (owner, stand), amount in zip(stands, amounts, strict=True)
            ]
            yield Family(f"lmg_budget_{what}_usd", "gauge", text, ("budget", "owner"), samples)

    def _process(self) -> Iterator[Family]:
        in_flight = self.resources.traffic.in_flight
        if self._crew is not None:
            in_flight = sum(report.get("in_flight", 0) for report in self._crew.latest)
        text = "Requests under way, open streams included."
        yield Family("lmg_in_flight_requests", "gauge", text, (), [((), in_flight)])
        versions = (_version("lmgateway"), platform.python_version(), _version("twisted"))
        text = "The versions that are running."
        labels = ("version", "python", "twisted")
        yield Family("lmg_build", "info", text, labels, [(versions, 1)])


def service_families(
    checksum: str, generation: int, ports: Mapping[str, Listener]
) -> Iterator[Family]:
    """Give what there is to say of the configuration and the ports."""
    text = "The configuration that is served."
    yield Family("lmg_config", "info", text, ("checksum",), [((checksum,), 1)])
    text = "How many configurations were served since the start, with this one."
    yield Family("lmg_config_generation", "gauge", text, (), [((), generation)])
    counts = [((name,), port.connections) for name, port in ports.items()]
    yield Family("lmg_connections", "gauge", "Open connections.", ("port",), counts)
    ends = [((name,), port.expires) for name, port in ports.items() if port.expires is not None]
    yield Family(
        "lmg_tls_cert_expiry_timestamp_seconds",
        "gauge",
        "When the certificate of a port expires.",
        ("port",),
        ends,
    )


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version  # takes long; for metrics only

    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
