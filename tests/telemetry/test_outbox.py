"""Batches that are sent elsewhere: bounded, in order, and nobody waits for them."""

from __future__ import annotations

from collections.abc import Awaitable

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.telemetry.outbox import BATCH, RETRIES, SECONDS, NotTaken, Outbox


class OutboxTests(SynchronousTestCase):
    """See ``lmgateway.telemetry.outbox``."""

    def setUp(self) -> None:
        """Make an outbox whose other end answers when it is told to."""
        self.clock = Clock()
        self.posted: list[bytes] = []
        self.answers: list[Deferred[None]] = []
        self.ended: list[bool] = []
        self.box = self.make()

    def make(self, capacity: int = 300) -> Outbox[int]:
        """Make an outbox."""
        return Outbox(
            "test",
            self.clock,
            lambda batch: b",".join(b"%d" % item for item in batch),
            self.post,
            capacity=capacity,
            ended=lambda: self.ended.append(True),
        )

    def post(self, body: bytes) -> Awaitable[None]:
        """Note what is sent; the answer comes later."""
        self.posted.append(body)
        self.answers.append(Deferred())
        return self.answers[-1]

    def answer(self, error: Exception | None = None) -> None:
        """Take what was sent last, or do not."""
        if error is None:
            self.answers[-1].callback(None)
        else:
            self.answers[-1].errback(error)

    def test_batches_in_order(self) -> None:
        """What comes in a moment goes together, in order, one batch after the other."""
        for number in range(BATCH + 2):
            self.box.put(number)
        self.assertEqual(self.posted, [])
        self.clock.advance(SECONDS)
        self.assertEqual(len(self.posted), 1)
        self.answer()
        self.assertEqual(self.posted[1], b"%d,%d" % (BATCH, BATCH + 1))
        self.answer()
        self.assertEqual((self.box.sent, self.box.dropped), (BATCH + 2, 0))
        self.box.put(7)
        self.clock.advance(SECONDS)
        self.assertEqual(self.posted[2], b"7")
        self.answer()

    def test_L9_3_a_collector_that_is_down(self) -> None:
        """What cannot be sent is tried again, then counted; what does not fit is dropped."""
        box = self.make(capacity=2)
        for number in range(5):
            box.put(number)
        self.assertEqual(box.dropped, 3)
        self.clock.advance(SECONDS)
        for number in range(RETRIES + 1):
            self.assertEqual(len(self.posted), number + 1)
            self.answer(NotTaken("no"))
            self.clock.advance(100)
        self.assertEqual((box.sent, box.dropped), (0, 5))
        box.put(9)
        self.clock.advance(SECONDS)
        self.answer()
        self.assertEqual(box.sent, 1)

    def test_what_is_refused_for_good_is_not_tried_again(self) -> None:
        """A batch that the other end will never take is lost at once, the next one is sent."""
        self.box.put(1)
        self.clock.advance(SECONDS)
        self.answer(NotTaken("bad", retryable=False))
        self.assertEqual((len(self.posted), self.box.dropped), (1, 1))

    def test_what_nobody_expected(self) -> None:
        """A failure of ours loses the batch and is logged; the next one is sent."""
        self.box.put(1)
        self.clock.advance(SECONDS)
        self.answer(ValueError("no"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(self.box.dropped, 1)
        self.box.put(2)
        self.clock.advance(SECONDS)
        self.answer()
        self.assertEqual(self.box.sent, 1)

    def test_what_is_over_at_once(self) -> None:
        """A batch that is taken, refused or not to be encoded at once holds up no later one."""

        def encode(batch: list[int]) -> bytes:
            if batch == [2]:
                raise ValueError("not encoded")
            return b"%d" % batch[0]

        def post(body: bytes) -> Awaitable[None]:
            return fail(NotTaken("bad", retryable=False)) if body == b"1" else succeed(None)

        box = Outbox("test", self.clock, encode, post)
        for number in range(4):
            box.put(number)
            self.clock.advance(SECONDS)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual((box.sent, box.dropped), (2, 2))
        box.put(0)
        self.successResultOf(Deferred.fromCoroutine(box.close(3)))
        self.assertEqual((box.sent, box.dropped), (3, 2))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_comes_in_while_a_batch_fails_at_once(self) -> None:
        """It is sent with the same round, and no second one runs beside it."""

        def encode(batch: list[int]) -> bytes:
            if batch == [0]:
                box.put(1)
                raise ValueError("not encoded")
            return b"%d" % batch[0]

        box = Outbox("test", self.clock, encode, self.post)
        box.put(0)
        self.clock.advance(SECONDS)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        box.put(2)
        self.clock.advance(SECONDS)
        self.assertEqual(self.posted, [b"1"], "one batch is under way at a time")
        self.answer()
        self.answer()
        self.assertEqual((self.posted, box.sent), ([b"1", b"2"], 2))

    def test_the_end(self) -> None:
        """Closing sends what waits, without the usual pause."""
        self.box.put(1)
        closed = Deferred.fromCoroutine(self.box.close(3))
        self.assertEqual(self.posted, [b"1"])
        self.answer()
        self.successResultOf(closed)
        self.assertEqual((self.box.sent, self.ended), (1, [True]))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_end_does_not_wait_for_ever(self) -> None:
        """What could not be sent in time is dropped."""
        for number in range(BATCH + 1):
            self.box.put(number)
        closed = Deferred.fromCoroutine(self.box.close(3))
        self.assertNoResult(closed)
        self.clock.advance(3)
        self.successResultOf(closed)
        self.assertEqual((self.box.sent, self.box.dropped), (0, BATCH + 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_an_end_with_nothing_to_send(self) -> None:
        """Closing an idle outbox takes no time."""
        self.successResultOf(Deferred.fromCoroutine(self.box.close(3)))
        self.assertEqual(self.ended, [True])
