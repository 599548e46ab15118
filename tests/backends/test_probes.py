"""Probes: when they are made, how many at once, and what is told of them."""

from __future__ import annotations

from random import Random
from typing import Any, cast

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.backend_errors import BackendError, BackendFailed, Rejected, Unreachable
from lmgateway.backends.base import Backend
from lmgateway.backends.health import Health, Probed
from lmgateway.backends.probes import JITTER, RECHECK_SECONDS, Probes, Probing


@define(eq=False)
class Listing:
    """A backend that answers its probes when it is told to."""

    name: str = "b"
    asked: list[Deferred[int]] = field(factory=list)
    cancelled: int = 0

    async def probe(self) -> int:
        """Wait for the test's word."""
        word: Deferred[int] = Deferred(self._cancelled)
        self.asked.append(word)
        return await word

    def _cancelled(self, word: Deferred[int]) -> None:
        self.cancelled += 1


def refused(status: int) -> BackendError:
    """Give what a backend raises that refuses its listing."""
    error = BackendFailed() if status >= 500 else Rejected()
    error.upstream_status = status
    return error


class ProbeCase(SynchronousTestCase):
    """Has one backend of one target, on a clock of its own."""

    def setUp(self) -> None:
        """Begin to probe every half minute."""
        self.clock = Clock()
        self.told: list[dict[str, Any]] = []
        self.health = Health(self.clock.seconds)
        self.target = self.health.target("b", "m")
        self.listing = Listing()
        self.probes = Probes(
            clock=self.clock,
            random=Random(1),
            wall=lambda: 1000 + self.clock.seconds(),
            health=self.health,
            tell=lambda kind, **facts: self.told.append({"kind": kind, **facts}),
        )
        self.settle()

    def settle(self, interval: float = 30.0, listing: Listing | None = None) -> None:
        """Serve a config."""
        backend = cast(Backend, listing or self.listing)
        self.probes.settle({"b": Probing(backend, interval)})

    def tearDown(self) -> None:
        """Nothing may be left over."""
        self.probes.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def until_asked(self, times: int) -> float:
        """Let time pass until the backend was asked so often; give how long that took."""
        begun = self.clock.seconds()
        while len(self.listing.asked) < times:
            self.clock.advance(0.1)
            self.assertLess(self.clock.seconds() - begun, 100)
        return self.clock.seconds() - begun

    @property
    def last(self) -> Probed:
        """The result of the last probe."""
        probed = self.health.backend("b").probed
        assert probed is not None
        return probed


class ScheduleTests(ProbeCase):
    """Tests for when a backend is asked."""

    def test_every_half_minute_or_so(self) -> None:
        """The pauses differ, by a fifth at most; the first is at least half as long."""
        self.assertGreaterEqual(self.until_asked(1), 15)
        pauses = []
        for number in range(1, 12):
            self.listing.asked[-1].callback(200)
            pauses.append(self.until_asked(number + 1))
        self.assertGreaterEqual(min(pauses), 30 * (1 - JITTER) - 0.1)
        self.assertLessEqual(max(pauses), 30 * (1 + JITTER) + 0.2)
        self.assertGreater(max(pauses) - min(pauses), 1)

    def test_one_at_a_time(self) -> None:
        """While one is under way no other begins, whoever asks."""
        self.until_asked(1)
        self.clock.advance(500)
        waiting = [self.probes.check("b"), self.probes.check("b")]
        self.assertEqual(len(self.listing.asked), 1)
        self.listing.asked[0].callback(200)
        self.assertEqual([self.successResultOf(d).status for d in waiting], [200, 200])

    def test_sooner_while_out_of_order(self) -> None:
        """After a failure it is asked about every five seconds."""
        self.until_asked(1)
        self.listing.asked[-1].errback(Unreachable())
        self.assertLessEqual(self.until_asked(2), RECHECK_SECONDS * (1 + JITTER) + 0.2)

    def test_when_a_breaker_opens(self) -> None:
        """The next one comes when the breaker's time is over."""
        self.settle(600)
        self.probes.hasten("b", 10)
        pause = self.until_asked(1)
        self.assertGreaterEqual(pause, 10)
        self.assertLessEqual(pause, 12.2)

    def test_switched_off(self) -> None:
        """With an interval of 0 nothing is asked, but on demand."""
        self.settle(0)
        self.probes.hasten("b", 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        waiting = self.probes.check("b")
        self.listing.asked[0].errback(Unreachable())
        self.assertFalse(self.successResultOf(waiting).well)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_drained(self) -> None:
        """A drained backend is left alone, and asked again afterwards."""
        self.health.drain("b", 300)
        self.clock.pump([1] * 290)
        self.assertEqual(self.listing.asked, [])
        self.until_asked(1)

    def test_removed(self) -> None:
        """A backend that is no longer configured is not asked, and who waits for it is told."""
        waiting = self.probes.check("b")
        self.probes.settle({})
        self.failureResultOf(waiting, BackendError)
        self.failureResultOf(self.probes.check("b"), BackendError)
        self.assertEqual((self.listing.cancelled, self.clock.getDelayedCalls()), (1, []))
        self.assertIsNone(self.health.backend("b").probed)

    def test_reload(self) -> None:
        """The old object's probe ends; the new one is asked when it is due, or on demand."""
        self.until_asked(1)
        new = Listing()
        self.settle(listing=new)
        self.assertEqual((self.listing.cancelled, new.asked), (1, []))
        self.clock.advance(40)
        self.assertEqual(len(new.asked), 1)
        waiting = self.probes.check("b")
        newest = Listing()
        self.settle(listing=newest)
        newest.asked[0].callback(200)
        self.assertTrue(self.successResultOf(waiting).well)

    def test_often_reloaded(self) -> None:
        """Reloads do not put a probe off."""
        for _ in range(10):
            self.clock.advance(4)
            self.settle()
        self.assertEqual(len(self.listing.asked), 1)

    def test_a_bug(self) -> None:
        """A failure that nobody expected is logged, and the next probe is made."""
        waiting = self.probes.check("b")
        self.listing.asked[0].errback(ZeroDivisionError())
        self.failureResultOf(waiting, BackendError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.until_asked(2)


class ResultTests(ProbeCase):
    """Tests for what an answer means, and what is told of it."""

    def end(self, word: int | BackendError) -> Probed:
        """Make one probe that ends so."""
        waiting = self.probes.check("b")
        self.clock.advance(0.25)
        if isinstance(word, int):
            self.listing.asked[-1].callback(word)
        else:
            self.listing.asked[-1].errback(word)
        return self.successResultOf(waiting)

    def test_alive(self) -> None:
        """Whoever answers is alive, if only to refuse."""
        for word in (200, refused(401), refused(403), refused(404), refused(429)):
            self.assertTrue(self.end(word).well, word)

    def test_not_alive(self) -> None:
        """No connection, silence and 5xx are failures; three of them open the breaker."""
        for word in (Unreachable(), refused(500), refused(503)):
            self.assertFalse(self.end(word).well, word)
        self.assertEqual(self.target.state, "open")

    def test_what_is_kept(self) -> None:
        """When, how long, which status, what went wrong."""
        self.end(200)
        self.assertEqual(self.last, Probed(at=1000.25, seconds=0.25, well=True, status=200))
        self.end(refused(503))
        self.assertEqual((self.last.status, self.last.error), (503, "backend_failed"))

    def test_told_on_change_only(self) -> None:
        """A backend that goes out of order is told once, and once when it is well again."""
        for word in (200, 200, Unreachable(), refused(500), 200, 200):
            self.end(word)
        self.assertEqual(
            [(told["kind"], told["backend"], told["well"], told["error"]) for told in self.told],
            [("probe", "b", False, "backend_unavailable"), ("probe", "b", True, "")],
        )
