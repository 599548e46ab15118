"""Balance: in what order a tier's targets are tried."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any, cast

import msgspec
from attrs import frozen
from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.backends.base import Backend
from lmgateway.backends.health import Health
from lmgateway.dialects.openai import OPENAI
from lmgateway.exchange import Exchange
from lmgateway.principal import Principal
from lmgateway.routing.balance import Balance, Strategy, Target
from lmgateway.routing.queues import Gate, GateLimits
from lmgateway.wire.timers import Wheel


@frozen
class Named:
    """As much of a backend as balancing looks at."""

    name: str


def exchange(text: str = "hi", *more: str, client: str = "c", stream: bool = False) -> Exchange:
    """Make an exchange of a conversation."""
    roles = ("user", "assistant")
    turns = [{"role": roles[n % 2], "content": t} for n, t in enumerate([text, *more])]
    messages = [{"role": "system", "content": "Be brief."}, *turns]
    body = json({"model": "m", "messages": messages, "stream": stream})
    made = Exchange(id="i", surface="openai", path="/", peer="p", started=0.0, wall=0.0)
    made.request = OPENAI.parse(body, "chat")
    made.principal = Principal(name=client, profile="default")
    return made


def json(document: Any) -> bytes:
    """Write a document."""
    return msgspec.json.encode(document)


class BalanceTests(SynchronousTestCase):
    """Tests for the strategies."""

    def setUp(self) -> None:
        """Make three targets."""
        self.clock = Clock()
        self.health = Health(self.clock.seconds)
        self.targets = tuple(
            Target(
                backend=cast(Backend, Named(name)), model="m", health=self.health.target(name, "m")
            )
            for name in "abc"
        )

    def balance(self, strategy: Strategy, *, sticky: bool = False, **each: Any) -> Balance:
        """Make a balance; *each* gives members of the targets in their order."""
        for key, values in each.items():
            self.targets = tuple(
                replace(target, **{key: value})
                for target, value in zip(self.targets, values, strict=True)
            )
        return Balance(
            targets=self.targets,
            strategy=strategy,
            sticky=sticky,
            random=Random(1),
            now=self.clock.seconds,
        )

    def order(self, balance: Balance, of: Exchange | None = None) -> str:
        """Give the names of the targets, the first to try first."""
        return "".join(target.backend.name for target in balance.order(of or exchange()))

    def firsts(
        self, balance: Balance, count: int, of: Callable[[int], Exchange] = lambda n: exchange()
    ) -> Counter[str]:
        """Count who is first."""
        return Counter(self.order(balance, of(n))[0] for n in range(count))

    def test_priority(self) -> None:
        """As written, always."""
        balance = self.balance("priority")
        self.assertEqual({self.order(balance) for _ in range(20)}, {"abc"})

    def test_round_robin(self) -> None:
        """In turn, the others following in their order."""
        balance = self.balance("round_robin")
        self.assertEqual([self.order(balance) for _ in range(4)], ["abc", "bca", "cab", "abc"])

    def test_weighted(self) -> None:
        """In proportion; one without weight is only for when the others fail."""
        balance = self.balance("weighted", weight=(3, 1, 0))
        counts = self.firsts(balance, 4000)
        self.assertLess(abs(counts["a"] / 4000 - 0.75), 0.03)
        self.assertEqual(counts["c"], 0)
        self.assertEqual({len(self.order(balance)) for _ in range(20)}, {3})

    def test_least_busy(self) -> None:
        """By attempts under way, for their weight."""
        balance = self.balance("least_busy", weight=(1, 1, 4))
        for name, count in zip("abc", (1, 2, 3), strict=True):
            for _ in range(count):
                self.health.target(name, "m").begin()
        self.assertEqual(self.order(balance), "cab")

    def test_cost(self) -> None:
        """The cheapest first, then those without a price."""
        balance = self.balance("cost", price=(2.0, None, 0.5))
        self.assertEqual(self.order(balance), "cab")
        self.assertEqual(self.order(self.balance("cost", price=(None, None, None))), "abc")

    def paced(self, *milliseconds: float) -> None:
        """Make each target's times known."""
        for name, each in zip("abc", milliseconds, strict=True):
            for _ in range(5):
                self.health.target(name, "m").first_output.add(each / 1000, self.clock.seconds())

    def test_latency(self) -> None:
        """Those within a tenth of the best share the work; the others are for failover."""
        self.paced(100, 105, 300)
        balance = self.balance("latency")
        counts = self.firsts(balance, 400, lambda n: exchange(stream=True))
        self.assertEqual(counts["c"], 0)
        self.assertGreater(min(counts["a"], counts["b"]), 100)

    def test_latency_of_whole_answers_is_apart(self) -> None:
        """What streams have shown says nothing of whole answers: all are unknown."""
        self.paced(100, 105, 300)
        counts = self.firsts(self.balance("latency"), 400)
        self.assertGreater(min(counts.values()), 80)

    def test_latency_is_tried_anew(self) -> None:
        """A target of which nothing was heard for long takes its share again."""
        self.paced(100, 300, 300)
        self.clock.advance(25)
        for _ in range(3):
            self.health.target("a", "m").first_output.add(0.1, self.clock.seconds())
        self.clock.advance(10)
        counts = self.firsts(self.balance("latency"), 300, lambda n: exchange(stream=True))
        self.assertGreater(min(counts["b"], counts["c"]), 50)

    def test_sticky(self) -> None:
        """Each turn of a conversation goes to the same target; weights count."""
        balance = self.balance("weighted", sticky=True, weight=(1, 2, 1))
        for number in range(20):
            turns = [exchange(f"q{number}"), exchange(f"q{number}", "answer", "and then?")]
            self.assertEqual(len({self.order(balance, turn)[0] for turn in turns * 5}), 1)
        counts = self.firsts(balance, 2000, lambda n: exchange(f"question {n}"))
        self.assertLess(abs(counts["b"] / 2000 - 0.5), 0.05)
        clients = self.firsts(balance, 200, lambda n: exchange(client=f"c{n}"))
        self.assertEqual(len(clients), 3)

    def test_one_target_less_moves_only_its_own(self) -> None:
        """The other conversations stay where they are."""
        balance = self.balance("round_robin", sticky=True)
        before = [self.order(balance, exchange(f"q{n}"))[0] for n in range(200)]
        self.targets = self.targets[:2]
        fewer = self.balance("round_robin", sticky=True)
        after = [self.order(fewer, exchange(f"q{n}"))[0] for n in range(200)]
        self.assertEqual([a for a, b in zip(after, before, strict=True) if b != "c"],
                         [b for b in before if b != "c"])  # fmt: skip

    def test_full_bulkheads_go_last(self) -> None:
        """A target whose backend has no place is behind those that have."""
        gate = Gate("a", Wheel(self.clock), GateLimits(max_concurrent=1))
        self.successResultOf(Deferred.fromCoroutine(gate.enter(0, 1)))
        balance = self.balance("priority", bulkhead=(gate, None, None))
        self.assertEqual(self.order(balance), "bca")

    def test_peek(self) -> None:
        """What is shown is what is done next, and showing it changes nothing."""
        for strategy in ("weighted", "round_robin", "latency"):
            balance = self.balance(strategy)
            for _ in range(20):
                shown = [balance.peek(exchange()), balance.peek(exchange())]
                self.assertEqual(shown, [balance.order(exchange())] * 2)
