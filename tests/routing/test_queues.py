"""Queues: order, limits, ageing, and 10,000 random interleavings without a leak."""

from __future__ import annotations

from random import Random

from attrs import define
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.errors import TooManyConcurrent
from lmgateway.routing.queues import ON_TOP, Gate, GateLimits, Gates, Permit
from lmgateway.wire.timers import Wheel

TICK = 0.05
FOREVER = 1e9


@define(eq=False)
class Caller:
    """One who wants a place."""

    priority: int
    since: float
    deferred: Deferred[Permit] | None = None
    permit: Permit | None = None
    failure: Failure | None = None
    left: bool = False

    @property
    def waits(self) -> bool:
        """Whether it has been told nothing yet."""
        return self.permit is None and self.failure is None and not self.left

    def leave(self) -> None:
        """Cancel."""
        assert self.deferred is not None
        self.left = True
        self.deferred.cancel()


ONE = GateLimits(max_concurrent=1)


class House:
    """A gate on a clock of its own, and everybody who ever came."""

    def __init__(self, limits: GateLimits = ONE) -> None:
        self.clock = Clock()
        self.wheel = Wheel(self.clock, TICK)
        self.gate = Gate("g", self.wheel, limits)
        self.callers: list[Caller] = []

    def arrive(self, priority: int = 0, seconds: float = FOREVER) -> Caller:
        """Let one more come in."""
        caller = Caller(priority, self.clock.seconds())
        self.callers.append(caller)
        caller.deferred = Deferred.fromCoroutine(self.gate.enter(priority, seconds))
        caller.deferred.addCallbacks(self.granted, self.refused, (caller,), errbackArgs=(caller,))
        return caller

    def granted(self, permit: Permit, caller: Caller) -> None:
        """Note who has a place."""
        caller.permit = permit

    def refused(self, failure: Failure, caller: Caller) -> None:
        """Note who has none."""
        caller.failure = failure

    @property
    def waiting(self) -> list[Caller]:
        """Who waits, in the order in which they came."""
        return [caller for caller in self.callers if caller.waits]


class GateTests(SynchronousTestCase):
    """Tests for one gate."""

    def test_unlimited(self) -> None:
        """Without a limit nobody waits, and all are counted."""
        house = House(GateLimits())
        callers = [house.arrive() for _ in range(50)]
        self.assertTrue(all(caller.permit for caller in callers))
        self.assertEqual((house.gate.in_flight, house.gate.depth), (50, 50))

    def test_order(self) -> None:
        """Higher first, then in order of arrival."""
        house = House()
        now = [house.arrive(9)]
        queued = [house.arrive(priority) for priority in (0, 5, 0, 5)]
        order = []
        while house.gate.in_flight:
            held = next(c for c in [*now, *queued] if c.permit and c not in order)
            order.append(held)
            assert held.permit is not None
            held.permit.release()
        self.assertEqual([queued.index(c) for c in order[1:]], [1, 3, 0, 2])

    def test_release_is_once(self) -> None:
        """A second release frees nobody else's place."""
        house = House()
        permit = house.arrive().permit
        assert permit is not None
        other = house.arrive()
        permit.release()
        permit.release()
        third = house.arrive()
        self.assertEqual((house.gate.in_flight, other.waits, third.waits), (1, False, True))

    def test_on_top(self) -> None:
        """Strictly higher priorities start on top of a full gate, but not without end."""
        house = House()
        self.assertFalse(house.arrive(0).waits)
        self.assertTrue(house.arrive(0).waits)
        for priority in range(1, ON_TOP + 1):
            self.assertFalse(house.arrive(priority).waits)
        self.assertTrue(house.arrive(100).waits)

    def test_hard_limit(self) -> None:
        """A bulkhead lets nobody on top."""
        house = House(GateLimits(max_concurrent=1, on_top=0))
        house.arrive(0)
        self.assertTrue(house.arrive(100).waits)

    def test_depth(self) -> None:
        """Beyond the depth the refusal says when to come back."""
        house = House(GateLimits(max_concurrent=2, queue_depth=1))
        first = house.arrive().permit
        house.clock.advance(6)
        assert first is not None
        first.release()
        callers = [house.arrive() for _ in range(4)]
        failure = callers[3].failure
        assert failure is not None
        error = failure.value
        assert isinstance(error, TooManyConcurrent)
        self.assertEqual(error.retry_after, 6 * 2 / 2)

    def test_deadline(self) -> None:
        """Who waits too long is told so, and is gone from the queue; the shorter wait holds."""
        house = House(GateLimits(max_concurrent=1, queue_seconds=5))
        house.arrive()
        patient, hasty = house.arrive(), house.arrive(seconds=1)
        house.clock.pump([TICK] * 24)
        assert hasty.failure is not None
        hasty.failure.trap(TooManyConcurrent)
        self.assertTrue(patient.waits)
        house.clock.pump([TICK] * 80)
        self.assertFalse(patient.waits)
        self.assertEqual((house.gate.pending, house.wheel.pending), (0, 0))

    def test_cancel(self) -> None:
        """A waiter that is cancelled leaves the queue at once."""
        house = House()
        first, second, third = (house.arrive() for _ in range(3))
        second.leave()
        assert second.failure is not None and first.permit is not None
        second.failure.trap(CancelledError)
        self.assertEqual(house.gate.pending, 1)
        first.permit.release()
        self.assertIsNotNone(third.permit)

    def test_nothing_starves(self) -> None:
        """An aged waiter goes before all who came later, and lets nobody on top."""
        house = House(GateLimits(max_concurrent=1, ageing_seconds=10, queue_seconds=100))
        first = house.arrive(0)
        low = house.arrive(-100)
        house.clock.advance(9)
        high = house.arrive(0)
        house.clock.advance(2)
        self.assertTrue(house.arrive(1000).waits)
        assert first.permit is not None
        first.permit.release()
        self.assertEqual((low.waits, high.waits), (False, True))

    def test_waiters_that_end_at_once(self) -> None:
        """A thousand who give their place back as they get it do not pile up on the stack."""
        house = House(GateLimits(max_concurrent=1, queue_depth=5000))
        first = house.arrive()
        for _ in range(3000):
            Deferred.fromCoroutine(house.gate.enter(0, FOREVER)).addCallback(Permit.release)
        assert first.permit is not None
        first.permit.release()
        self.assertEqual(house.gate.depth, 0)


class GatesTests(SynchronousTestCase):
    """Tests for gates by name, through reloads."""

    def test_by_name(self) -> None:
        """The same name is the same gate; one that is not named and not used is forgotten."""
        gates = Gates(Wheel(Clock()))
        gate = gates.gate("a")
        gates.settle({"a": GateLimits(max_concurrent=3)})
        self.assertIs(gates.gate("a"), gate)
        self.assertEqual(gate.limits.max_concurrent, 3)
        gates.settle({})
        self.assertIsNone(gates.find("a"))

    def test_one_that_is_in_use_is_kept(self) -> None:
        """It lets its waiters go, and still counts when it is limited again."""
        gates = Gates(Wheel(Clock()))
        gate = gates.gate("a")
        gates.settle({"a": ONE})
        held = [self.successResultOf(Deferred.fromCoroutine(gate.enter(0, 60)))]
        waiter = Deferred.fromCoroutine(gate.enter(0, 60))
        self.assertNoResult(waiter)
        gates.settle({})
        held.append(self.successResultOf(waiter))
        gates.settle({"a": ONE})
        self.assertIs(gates.gate("a"), gate)
        self.assertEqual(gate.in_flight, 2)
        for permit in held:
            permit.release()
        gates.settle({})
        self.assertIsNone(gates.find("a"))


class Interleaving(House):
    """A house in which the rules are checked at every grant."""

    broken: AssertionError | None = None

    def granted(self, permit: Permit, caller: Caller) -> None:
        """Keep what is wrong, which would be lost in the Deferred that calls this."""
        try:
            self.check_grant(caller)
        except AssertionError as error:
            self.broken = error
        super().granted(permit, caller)

    def check_grant(self, caller: Caller) -> None:
        """Check that this one, of all, may start now."""
        limits, now = self.gate.limits, self.clock.seconds()
        held = [c.priority for c in self.holding if c is not caller]
        most = limits.max_concurrent
        assert (
            most is None
            or len(held) < most
            or (len(held) < most + limits.on_top and caller.priority > max(held))
        ), "a limit was exceeded"
        for other in self.waiting:
            if other is not caller:
                self.check_turn(caller, other, aged=now - other.since >= limits.ageing_seconds)

    def check_turn(self, caller: Caller, other: Caller, *, aged: bool) -> None:
        """Nobody is passed by an equal, nor by anybody once it has aged."""
        earlier = self.callers.index(other) < self.callers.index(caller)
        ours = self.clock.seconds() - caller.since >= self.gate.limits.ageing_seconds
        if earlier:
            assert not aged, "an aged waiter was passed"
            assert ours or caller.priority > other.priority, "an equal was passed"
        elif other.priority > caller.priority:
            assert ours, "a higher priority was passed"

    @property
    def holding(self) -> list[Caller]:
        """Who has a place."""
        return [c for c in self.callers if c.permit is not None and c.permit._gate is not None]

    def check(self) -> None:
        """Check what must hold between any two events."""
        gate, limits = self.gate, self.gate.limits
        if self.broken is not None:
            raise self.broken
        assert gate.in_flight == len(self.holding), "a permit leaked"
        assert gate.pending == len(self.waiting), "a waiter leaked"
        assert self.wheel.pending == gate.pending, "a timer leaked"
        if self.waiting:
            assert limits.max_concurrent is not None, "somebody waits for nothing"
            assert gate.in_flight >= limits.max_concurrent, "a place is free, and somebody waits"


class InterleavingTests(SynchronousTestCase):
    """Arrive, finish, cancel, time out, reload: in any order."""

    RUNS = 10_000
    STEPS = 25

    def test_random_interleavings(self) -> None:
        """No leak, no limit exceeded, nobody passed once aged, whatever happens."""
        for seed in range(self.RUNS):
            random = Random(seed)
            house = Interleaving(limits(random))
            for _ in range(self.STEPS):
                step(house, random)
                house.check()
            self.finish(house)

    def finish(self, house: Interleaving) -> None:
        """Let all who still hold a place give it back: everybody gets one, nothing is left."""
        while house.holding:
            for caller in house.holding:
                assert caller.permit is not None
                caller.permit.release()
            house.check()
        self.assertEqual((house.gate.depth, house.wheel.pending), (0, 0))


def limits(random: Random) -> GateLimits:
    """Make up some limits."""
    return GateLimits(
        max_concurrent=random.choice([None, 1, 1, 2, 3]),
        queue_depth=random.choice([0, 2, 8]),
        queue_seconds=random.choice([0.5, 5.0]),
        ageing_seconds=2.0,
        on_top=random.choice([0, 1, ON_TOP]),
    )


def step(house: Interleaving, random: Random) -> None:
    """Let one thing happen."""
    holding, waiting = house.holding, house.waiting
    match random.choice("aaaaffftttcr"):
        case "a":
            house.arrive(random.choice([-5, 0, 0, 0, 5, 9]))
        case "f" if holding:
            permit = random.choice(holding).permit
            assert permit is not None
            permit.release()
            if random.random() < 0.2:
                permit.release()
        case "c" if waiting:
            random.choice(waiting).leave()
        case "t":
            house.clock.advance(random.choice([0.1, 0.7, 2.5]))
        case "r":
            house.gate.limit(limits(random))
