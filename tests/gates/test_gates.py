"""The gates in short, without goals that a slow machine could miss: as commands they do more."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from tests.gates import cancel, figures, slow, soak
from tests.gates.restart import Plan, restart
from tests.gates.starts import starts


class GateTests(SynchronousTestCase):
    """See ``tests.gates``."""

    def judged(self, gate: Callable[[], bool]) -> None:
        """Run a gate; say what it said if it is not passed."""
        with contextlib.redirect_stdout(io.StringIO()) as told:
            passed = gate()
        self.assertTrue(passed, told.getvalue())

    def test_G3_slow_clients_are_shut(self) -> None:
        """Those with slow headers, with slow bodies, and those that hardly read."""
        plan = slow.Plan(clients=20, rounds=1, deadline=2, calm=0.3, timed=False)
        self.judged(lambda: slow.slow(plan))

    def test_G4_who_leaves_leaves_nothing_behind(self) -> None:
        """In whatever phase a client leaves, its backend is left, too."""
        self.judged(lambda: cancel.cancel(cancel.Plan(cancels=24, timed=False)))

    def test_G5_load_and_faults_leave_nothing_behind(self) -> None:
        """Every sort of request is answered as it should be."""
        plan = soak.Plan(seconds=3, rate=60, stalled=5, timed=False)
        self.judged(lambda: soak.soak(plan))

    def test_G6_restarts_and_reloads_lose_no_request(self) -> None:
        """Clients that go on asking notice neither a restart nor a reload."""
        self.judged(lambda: restart(Plan(restarts=1, reloads=5)))

    def test_G7_bad_starts_fail(self) -> None:
        """Each ends with a status and a message, and never says that it is ready."""
        self.judged(lambda: starts(seconds=60))


class FigureTests(SynchronousTestCase):
    """See ``tests.gates.figures``."""

    def test_a_missed_goal_is_a_failure(self) -> None:
        """But for one of time where the machine is not to be judged."""
        late = figures.Figure("a", "2 s", "1 s", met=False, timed=True)
        with contextlib.redirect_stdout(io.StringIO()) as told:
            self.assertFalse(figures.told([late]))
            self.assertTrue(figures.told([late], timed=False))
            self.assertFalse(figures.told([figures.none_of("b", 1)], timed=False))
            self.assertTrue(figures.told([figures.none_of("b", 0)]))
        self.assertIn("FAIL a: 2 s  (goal: 1 s)", told.getvalue())

    def test_what_is_made_of_values(self) -> None:
        """Percentiles are values that were there; a slope is that of the best line."""
        self.assertEqual(figures.percentile([3.0, 1.0, 2.0], 0.5), 2.0)
        self.assertEqual(figures.percentile([*range(1, 101)], 0.99), 99)
        self.assertTrue(math.isnan(figures.percentile([], 0.99)))
        self.assertAlmostEqual(figures.slope([(0, 1), (1, 3), (2, 5)]), 2.0)
        self.assertEqual(figures.slope([(1, 1)]), 0.0)
