"""The times for which budgets hold."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.governance.periods import Period, moment_text
from lmgateway.governance.purses import Purse, Purses

NOON = datetime(2026, 2, 18, 12, tzinfo=UTC).timestamp()  # a Wednesday
HOUR, DAY = 3600.0, 86400.0
BERLIN = ZoneInfo("Europe/Berlin")


class CalendarTests(SynchronousTestCase):
    """Periods of a calendar."""

    def test_spans(self) -> None:
        """Days from midnight, weeks from Monday, months from the first; ``total`` has no end."""
        for period, start, end in (
            ("day", (2026, 2, 18), (2026, 2, 19)),
            ("week", (2026, 2, 16), (2026, 2, 23)),
            ("month", (2026, 2, 1), (2026, 3, 1)),
        ):
            wanted = [datetime(*when, tzinfo=UTC).timestamp() for when in (start, end)]
            self.assertEqual(list(Period.of(period).span(NOON)), wanted)
        self.assertEqual(Period.of("total").span(NOON), (0.0, float("inf")))

    def test_december(self) -> None:
        """A month ends with the year."""
        moment = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()
        end = Period.of("month").span(moment)[1]
        self.assertEqual(end, datetime(2027, 1, 1, tzinfo=UTC).timestamp())

    def test_zone(self) -> None:
        """Midnight is where the zone has it."""
        start, end = Period.of("day", "Europe/Berlin").span(NOON)
        self.assertEqual(moment_text(start), "2026-02-17T23:00:00Z")
        self.assertEqual(end - start, DAY)

    def test_clocks_put_forward_and_back(self) -> None:
        """Such days have 23 and 25 hours, and months what is left."""
        day = Period.of("day", "Europe/Berlin")
        for when, hours in (((2026, 3, 29), 23), ((2026, 10, 25), 25), ((2026, 10, 26), 24)):
            for hour in (0, 2, 5, 23):
                moment = datetime(*when, hour, 30, tzinfo=BERLIN).timestamp()
                start, end = day.span(moment)
                self.assertEqual((end - start) / HOUR, hours)
                self.assertTrue(start <= moment < end)
        start, end = Period.of("month", "Europe/Berlin").span(NOON + 40 * DAY)
        self.assertEqual((end - start) / HOUR, 31 * 24 - 1)

    @given(st.integers(0, 2 * 10**9), st.sampled_from(["day", "week", "month"]))
    def test_periods_follow_each_other(self, moment: int, kind: str) -> None:
        """Every moment is in exactly one, in any zone; midnight may be skipped, as in Beirut."""
        for zone in ("Europe/Berlin", "Asia/Beirut", "America/Havana", "UTC"):
            period = Period.of(kind, zone)
            start, end = period.span(moment)
            self.assertTrue(start <= moment < end)
            self.assertEqual(period.span(end)[0], end)
            self.assertEqual(period.span(end - 1), (start, end))


class PurseTests(SynchronousTestCase):
    """What went of a budget, as time goes on."""

    def spend(self, purse: Purse, period: Period, amount: int, wall: float) -> int:
        """Spend, and give what is spent then."""
        purse.turn(period, wall)
        purse.spend(amount, period, wall)
        return purse.spent

    def test_rolling(self) -> None:
        """What was spent is forgotten bit by bit, each when it is old enough."""
        purse, period = Purse(), Period.of("rolling:1h")
        self.spend(purse, period, 10, NOON)
        self.assertEqual(self.spend(purse, period, 5, NOON + 1800), 15)
        self.assertEqual(self.spend(purse, period, 0, NOON + 3599), 15)
        self.assertEqual(self.spend(purse, period, 0, NOON + 3661), 5)
        self.assertEqual(self.spend(purse, period, 0, NOON + 1800 + 3661), 0)
        self.assertEqual(purse.end, float("inf"))

    def test_when_enough_is_forgotten(self) -> None:
        """That is told to the second; of a calendar it is the period's end."""
        purse, period = Purse(), Period.of("rolling:1h")
        self.spend(purse, period, 10, NOON)
        self.spend(purse, period, 5, NOON + 1800)
        self.assertEqual(purse.free_at(10, period), NOON + 3660)
        self.assertEqual(purse.free_at(11, period), NOON + 1800 + 3660)
        self.assertIsNone(purse.free_at(16, period))
        purse, period = Purse(), Period.of("day")
        self.spend(purse, period, 5, NOON)
        self.assertEqual(purse.free_at(1, period), NOON + DAY / 2)

    @given(st.lists(st.tuples(st.integers(0, 1800), st.integers(0, 100)), max_size=60))
    def test_no_window_is_forgotten_early(self, steps: list[tuple[int, int]]) -> None:
        """What was spent in the last hour counts, and nothing of an hour and a minute ago."""
        purse, period, now = Purse(), Period.of("rolling:1h"), NOON
        log: list[tuple[float, int]] = []
        for pause, amount in steps:
            now += pause
            log.append((now, amount))
            spent = self.spend(purse, period, amount, now)
            self.assertGreaterEqual(spent, sum(a for at, a in log if at > now - 3600))
            self.assertLessEqual(spent, sum(a for at, a in log if at > now - 3660))

    def test_MX4_no_job_is_needed(self) -> None:
        """A period that is over is noticed by whoever asks next, at the calendar's own time."""
        purse, period = Purse(), Period.of("day")
        self.spend(purse, period, 5, NOON)
        self.assertEqual(self.spend(purse, period, 0, NOON + DAY / 2 - 1), 5)
        self.assertEqual(self.spend(purse, period, 0, NOON + DAY / 2), 0)
        self.assertEqual(self.spend(purse, period, 0, NOON + 400 * DAY), 0)

    def test_clock_set_back(self) -> None:
        """Nobody gets new money for it."""
        purse, period = Purse(), Period.of("day")
        self.spend(purse, period, 5, NOON)
        self.assertEqual(self.spend(purse, period, 1, NOON - 2 * DAY), 6)

    def test_another_period(self) -> None:
        """A reload may change it: what is known to be of the new period is kept."""
        day, week, rolling = Period.of("day"), Period.of("week"), Period.of("rolling:1h")
        purse = Purse()
        self.spend(purse, day, 5, NOON)
        self.assertEqual(self.spend(purse, week, 1, NOON), 6)
        self.assertEqual(self.spend(purse, rolling, 1, NOON), 7)
        self.assertEqual(self.spend(purse, rolling, 1, NOON + 7200), 1)
        self.assertEqual(self.spend(purse, day, 1, NOON + 7200), 2)

    def test_removed_budgets_are_forgotten(self) -> None:
        """The others are kept, by name."""
        purses = Purses()
        kept = purses.get(("a", "ann"))
        purses.get(("b", "ann"))
        purses.keep_only(["a"])
        self.assertIs(purses.get(("a", "ann")), kept)
        self.assertEqual(len(purses.purses), 1)
