"""Retries on a clock: their pauses, their budget, their deadline, and what breakers do to them."""

from __future__ import annotations

from msgspec.structs import replace
from twisted.internet.defer import Deferred

from lmgateway.backend_errors import BackendFailed, BackendLimited, BackendTimeout
from lmgateway.backends.retries import FLOOR
from lmgateway.errors import GatewayError, MalformedRequest
from lmgateway.routing.ladder import MAX_PAUSE
from lmgateway.routing.queues import GateLimits
from tests.routing.test_ladder_places import LadderCase, _health


class RetryCase(LadderCase):
    """Has one tier of one target that is tried three times."""

    tries = 3

    def setUp(self) -> None:
        """Keep to the last step."""
        super().setUp()
        self.all = self.steps
        self.steps = [replace(self.steps[1], tries=self.tries)]
        self.backend = self.backends["c"]
        self.target_health = _health(self.steps[0].tier.targets[0])

    def end(self, error: GatewayError) -> None:
        """Fail the latest attempt."""
        self.backend.calls[-1].errback(error)

    def assert_settled(self) -> None:
        """Look at all steps, whichever were used."""
        self.steps = self.all
        super().assert_settled()

    def pause(self) -> float:
        """Wait for the next attempt; say how long that took."""
        begun, made = self.clock.seconds(), len(self.backend.calls)
        while len(self.backend.calls) == made:
            self.assertLess(self.clock.seconds() - begun, 200, "no attempt came")
            self.clock.advance(0.01)
        return self.clock.seconds() - begun


class PauseTests(RetryCase):
    """Tests for how long is waited."""

    def test_L5_4_full_jitter(self) -> None:
        """L5.4: pauses are random, below a bound that doubles, at most two seconds."""
        self.climber = replace(self.climber, retry_seconds=1.5)
        first, second = [], []
        for _ in range(30):
            done = self.climb(self.exchange())
            self.end(BackendFailed())
            first.append(self.pause())
            self.end(BackendFailed())
            second.append(self.pause())
            self.backend.calls[-1].callback(None)
            self.successResultOf(done)
            self.clock.advance(60)
            self.target_health.close()
        self.assertLessEqual(max(first), 1.5 + 0.02)
        self.assertLessEqual(max(second), MAX_PAUSE + 0.02)
        self.assertLess(min(first), 0.5)
        self.assertGreater(max(second), 1.5)

    def test_what_is_asked_for(self) -> None:
        """A wait that is asked for is kept to, and a little more so that not all come at once."""
        done = self.climb(self.exchange())
        self.end(BackendLimited(retry_after=7))
        pause = self.pause()
        self.assertGreaterEqual(pause, 7)
        self.assertLessEqual(pause, 7.2)
        self.backend.calls[-1].callback(None)
        self.successResultOf(done)

    def test_a_long_wait(self) -> None:
        """One that opens the breaker is waited out, and the retry is the trial."""
        exchange = self.exchange()
        done = self.climb(exchange)
        self.end(BackendLimited(retry_after=30))
        self.assertEqual(self.target_health.state, "open")
        self.assertGreaterEqual(self.pause(), 30)
        self.assertEqual(self.target_health.state, "half_open")
        self.backend.calls[-1].callback(None)
        self.successResultOf(done)
        self.assertEqual(self.target_health.state, "closed")
        self.assertGreaterEqual(exchange.waited, 30)

    def test_beyond_the_deadline(self) -> None:
        """What does not fit the deadline, or the client's own, is not begun."""
        exchange = self.exchange()
        exchange.patience = 5.0
        done = self.climb(exchange)
        self.end(BackendLimited(retry_after=6))
        error = self.failureResultOf(done, BackendLimited).value
        self.assertEqual((error.retry_after, self.clock.getDelayedCalls()), (6, []))

    def test_a_breaker_that_opens_meanwhile(self) -> None:
        """No retry is made at a target that went bad during the pause."""
        self.climber = replace(self.climber, retry_seconds=2.0)
        done = self.climb(self.exchange())
        self.end(BackendFailed())
        for _ in range(3):
            self.target_health.begin().end(BackendFailed())
        self.clock.pump([0.1] * 30)
        self.failureResultOf(done, BackendFailed)
        self.assertEqual(len(self.backend.calls), 1)

    def test_cancelled_in_a_pause(self) -> None:
        """A client that leaves during a pause leaves nothing behind."""
        done = self.climb(self.exchange())
        self.end(BackendFailed())
        done.addErrback(lambda _: None)
        done.cancel()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_silence(self) -> None:
        """A silent target is not tried again, although tries are left."""
        done = self.climb(self.exchange())
        self.end(BackendTimeout())
        self.failureResultOf(done, BackendTimeout)

    def test_a_timeout_that_was_told(self) -> None:
        """A 504 of the backend is no silence."""
        done = self.climb(self.exchange())
        told = BackendTimeout()
        told.upstream_status = 504
        self.end(told)
        self.pause()
        self.backend.calls[-1].callback(None)
        self.successResultOf(done)


class BudgetTests(RetryCase):
    """Tests for the retry budget among many requests."""

    tries = 2

    def test_row_17_many_at_once(self) -> None:
        """Row 17: of forty failing requests at once eight are retried."""
        self.bulkheads["c"].limit(GateLimits(max_concurrent=99))
        exchanges = [self.exchange() for _ in range(40)]
        done = [self.climb(exchange) for exchange in exchanges]
        first = [*self.backend.calls]
        self.target_health.limits = replace(self.target_health.limits, window=0)
        for call in first:
            call.errback(BackendFailed())
        self.clock.pump([0.05] * 5)
        retries = self.backend.calls[40:]
        self.assertEqual(len(retries), 8)
        for call in retries:
            call.errback(BackendFailed())
        for one in done:
            self.failureResultOf(one, BackendFailed)

    def test_a_quiet_gateway(self) -> None:
        """A few requests may all be retried."""
        done: list[Deferred[str]] = []
        self.target_health.limits = replace(self.target_health.limits, window=0)
        for _ in range(FLOOR):
            done.append(self.climb(self.exchange()))
            self.end(BackendFailed())
            self.pause()
            self.backend.calls[-1].callback(None)
        self.assertEqual([self.successResultOf(one) for one in done], ["c"] * FLOOR)


class PatienceTests(RetryCase):
    """Tests for what a client's own deadline does to health."""

    def test_only_the_clients_haste(self) -> None:
        """A timeout at the client's own deadline says nothing; one before it does."""
        for patience, samples in ((5.0, 0), (500.0, 1), (6.0, 2)):
            exchange = self.exchange()
            exchange.patience = patience
            done = self.climb(exchange)
            self.clock.advance(5.0)
            self.end(BackendTimeout())
            self.failureResultOf(done, BackendTimeout)
            self.assertEqual(self.target_health.samples, samples)

    def test_other_failures_count(self) -> None:
        """Whatever the client's deadline, a backend that breaks is bad."""
        exchange = self.exchange()
        exchange.patience = 1.0
        done = self.climb(exchange)
        self.clock.advance(1.0)
        self.end(BackendFailed())
        self.failureResultOf(done, BackendFailed)
        self.assertEqual(self.target_health.errors, 1)

    def test_malformed_requests_do_not(self) -> None:
        """What the client did wrong is nobody's failure."""
        done = self.climb(self.exchange())
        self.backend.calls[-1].errback(MalformedRequest())
        self.failureResultOf(done, MalformedRequest)
        self.assertEqual(self.target_health.samples, 0)
