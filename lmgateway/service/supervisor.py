"""
The gateway where workers serve: the process that starts them, and does all else.

It has the admin port, the files, the probes, the queues and the memory that limits and
budgets are counted in, and it serves no client.  A reload is made here first; the workers
then make what it needs, and go over to it once all of them could.  Where the client port
itself or the number of workers changes, others are started, and those before them drained,
one by one.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.structs import asdict
from twisted.internet.defer import Deferred, ensureDeferred

from lmgateway.backends.health import Probed
from lmgateway.config.schema import Config
from lmgateway.errors import ConfigError
from lmgateway.governance.pricing import Prices
from lmgateway.governance.shared import SHAPES, SUMS
from lmgateway.governance.shared_money import SharedTally
from lmgateway.routing.away import ShownGate, Sight
from lmgateway.routing.queues import Gates
from lmgateway.service.crew import Crew
from lmgateway.service.graph import assemble
from lmgateway.service.hand import Hand
from lmgateway.service.life import GatewayService
from lmgateway.service.resources import Resources
from lmgateway.service.sockets import SharedPort
from lmgateway.service.start import EX_STARTUP
from lmgateway.service.task import Start, Task
from lmgateway.service.together import Together
from lmgateway.stores.keys import KeyRecord
from lmgateway.stores.slate import Slate
from lmgateway.stores.usage import Record
from lmgateway.telemetry.events import Event
from lmgateway.telemetry.traffic import Entry
from lmgateway.wire.timers import Wheel

_entry = msgspec.msgpack.Decoder(Entry).decode
_record = msgspec.msgpack.Decoder(Record).decode
_encode = msgspec.msgpack.Encoder().encode


class Supervisor(GatewayService):
    """
    The running gateway.

    Args:
        config: The config to begin with.
        resources: What outlives every config.
        again: Reads the config for a reload.
    """

    def __init__(
        self, config: Config, resources: Resources, again: Callable[[], Config] | None = None
    ) -> None:
        self._slate = Slate(SHAPES)
        self._budgets_told: dict[tuple[object, ...], float] = {}
        self._share(resources)
        super().__init__(config, resources, again)
        self.shared = SharedPort(config.source.parent, resources, config.gateway.workers)
        self.client = self.shared  # type: ignore[assignment]  # what is used of a listener
        self.crew = Crew(resources, self._slate, self.shared.socket_of, self._start, self._hear)
        resources.together = Together(crew=self.crew)
        self._graph = assemble(config, resources, self.reload_aside)
        self._crew_drained: Deferred[None] | None = None

    def _share(self, resources: Resources) -> None:
        """Have what is counted lie where the workers see it."""
        slate, wheel = self._slate, resources.wheel
        resources.tally = SharedTally(slate)
        resources.together = Together()

        def shown(kind: str) -> Gates:
            def make(name: str, wheel: Wheel) -> ShownGate:
                return ShownGate(name, wheel, Sight(slate, slate.tables[SUMS], kind, name))

            return Gates(wheel, make)

        resources.queues, resources.bulkheads = shown("tier"), shown("backend")
        resources.health.also = self._impose
        resources.issued.spread = self._spread_key
        resources.events.listen(self._heard)

    # Start ---------------------------------------------------------------------
    def _begin(self) -> None:
        """Start the workers; ready is what all of them serve."""
        ensureDeferred(self._start_crew())

    async def _start_crew(self) -> None:
        try:
            await self.crew.start(self._graph.config.gateway.workers)
        except ConfigError as error:
            if self._drain is None:
                self._give_up(str(error))
            return
        except Exception:
            self._log.failure("The workers could not be started.")
            self._give_up("the workers could not be started")
            return
        self._announce()

    def _give_up(self, why: str) -> None:
        """End the process, with a message and without orphans."""
        sys.stderr.write(f"lmgateway: {why}\n")
        sys.stderr.flush()
        self.crew.is_leaving = True
        self.crew.kill()
        reactor = self.resources.reactor
        reactor.addSystemEventTrigger("after", "shutdown", os._exit, EX_STARTUP)
        reactor.stop()

    def _task(self, config: Config, generation: int, count: int) -> Task:
        environ = self.resources.environ
        return Task.of(config, environ, generation, self.shared.domain, count)

    def _start(self, number: int, place: int) -> Start:
        resources, config = self.resources, self._graph.config
        health, levels = resources.health, resources.log_levels
        imposed: list[tuple[Any, ...]] = []
        for override in health.overrides():
            left = override.until - health.now()
            if override.what == "drained":
                imposed.append(("drain", override.backend, left))
            else:
                imposed.append(("force", override.backend, override.model, override.what, left))
        found = [(name, health.backend(name).probed) for name in config.backends]
        imposed += [("probed", name, asdict(each)) for name, each in found if each is not None]
        held = levels.imposed
        return Start(
            number=number,
            place=place,
            task=self._task(config, self.generation, self.shared.wanted),
            keys=[issued.record for issued in resources.issued.every()],
            imposed=imposed,
            levels=None if held is None else (held.text, max(0.1, held.until - resources.wall())),
            unrecordable=resources.ledger.failing,
            started=resources.started,
        )

    # What workers tell ---------------------------------------------------------
    def _hear(self, hand: Hand) -> tuple[dict[str, Any], dict[bytes, Any]]:
        resources = self.resources
        answers = {
            "event": lambda kind, facts: self._tell_of(hand, kind, facts),
            "deny": resources.audit.deny,
            "purse": lambda name, owner: resources.tally.purses.get((name, owner)),
            "shown": resources.issued.shown,
            "stats": resources.traffic.stats,
            "capture": lambda block: self._sink("capture", block),
            "span": lambda record: self._sink("otel", pickle.loads(record)),  # noqa: S301 - ours
        }
        return answers, {
            b"E": lambda body: resources.traffic.take(_entry(body)),
            b"U": lambda body: resources.ledger.take(_record(body)),
        }

    def _tell_of(self, hand: Hand, kind: str, facts: dict[str, Any]) -> None:
        """Let all know what happened in a worker; of a budget's mark, once in its period."""
        if kind == "budget":
            mark = tuple(facts.get(each) for each in ("budget", "owner", "what", "threshold"))
            if self._budgets_told.get(mark) == facts.get("resets_at", ""):
                return
            self._budgets_told[mark] = facts.get("resets_at", "")
        self.resources.events.tell(kind, **facts, worker=hand.number)

    def _sink(self, name: str, item: Any) -> None:
        opened = self.resources.sinks.get(name)
        if opened is not None and opened.put is not None:
            opened.put(item)

    # What workers are told -----------------------------------------------------
    def _impose(self, name: str, *what: Any) -> None:
        """Have the workers impose, or know, what was imposed or found out here."""
        told = [asdict(each) if isinstance(each, Probed) else each for each in what]
        self.crew.order("impose", name, *told)

    def _heard(self, event: Event) -> None:
        facts = event.facts
        if event.kind == "override" and facts.get("what") == "log_level":
            self.crew.order("level", facts["value"], facts["seconds"])
        elif event.kind == "ledger":
            self.crew.order("unrecordable", facts["state"] == "failing")

    async def _spread_key(self, identity: str, record: KeyRecord | None) -> None:
        await self.crew.tell("key", identity, None if record is None else _encode(record))

    # Reload ----------------------------------------------------------------------
    def reload(self) -> None:
        """
        Refuse: workers are waited for.

        Raises:
            ConfigError: Always; ``reload_aside`` does it.
        """
        raise ConfigError(["workers are told of another configuration one after the other"])

    async def _go_over(self, config: Config, prices: Prices) -> None:
        self._refuse_when_leaving()
        count, before = config.gateway.workers, self.shared.wanted
        if count == 1:
            raise ConfigError(["gateway.workers: from several to one takes a restart"])
        graph = assemble(config, self.resources, self.reload_aside, prices)
        self.shared.wanted = count
        try:
            opened = self.shared.prepare(graph.client)
        except ConfigError:
            self.shared.wanted = before
            raise
        try:
            admin = self.admin.prepare(graph.admin)
            try:
                await self._prepare(config, count)
            except BaseException:
                self.admin.discard(admin)
                raise
        except BaseException:
            self.shared.discard(opened)
            self.shared.wanted = before
            raise
        is_elsewhere = self.shared.is_elsewhere(opened)
        self.shared.apply(graph.client, opened)
        self.admin.apply(graph.admin, admin)
        graph.settle()
        self._went_over(config, graph)
        await self._crew_over(count, is_elsewhere)

    async def _prepare(self, config: Config, count: int) -> None:
        """Have the workers make what a config needs; all of them can, or none is to serve it."""
        await self.crew.prepare(self._task(config, self.generation + 1, count))
        try:
            self._refuse_when_leaving()
        except ConfigError:
            self.crew.order("discard")
            raise

    async def _crew_over(self, count: int, is_elsewhere: bool) -> None:
        """Have the workers serve what is served now."""
        if is_elsewhere:
            await self.crew.replace()
        else:
            await self.crew.apply(self.generation)
        await self.crew.resize(count)

    # Stop --------------------------------------------------------------------------
    def _leave(self) -> None:
        gateway = self._graph.config.gateway
        seconds = (gateway.drain_delay_ms + gateway.drain_timeout_ms) / 1000
        self._crew_drained = ensureDeferred(self.crew.drain(seconds))

    def _others(self) -> list[Deferred[None]]:
        return [] if self._crew_drained is None else [self._crew_drained]

    def _abort(self) -> None:
        super()._abort()
        self.crew.abort()
