"""The gates of restarts and starts, in short: as commands they do more."""

from __future__ import annotations

import contextlib
import io

from twisted.trial.unittest import SynchronousTestCase

from tests.gates.restart import Plan, restart
from tests.gates.starts import starts


class GateTests(SynchronousTestCase):
    """See ``tests.gates``."""

    def test_G6_restarts_and_reloads_lose_no_request(self) -> None:
        """Clients that go on asking notice neither a restart nor a reload."""
        with contextlib.redirect_stdout(io.StringIO()) as told:
            passed = restart(Plan(restarts=1, reloads=5))
        self.assertTrue(passed, told.getvalue())

    def test_G7_bad_starts_fail(self) -> None:
        """Each ends with a status and a message, and never says that it is ready."""
        with contextlib.redirect_stdout(io.StringIO()) as told:
            passed = starts(seconds=60)
        self.assertTrue(passed, told.getvalue())
