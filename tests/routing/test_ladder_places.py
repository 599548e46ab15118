"""Climbs, their permits and their breakers: everything taken is given back, once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any, TypeAlias

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.backend_errors import BackendFailed, BackendLimited, Rejected
from lmgateway.backends.base import Call, Reply
from lmgateway.backends.canned import canned
from lmgateway.backends.health import Health
from lmgateway.chat import ChatRequest, Overrides
from lmgateway.dialects.openai import OPENAI
from lmgateway.errors import GatewayError, LadderExhausted, StreamInterrupted, TooManyConcurrent
from lmgateway.exchange import Attempt, Exchange, Unaccounted
from lmgateway.routing.balance import Target
from lmgateway.routing.ladder import Climber, Step, Tier
from lmgateway.routing.queues import Gate, GateLimits
from lmgateway.wire.timers import Wheel

BODY = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'

Ending: TypeAlias = Deferred[GatewayError | None]
"""How a relay ends: with nothing, or with an error."""


@define(eq=False)
class Scripted:
    """A backend that answers when it is told to."""

    name: str
    dialect: str = "openai"
    calls: list[Deferred[None]] = field(factory=list)
    models: list[str] = field(factory=list)
    open_now: int = 0

    @asynccontextmanager
    async def open(self, call: Call) -> AsyncIterator[Reply]:
        """Wait for the test's word; fail or answer."""
        self.models.append(call.overrides.model)
        word: Deferred[None] = Deferred()
        self.calls.append(word)
        self.open_now += 1
        try:
            await word
            yield canned(call.request, "A fine answer.")
        finally:
            self.open_now -= 1

    async def probe(self) -> int:
        """Be well."""
        return 200


@define(eq=False)
class Counted(Unaccounted):
    """An account that counts."""

    open: int = 0

    def reserve(self, attempt: Attempt, request: ChatRequest) -> None:
        """Count one more."""
        self.open += 1

    def settle(self, attempt: Attempt) -> None:
        """Count one less."""
        self.open -= 1


class LadderCase(SynchronousTestCase):
    """Has two tiers, of two targets and of one, on a clock of its own."""

    def setUp(self) -> None:
        """Build the ladder."""
        self.clock = Clock()
        self.wheel = Wheel(self.clock)
        self.health = Health(self.clock.seconds)
        self.account = Counted()
        self.everyone: list[Deferred[Any]] = []
        self.queue = Gate("low", self.wheel, GateLimits(max_concurrent=2, queue_depth=2))
        bulkhead = GateLimits(max_concurrent=1, queue_depth=1, queue_seconds=5, on_top=0)
        self.bulkheads = {name: Gate(name, self.wheel, bulkhead) for name in "abc"}
        self.backends = {name: Scripted(name) for name in "abc"}
        self.climber = Climber(wheel=self.wheel, random=Random(1), retry_seconds=0.1)
        self.steps = [
            self.step(0, "low", self.target("a", "m1"), self.target("b", "m2"), queue=self.queue),
            self.step(1, "high", self.target("c", "m3")),
        ]

    def tearDown(self) -> None:
        """Leave nothing to the garbage collector, which ends coroutines in any order."""
        self.stop()
        self.assert_settled()

    def stop(self) -> None:
        """Cancel all that still goes on."""
        for done in self.everyone:
            done.addErrback(_expected)
            done.cancel()

    def target(self, name: str, model: str) -> Target:
        """Make one target."""
        return Target(
            backend=self.backends[name],
            model=model,
            health=self.health.target(name, model),
            bulkhead=self.bulkheads[name],
        )

    def step(self, index: int, name: str, *targets: Target, queue: Gate | None = None) -> Step:
        """Make one step."""
        first = targets[0]
        tier = Tier(name=name, index=index, backend=first.backend, model=first.model,
                    queue=queue, targets=targets)  # fmt: skip
        return Step(tier=tier, overrides=Overrides(model=first.model))

    def exchange(self) -> Exchange:
        """Make an exchange that begins now."""
        now = self.clock.seconds()
        made = Exchange(id="i", surface="openai", path="/", peer="p", started=now, wall=0.0)
        made.request = OPENAI.parse(BODY, "chat")
        made.account = self.account
        return made

    def climb(self, exchange: Exchange, relay: Ending | None = None) -> Deferred[Any]:
        """Climb, and relay the reply for as long as the test says."""

        async def climb() -> str:
            async with self.climber.climb(self.steps, exchange):
                broken = None if relay is None else await relay
                if broken is not None:
                    raise broken
            return exchange.backend

        done = Deferred.fromCoroutine(climb())
        self.everyone.append(done)
        return done

    def assert_settled(self) -> None:
        """Nothing may be left of what ended."""
        gates = [self.queue, *self.bulkheads.values()]
        self.assertEqual([gate.depth for gate in gates], [0] * 4)
        self.assertEqual([b.open_now for b in self.backends.values()], [0] * 3)
        in_flight = [t.in_flight for s in self.steps for t in map(_health, s.tier.targets)]
        self.assertEqual((in_flight, self.account.open), ([0] * 3, 0))


def _expected(failure: Failure) -> None:
    failure.trap(GatewayError, CancelledError)


def _health(target: Target) -> Any:
    return target.health


class PlanTests(LadderCase):
    """Tests for which target is tried, and what is told when none can be."""

    def test_targets_then_tiers(self) -> None:
        """The tier's other targets come before the next tier, each with its own model."""
        exchange = self.exchange()
        done = self.climb(exchange)
        self.backends["a"].calls[0].errback(BackendFailed())
        self.backends["b"].calls[0].errback(BackendFailed())
        self.backends["c"].calls[0].callback(None)
        self.assertEqual(self.successResultOf(done), "c")
        self.assertEqual([a.model for a in exchange.attempts], ["m1", "m2", "m3"])
        self.assertEqual(self.backends["b"].models, ["m2"])
        self.assert_settled()

    def test_a_full_queue_is_told_at_once(self) -> None:
        """The tier was chosen: no dearer one is taken unasked."""
        for _ in range(4):
            self.climb(self.exchange())
        failed = self.climb(self.exchange())
        self.failureResultOf(failed, TooManyConcurrent)
        self.assertEqual(self.backends["c"].calls, [])

    def test_a_full_bulkhead_is_passed_by(self) -> None:
        """The next target takes the call when a backend's queue is full."""
        self.queue.limit(GateLimits())
        for _ in range(3):
            self.climb(self.exchange())
        self.assertEqual([len(b.calls) for b in self.backends.values()], [1, 1, 0])

    def test_bulkheads_that_time_out(self) -> None:
        """A queue is waited in once per climb; then it is a 429 if nothing else was tried."""
        self.queue.limit(GateLimits())
        for _ in range(6):
            self.climb(self.exchange())
        self.assertEqual([len(b.calls) for b in self.backends.values()], [1, 1, 1])
        failed = self.climb(self.exchange())
        self.failureResultOf(failed, TooManyConcurrent)

    def open_breakers(self, *names: str) -> None:
        """Make targets bad."""
        for step in self.steps:
            for target in step.tier.targets:
                if target.backend.name in names:
                    for _ in range(3):
                        _health(target).begin().end(BackendFailed())

    def test_open_breakers_are_passed_by(self) -> None:
        """No attempt is made at a target that is known to be bad."""
        self.open_breakers("a", "b")
        exchange = self.exchange()
        done = self.climb(exchange)
        self.backends["c"].calls[0].callback(None)
        self.assertEqual(self.successResultOf(done), "c")
        self.assertEqual(len(exchange.attempts), 1)

    def test_all_open(self) -> None:
        """It is a 503 that says when the first may be tried again."""
        self.open_breakers("a")
        self.clock.advance(3)
        self.open_breakers("b", "c")
        error = self.failureResultOf(self.climb(self.exchange()), LadderExhausted).value
        self.assertEqual(error.retry_after, 7.0)

    def test_one_trial(self) -> None:
        """When the time is over one request tries the target, and only once; others pass by."""
        self.open_breakers("a")
        self.clock.advance(10)
        self.climb(self.exchange())
        self.climb(self.exchange())
        self.assertEqual([len(b.calls) for b in self.backends.values()], [1, 1, 0])
        self.backends["a"].calls[0].callback(None)
        self.climb(self.exchange())
        self.assertEqual(len(self.backends["a"].calls), 2)

    def test_opened_while_waiting(self) -> None:
        """Who waited for a place at a target that went bad meanwhile passes it by."""
        failed = self.climb(self.exchange())
        self.climb(self.exchange())
        self.assertEqual([len(b.calls) for b in self.backends.values()], [1, 0, 0])
        self.open_breakers("a")
        self.backends["a"].calls[0].errback(Rejected())
        self.failureResultOf(failed, Rejected)
        self.assertEqual([len(b.calls) for b in self.backends.values()], [1, 1, 0])

    def test_limits_everywhere(self) -> None:
        """If all were limited the shortest wait is told."""
        failed = self.climb(self.exchange())
        for name, wait in (("a", 4), ("b", 2), ("c", 3)):
            self.backends[name].calls[0].errback(BackendLimited(retry_after=wait))
        error = self.failureResultOf(failed, BackendLimited).value
        self.assertEqual((error.retry_after, len(error.attempts)), (2, 3))
        self.assert_settled()


class LeakTests(LadderCase):
    """Anything may end at any point."""

    def test_random_ends(self) -> None:
        """Whatever fails, breaks off or is cancelled, in whatever order: nothing is left."""
        for seed in range(400):
            self.setUp()
            self.run_one(Random(seed))
            self.assert_settled()

    def run_one(self, random: Random) -> None:
        """Let some exchanges come and go."""
        live: list[tuple[Deferred[Any], Ending]] = []
        for _ in range(40):
            self.act(random, live)
        self.stop()

    def act(self, random: Random, live: list[tuple[Deferred[Any], Ending]]) -> None:
        """Let one thing happen."""
        asked = [call for b in self.backends.values() for call in b.calls if not call.called]
        match random.choice("nnnaaaabrrct"):
            case "n":
                relay: Ending = Deferred()
                done = self.climb(self.exchange(), relay)
                live.append((done, relay))
            case "a" if asked:
                random.choice(asked).callback(None)
            case "b" if asked:
                errors = [BackendFailed(), BackendLimited(retry_after=20), Rejected()]
                random.choice(asked).errback(random.choice(errors))
            case "r" if live:
                _, relay = live.pop(random.randrange(len(live)))
                relay.callback(None if random.random() < 0.7 else StreamInterrupted())
            case "c" if live:
                live.pop(random.randrange(len(live)))[0].cancel()
            case "t":
                self.clock.pump([0.5] * random.choice([1, 12]))
