"""What a worker has in the place of what only one process of a gateway keeps."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any

import msgspec
from twisted.internet.defer import Deferred

from lmgateway.errors import AccessError
from lmgateway.exchange import Exchange
from lmgateway.governance.issued import unread
from lmgateway.governance.ledger import Ledger
from lmgateway.governance.shared import SHAPES, SUMS
from lmgateway.governance.shared_money import SharedTally
from lmgateway.routing.away import AwayGate, Sight
from lmgateway.routing.queues import Gates
from lmgateway.service.auditing import denial
from lmgateway.service.line import TO_ANSWER, Line
from lmgateway.service.resources import Resources
from lmgateway.service.task import Start
from lmgateway.service.together import Together
from lmgateway.stores.keys import MemoryKeys
from lmgateway.stores.slate import Slate
from lmgateway.stores.usage import Record
from lmgateway.telemetry.capture import Capture
from lmgateway.telemetry.events import Event
from lmgateway.telemetry.sinks import Opened
from lmgateway.telemetry.spans import is_recorded, record_of
from lmgateway.telemetry.traffic import Stats, Traffic, entry_of
from lmgateway.wire.timers import Wheel

_encode = msgspec.msgpack.Encoder().encode
_OWN = frozenset({"override", "key", "start", "reload", "audit", "denied", "ledger", "worker"})
"""Events that the supervisor tells of itself."""


class ToldTraffic(Traffic):
    """Tells the supervisor of each exchange that has ended."""

    def __init__(self, wheel: Wheel, line: Line) -> None:
        super().__init__(0, wheel.now)
        self._line = line

    def write(self, exchange: Exchange) -> None:
        """Tell of an exchange that has ended."""
        exchange.seconds = self._now() - exchange.started
        self.total += 1
        self._line.put(b"E", _encode(entry_of(exchange)))
        for taker in self.takers:
            taker(exchange)
        if isinstance(exchange.error, AccessError):
            self._line.note("deny", *denial(exchange))


class ToldLedger(Ledger):
    """
    Tells the supervisor of each settled attempt.

    Attributes:
        unrecordable: Whether its own cannot be written.
    """

    def __init__(self, wall: Any, line: Line) -> None:
        super().__init__(wall)
        self._line = line
        self.unrecordable = False
        self._spool = self  # type: ignore[assignment]  # what is used of one

    def put(self, record: Record) -> None:
        """Tell of one attempt."""
        self._line.put(b"U", _encode(record))

    def keep(self, keeping: object, told: object) -> None:
        """Nothing is kept here."""

    @property
    def dropped(self) -> int:
        """How many records are in no file: the line counts what it drops."""
        return 0

    @property
    def kept(self) -> bool:
        """Whether there is a file to be closed."""
        return False

    @property
    def failing(self) -> bool:
        """Whether the supervisor's file takes no records now."""
        return self.unrecordable


class _ToldKeys(MemoryKeys):
    """Tells the supervisor when keys were shown."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line

    def note_used(self, used: Mapping[str, float]) -> None:
        """Tell when keys were shown last."""
        self._line.note("shown", {**used})


class _Asked:
    """Asks the supervisor for places: see ``routing.away.Places``."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def enter(
        self, number: int, kind: str, name: str, priority: int, seconds: float
    ) -> Deferred[Any]:
        """Ask for a place, and wait no longer than was allowed and an answer takes."""
        within = seconds + TO_ANSWER
        return self._line.ask("enter", number, kind, name, priority, seconds, within=within)

    def leave(self, number: int) -> None:
        """Give it back."""
        self._line.say("leave", number)


class _ToldSink:
    """The sink that a worker has instead of one of the supervisor's."""

    dropped = 0

    def __init__(self, name: str, lines: Capture | None = None) -> None:
        self.name = name
        self._lines = lines

    async def close(self, seconds: float) -> None:
        """Tell what is left."""
        if self._lines is not None:
            self._lines.flush()


def worker_resources(start: Start, line: Line, reactor: Any, file: int) -> Resources:
    """
    Make what a worker's graphs have in common.

    Args:
        file: The shared memory's descriptor.
    """
    resources = Resources.of(reactor, start.task.environ(), handed=start.handed)
    wheel, slate = resources.wheel, Slate(SHAPES, file, start.place)
    resources.traffic = ToldTraffic(wheel, line)
    resources.ledger = ToldLedger(resources.wall, line)
    resources.tally = SharedTally(
        slate, lambda name, owner: line.note("purse", name, owner), main=False
    )
    places = _Asked(line)

    def away(kind: str) -> Gates:
        def make(name: str, wheel: Wheel) -> AwayGate:
            return AwayGate(kind, name, wheel, Sight(slate, slate.tables[SUMS], kind, name), places)

        return Gates(wheel, make)

    resources.queues, resources.bulkheads = away("tier"), away("backend")
    resources.issued.settle(unread, _ToldKeys(line))

    def heard(event: Event) -> None:
        if event.kind not in _OWN:
            line.note("event", event.kind, event.facts)

    resources.events.listen(heard)

    async def stats() -> Stats:
        return msgspec.convert(await line.ask("stats"), Stats)

    def sink(name: str, key: object) -> Opened:
        return _sink(name, key, line, resources)

    resources.together = Together(stats=stats, sink=sink)
    return resources


def _sink(name: str, key: object, line: Line, resources: Resources) -> Opened:
    """Give what takes exchanges for one of the supervisor's sinks."""
    if name == "capture":
        config: Any = key
        lines = Capture(
            lambda block: line.note("capture", block), resources.reactor, config.max_body_bytes
        )
        return Opened(key, _ToldSink(name, lines), take=lines)

    def take(exchange: Exchange) -> None:
        record = record_of(exchange) if is_recorded(exchange) else None
        if record is not None:
            line.note("span", pickle.dumps(record, 5))

    return Opened(key, _ToldSink(name), take=take)
