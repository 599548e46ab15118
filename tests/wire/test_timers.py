"""The wheel that all deadlines of the wire hang on."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.wire.timers import Wheel


class WheelTests(SynchronousTestCase):
    """See ``lmgateway.wire.timers.Wheel``."""

    def test_no_deadline_is_lost_while_others_are_met(self) -> None:
        """One that becomes due while earlier ones are dealt with is met at the next turn."""
        clock = Clock()
        wheel = Wheel(clock, tick=1.0)
        met: list[str] = []

        def take_long() -> None:
            met.append("first")
            clock.rightNow += 3
            wheel.start(1.0, lambda: met.append("last"))

        wheel.start(1.0, take_long)
        wheel.start(3.0, lambda: met.append("second"))
        clock.advance(1)
        clock.advance(1)
        self.assertEqual(met, ["first", "second", "last"])
        self.assertEqual(wheel.pending, 0)

    def test_a_wheel_that_stood_still_goes_on_from_now(self) -> None:
        """What is set after a long while without deadlines is neither early nor much too late."""
        clock = Clock()
        wheel = Wheel(clock, tick=1.0)
        met: list[float] = []
        for _ in range(2):
            wheel.start(2.0, lambda: met.append(clock.seconds()))
            clock.pump([1.0] * 3)
            clock.advance(1000)
        self.assertEqual(met, [2.0, 1005.0])
