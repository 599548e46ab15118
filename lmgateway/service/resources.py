"""What outlives a reload: counters, connections, records, the clock."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from errno import EAGAIN
from pathlib import Path
from random import Random
from select import PIPE_BUF, POLLOUT, poll
from stat import S_ISCHR, S_ISREG
from time import time
from typing import TYPE_CHECKING, TypeVar

from attrs import Factory, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IReactorCore,
    IReactorTCP,
    IReactorThreads,
    IReactorTime,
)
from twisted.internet.threads import deferToThreadPool
from twisted.logger import LogLevelFilterPredicate

from lmgateway.admin.access import Guesses
from lmgateway.admin.feed import Feed
from lmgateway.admin.sessions import Sessions
from lmgateway.admin.status import Served
from lmgateway.backends.health import Health
from lmgateway.backends.probes import Probes
from lmgateway.classes import define
from lmgateway.governance.admission import Tally
from lmgateway.governance.issued import IssuedKeys
from lmgateway.governance.ledger import Ledger
from lmgateway.routing.queues import Gates
from lmgateway.service.auditing import audited
from lmgateway.service.notify import Notifier
from lmgateway.service.systemd import Handed
from lmgateway.stores.audit import AuditLog
from lmgateway.surfaces.flights import Flights
from lmgateway.telemetry.access import AccessLog
from lmgateway.telemetry.events import Event, Events
from lmgateway.telemetry.exposition import Family
from lmgateway.telemetry.happened import Happened
from lmgateway.telemetry.levels import Levels
from lmgateway.telemetry.meters import Meters
from lmgateway.telemetry.traffic import Traffic
from lmgateway.telemetry.vitals import Vitals
from lmgateway.telemetry.webhooks import Webhooks
from lmgateway.wire.client import Origin, WireAgent, WireClient
from lmgateway.wire.timers import Wheel

if TYPE_CHECKING:
    from lmgateway.service.together import Together
    from lmgateway.telemetry.sinks import Opened
    from lmgateway.telemetry.system import System


class Reactor(IReactorTime, IReactorTCP, IReactorCore, IReactorThreads):
    """What we use of a reactor."""


Result = TypeVar("Result")

AgentKey = tuple[Origin, tuple[bytes, ...], float, float, str]


@define(kw_only=True, eq=False)
class Resources:
    """
    Everything that one process has once.

    Attributes:
        environ: The environment that secrets are looked up in.
        wall: Seconds since the epoch; only for records.
        queues: Of the tiers, by queue id.
        bulkheads: Of the backends.
        health: Of all targets.
        probes: Of all backends.
        events: What happens, for whoever listens.
        notifier: The line to the service manager.
        handed: What the service manager handed over.
        served: What became of the configuration.
        log_levels: Sets ``levels``.
        feed: Who is told of events at the admin port.
        guesses: Wrong tokens at the admin port.
        sessions: Browsers that are logged in there.
        ledger: What every attempt took and cost.
        webhooks: Posts events to whom the config names.
        audit: Who did what, and who was turned away.
        flights: Requests that are made once, whoever asks for them again.
        meters: What all exchanges add up to.
        happened: What happened, counted.
        vitals: How the process does.
        system: What the system tells of it, once that was asked for.
        sources: Who else has something to show at ``/metrics``.
        write: Takes the access log, where no file does.
        sinks: Where records of traffic go: see ``service.reporting``.
        retiring: Those of them that are being closed.
        lost: How many records those lost that are closed.
        issued: The keys that were made at run time.
        key_file: Where they are kept; ``None`` for in memory.
        together: What is different where several processes serve; ``None`` in one alone.
    """

    reactor: Reactor
    environ: Mapping[str, str]
    wheel: Wheel
    traffic: Traffic
    access: AccessLog
    write: Callable[[bytes], object]
    meters: Meters
    tally: Tally = field(factory=Tally)
    levels: LogLevelFilterPredicate = field(factory=LogLevelFilterPredicate)
    random: Random = field(factory=Random)
    wall: Callable[[], float] = time
    notifier: Notifier = Factory(lambda self: Notifier(self.reactor), takes_self=True)
    handed: Handed = field(factory=Handed)
    started: float = 0.0
    leaving: bool = False
    queues: Gates = Factory(lambda self: Gates(self.wheel), takes_self=True)
    bulkheads: Gates = Factory(lambda self: Gates(self.wheel), takes_self=True)
    events: Events = Factory(lambda self: Events(self.wall), takes_self=True)
    served: Served = Factory(lambda self: Served.of(self.events, self.wall), takes_self=True)
    log_levels: Levels = Factory(
        lambda self: Levels(self.levels, self.wheel.start, self.wall, self.events.tell),
        takes_self=True,
    )
    feed: Feed = Factory(lambda self: Feed(self.events, self.traffic, self.wheel), takes_self=True)
    guesses: Guesses = Factory(
        lambda self: Guesses(self.wheel.now, self.events.tell), takes_self=True
    )
    sessions: Sessions = Factory(lambda self: Sessions(self.wheel.now), takes_self=True)
    ledger: Ledger = Factory(lambda self: Ledger(self.wall), takes_self=True)
    audit: AuditLog = Factory(lambda self: AuditLog(self.wall, self.wheel.now), takes_self=True)
    health: Health = Factory(
        lambda self: Health(self.wheel.now, tell=self.events.tell), takes_self=True
    )
    probes: Probes = Factory(lambda self: self._made_probes(), takes_self=True)
    flights: Flights = Factory(lambda self: Flights(self.wheel.clock), takes_self=True)
    happened: Happened = field(factory=Happened)
    vitals: Vitals = Factory(lambda self: Vitals(self.reactor), takes_self=True)
    system: System | None = None
    sources: list[Callable[[], Iterable[Family]]] = field(factory=list)
    sinks: dict[str, Opened] = field(factory=dict)
    retiring: set[Deferred[None]] = field(factory=set)
    lost: dict[str, int] = field(factory=dict)
    issued: IssuedKeys = Factory(lambda self: self._issued(), takes_self=True)
    key_file: Path | None = None
    together: Together | None = None
    webhooks: Webhooks = Factory(
        lambda self: Webhooks(self.wheel.clock, self.wall, self.random), takes_self=True
    )
    _clients: dict[AgentKey, WireClient] = field(factory=dict)
    _agents: dict[AgentKey, WireAgent] = field(factory=dict)

    @classmethod
    def of(
        cls,
        reactor: Reactor,
        environ: Mapping[str, str],
        *,
        write: Callable[[bytes], object] | None = None,
        handed: Handed | None = None,
    ) -> Resources:
        """Make what a process needs; *write* takes the access log."""
        handed = handed or Handed()
        wheel = Wheel(reactor)
        write = write or _to_stdout
        access = AccessLog(write, reactor)
        meters = Meters(wheel.now, time)
        resources = cls(
            reactor=reactor,
            environ=environ,
            wheel=wheel,
            traffic=Traffic(0, wheel.now, [access, meters]),
            access=access,
            write=write,
            notifier=Notifier(reactor, handed.notify, handed.watchdog_seconds),
            handed=handed,
            meters=meters,
            started=wheel.now(),
        )
        resources.events.listen(resources.happened)
        resources.events.listen(resources.webhooks)
        audited(resources.events, resources.traffic, resources.audit)
        resources.sources += [resources.losses, resources.flights.families]
        resources.sources.append(resources.webhooks.families)
        return resources

    def losses(self) -> Iterable[Family]:
        """Say what was lost of what was to be written or sent."""
        lost = {"access": self.access.dropped, **self.lost}
        lost |= {"ledger": self.ledger.dropped, "audit": self.audit.dropped}
        for opened in self.sinks.values():
            lost[opened.sink.name] = lost.get(opened.sink.name, 0) + opened.sink.dropped
        samples = [((name,), count) for name, count in lost.items()]
        text = "Records that were dropped, since they could not be written or sent in time."
        yield Family("lmg_records_dropped", "counter", text, ("sink",), samples)
        text = "Access log lines that were left out as the sample says."
        yield Family("lmg_access_left_out", "counter", text, (), [((), self.access.left_out)])

    def client(
        self, origin: Origin, connect_seconds: float, idle_seconds: float, owner: str = ""
    ) -> WireClient:
        """
        Give the client of one upstream; the same one, with its connections, if it is known.

        Args:
            owner: Whose key is sent over those connections; empty for the gateway's.

        Raises:
            OSError: If a certificate file cannot be read.
        """
        key = (origin, _contents(origin), connect_seconds, idle_seconds, owner)
        if key not in self._clients:
            agent = WireAgent(
                self.reactor,
                self.wheel,
                origin,
                connect_seconds=connect_seconds,
                pool_idle_seconds=idle_seconds,
            )
            self._agents[key] = agent
            self._clients[key] = WireClient(agent, self.wheel)
        return self._clients[key]

    def keep_only(self, clients: set[WireClient]) -> None:
        """Close the idle connections of upstreams that are no longer configured."""
        for key in [key for key, client in self._clients.items() if client not in clients]:
            del self._clients[key]
            self._agents.pop(key).close()

    def _issued(self) -> IssuedKeys:
        return IssuedKeys(self.wheel, self.wall, self.in_thread, self.events.tell)

    def _made_probes(self) -> Probes:
        """Make the probes, which come earlier where a breaker has opened."""
        probes = Probes(
            clock=self.reactor,
            random=self.random,
            wall=self.wall,
            health=self.health,
            tell=self.events.tell,
        )

        def heard(event: Event) -> None:
            facts = event.facts
            if event.kind == "breaker" and facts.get("to") == "open":
                probes.hasten(facts["backend"], facts.get("seconds", 0.0))

        self.events.listen(heard)
        return probes

    def in_thread(self, function: Callable[[], Result]) -> Deferred[Result]:
        """Run what would hold up the reactor in one of its threads."""
        return deferToThreadPool(self.reactor, self.reactor.getThreadPool(), function)

    def uptime(self) -> float:
        """Seconds since the start."""
        return self.wheel.now() - self.started


def _contents(origin: Origin) -> tuple[bytes, ...]:
    """The certificates that an upstream is met with: others make another client."""
    files = (origin.ca_file, origin.client_cert)
    return tuple(Path(name).read_bytes() for name in files if name is not None)


def _to_stdout(block: bytes) -> None:
    """
    Write past ``sys.stdout``, which twistd turns into a logger, and never wait for its reader.

    Raises:
        BlockingIOError: If the reader takes no more now.
    """
    if S_ISREG(mode := os.fstat(1).st_mode) or S_ISCHR(mode):  # no reader to wait for
        os.write(1, block)
        return
    ready = poll()
    ready.register(1, POLLOUT)
    done = 0
    while done < len(block):
        if not ready.poll(0):
            raise BlockingIOError(EAGAIN, "standard output is stuck", done)
        try:
            done += os.write(1, block[done : done + PIPE_BUF])
        except BlockingIOError as error:
            raise BlockingIOError(error.errno, error.strerror, done) from error
