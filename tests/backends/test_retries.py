"""The retry budget: how much load retries may add."""

from __future__ import annotations

from collections import deque
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.backends.retries import FLOOR, SECONDS, RetryBudget


class RetryTests(SynchronousTestCase):
    """Tests for the arithmetic."""

    def test_a_quiet_gateway(self) -> None:
        """A few retries are always allowed, and again when those are forgotten."""
        budget = RetryBudget()
        budget.note(0.0)
        self.assertEqual([budget.take(0.5) for _ in range(FLOOR + 1)], [True] * FLOOR + [False])
        self.assertFalse(budget.take(SECONDS - 0.1))
        self.assertTrue(budget.take(SECONDS + 0.1))

    def test_a_fifth(self) -> None:
        """Of a hundred attempts twenty may be retried."""
        budget = RetryBudget(0.2)
        for _ in range(100):
            budget.note(3.0)
        taken = 0
        while budget.take(3.0):
            budget.note(3.0)
            taken += 1
        self.assertEqual(taken, 20)

    def test_off(self) -> None:
        """With a ratio of 0 there are none at all."""
        budget = RetryBudget(0.0)
        budget.note(0.0)
        self.assertFalse(budget.take(0.0))

    def test_a_long_silence(self) -> None:
        """What is long ago is forgotten, however long."""
        budget = RetryBudget()
        for _ in range(50):
            budget.note(1.0)
        budget.take(1.0)
        budget.note(1e9)
        self.assertEqual((budget.every, budget.again), (1, 0))

    def test_any_window(self) -> None:
        """In every window retries are at most a fifth of the other attempts, or the floor."""
        for seed in range(30):
            random = Random(seed)
            budget = RetryBudget(0.2)
            now, first, again = 0.0, deque[float](), deque[float]()
            for _ in range(600):
                now += random.choice([0, 0, 0.01, 0.3, 4]) * random.random()
                if random.random() < 0.5 and budget.take(now):
                    again.append(now)
                else:
                    first.append(now)
                budget.note(now)
                since = int(now) - SECONDS + 1
                for times in (first, again):
                    while times and times[0] < since:
                        times.popleft()
                if again and again[-1] == now:
                    self.assertLessEqual(len(again), max(FLOOR, 0.2 * len(first)))
                self.assertEqual((budget.every, budget.again), (len(first + again), len(again)))
