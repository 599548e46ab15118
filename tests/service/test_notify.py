"""The service manager hears how the process is, on a real datagram socket."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.service.notify import Notifier
from tests.processes import Telling


class NotifierTests(SynchronousTestCase):
    """See ``lmgateway.service.notify``."""

    def setUp(self) -> None:
        """Listen, as a service manager does."""
        self.clock = Clock()
        self.telling = Telling(f"@lmgateway-{os.getpid()}-{id(self)}")
        self.addCleanup(self.telling.close)

    def notifier(self, watchdog_seconds: float = 0.0) -> Notifier:
        """Open the line."""
        notifier = Notifier(
            self.clock, self.telling.address, watchdog_seconds, monotonic=lambda: 5_000_999
        )
        self.addCleanup(notifier.close)
        return notifier

    def heard(self) -> dict[str, str] | None:
        """Give the next message, if there is one."""
        return self.telling.hear(0)

    def test_O7_a_life(self) -> None:
        """Ready, reloading with the time of it, ready again, stopping with the time it takes."""
        notifier = self.notifier()
        notifier.ready("Serving on 127.0.0.1:8080")
        notifier.reloading()
        notifier.ready("Serving again")
        notifier.stopping("Draining", 35)
        heard = [self.heard() for _ in range(5)]
        self.assertEqual(
            heard,
            [
                {"READY": "1", "STATUS": "Serving on 127.0.0.1:8080"},
                {"RELOADING": "1", "MONOTONIC_USEC": "5000"},
                {"READY": "1", "STATUS": "Serving again"},
                {"STOPPING": "1", "STATUS": "Draining", "EXTEND_TIMEOUT_USEC": "35000000"},
                None,
            ],
        )
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_O7_signs_of_life(self) -> None:
        """They come at half of the time that is allowed, from when it is ready, until the end."""
        notifier = self.notifier(watchdog_seconds=10)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        notifier.ready("Serving")
        self.heard()
        self.assertEqual(self.heard(), {"WATCHDOG": "1"})
        self.clock.advance(4.9)
        self.assertIsNone(self.heard())
        self.clock.advance(0.2)
        self.assertEqual(self.heard(), {"WATCHDOG": "1"})
        notifier.ready("Serving again")
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        notifier.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_path(self) -> None:
        """The socket may have a name in the file system."""
        folder = Path(self.mktemp())
        folder.mkdir()
        here = os.getcwd()
        os.chdir(folder)  # the name of a socket is short
        self.addCleanup(os.chdir, here)
        telling = Telling("./notify")
        self.addCleanup(telling.close)
        notifier = Notifier(self.clock, "./notify")
        self.addCleanup(notifier.close)
        notifier.ready("Serving")
        self.assertEqual(telling.hear(0), {"READY": "1", "STATUS": "Serving"})

    def test_nobody_listens(self) -> None:
        """Without a service manager nothing is sent, and nothing is timed."""
        notifier = Notifier(self.clock, None, 10)
        notifier.ready("Serving")
        notifier.stopping("Draining", 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        notifier.close()

    def test_whoever_listened_is_gone(self) -> None:
        """That is no reason to fail."""
        notifier = self.notifier()
        self.telling.close()
        notifier.ready("Serving")
        notifier.ready("Serving")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_service_manager_that_does_not_read(self) -> None:
        """It is told later, in order; the gateway does not wait for it."""
        notifier = self.notifier()
        filled = 0
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.setblocking(False)
            try:
                while True:
                    other.sendto(b"A=1", "\0" + self.telling.address[1:])
                    filled += 1
            except BlockingIOError:
                pass
        notifier.ready("Serving")
        notifier.stopping("Draining", 1)
        for _ in range(filled):
            self.heard()
        self.assertIsNone(self.heard())
        self.clock.advance(0.2)
        self.assertIn("READY", self.heard() or {})
        self.assertIn("STOPPING", self.heard() or {})
