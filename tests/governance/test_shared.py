"""Tests for limits and budgets that several processes keep together: the same as one's."""

from __future__ import annotations

import os
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.errors import BudgetExhausted
from lmgateway.governance.buckets import Rate
from lmgateway.governance.budgets import Budget, Terms, reserve
from lmgateway.governance.periods import Period
from lmgateway.governance.purses import Purse
from lmgateway.governance.shared import SHAPES, SharedCounters
from lmgateway.governance.shared import SharedScope as Scope
from lmgateway.governance.shared_money import SharedPurses, SharedTally
from lmgateway.governance.tokens import Ask
from lmgateway.principal import Allowance
from lmgateway.stores.slate import Slate

DAY = 86_400.0


class SharedTests(SynchronousTestCase):
    """Tests for what two processes see of the same books."""

    def setUp(self) -> None:
        """Open the books twice."""
        self.now = 100.0
        first = Slate(SHAPES)
        self.slates = (first, Slate(SHAPES, os.dup(first.file), 1))
        for slate in self.slates:
            self.addCleanup(slate.close)
        self.counters = [SharedCounters(slate) for slate in self.slates]

    def check_meter(self, *, sliding: bool) -> None:
        """Use a meter from two processes in turns, beside one that is of one process."""
        random, rate = Random(3), Rate.of(120, sliding=sliding)
        plain = rate.bucket()
        both = [each.get("client", "a").count("requests", rate) for each in self.counters]
        for _ in range(5000):
            self.now += random.expovariate(3)
            one = random.choice(both)
            wait = plain.wait(rate, 1, self.now)
            self.assertAlmostEqual(one.wait(rate, 1, self.now), wait, places=6)
            left, reset = one.stand(rate, self.now)
            self.assertEqual(left, plain.stand(rate, self.now)[0])
            self.assertAlmostEqual(reset, plain.stand(rate, self.now)[1], places=6)
            what = random.random()
            for meter in (plain, one):
                if what < 0.5 and not wait:
                    meter.take(1, self.now)
                elif what < 0.6:
                    meter.give_back(rate, 1, self.now - 0.5, self.now)
                elif what < 0.7:
                    meter.held += 2
                elif meter.held:
                    meter.held -= 2

    def test_a_bucket_is_filled_by_both(self) -> None:
        """A token bucket that two processes use is as full as if one had done it all."""
        self.check_meter(sliding=False)

    def test_a_window_is_filled_by_both(self) -> None:
        """So is a sliding window."""
        self.check_meter(sliding=True)

    def test_a_clock_a_little_behind_lets_nothing_flow_off_twice(self) -> None:
        """Who is late sees what the other has seen, and no more flows off for it."""
        rate = Rate.of(60)
        ours, theirs = (each.get("client", "a").count("requests", rate) for each in self.counters)
        ours.level(rate, 100.0)
        ours.take(20, 100.0)
        ours.level(rate, 110.0)
        theirs.level(rate, 109.0)
        self.assertEqual(ours.level(rate, 110.0), 10.0)

    def test_what_one_holds_the_other_does_not_give_away(self) -> None:
        """Requests at once are counted in sum, and those of a dead process not any more."""
        allowed = Allowance(concurrent=2)
        ours, theirs = (
            Scope("client", "a", each.get("client", "a"), allowed, sliding=False)
            for each in self.counters
        )
        nothing = Ask(0, 0)
        ours.take(nothing, self.now)
        theirs.take(nothing, self.now)
        self.assertFalse(ours.admits(nothing, self.now))
        self.slates[0].release(1)
        self.assertTrue(ours.admits(nothing, self.now))
        ours.release(nothing, 0, 0, self.now)
        self.assertEqual(ours.counter.concurrent, 0)

    def purses(self) -> list[Purse]:
        """Open a purse twice."""
        return [SharedPurses(slate).get(("b", "")) for slate in self.slates]

    def test_a_purse_is_emptied_by_both(self) -> None:
        """Whatever the period, what two processes spend is as if one had done it all."""
        for text in ("day", "month", "total", "rolling:1h", "rolling:5m"):
            random, period = Random(5), Period.of(text)
            other = Period.of(text)
            plain, wall = Purse(), 1_700_000_000.0
            both = [SharedPurses(slate).get((text, "")) for slate in self.slates]
            for _ in range(2000):
                wall += random.expovariate(1 / 600)
                number = random.randrange(2)
                plain.turn(period, wall)
                both[number].turn((period, other)[number], wall)
                amount = random.randrange(5)
                plain.spend(amount, period, wall)
                both[number].spend(amount, period, wall)
                seen = both[number]
                self.assertEqual((seen.spent, seen.end), (plain.spent, plain.end), text)
                self.assertEqual(seen.free_at(3, period), plain.free_at(3, period))

    def test_money_is_reserved_once(self) -> None:
        """What is set aside for one is not there for the other, until its process is dead."""
        terms = Terms(name="b", scope="global", period=Period.of("day"), limit=10)
        ours, theirs = (Budget(terms, "", purse) for purse in self.purses())
        reserve([theirs], 7, DAY)
        self.assertRaises(BudgetExhausted, reserve, [ours], 4, DAY)
        self.assertEqual(reserve([ours], 3, DAY), 3)
        self.slates[0].release(1)
        self.assertEqual(ours.purse.reserved, 3)
        ours.settle(3, 2, DAY)
        self.assertEqual((theirs.purse.spent, theirs.purse.reserved), (2, 0))

    def test_a_period_that_changes_is_changed_once(self) -> None:
        """A reload's other period keeps what it says it keeps, whoever comes to it when."""
        ours, theirs = self.purses()
        rolling, day = Period.of("rolling:1h"), Period.of("day")
        for purse in (ours, theirs):
            purse.turn(rolling, 10 * DAY + 7200)
            purse.spend(5, rolling, 10 * DAY + 7200)
        ours.turn(day, 10 * DAY + 7300)
        theirs.turn(day, 10 * DAY + 7300)
        self.assertEqual((ours.spent, theirs.spent), (10, 10))
        theirs.turn(day, 11 * DAY)
        ours.turn(day, 11 * DAY)
        self.assertEqual((ours.spent, theirs.spent), (0, 0))

    def test_a_budget_that_is_gone_begins_anew(self) -> None:
        """What was spent of it is forgotten; what is set aside is settled all the same."""
        purses = SharedPurses(self.slates[0])
        purse, day = purses.get(("b", "")), Period.of("day")
        purse.turn(day, DAY)
        purse.spend(5, day, DAY)
        purse.reserved += 2
        purses.keep_only(["other"])
        again = purses.get(("b", ""))
        again.turn(day, DAY)
        self.assertEqual((again.spent, again.reserved), (0, 2))

    def test_sums_and_requests_are_of_all(self) -> None:
        """Who spent how much, and how many requests there are, is added up."""
        ours, theirs = (SharedTally(slate, main=False) for slate in self.slates)
        ours.in_flight += 1
        theirs.in_flight += 1
        ours.spending.clients["a"] = ours.spending.clients.get("a", 0) + 3
        theirs.spending.clients["a"] = theirs.spending.clients.get("a", 0) + 4
        self.assertEqual((ours.in_flight, ours.spending.clients.get("a", 0)), (2, 7))
        self.slates[0].release(1)
        self.assertEqual(ours.in_flight, 1)
