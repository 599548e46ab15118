"""Breakers: what opens them, what closes them, and what is nobody's failure."""

from __future__ import annotations

from random import Random

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.backend_errors import (
    BackendFailed,
    BackendLimited,
    BackendTimeout,
    CredentialRefused,
    Rejected,
)
from lmgateway.backends.breaker import BreakerLimits
from lmgateway.backends.health import Health, Pace, TargetHealth, Watch
from lmgateway.errors import StreamInterrupted


class HealthCase(SynchronousTestCase):
    """Has the health of one target on a clock of its own."""

    def setUp(self) -> None:
        """Begin with a target that nobody knows."""
        self.clock = Clock()
        self.health = Health(self.clock.seconds)
        self.target = self.health.target("b", "m")

    def tell(self, *errors: BaseException | None) -> None:
        """Make one attempt after the other, with these ends."""
        for error in errors:
            watch = self.target.begin()
            if error is None:
                watch.commit(self.target.whole, self.clock.seconds())
            watch.end(error)

    def committed(self) -> Watch:
        """Begin an attempt that has output."""
        watch = self.target.begin()
        watch.commit(self.target.first_output, self.clock.seconds())
        return watch


class BreakerTests(HealthCase):
    """Tests for when a breaker opens and closes."""

    def test_consecutive_failures(self) -> None:
        """Five in a row open it, whatever was before."""
        self.tell(*[None] * 10, *[BackendFailed()] * 4)
        self.assertEqual(self.target.state, "closed")
        self.tell(BackendFailed())
        self.assertEqual(self.target.state, "open")
        self.assertEqual(self.target.blocked_for(), 10.0)

    def test_ratio(self) -> None:
        """So does a share of failures at the threshold, of at least three."""
        self.tell(BackendFailed(), BackendTimeout())
        self.assertEqual(self.target.state, "closed")
        self.tell(BackendFailed())
        self.assertEqual((self.target.state, self.target.errors), ("open", 3))

    def test_below_the_ratio(self) -> None:
        """Two of three are less than 0.7; old attempts are forgotten."""
        self.tell(None, BackendFailed(), BackendFailed(), None)
        self.assertEqual((self.target.state, self.target.samples), ("closed", 4))
        self.tell(*[None] * 10)
        self.assertEqual((self.target.errors, self.target.samples), (0, 10))

    def test_long_limit(self) -> None:
        """A 429 with a long wait opens it for that wait, at most a minute; a short one does not."""
        self.tell(BackendLimited(retry_after=10), BackendLimited(), BackendLimited())
        self.assertEqual((self.target.state, self.target.samples), ("closed", 0))
        self.tell(BackendLimited(retry_after=30))
        self.assertEqual(self.target.blocked_for(), 30.0)
        other = self.health.target("b", "other")
        other.begin().end(BackendLimited(retry_after=3600))
        self.assertEqual(other.blocked_for(), 60.0)

    def test_the_trial(self) -> None:
        """When its time is over exactly one attempt is let through."""
        self.tell(*[BackendFailed()] * 3)
        self.clock.advance(10)
        self.assertEqual((self.target.state, self.target.blocked_for()), ("open", 0.0))
        trial = self.target.begin()
        self.assertEqual(self.target.state, "half_open")
        self.assertGreater(self.target.blocked_for(), 0)
        trial.commit(self.target.whole, self.clock.seconds())
        self.assertEqual((self.target.state, self.target.blocked_for()), ("closed", 0.0))
        trial.end(None)
        self.assertEqual((self.target.errors, self.target.samples), (0, 1))

    def test_failed_trials_double_the_time(self) -> None:
        """10, 20, 40, 60, 60 seconds; then 10 again once it was well."""
        self.tell(*[BackendFailed()] * 3)
        times = []
        for _ in range(5):
            times.append(self.target.blocked_for())
            self.clock.advance(times[-1])
            self.tell(BackendFailed())
        self.assertEqual(times, [10, 20, 40, 60, 60])
        self.clock.advance(60)
        self.tell(None, *[BackendFailed()] * 3)
        self.assertEqual(self.target.blocked_for(), 10)

    def test_a_trial_that_tells_nothing(self) -> None:
        """When its client leaves, the next attempt is the trial."""
        self.tell(*[BackendFailed()] * 3)
        self.clock.advance(10)
        self.tell(CancelledError())
        self.assertEqual((self.target.state, self.target.blocked_for()), ("half_open", 0.0))
        self.tell(None)
        self.assertEqual(self.target.state, "closed")

    def test_stragglers(self) -> None:
        """Attempts from before it opened neither prolong it nor close it."""
        early = [self.target.begin() for _ in range(2)]
        self.tell(*[BackendFailed()] * 3)
        self.clock.advance(5)
        early[0].end(BackendFailed())
        early[1].end(None)
        self.assertEqual((self.target.state, self.target.blocked_for()), ("open", 5.0))

    def test_broken_streams(self) -> None:
        """A stream that breaks off is a failure, although it committed."""
        for _ in range(3):
            self.committed().end(StreamInterrupted())
        self.assertEqual(self.target.state, "open")

    def test_what_is_nobodys_failure(self) -> None:
        """A client that leaves, a refused credential, a request that was refused itself."""
        self.tell(*[CancelledError(), CredentialRefused()] * 5)
        self.assertEqual(self.target.samples, 0)
        self.tell(*[Rejected()] * 5)
        self.committed().end(CancelledError())
        self.assertEqual((self.target.samples, self.target.errors), (6, 0))

    def test_in_flight(self) -> None:
        """Each attempt counts until its end, and ends once."""
        watch = self.committed()
        self.assertEqual(self.target.in_flight, 1)
        watch.end(None)
        watch.end(None)
        self.assertEqual((self.target.in_flight, self.target.samples), (0, 1))

    def test_any_history(self) -> None:
        """Whatever comes: one trial at a time, counts that agree, and it recovers in the end."""
        for seed in range(500):
            random = Random(seed)
            self.health.settle({}, [])
            self.target = self.health.target("b", str(seed))
            live: list[Watch] = []
            for _ in range(60):
                act(self.target, live, self.clock, random)
                self.assertEqual(self.target.in_flight, len(live))
                self.assertLessEqual(self.target.errors, self.target.samples)
                self.assertLessEqual(self.target.samples, 10)
            for watch in live:
                watch.end(CancelledError())
            self.clock.advance(60)
            self.assertEqual(self.target.blocked_for(), 0.0)
            self.tell(None)
            self.assertEqual(self.target.state, "closed")


def act(target: TargetHealth, live: list[Watch], clock: Clock, random: Random) -> None:
    """Let one thing happen."""
    match random.choice("bbbecct"):
        case "b" if not target.blocked_for():
            was = target.state
            live.append(target.begin())
            if was != "closed":
                assert target.blocked_for(), "a second trial would be let through"
        case "e" if live:
            ends = [None, BackendFailed(), BackendLimited(retry_after=20), CancelledError()]
            live.pop(random.randrange(len(live))).end(random.choice(ends))
        case "c" if live:
            random.choice(live).commit(target.whole, clock.seconds())
        case "t":
            clock.advance(random.choice([1, 10, 60]))


class RegistryTests(HealthCase):
    """Tests for all targets, through reloads."""

    def test_by_name(self) -> None:
        """The same target is the same through reloads; one that is gone is forgotten."""
        self.tell(*[BackendFailed()] * 3)
        self.health.settle({}, [("b", "m")])
        self.assertEqual(self.health.target("b", "m").state, "open")
        self.health.settle({}, [])
        self.assertEqual(self.health.of_backend("b"), [])
        self.assertEqual(self.health.target("b", "m").state, "closed")

    def test_switched_off(self) -> None:
        """With a window of 0 nothing opens, and what was open is closed."""
        self.tell(*[BackendFailed()] * 3)
        self.health.settle({"b": BreakerLimits(window=0)}, [("b", "m")])
        self.assertEqual(self.target.state, "closed")
        self.tell(*[BackendFailed()] * 20, BackendLimited(retry_after=60))
        self.assertEqual((self.target.state, self.target.samples), ("closed", 0))


class PaceTests(SynchronousTestCase):
    """Tests for means of times."""

    def test_mean(self) -> None:
        """The first sample is the mean; it then follows the newest."""
        pace = Pace()
        pace.add(2.0, 1.0)
        self.assertEqual(pace.seconds, 2.0)
        pace.add(1.0, 5.0)
        self.assertAlmostEqual(pace.seconds, 1.8)
        self.assertEqual((pace.samples, pace.at), (2, 5.0))
