"""Tests for what is kept of answers, and for how long."""

from __future__ import annotations

import gc

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.errors import IdempotencyConflict, Overloaded
from lmgateway.exchange import Exchange
from lmgateway.surfaces.flights import OVERHEAD, Flight, Flights, Ticket
from tests.routing.routers import exchange_of


def ticket(name: bytes = b"k", digest: bytes = b"d", owner: str = "a") -> Ticket:
    """Make a ticket with a key."""
    return Ticket(owner, name, digest, "idempotent")


class FlightsTests(SynchronousTestCase):
    """Tests for ``Flights``."""

    def setUp(self) -> None:
        """Keep little, for a minute."""
        self.clock = Clock()
        self.flights = Flights(self.clock, window=60.0, max_bytes=100_000)

    def fly(self, given: Ticket, size: int = 100, outcome: str = "ok", status: int = 200) -> Flight:
        """Have a flight begin and end."""
        flight, exchange = self.flights.of(given), exchange_of()

        async def work() -> None:
            exchange.outcome = outcome
            flight.tape.respond(status, [], b"x" * size)

        flight.depart(exchange, work())
        return flight

    def tearDown(self) -> None:
        """Nothing is left: no timer, no byte."""
        self.flights.close()
        self.assertEqual((len(self.flights), self.flights.held), (0, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_good_answer_is_kept_for_the_window(self) -> None:
        """It is found until the window has passed, and gone by itself then."""
        flight = self.fly(ticket())
        self.clock.advance(59)
        self.assertIs(self.flights.of(ticket()), flight)
        self.fly(ticket(b"later"))
        self.clock.advance(1)
        self.assertEqual(len(self.flights), 1)
        self.clock.advance(60)
        self.assertEqual((len(self.flights), self.flights.held), (0, 0))

    def test_what_was_asked_is_not_kept(self) -> None:
        """Of a kept answer there is the answer, and not the request, which may be large."""
        flight = self.fly(ticket())
        assert flight.exchange is not None
        self.assertIsNone(flight.exchange.request)
        self.assertFalse([o for o in gc.get_referrers(flight) if isinstance(o, Exchange)])

    def test_what_did_not_end_well_is_not_kept(self) -> None:
        """Failures, refusals and interruptions are forgotten at once."""
        for outcome, status in (("backend_failed", 502), ("ok", 400), ("client_closed", 200)):
            self.fly(ticket(), outcome=outcome, status=status)
            self.assertEqual((len(self.flights), self.flights.held), (0, 0))

    def test_single_flights_are_not_kept(self) -> None:
        """What is shared only while it lasts ends with it."""
        self.fly(Ticket("a", b"d", b"d", "single_flight"))
        self.assertEqual(len(self.flights), 0)

    def test_another_request_with_the_same_key(self) -> None:
        """One key, one request; another owner's key is another key."""
        self.fly(ticket())
        with self.assertRaises(IdempotencyConflict):
            self.flights.of(ticket(digest=b"other"))
        self.fly(ticket(digest=b"other", owner="b"))
        self.assertEqual(len(self.flights), 2)

    def test_the_oldest_goes_first(self) -> None:
        """All together stays within its bound."""
        names = [b"%d" % number for number in range(12)]
        for name in names:
            self.fly(ticket(name), size=10_000)
            self.assertLessEqual(self.flights.held, 100_000)
        self.assertIsNone(self.flights.of(ticket(names[0])).exchange)
        self.assertIsNotNone(self.flights.of(ticket(names[-1])).exchange)
        self.fly(ticket(names[0]))

    def test_a_long_answer_is_not_kept(self) -> None:
        """One answer may be an eighth of all that is kept."""
        self.fly(ticket(b"fits"), size=12_500)
        self.fly(ticket(b"long"), size=12_501)
        self.assertEqual(len(self.flights), 1)

    def test_many_small_answers_are_bounded_too(self) -> None:
        """Each counts for more than its bytes."""
        for number in range(200):
            self.fly(ticket(b"%d" % number), size=1)
        self.assertLessEqual(len(self.flights), 100_000 // OVERHEAD)

    def test_a_long_answer_under_way_cannot_be_joined(self) -> None:
        """Its beginning is gone: whoever asks again is told to come back."""
        flight, exchange = self.flights.of(ticket()), exchange_of()
        end: Deferred[None] = Deferred()

        async def work() -> None:
            flight.tape.begin(200, [], b"x" * 12_501)
            await end
            exchange.outcome = "ok"
            flight.tape.finish()

        flight.depart(exchange, work())
        with self.assertRaises(Overloaded):
            self.flights.of(ticket())
        end.callback(None)
        self.assertEqual(len(self.flights), 0)

    def test_other_limits_hold_at_once(self) -> None:
        """A smaller bound lets go of what is over it, a shorter window of what is older."""
        for number in range(8):
            self.fly(ticket(b"%d" % number), size=10_000)
            self.clock.advance(5)
        self.flights.settle(60.0, 50_000)
        self.assertLessEqual(self.flights.held, 50_000)
        self.flights.settle(11.0, 50_000)
        self.assertEqual(len(self.flights), 2)
        self.flights.settle(0.0, 50_000)
        self.fly(ticket())
        self.assertEqual(len(self.flights), 0)
