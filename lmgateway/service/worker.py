"""
A worker: a process that serves the client port, for a supervisor that does the rest.

It has the whole data path, and nothing else: no admin port, no file, no probe.  What it
counts for limits and budgets lies in the memory that all share; places in queues it asks
the supervisor for; what it records it tells the supervisor.  It ends when it is told to,
or when the supervisor is gone: in both cases once what it serves has ended.
"""

from __future__ import annotations

import gc
import pickle
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
from twisted.internet.defer import CancelledError, Deferred, DeferredList, ensureDeferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from lmgateway.backends.health import Probed
from lmgateway.errors import Draining
from lmgateway.service.graph import Graph, assemble
from lmgateway.service.line import Line
from lmgateway.service.listener import Listener
from lmgateway.service.reports import Document, process_report
from lmgateway.service.task import BOOKS, Start, Task
from lmgateway.service.wellness import target_document
from lmgateway.service.worker_records import worker_resources
from lmgateway.stores.keys import KeyRecord

COLLECT = (10_000, 20, 20)
"""When garbage is looked for, as in a gateway of one process."""
LAST_WORDS_SECONDS = 1.0
_FLUSHED = 5.0
_TRY = 0.02


class Worker:
    """
    One worker.

    Args:
        start: What it begins with.
        end: Its end of the line.
    """

    _log = Logger()

    def __init__(self, start: Start, end: socket.socket, reactor: Any) -> None:
        self._reactor = reactor
        self.number = start.number
        self.line = Line(end, reactor, self._answers(), {}, self._orphaned)
        self.resources = worker_resources(start, self.line, reactor, BOOKS)
        self._task = start.task
        self._next: tuple[Task, Graph, Any] | None = None
        self._drained: Deferred[None] | None = None
        self._delay: Deferred[None] | None = None
        self._was_asked = False
        self.client = Listener("client", start.task.config.source.parent, self.resources)
        self._start = start
        self._began, self.resources.started = self.resources.started, start.started

    def serve(self) -> None:
        """
        Begin to serve.

        Raises:
            ConfigError: If the config cannot be used.
        """
        start, resources = self._start, self.resources
        resources.log_levels.configure(start.task.config.gateway.log_level)
        for record in start.keys:
            resources.issued.take(record.id, record)
        graph = assemble(start.task.config, resources)
        bound = self.client.prepare(graph.client)
        self._take_over(start.task, graph, bound)
        for name, *what in start.imposed:
            self._impose(name, *what)
        if start.levels is not None:
            self._level(*start.levels)
        resources.ledger.unrecordable = start.unrecordable  # type: ignore[attr-defined]  # ours
        gc.freeze()
        gc.set_threshold(*COLLECT)
        gc.enable()
        resources.vitals.start()
        self.line.say("serving", start.task.generation)

    def _answers(self) -> dict[str, Callable[..., Any]]:
        return {
            "prepare": self._prepare,
            "apply": self._apply,
            "discard": self._discard,
            "drain": self.drain,
            "abort": self._abort,
            "key": self._key,
            "impose": self._impose,
            "level": self._level,
            "unrecordable": self._unrecordable,
            "report": self._report,
            "inflight": self._inflight,
            "cancel": self._cancel,
        }

    # Another config --------------------------------------------------------
    def _prepare(self, pickled: bytes) -> None:
        """Make all that a config needs; raises ``ConfigError`` if that cannot be."""
        task: Task = pickle.loads(pickled)  # noqa: S301 - the supervisor's
        self._discard()
        environ, before = task.environ(), self.resources.environ
        self.resources.environ = environ
        try:
            graph = assemble(task.config, self.resources)
            self._next = (task, graph, self.client.prepare(graph.client))
        finally:
            if self._next is None:
                self.resources.environ = before

    def _apply(self) -> int:
        """Serve what was prepared."""
        if self._next is not None:
            prepared, self._next = self._next, None
            self._take_over(*prepared)
        return self._task.generation

    def _take_over(self, task: Task, graph: Graph, bound: Any) -> None:
        self.client.apply(graph.client, bound)
        graph.settle()
        self.resources.log_levels.configure(task.config.gateway.log_level)
        self._task = task

    def _discard(self) -> None:
        """Forget what was prepared."""
        if self._next is not None:
            (_, _, bound), self._next = self._next, None
            self.client.discard(bound)
            self.resources.environ = self._task.environ()

    # What the supervisor lets it know --------------------------------------
    def _key(self, identity: str, record: bytes | None) -> None:
        found = None if record is None else _decode_key(record)
        self.resources.issued.take(identity, found)

    def _impose(self, name: str, *what: Any) -> None:
        health = self.resources.health
        match name:
            case "force":
                health.force(*what)
            case "drain":
                health.drain(*what)
            case "probed":
                health.probed(what[0], Probed(**what[1]))

    def _level(self, text: str | None, seconds: float) -> None:
        if text is None:
            self.resources.log_levels.lift()
        else:
            self.resources.log_levels.impose(text, seconds)

    def _unrecordable(self, failing: bool) -> None:
        self.resources.ledger.unrecordable = failing  # type: ignore[attr-defined]  # ours

    # What the supervisor asks ----------------------------------------------
    def _report(self) -> Document:
        resources = self.resources
        return {
            "worker": self.number,
            **process_report(resources),
            "uptime_seconds": round(resources.wheel.now() - self._began, 3),
            "generation": self._task.generation,
            "connections": self.client.connections,
            "in_flight": resources.traffic.in_flight,
            "served": resources.traffic.total,
            "dropped": self.line.dropped,
            "targets": [
                {"backend": target.backend, **target_document(target)}
                for target in resources.health
            ],
            "retries": {
                name: resources.health.backend(name).retries.counts(resources.wheel.now())
                for name in self._task.config.backends
            },
        }

    def _inflight(self, limit: int) -> Any:
        from lmgateway.admin.inflight import listed  # with what answers operators

        return listed(self.resources.traffic, limit, self.resources.wheel.now())

    def _cancel(self, identity: str) -> list[str | None]:
        from lmgateway.admin.inflight import ended

        return ended(self.resources.traffic, identity)

    # The end -----------------------------------------------------------------
    def asked(self) -> None:
        """
        Have the supervisor know that somebody else asks this worker to end.

        It says what is to be done: all may have been asked.  Who asks again is not kept waiting.
        """
        if self._was_asked:
            self.drain(delay=False)
        self._was_asked = True
        self.line.say("leaving")

    def drain(self, delay: bool = True) -> None:
        """Serve what was asked for, and end."""
        if self._drained is None:
            self._drained = ensureDeferred(self._finish(delay))

    async def _finish(self, delay: bool) -> None:
        gateway, clock = self._task.config.gateway, self._reactor
        self.resources.leaving = delay
        if delay and gateway.drain_delay_ms:
            self._delay = deferLater(clock, gateway.drain_delay_ms / 1000)
            with suppress(CancelledError):  # all are to end now
                await self._delay
        self.resources.leaving = True
        self.client.close()
        self.resources.handed.close()
        factory = self.client.factory
        if factory is not None:
            ended = factory.drain()
            limit = gateway.drain_timeout_ms / 1000
            deadlines = (
                clock.callLater(limit, self._interrupt),
                clock.callLater(limit + LAST_WORDS_SECONDS, self._abort),
            )
            await DeferredList([ended])
            for deadline in deadlines:
                if deadline.active():
                    deadline.cancel()
        await self._leave()

    async def _leave(self) -> None:
        """Let the supervisor have what was recorded, and end the process."""
        resources, clock = self.resources, self._reactor
        resources.issued.close()
        for opened in resources.sinks.values():
            await opened.sink.close(LAST_WORDS_SECONDS)
        until = clock.seconds() + _FLUSHED
        self.line.flush()
        while self.line.waits and clock.seconds() < until:
            await deferLater(clock, _TRY)
        resources.flights.close()
        resources.vitals.stop()
        resources.wheel.stop()
        if clock.running:
            clock.stop()

    def _interrupt(self) -> None:
        if self.client.factory is not None:
            self.client.factory.interrupt(Draining("The gateway is shutting down."))

    def _abort(self) -> None:
        if self._delay is not None:
            self._delay.cancel()
        if self.client.factory is not None:
            self.client.factory.abort()

    def _orphaned(self) -> None:
        """Nobody is told anything any more, and nobody starts another worker."""
        if self._drained is None:
            self._log.error("The supervisor is gone: worker {number} ends.", number=self.number)
            self.drain(delay=False)


_decode_key = msgspec.msgpack.Decoder(KeyRecord).decode
