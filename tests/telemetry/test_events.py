"""Events reach every listener, and none can harm another."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.telemetry.events import Event, Events


class EventsTests(SynchronousTestCase):
    """See ``lmgateway.telemetry.events``."""

    def test_listeners_are_told_until_they_stop(self) -> None:
        """A listener hears what happens from when it listens until it stops."""
        events = Events(lambda: 7.0)
        heard: list[Event] = []
        events.tell("reload", ok=True)
        stop = events.listen(heard.append)
        events.tell("breaker", backend="a")
        stop()
        stop()
        events.tell("breaker", backend="b")
        self.assertEqual(heard, [Event("breaker", 7.0, {"backend": "a"})])

    def test_a_failing_listener_harms_no_other(self) -> None:
        """The next listener is told all the same, and the failure is logged."""
        events = Events(lambda: 7.0)
        heard: list[Event] = []

        def fail(event: Event) -> None:
            raise ValueError("no")

        events.listen(fail)
        events.listen(heard.append)
        events.tell("reload")
        self.assertEqual(len(heard), 1)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
