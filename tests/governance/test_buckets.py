"""The arithmetic of token buckets and sliding windows."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.governance.buckets import SLACK, WINDOW, Bucket, Crowd, Rate, Window

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For machines that are busy with something else."""

SLIDING = Rate.of(5, sliding=True)


def asked(bucket: Bucket | Window, rate: Rate, now: float, amount: int = 1) -> bool:
    """Take *amount* if it fits; tell whether it did."""
    if bucket.wait(rate, amount, now):
        return False
    bucket.take(amount, now)
    return True


class RateTests(SynchronousTestCase):
    """What a configured number means."""

    def test_half_a_minute_at_once(self) -> None:
        """The capacity is half of the rate, rounded up, and never less than one."""
        told = [(rpm, Rate.of(rpm).capacity) for rpm in (1, 3, 4, 60)]
        self.assertEqual(told, [(1, 1), (3, 2), (4, 2), (60, 30)])

    def test_burst_overrides(self) -> None:
        """A configured burst is the capacity."""
        self.assertEqual(Rate.of(60, 10).capacity, 10)


class BucketTests(SynchronousTestCase):
    """What fits, and when."""

    def test_examples_of_the_reference(self) -> None:
        """60 a minute: 30, then one a second; 4: two, then one in 15 s; 1: one, then 60 s."""
        for rpm, burst, wait in ((60, 30, 1), (4, 2, 15), (1, 1, 60)):
            bucket, rate = Bucket(), Rate.of(rpm)
            self.assertEqual([asked(bucket, rate, 5) for _ in range(burst)], [True] * burst)
            self.assertEqual(bucket.wait(rate, 1, 5), wait)
            self.assertTrue(bucket.wait(rate, 1, 5 + wait - 0.1))
            self.assertTrue(asked(bucket, rate, 5 + wait))
            self.assertFalse(asked(bucket, rate, 5 + wait))

    def test_L4_3_configured_burst(self) -> None:
        """60 a minute with a burst of ten is ten, a refusal, and one more a second later."""
        bucket, rate = Bucket(), Rate.of(60, 10)
        self.assertEqual([asked(bucket, rate, 0) for _ in range(11)], [True] * 10 + [False])
        self.assertTrue(asked(bucket, rate, 1.0))

    def test_refusals_take_nothing(self) -> None:
        """However often one is refused, the wait told at first is enough."""
        bucket, rate = Bucket(), Rate.of(4)
        for _ in range(2):
            asked(bucket, rate, 0)
        for tenth in range(149):
            self.assertFalse(asked(bucket, rate, tenth / 10))
        self.assertTrue(asked(bucket, rate, 15))

    def test_a_clock_set_back_gives_nothing_away(self) -> None:
        """Time that comes a second time does not refill a second time."""
        bucket, rate = Bucket(), Rate.of(60, 1)
        self.assertTrue(asked(bucket, rate, 100))
        self.assertFalse(asked(bucket, rate, 50))
        self.assertFalse(asked(bucket, rate, 50.5))
        self.assertTrue(asked(bucket, rate, 51))

    def test_a_new_rate_holds_at_once(self) -> None:
        """What was used counts under it, but nobody waits for more than all of it."""
        bucket = Bucket()
        for _ in range(30):
            asked(bucket, Rate.of(60), 0)
        self.assertEqual(bucket.wait(Rate.of(4), 1, 0), 15)
        self.assertEqual(bucket.remaining(Rate.of(600), 0), 298)

    def test_what_is_held_does_not_flow_off(self) -> None:
        """It becomes used when it is settled."""
        bucket, rate = Bucket(), Rate.of(60, 60)
        bucket.held += 50
        self.assertEqual(bucket.remaining(rate, 1000), 10)
        bucket.held -= 50
        bucket.take(20, 1000)
        self.assertEqual(bucket.remaining(rate, 1000), 40)

    def test_a_refund_gives_back_what_has_not_flowed_off(self) -> None:
        """At once all of it; later, only the rest."""
        bucket, rate = Bucket(), Rate.of(60)
        asked(bucket, rate, 0)
        bucket.give_back(rate, 1, 0, 0)
        self.assertEqual(bucket.level(rate, 0), 0)
        for _ in range(10):
            asked(bucket, rate, 0)
        bucket.give_back(rate, 10, 0, 4)
        self.assertEqual(bucket.level(rate, 4), 0)
        for _ in range(10):
            asked(bucket, rate, 4)
        bucket.give_back(rate, 10, 0, 14)
        self.assertEqual(bucket.level(rate, 14), 0)

    @patient
    @given(
        rpm=st.integers(1, 100_000),
        burst=st.none() | st.integers(1, 1000),
        steps=st.lists(st.tuples(st.floats(0, 30), st.integers(1, 3)), max_size=60),
    )
    def test_never_more_than_burst_and_rate(
        self, rpm: int, burst: int | None, steps: list[tuple[float, int]]
    ) -> None:
        """L4.2: in any window no more is let in than the burst and what flowed off meanwhile."""
        bucket, rate, now = Bucket(), Rate.of(rpm, burst), 0.0
        admitted: list[tuple[float, int]] = []
        for pause, amount in steps:
            now += pause
            if asked(bucket, rate, now, amount):
                admitted.append((now, amount))
        for number, (start, _) in enumerate(admitted):
            total = 0
            for end, amount in admitted[number:]:
                total += amount
                self.assertLessEqual(total, rate.capacity + rate.flow * (end - start) + 2 * SLACK)

    @patient
    @given(
        rpm=st.integers(1, 6000),
        steps=st.lists(
            st.tuples(st.floats(0, 3), st.floats(0, 10), st.booleans()), min_size=1, max_size=40
        ),
    )
    def test_refunds_never_give_a_burst_twice(
        self, rpm: int, steps: list[tuple[float, float, bool]]
    ) -> None:
        """What was refused elsewhere, however late, lets nobody else have more."""
        bucket, rate = Bucket(), Rate.of(rpm, 3)
        events: list[tuple[float, int, str]] = []
        start = 0.0
        for number, (pause, delay, refund) in enumerate(steps):
            start += pause
            events.append((start, number, "ask"))
            if refund:
                events.append((start + delay, number, "refund"))
        taken: dict[int, float] = {}
        for now, number, what in sorted(events):
            if what == "ask" and asked(bucket, rate, now):
                taken[number] = now
            elif what == "refund" and number in taken:
                bucket.give_back(rate, 1, taken.pop(number), now)
        times = sorted(taken.values())
        for first, begin in enumerate(times):
            for last, end in enumerate(times[first:], 1):
                self.assertLessEqual(last, 3 + rate.flow * (end - begin) + 2 * SLACK)

    @patient
    @given(rpm=st.integers(1, 6000), start=st.floats(0, 2e9), burst=st.integers(1, 50))
    def test_L4_4_waits_are_true(self, rpm: int, start: float, burst: int) -> None:
        """After the wait that was told, rounded up to a second, a retry succeeds."""
        bucket, rate = Bucket(), Rate.of(rpm, burst)
        while asked(bucket, rate, start):
            pass
        wait = bucket.wait(rate, 1, start)
        self.assertGreater(wait, 0)
        self.assertEqual(bucket.wait(rate, 1, start + -(-wait // 1)), 0)


class WindowTests(SynchronousTestCase):
    """What fits into a minute."""

    def test_all_at_once(self) -> None:
        """The whole limit, then nothing for a minute, then the whole limit again."""
        window = Window()
        self.assertEqual([asked(window, SLIDING, 0.5) for _ in range(6)], [True] * 5 + [False])
        self.assertEqual(window.wait(SLIDING, 1, 0.5), 60.5)
        self.assertFalse(asked(window, SLIDING, 60.9))
        self.assertEqual([asked(window, SLIDING, 61) for _ in range(6)], [True] * 5 + [False])

    def test_room_comes_back_as_it_was_used(self) -> None:
        """Each use is forgotten in its turn."""
        window = Window()
        for second in (0, 10, 20, 30, 40):
            self.assertTrue(asked(window, SLIDING, second))
        self.assertEqual(window.wait(SLIDING, 1, 45), 16)
        self.assertEqual(window.wait(SLIDING, 3, 45), 36)
        self.assertTrue(asked(window, SLIDING, 61))
        self.assertFalse(asked(window, SLIDING, 61))
        self.assertEqual(window.reset(SLIDING, 61), 61)

    def test_a_wait_that_was_told_is_true(self) -> None:
        """Just after it there is room."""
        window = Window()
        for tenth in range(50):
            asked(window, SLIDING, tenth / 10)
        wait = window.wait(SLIDING, 2, 5)
        self.assertTrue(window.wait(SLIDING, 2, 5 + wait - 0.1))
        self.assertTrue(asked(window, SLIDING, 5 + wait, 2))

    def test_what_is_held_does_not_go(self) -> None:
        """It becomes used when it is settled."""
        window = Window()
        window.held = 5
        self.assertEqual(window.remaining(SLIDING, 1000), 0)
        self.assertGreaterEqual(window.wait(SLIDING, 1, 1000), 1)
        window.held = 0
        window.take(2, 1000)
        self.assertEqual(window.remaining(SLIDING, 1000), 3)

    def test_refunds(self) -> None:
        """What is given back was never used; what is forgotten is not given back twice."""
        window = Window()
        for second in (0, 30):
            asked(window, SLIDING, second)
        window.give_back(SLIDING, 1, 0, 40)
        self.assertEqual(window.level(SLIDING, 40), 1)
        window.give_back(SLIDING, 1, 0, 50)
        self.assertEqual(window.level(SLIDING, 50), 1)
        window.give_back(SLIDING, 1, 30, 200)
        self.assertEqual(window.level(SLIDING, 200), 0)

    def test_a_clock_set_back_gives_nothing_away(self) -> None:
        """A minute has to pass by the clock as it is now."""
        window = Window()
        for _ in range(5):
            asked(window, SLIDING, 1000)
        self.assertFalse(asked(window, SLIDING, 10))
        self.assertFalse(asked(window, SLIDING, 69))
        self.assertTrue(asked(window, SLIDING, 71))

    def test_a_new_rate_holds_at_once(self) -> None:
        """What was used counts under it."""
        window = Window()
        for _ in range(5):
            asked(window, SLIDING, 0)
        self.assertEqual(window.remaining(Rate.of(8, sliding=True), 0), 3)
        self.assertEqual(window.remaining(Rate.of(2, sliding=True), 0), 0)

    def test_bounded(self) -> None:
        """However much is counted, a minute has no more than its seconds."""
        window, rate = Window(), Rate.of(10**9, sliding=True)
        for hundredth in range(20_000):
            asked(window, rate, hundredth / 100)
        self.assertLessEqual(len(window._seconds), WINDOW + 1)

    @patient
    @given(
        rpm=st.integers(1, 40),
        steps=st.lists(st.tuples(st.floats(0, 30), st.integers(1, 3), st.booleans()), max_size=60),
    )
    def test_L4_2_never_more_than_the_limit_in_a_minute(
        self, rpm: int, steps: list[tuple[float, int, bool]]
    ) -> None:
        """In any window of 60 seconds, however it is cut, and whatever was given back."""
        window, rate, now = Window(), Rate.of(rpm, sliding=True), 0.0
        admitted: list[tuple[float, int]] = []
        for pause, amount, back in steps:
            now += pause
            if not asked(window, rate, now, amount):
                continue
            if back:
                window.give_back(rate, amount, now, now)
            else:
                admitted.append((now, amount))
        for start, _ in admitted:
            within = [amount for when, amount in admitted if start <= when <= start + WINDOW]
            self.assertLessEqual(sum(within), rpm)


class CrowdTests(SynchronousTestCase):
    """Many buckets, but not too many."""

    def test_bounded(self) -> None:
        """The one unused for longest goes first."""
        buckets = Crowd(Bucket, most=3)
        kept = buckets.get("a", 0)
        for name in ("b", "c"):
            buckets.get(name, 1)
        buckets.get("a", 2)
        buckets.get("d", 3)
        self.assertEqual(len(buckets), 3)
        self.assertIs(buckets.get("a", 3), kept)

    def test_H1_3b1_idle_ones_are_forgotten(self) -> None:
        """As soon as another is asked for."""
        buckets = Crowd(Bucket, idle=60)
        for number in range(100):
            buckets.get(str(number), number / 100)
        buckets.get("new", 200)
        self.assertEqual(len(buckets), 1)
