"""
Requests that are made once, whoever asks for them again: ``Idempotency-Key``, single flight.

A *flight* is one exchange under way and the tape that its answer is written on.  The client that
began it and those that ask the same while it lasts read that tape; when the last of them leaves,
the flight is given up.  A flight with an idempotency key whose answer was whole and good (status
200, ended well) is kept for ``window`` seconds after it, for those who ask again: anything else,
refusals and failures above all, is forgotten as soon as it has ended, so that asking again asks
again.

All that is kept, what is in flight included, is at most ``max_bytes``: the oldest goes first,
and an answer longer than an eighth of that is not kept at all.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from typing import Any, Literal

import msgspec
from msgspec import Struct
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from lmgateway.errors import GatewayError, IdempotencyConflict, Overloaded, StreamInterrupted
from lmgateway.exchange import Exchange
from lmgateway.surfaces.tape import Tape
from lmgateway.telemetry.exposition import Family

OVERHEAD = 1024
"""Bytes that a kept answer is reckoned with besides its own."""

MAX_READERS = 100
"""Clients that read one answer while it is under way: each write looks at all of them."""

SHARE = 8
"""Of all that may be kept, the part that one answer may be."""


class Ticket(Struct, frozen=True):
    """
    What tells one request from others.

    Attributes:
        owner: Whose it is: what one client keeps no other is given.
        name: The key that the client chose, or a digest of the whole request.
        digest: Of what is asked.
        kind: Which promise it is made once for.
    """

    owner: str
    name: bytes
    digest: bytes
    kind: Literal["idempotent", "single_flight"]

    @property
    def place(self) -> tuple[str, str, bytes]:
        """Where a flight with it is found."""
        return (self.kind, self.owner, self.name)


class Flight:
    """
    One exchange, and the tape that its answer is written on.

    Attributes:
        exchange: The exchange; ``None`` until somebody begins it.
        interruption: Why the gateway itself gave it up, if it did.
        clock: Whose time counts.
    """

    def __init__(self, ticket: Ticket, flights: Flights) -> None:
        self.ticket = ticket
        self.clock = flights.clock
        self.exchange: Exchange | None = None
        self.interruption: GatewayError | None = None
        self.tape = Tape(self._desert, self._grew)
        self.landed = 0.0
        self._flights = flights
        self._task: Deferred[None] | None = None

    def depart(self, exchange: Exchange, work: Coroutine[Deferred[Any], Any, None]) -> None:
        """Begin the exchange; it lasts as long as somebody reads its tape."""
        self.exchange = exchange
        exchange.interruption = lambda: self.interruption
        exchange.interrupt = self.interrupt
        self._task = Deferred.fromCoroutine(work)
        self._task.addErrback(lambda failure: failure.trap(CancelledError))
        self._task.addBoth(self._land)

    def interrupt(self, error: GatewayError) -> None:
        """End it early; whoever reads is told the error."""
        self.interruption = error
        self._desert()

    def interrupted(self, error: GatewayError | None) -> None:
        """Take note why a reader is about to leave: the last one's reason is the flight's."""
        self.interruption = error

    def check(self) -> None:
        """
        See how it ended.

        Raises:
            GatewayError: What its client was told.
        """
        assert self.exchange is not None, "a flight that ended was begun"
        if self.exchange.error is not None:
            raise self.exchange.error
        if self.tape.ended == "broken" or self.exchange.outcome == "internal_error":
            raise StreamInterrupted

    def _desert(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _grew(self, count: int) -> None:
        self._flights.grew(self, count)

    def _land(self, _: object) -> None:
        self.tape.abort()  # if it was given up before its end
        exchange, tape = self.exchange, self.tape
        assert exchange is not None, "a flight that ended was begun"
        self.exchange = _what_is_told(exchange)
        good = exchange.outcome == "ok" and tape.status == 200
        self._flights.land(self, worth_keeping=good)


def _what_is_told(exchange: Exchange) -> Exchange:
    """Give an exchange without what was asked: that may be large, and is needed no more."""
    told = Exchange(
        id=exchange.id,
        surface=exchange.surface,
        path=exchange.path,
        peer=exchange.peer,
        started=exchange.started,
        wall=exchange.wall,
    )
    told.profile_chain, told.mode = exchange.profile_chain, exchange.mode
    told.tier, told.backend, told.model = exchange.tier, exchange.backend, exchange.model
    told.finish_reason = exchange.finish_reason
    told.outcome, told.error = exchange.outcome, exchange.error
    return told


class Flights(msgspec.Struct, eq=False):
    """
    All flights of a process; outlives every config.

    Attributes:
        clock: Tells when what is kept has been kept for long enough.
        window: Seconds for which good answers are kept; 0 keeps none.
        max_bytes: The most that is kept.
        held: What is kept now, in bytes.
    """

    clock: IReactorTime
    window: float = 600.0
    max_bytes: int = 64 * 1024 * 1024
    held: int = 0
    _replays: dict[str, int] = msgspec.field(
        default_factory=lambda: {"idempotent": 0, "single_flight": 0}
    )
    _flights: dict[tuple[str, str, bytes], Flight] = msgspec.field(default_factory=dict)
    _kept: dict[Flight, None] = msgspec.field(default_factory=dict)
    _sweep: IDelayedCall | None = None

    def settle(self, window: float, max_bytes: int) -> None:
        """Let the limits of a config hold from now on."""
        self.window, self.max_bytes = window, max_bytes
        self._expire()
        self._make_room()

    def of(self, ticket: Ticket) -> Flight:
        """
        Give the flight of a ticket: one to begin if its ``exchange`` is ``None``.

        Raises:
            IdempotencyConflict: If the key was used for another request.
            Overloaded: If its answer is under way, and too long to be repeated or read by too
                many already.
        """
        self._expire()
        flight = self._flights.get(ticket.place)
        if flight is None:
            flight = self._flights[ticket.place] = Flight(ticket, self)
            self.grew(flight, OVERHEAD + len(ticket.name))
        elif flight.ticket.digest != ticket.digest:
            raise IdempotencyConflict(param="Idempotency-Key")
        elif not flight.tape.kept:
            raise Overloaded("The answer to this key is under way, and too long.", retry_after=5)
        elif flight.tape.readers >= MAX_READERS and not flight.tape.ended:
            raise Overloaded("Too many wait for the answer to this key.", retry_after=1)
        else:
            self._replays[ticket.kind] += 1
        return flight

    def families(self) -> Iterator[Family]:
        """Give what is kept, and what came of it, as series."""
        replays = [((kind,), count) for kind, count in self._replays.items()]
        text = "Requests that were answered from another one's answer, by why."
        yield Family("lmg_replays", "counter", text, ("kind",), replays)
        text = "Answers that are kept, or under way, to be given again."
        yield Family("lmg_kept_answers", "gauge", text, (), [((), len(self))])
        yield Family("lmg_kept_bytes", "gauge", "What they take.", (), [((), self.held)])

    def __len__(self) -> int:
        return len(self._flights)

    def grew(self, flight: Flight, count: int) -> None:
        """Take note that more is kept; make room, or stop keeping it."""
        self.held += count
        if flight.tape.held > self.max_bytes // SHARE:
            self._let_go(flight)
        self._make_room()
        if self.held > self.max_bytes:
            self._let_go(flight)

    def land(self, flight: Flight, *, worth_keeping: bool) -> None:
        """Take note that a flight has ended."""
        keep = worth_keeping and flight.ticket.kind == "idempotent" and self.window > 0
        if not keep or not flight.tape.kept:
            self._forget(flight)
            return
        flight.landed = self.clock.seconds()
        self._kept[flight] = None
        if self._sweep is None:
            self._sweep = self.clock.callLater(self.window, self._swept)

    def close(self) -> None:
        """Forget what is kept."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for flight in tuple(self._kept):
            self._forget(flight)

    def _swept(self) -> None:
        self._sweep = None
        self._expire()
        if self._kept:
            oldest = next(iter(self._kept)).landed
            left = oldest + self.window - self.clock.seconds()
            self._sweep = self.clock.callLater(max(left, 1.0), self._swept)

    def _expire(self) -> None:
        due = self.clock.seconds() - self.window
        while self._kept and (oldest := next(iter(self._kept))).landed <= due:
            self._forget(oldest)

    def _make_room(self) -> None:
        while self._kept and self.held > self.max_bytes:
            self._forget(next(iter(self._kept)))

    def _forget(self, flight: Flight) -> None:
        self._kept.pop(flight, None)
        if self._flights.get(flight.ticket.place) is flight:
            del self._flights[flight.ticket.place]
        self._let_go(flight)

    def _let_go(self, flight: Flight) -> None:
        if flight.tape.kept:
            self.held -= OVERHEAD + len(flight.ticket.name) + flight.tape.held
            flight.tape.let_go()
