"""The access log: whole lines, in blocks, and never in anybody's way."""

from __future__ import annotations

import json
from errno import EAGAIN, EPIPE

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.exchange import Exchange
from lmgateway.telemetry.access import FLUSH_BYTES, FLUSH_SECONDS, MAX_HELD, AccessLog
from lmgateway.telemetry.traffic import Entry, entry_of


def entry(number: int) -> Entry:
    """Make an entry with an id of its own."""
    return entry_of(
        Exchange(id=str(number), surface="openai", path="/", peer="", started=0, wall=0)
    )


class AccessLogTests(SynchronousTestCase):
    """Tests for ``AccessLog``, with a writer that takes as much as it is told to."""

    def setUp(self) -> None:
        """Make a log whose writer takes everything."""
        self.clock = Clock()
        self.written = bytearray()
        self.room: int | None = None
        self.log = AccessLog(self.write, self.clock)
        self.addCleanup(self.finish)

    def write(self, block: bytes) -> None:
        """Take what there is room for."""
        if self.room is None:
            self.written += block
            return
        taken, self.room = min(self.room, len(block)), 0
        self.written += block[:taken]
        if taken < len(block):
            raise BlockingIOError(EAGAIN, "stuck", taken)

    def finish(self) -> None:
        """Nothing is left on the clock when all is written."""
        self.room = None
        self.log.flush()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def ids(self) -> list[int]:
        """Give the ids of the lines written, each of which is whole."""
        self.assertTrue(self.written.endswith(b"\n"))
        return [int(json.loads(line)["id"]) for line in self.written.splitlines()]

    def test_blocks(self) -> None:
        """Lines leave together, soon, or when there are many."""
        for number in range(3):
            self.log(entry(number))
        self.assertEqual(self.written, b"")
        self.clock.advance(FLUSH_SECONDS)
        self.assertEqual(self.ids(), [0, 1, 2])
        number = 3
        while len(self.written) < FLUSH_BYTES:
            self.log(entry(number))
            number += 1
        self.assertEqual(self.ids(), list(range(number)))

    def test_what_was_not_encoded_yet_waits_too(self) -> None:
        """Whoever gives up waiting loses what had not become a line yet, and that is counted."""
        for number in range(3):
            self.log(entry(number))
        self.assertTrue(self.log.waiting)
        self.log.abandon()
        self.assertFalse(self.log.waiting)
        self.assertEqual(self.log.dropped, 3)

    def test_a_stuck_writer_gets_the_rest_later(self) -> None:
        """What was not taken is offered again, from where it stopped."""
        self.room = 100
        for number in range(5):
            self.log(entry(number))
        self.clock.advance(FLUSH_SECONDS)
        self.assertEqual(len(self.written), 100)
        self.room = None
        self.clock.advance(FLUSH_SECONDS)
        self.assertEqual(self.ids(), [0, 1, 2, 3, 4])

    def test_what_waits_is_bounded(self) -> None:
        """A writer that takes nothing costs a bounded memory; whole lines are dropped."""
        self.room = 100
        count = 2 * MAX_HELD // 300
        for number in range(count):
            self.log(entry(number))
        self.assertGreater(self.log.dropped, 0)
        self.room = None
        self.clock.advance(FLUSH_SECONDS)
        self.assertEqual(self.ids(), list(range(count - self.log.dropped)))
        self.assertLess(len(self.written), MAX_HELD + FLUSH_BYTES)

    def test_a_broken_writer_loses_the_block(self) -> None:
        """What cannot be written at all is counted, and the log goes on."""

        def broken(block: bytes) -> None:
            raise OSError(EPIPE, "Broken pipe")

        log = AccessLog(broken, self.clock)
        log(entry(1))
        log(entry(2))
        log.flush()
        self.assertEqual(log.dropped, 2)
