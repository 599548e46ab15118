"""Breakers: half-open, cool-down, probes, and what the operator imposes."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.backend_errors import (
    BackendFailed,
    BackendLimited,
    BackendOverloaded,
    BackendTimeout,
    Unreachable,
)
from lmgateway.backends.breaker import BreakerLimits, Forced
from lmgateway.backends.health import Health, Override, Probed, Watch
from lmgateway.errors import StreamInterrupted


def probed(*, well: bool, error: str = "") -> Probed:
    """Give a probe's result."""
    return Probed(at=0, seconds=0.01, well=well, error=error)


class BreakerCase(SynchronousTestCase):
    """Has two targets of one backend, and hears what is told."""

    limits = BreakerLimits()

    def setUp(self) -> None:
        """Begin with targets that nobody knows."""
        self.clock = Clock()
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.health = Health(self.clock.seconds, self.limits, self.hear)
        self.target = self.health.target("b", "m")
        self.other = self.health.target("b", "other")

    def hear(self, kind: str, **facts: Any) -> None:
        """Note an event."""
        self.told.append((kind, facts))

    def changes(self) -> list[tuple[str, str, str]]:
        """Give the changes of the first target's breaker that were told since the last look."""
        told, self.told = self.told, []
        return [
            (facts["from"], facts["to"], facts["reason"])
            for kind, facts in told
            if kind == "breaker" and facts["model"] == "m"
        ]

    def bad(self, error: BaseException, times: int = 1) -> None:
        """Let attempts fail."""
        for _ in range(times):
            self.target.begin().end(error)


class StateTests(BreakerCase):
    """Tests for changes of state, and that each is told."""

    def test_L5_3_all_the_way_round(self) -> None:
        """L5.3: closed, open, half open, open, half open, closed; each with its reason."""
        self.bad(BackendFailed(), 3)
        self.assertEqual(self.told[-1][1]["seconds"], 10)
        self.clock.advance(10)
        self.bad(BackendFailed())
        self.clock.advance(20)
        self.target.begin().end(None)
        self.assertEqual(
            self.changes(),
            [
                ("closed", "open", "ratio"),
                ("open", "half_open", "trial"),
                ("half_open", "open", "trial_failed"),
                ("open", "half_open", "trial"),
                ("half_open", "closed", "recovered"),
            ],
        )

    def test_reasons(self) -> None:
        """What opened it is told: failures in a row, a rate limit, an overload that is to last."""
        for errors, reason in (
            ([None] * 10 + [BackendFailed()] * 5, "consecutive"),
            ([BackendLimited(retry_after=11)], "limited"),
            ([BackendOverloaded(retry_after=11)], "overloaded"),
        ):
            target = self.health.target("b", reason)
            for error in errors:
                target.begin().end(error)
            self.assertEqual((target.state, target.cause), ("open", reason))

    def test_one_target_not_the_other(self) -> None:
        """Another model of the same backend has a breaker of its own."""
        self.bad(BackendFailed(), 3)
        self.assertEqual((self.target.state, self.other.state), ("open", "closed"))


class HalfOpenTests(BreakerCase):
    """Tests for how many trials there may be."""

    limits = BreakerLimits(trials=3)

    def test_exactly_so_many(self) -> None:
        """Three at once, and a further one only when one of them has told nothing."""
        self.bad(BackendFailed(), 3)
        self.clock.advance(10)
        trials = []
        while not self.target.blocked_for():
            trials.append(self.target.begin())
        self.assertEqual(len(trials), 3)
        trials[0].end(CancelledError())
        self.assertEqual(self.target.blocked_for(), 0.0)
        trials.append(self.target.begin())
        self.assertGreater(self.target.blocked_for(), 0.0)
        trials[1].commit(self.target.whole, self.clock.seconds())
        self.assertEqual((self.target.state, self.target.blocked_for()), ("closed", 0.0))
        trials[2].end(BackendFailed())
        self.assertEqual((self.target.state, self.target.errors), ("closed", 1))

    def test_the_first_that_fails(self) -> None:
        """It opens at the first failure; what the other trials say is no longer heard."""
        self.bad(BackendFailed(), 3)
        self.clock.advance(10)
        one, two = self.target.begin(), self.target.begin()
        one.end(BackendFailed())
        two.end(None)
        self.assertEqual((self.target.state, self.target.blocked_for()), ("open", 20.0))


class CoolingTests(BreakerCase):
    """Tests for waits that are too short to open a breaker."""

    def test_row_16_cool_down(self) -> None:
        """Row 16: no attempt until the wait is over; the breaker stays closed."""
        self.bad(BackendLimited(retry_after=2))
        self.assertEqual((self.target.state, self.target.blocked_for()), ("closed", 2.0))
        self.assertEqual((self.target.against(), self.target.limited), ("cooling down", True))
        self.assertEqual(self.other.blocked_for(), 0.0)
        self.clock.advance(2)
        self.assertEqual((self.target.against(), self.target.blocked_for()), ("", 0.0))
        self.assertEqual(self.changes(), [])

    def test_row_16_hostile(self) -> None:
        """Row 16: however long the wait that is asked for, it is a minute at most."""
        self.bad(BackendLimited(retry_after=1e9))
        self.assertEqual((self.target.state, self.target.blocked_for()), ("open", 60.0))

    def test_no_wait(self) -> None:
        """A limit without a wait lets the next request try."""
        self.bad(BackendLimited(), 20)
        self.assertEqual(self.target.blocked_for(), 0.0)

    def test_an_overload(self) -> None:
        """A 503 with a wait is a failure besides."""
        self.bad(BackendOverloaded(retry_after=3))
        self.assertEqual((self.target.blocked_for(), self.target.errors), (3.0, 1))
        self.assertFalse(self.target.limited)


class ProbeTests(BreakerCase):
    """Tests for what probes do to breakers."""

    def test_failed_probes_open(self) -> None:
        """Three in a row open the breakers of all targets."""
        for well in (False, False, True, False, False):
            self.health.probed("b", probed(well=well))
        self.assertEqual(self.target.state, "closed")
        self.health.probed("b", probed(well=False))
        self.assertEqual((self.target.state, self.other.state), ("open", "open"))
        self.assertEqual(self.changes(), [("closed", "open", "probes")])

    def test_recovery_without_traffic(self) -> None:
        """A good probe is the trial of a breaker that opened as nothing could be reached."""
        self.bad(Unreachable(), 3)
        self.health.probed("b", probed(well=True))
        self.assertEqual(self.target.state, "open")
        self.clock.advance(10)
        self.health.probed("b", probed(well=True))
        self.assertEqual((self.target.state, self.target.blocked_for()), ("closed", 0.0))
        self.assertEqual(self.changes()[-1], ("open", "closed", "probe"))

    def test_probation(self) -> None:
        """One failure opens it again for twice the time, until an attempt was good."""
        self.bad(Unreachable(), 3)
        self.clock.advance(10)
        self.health.probed("b", probed(well=True))
        self.bad(Unreachable())
        self.assertEqual((self.target.state, self.target.blocked_for()), ("open", 20.0))
        self.clock.advance(20)
        self.health.probed("b", probed(well=True))
        self.target.begin().end(None)
        self.bad(Unreachable())
        self.assertEqual(self.target.state, "closed")

    def test_a_listing_is_no_answer(self) -> None:
        """Where answers failed, only an answer closes the breaker."""
        self.bad(BackendFailed(), 3)
        self.clock.advance(10)
        self.health.probed("b", probed(well=True))
        self.assertEqual((self.target.state, self.target.blocked_for()), ("open", 0.0))

    def test_probes_keep_it_open(self) -> None:
        """While probes fail no request has to be the trial."""
        self.bad(Unreachable(), 3)
        self.clock.advance(10)
        self.health.probed("b", probed(well=False))
        self.assertEqual((self.target.state, self.target.blocked_for()), ("open", 20.0))

    def test_busy_backends(self) -> None:
        """Silence is not held against a backend that is at work; a refused connection is."""
        attempt = self.other.begin()
        for _ in range(5):
            self.health.probed("b", probed(well=False, error=BackendTimeout.kind))
        self.assertEqual(self.target.state, "closed")
        for _ in range(3):
            self.health.probed("b", probed(well=False, error=Unreachable.kind))
        self.assertEqual(self.target.state, "open")
        attempt.end(None)


class OperatorTests(BreakerCase):
    """Tests for what the operator imposes."""

    def overrides(self) -> list[tuple[str | None, str]]:
        """Give what holds."""
        return [(o.model, o.what) for o in self.health.overrides()]

    def test_L13_6_forced_open(self) -> None:
        """L13.6: no attempt until the time is over; then it is as it was, begun anew."""
        self.health.force("b", "m", "forced_open", 30)
        self.assertEqual((self.target.state, self.other.state), ("forced_open", "closed"))
        self.assertEqual(
            (self.target.blocked_for(), self.target.against()), (30, "breaker forced open")
        )
        self.assertEqual(self.overrides(), [("m", "forced_open")])
        self.clock.advance(30)
        self.assertEqual((self.target.blocked_for(), self.target.state), (0.0, "closed"))
        self.assertEqual(self.overrides(), [])
        self.assertEqual(
            self.changes(),
            [("closed", "forced_open", "operator"), ("forced_open", "closed", "expired")],
        )

    def test_forced_closed(self) -> None:
        """All attempts are made, however they end; set free, it judges again."""
        self.bad(BackendFailed(), 3)
        self.health.force("b", None, "forced_closed", 100)
        self.bad(BackendFailed(), 20)
        self.bad(BackendLimited(retry_after=60))
        self.health.probed("b", probed(well=False))
        self.assertEqual((self.target.state, self.target.blocked_for()), ("forced_closed", 0.0))
        self.assertEqual(self.target.samples, 10)
        self.health.force("b", None, None, 1)
        self.assertEqual((self.target.state, self.target.samples), ("closed", 0))
        self.bad(BackendFailed(), 3)
        self.assertEqual(self.target.state, "open")

    def test_all_replaces_each(self) -> None:
        """What is said of all targets replaces what was said of one; one may differ after it."""
        self.health.force("b", "m", "forced_open", 60)
        self.health.force("b", None, "forced_closed", 60)
        self.assertEqual((self.target.state, self.other.state), ("forced_closed",) * 2)
        self.health.force("b", "m", "forced_open", 60)
        self.assertEqual((self.target.state, self.other.state), ("forced_open", "forced_closed"))
        self.health.force("b", "m", None, 60)
        self.assertEqual(self.target.state, "forced_closed")
        self.health.force("b", None, None, 60)
        self.assertEqual((self.target.state, self.other.state), ("closed", "closed"))

    def test_drain(self) -> None:
        """No new attempts; those under way end and are counted; undrained, all is as before."""
        attempt = self.target.begin()
        self.health.drain("b", 100)
        self.assertEqual((self.target.against(), self.other.against()), ("drained", "drained"))
        self.assertEqual((self.target.state, self.health.is_drained("b")), ("closed", True))
        attempt.end(None)
        self.assertEqual((self.target.samples, self.target.in_flight), (1, 0))
        self.health.drain("b", 0)
        self.assertEqual((self.target.against(), self.health.is_drained("b")), ("", False))
        self.health.drain("b", 5)
        self.clock.advance(5)
        self.assertEqual((self.target.blocked_for(), self.overrides()), (0.0, []))

    def test_limits_are_not_the_operators(self) -> None:
        """Clients are told of a rate limit only where that is what keeps them out."""
        self.bad(BackendLimited(retry_after=5))
        self.assertTrue(self.target.limited)
        self.health.drain("b", 60)
        self.assertFalse(self.target.limited)
        self.health.drain("b", 0)
        self.health.force("b", "m", "forced_open", 60)
        self.assertFalse(self.target.limited)

    def test_drained_and_open(self) -> None:
        """A drain neither hides nor heals an open breaker."""
        self.bad(BackendFailed(), 3)
        self.health.drain("b", 5)
        self.assertEqual(self.target.against(), "drained")
        self.clock.advance(5)
        self.assertEqual((self.target.against(), self.target.blocked_for()), ("breaker open", 5))

    def test_through_reloads(self) -> None:
        """What was imposed holds for targets that come later, and goes with its backend."""
        self.health.drain("b", 60)
        self.health.force("b", None, "forced_open", 60)
        self.health.settle({}, [("b", "m"), ("b", "new")])
        new = self.health.target("b", "new")
        self.assertEqual((new.state, new.against()), ("forced_open", "drained"))
        self.health.settle({}, [("c", "m")])
        self.assertEqual(self.health.overrides(), [])

    def test_told(self) -> None:
        """Each is told, with what and for how long."""
        self.health.force("b", "m", "forced_open", 30)
        self.health.drain("b", 0)
        told = [facts for kind, facts in self.told if kind == "override"]
        self.assertEqual(
            told,
            [
                {"backend": "b", "model": "m", "what": "forced_open", "seconds": 30},
                {"backend": "b", "model": None, "what": "auto", "seconds": 0},
            ],
        )
        self.assertEqual(
            self.health.overrides(),
            [Override(backend="b", model="m", what="forced_open", until=30)],
        )


class AnyHistoryTests(BreakerCase):
    """Whatever happens, in whatever order."""

    limits = BreakerLimits(trials=2)

    def test_any_history(self) -> None:
        """Changes follow from each other, trials are bounded, what is imposed holds, all ends."""
        for seed in range(300):
            self.setUp()
            random = Random(seed)
            live: list[Watch] = []
            for _ in range(80):
                self.act(random, live)
                self.look(live)
            self.recover(live)

    def act(self, random: Random, live: list[Watch]) -> None:
        """Let one thing happen."""
        errors = [
            None, BackendFailed(), Unreachable(), BackendLimited(retry_after=3), CancelledError(),
            BackendLimited(retry_after=30), BackendOverloaded(retry_after=2), StreamInterrupted(),
        ]  # fmt: skip
        match random.choice("bbbbeeectttpfd"):
            case "b" if not self.target.blocked_for():
                live.append(self.target.begin())
            case "e" if live:
                watch = live.pop(random.randrange(len(live)))
                watch.end(random.choice(errors), blameless=random.random() < 0.1)
            case "c" if live:
                random.choice(live).commit(self.target.whole, self.clock.seconds())
            case "t":
                self.clock.advance(random.choice([0.5, 2, 10, 60]))
            case "p":
                error = random.choice(["", "", BackendTimeout.kind, Unreachable.kind])
                self.health.probed("b", probed(well=not error, error=error))
            case "f":
                states: list[Forced | None] = [None, None, "forced_open", "forced_closed"]
                state = random.choice(states)
                self.health.force("b", random.choice([None, "m"]), state, random.choice([1, 30]))
            case "d":
                self.health.drain("b", random.choice([0, 5, 30]))

    def look(self, live: list[Watch]) -> None:
        """Compare what is seen with what was done and told."""
        target = self.target
        seen, wait = target.state, target.blocked_for()
        self.assertTrue(0 <= wait <= 60)
        self.assertEqual(bool(wait), bool(target.against()))
        self.assertEqual(target.in_flight, len(live))
        self.assertTrue(0 <= target.errors <= target.samples <= 10)
        self.assertLessEqual(len(target.trials), 2)
        state = "closed"
        for kind, facts in self.told:
            if kind == "breaker" and facts["model"] == "m":
                self.assertEqual(facts["from"], state)
                state = facts["to"]
        self.assertEqual(seen, state)
        if self.health.is_drained("b") or state == "forced_open":
            self.assertGreater(wait, 0)
        elif state == "forced_closed":
            self.assertEqual(wait, 0)

    def recover(self, live: list[Watch]) -> None:
        """Nothing keeps a target out for ever."""
        for watch in live:
            watch.end(CancelledError())
        self.clock.advance(60)
        self.assertEqual(self.target.blocked_for(), 0.0)
        self.target.begin().end(None)
        self.assertEqual((self.target.state, self.target.in_flight), ("closed", 0))
        self.assertEqual(self.health.overrides(), [])
