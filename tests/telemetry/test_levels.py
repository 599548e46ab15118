"""Tests for levels of the log that hold for a time."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogLevelFilterPredicate
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.telemetry.levels import Levels
from lmgateway.wire.timers import Wheel


class LevelsTests(SynchronousTestCase):
    """Tests for ``Levels``."""

    def test_what_was_imposed_ends_by_itself(self) -> None:
        """The configured levels hold again when the time is over, and both are told."""
        clock, predicate = Clock(), LogLevelFilterPredicate()
        told: list[tuple[Any, Any]] = []
        levels = Levels(
            predicate,
            Wheel(clock).start,
            clock.seconds,
            lambda kind, **facts: told.append((kind, facts["value"])),
        )
        levels.configure("warn")
        levels.impose("debug", 60)
        levels.impose("error", 30)
        clock.advance(29)
        self.assertEqual((levels.text, levels.overrides()[0]["seconds_left"]), ("error", 1))
        clock.pump([0.05] * 21)
        self.assertEqual((levels.text, levels.overrides()), ("warn", []))
        self.assertEqual(predicate.logLevelForNamespace("lmgateway").name, "warn")
        self.assertEqual(told, [("override", "debug"), ("override", "error"), ("override", None)])
        self.assertEqual(clock.getDelayedCalls(), [])
