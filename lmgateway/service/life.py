"""
The life of the process: start, reload, drain, stop.

Start: both ports are bound before anything is served; what cannot be bound or
read ends the process with one message.  Reload: the new graph is built and
every new socket bound before anything is swapped; a failure at any step leaves
the old one serving.  Drain: no new connections, answers in flight end, and at
the deadline the rest are told in band.  A second signal ends at once.
"""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from twisted.application.service import Service
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredList,
    DeferredLock,
    ensureDeferred,
)
from twisted.internet.task import deferLater
from twisted.logger import Logger

from lmgateway.config.changes import changes
from lmgateway.config.load import load
from lmgateway.config.schema import Config
from lmgateway.config.sources import files_watched
from lmgateway.config.watch import Watcher, watched
from lmgateway.errors import ConfigError, Draining
from lmgateway.governance.pricing import Prices
from lmgateway.service import reporting
from lmgateway.service.descriptors import connections_that_fit
from lmgateway.service.freshness import Freshness
from lmgateway.service.graph import Graph, assemble
from lmgateway.service.listener import Listener
from lmgateway.service.resources import Resources
from lmgateway.service.state import close
from lmgateway.telemetry.exposition import Family

_COLLECT = (10_000, 20, 20)
"""When garbage is looked for: what a request leaves is freed by its counts, cycles are few."""
_LEEWAY = 5.0
"""Seconds beyond the drain deadline that the service manager is asked for."""
MAX_CHANGES = 100
"""Keys that listeners are told of, of those that a reload changed."""
MAX_TOLD = 2000
"""Characters that listeners are told of why a reload failed."""
LAST_WORDS_SECONDS = 1.0
"""For in-band errors to reach their clients, after the drain deadline."""


class GatewayService(Service):
    """
    The running gateway.

    Args:
        config: The config to begin with.
        resources: What outlives every config.
        again: Reads the config for a reload; by default the file that the first one is of.
    """

    _log = Logger()

    def __init__(
        self, config: Config, resources: Resources, again: Callable[[], Config] | None = None
    ) -> None:
        self._path: Path = config.source
        self._again = again or (lambda: load(self._path, resources.environ))
        self.resources = resources
        resources.log_levels.configure(config.gateway.log_level)
        self._graph: Graph = assemble(config, resources, self.reload_aside)
        self.client = Listener("client", config.source.parent, resources)
        self.admin = Listener("admin", config.source.parent, resources)
        paths = _watched(config, resources.environ)
        self._watcher = Watcher(resources.reactor, paths, self._changed)
        self.freshness = Freshness(resources, self._changed)
        self.freshness.follow(config)
        self._turn = DeferredLock()
        self._drain: Deferred[None] | None = None
        self._delay: Deferred[None] | None = None
        self.generation = 1
        resources.happened.reloaded = resources.wall()
        resources.sources.append(self.families)

    def privilegedStartService(self) -> None:
        """Bind both ports; raises ``ConfigError`` if one cannot be."""
        self._serve(self._graph)

    def startService(self) -> None:
        """Begin to watch files and signals."""
        self.running = True
        reactor = self.resources.reactor
        reactor.addSystemEventTrigger("before", "shutdown", self.drain)
        reactor.callWhenRunning(self._running)

    def _running(self) -> None:
        self._watcher.startService()
        self.freshness.start()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._from_signal(self._asked_to_stop))
        signal.signal(signal.SIGHUP, self._from_signal(self._changed))
        gc.freeze()
        gc.set_threshold(*_COLLECT)
        gc.enable()
        self.resources.vitals.start()
        self._begin()

    def _begin(self) -> None:
        """Begin to serve; here all is there that it takes."""
        self._announce()

    def _announce(self) -> None:
        """Say that requests are served."""
        self.resources.events.tell(
            "start", generation=self.generation, checksum=self._graph.config.checksum
        )
        self._log.info(
            "Serving {config} on {client} (admin on {admin}).",
            config=str(self._path),
            client=self.client.address,
            admin=self.admin.address,
        )
        for warning in self._graph.config.warnings:
            self._log.warn("{warning}", warning=warning)
        self._tell_of_descriptors()
        self.resources.notifier.ready(self._status())

    def _tell_of_descriptors(self) -> None:
        wanted = self._graph.config.gateway.max_connections
        fit = connections_that_fit(wanted)
        if wanted is None:
            self._log.info("At most {fit} client connections are taken at once.", fit=fit)
        elif fit < wanted:
            text = "max_connections is {wanted}, but only {fit} fit into the limit on open files."
            self._log.warn(text, wanted=wanted, fit=fit)

    def _status(self) -> str:
        checksum = self._graph.config.checksum[:12]
        return f"Serving on {self.client.address}, admin on {self.admin.address}; {checksum}"

    def _from_signal(self, act: Callable[[], object]) -> Callable[[int, object], None]:
        return lambda number, frame: self.resources.reactor.callFromThread(act)

    # reload --------------------------------------------------------------
    def reload(self) -> None:
        """
        Apply the files as they are now.

        Raises:
            ConfigError: If they cannot be used; the old ones go on serving.
        """
        with self._telling():
            self._apply(*self._read())

    async def reload_aside(self) -> None:
        """
        Apply the files as they are now; meanwhile what is served goes on.

        They are read in a thread, since secrets may have to be fetched from far away, and
        lists of prices are large.

        Raises:
            ConfigError: If they cannot be used; the old ones go on serving.
        """
        async with self._turn:
            with self._telling():
                await self._go_over(*await self.resources.in_thread(self._read))

    def _read(self) -> tuple[Config, Prices]:
        config = self._again()
        return config, Prices.of(config, self.resources.wall())

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Tell of a reload, however it ends."""
        tell, before = self.resources.events.tell, self._graph.config
        if self._drain is None:
            self.resources.notifier.reloading()
        try:
            self._refuse_when_leaving()
            yield
        except BaseException as error:
            count = len(error.problems) if isinstance(error, ConfigError) else 1
            self._ready(f" (not reloaded: {count} problem(s) in the file)")
            if isinstance(error, ConfigError):
                tell("reload", ok=False, generation=self.generation, error=str(error)[:MAX_TOLD])
            raise
        self._ready()
        config = self._graph.config
        changed = changes(before, config)
        tell(
            "reload",
            ok=True,
            generation=self.generation,
            checksum=config.checksum,
            changed=changed[:MAX_CHANGES],
            more=max(0, len(changed) - MAX_CHANGES),
        )

    def _ready(self, more: str = "") -> None:
        """Say how it is served, unless it was said that this is the end."""
        if self._drain is None:
            self.resources.notifier.ready(self._status() + more)

    def _refuse_when_leaving(self) -> None:
        if self._drain is not None:
            raise ConfigError(["the gateway is shutting down"])

    def _apply(self, config: Config, prices: Prices) -> None:
        self._refuse_when_leaving()
        if config.gateway.workers != self._graph.config.gateway.workers:
            raise ConfigError(["gateway.workers: from one process to several takes a restart"])
        graph = assemble(config, self.resources, self.reload_aside, prices)
        self._serve(graph)
        self._went_over(config, graph)

    async def _go_over(self, config: Config, prices: Prices) -> None:
        """Serve another config; raises ``ConfigError`` if that cannot be."""
        self._apply(config, prices)

    def _went_over(self, config: Config, graph: Graph) -> None:
        """Note what is served now."""
        self._graph = graph
        self.resources.log_levels.configure(config.gateway.log_level)
        self.generation += 1
        self._watcher.watch(_watched(config, self.resources.environ))
        self.freshness.follow(config)
        self._log.info("Configuration reloaded: {checksum}.", checksum=config.checksum[:12])

    def families(self) -> Iterator[Family]:
        """Give what ``/metrics`` shows of the configuration and the ports."""
        from lmgateway.service.metrics import service_families  # for those who ask for metrics

        ports = {"client": self.client, "admin": self.admin}
        return service_families(self._graph.config.checksum, self.generation, ports)

    def _serve(self, graph: Graph) -> None:
        client = self.client.prepare(graph.client)
        try:
            admin = self.admin.prepare(graph.admin)
        except ConfigError:
            self.client.discard(client)
            raise
        self.client.apply(graph.client, client)
        self.admin.apply(graph.admin, admin)
        graph.settle()

    def _changed(self) -> None:
        ensureDeferred(self._reload_or_say_why())

    async def _reload_or_say_why(self) -> None:
        try:
            await self.reload_aside()
        except ConfigError as error:
            self._log.error(
                "The configuration was not reloaded, the old one goes on serving:\n{problems}",
                problems=str(error),
            )
        except Exception:
            self._log.failure("The configuration was not reloaded, the old one goes on serving.")

    # stop ----------------------------------------------------------------
    def _asked_to_stop(self) -> None:
        if self._drain is None:
            self._log.info("Asked to stop: draining.")
            self.resources.reactor.stop()
        else:
            self._log.warn("Asked again: stopping now.")
            if self._delay is not None:
                self._delay.cancel()
            self._abort()

    def drain(self) -> Deferred[None]:
        """Let what is in flight end; fires when all is said or the deadline has passed."""
        if self._drain is None:
            self._drain = ensureDeferred(self._drained())
        return self._drain

    async def _drained(self) -> None:
        gateway = self._graph.config.gateway
        clock = self.resources.reactor
        self.resources.leaving = True
        self._leave()
        whole = gateway.drain_delay_ms + gateway.drain_timeout_ms
        self.resources.notifier.stopping("Draining", whole / 1000 + _LEEWAY)
        self._watcher.stopService()
        self.resources.probes.stop()
        self.freshness.stop()
        if gateway.drain_delay_ms:
            self._delay = deferLater(clock, gateway.drain_delay_ms / 1000)
            with suppress(CancelledError):  # a second signal
                await self._delay
        self.resources.feed.stop()
        factories = [port.factory for port in (self.client, self.admin) if port.factory]
        self.client.close()
        self.admin.close()
        ended = DeferredList([*(factory.drain() for factory in factories), *self._others()])
        limit = gateway.drain_timeout_ms / 1000
        deadlines = (
            clock.callLater(limit, self._interrupt),
            clock.callLater(limit + LAST_WORDS_SECONDS, self._abort),
        )
        await ended
        for deadline in deadlines:
            if deadline.active():
                deadline.cancel()
        self.resources.access.flush()
        await reporting.close(self.resources)
        await close(self.resources)
        self.resources.flights.close()
        self.resources.webhooks.stop()
        self.resources.vitals.stop()
        self.resources.wheel.stop()
        self.resources.notifier.close()

    def _leave(self) -> None:
        """Let others know that this is the end."""

    def _others(self) -> list[Deferred[None]]:
        """Give what else has to end before the last is written."""
        return []

    def _interrupt(self) -> None:
        self._log.warn("The drain deadline has passed: what is in flight is cut.")
        for port in (self.client, self.admin):
            if port.factory is not None:
                port.factory.interrupt(Draining("The gateway is shutting down."))

    def _abort(self) -> None:
        for port in (self.client, self.admin):
            if port.factory is not None:
                port.factory.abort()


def _watched(config: Config, environ: Mapping[str, str]) -> list[Path]:
    """All files whose change is a reload: the config's own, secrets, certificates."""
    gateway, folder = config.gateway, config.source.parent
    named: list[str] = []
    for tls in (gateway.client_tls, gateway.admin_tls):
        named += [] if tls is None else [tls.cert, tls.key]
        named += [] if tls is None or tls.client_ca is None else [tls.client_ca]
    named += [] if config.prices.file is None else [config.prices.file]
    for backend in config.backends.values():
        named += [name for name in (backend.ca_file, backend.client_cert) if name is not None]
    secrets = files_watched(config, environ, folder)
    return [*watched(config), *(folder / name for name in named), *secrets]
