"""Reading bodies: whole, chunk by chunk, and not at all."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.backend_errors import BackendTimeout, ProtocolError, Unreachable
from lmgateway.wire.body import BodyReader
from tests.wire.dialing import CHUNKED, UNTIL_CLOSE, Memory, Wire, chunked, ok, run


class BodyTestCase(SynchronousTestCase):
    def begin(self, head: bytes = CHUNKED) -> tuple[Memory, Wire, BodyReader]:
        """Begin to read an answer whose head has come."""
        memory = Memory()
        sent = memory.send()
        wire = memory.accept()
        wire.answer(head)
        return memory, wire, memory.reader(self.successResultOf(sent))


class WholeTests(BodyTestCase):
    def test_pieces_are_put_together(self) -> None:
        """A body is the same however it came."""
        _, wire, reader = self.begin()
        wire.answer(chunked(b"one ", end=False))
        reading = run(reader.whole(100, 5))
        self.assertNoResult(reading)
        wire.answer(chunked(b"two ", end=False), chunked(b"three"))
        self.assertEqual(self.successResultOf(reading), b"one two three")

    def test_empty(self) -> None:
        """No body is an empty one."""
        _, _, reader = self.begin(ok(b""))
        self.assertEqual(self.successResultOf(run(reader.whole(0, 5))), b"")

    def test_limit(self) -> None:
        """A body over the limit is cut there, told or not, and nothing more is kept."""
        for head, pieces in (
            (b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n", [b"x" * 50]),
            (CHUNKED, [chunked(b"x" * 60, end=False)] * 2),
            (UNTIL_CLOSE, [b"x" * 60] * 2),
        ):
            memory, wire, reader = self.begin(head)
            reading = run(reader.whole(100, 5))
            for piece in pieces:
                if not wire.aborted:
                    wire.answer(piece)
            self.failureResultOf(reading, ProtocolError)
            self.assertTrue(wire.aborted)
            self.assertEqual((memory.agent.active, memory.wheel.pending), (0, 0))

    def test_limit_already_passed(self) -> None:
        """What came before anybody asked counts too."""
        _, wire, reader = self.begin()
        wire.answer(chunked(b"x" * 60, b"x" * 60, end=False))
        self.failureResultOf(run(reader.whole(100, 5)), ProtocolError)
        self.assertTrue(wire.aborted)

    def test_whole_answer_over_the_limit(self) -> None:
        """The limit holds too for an answer that has come at once."""
        _, _, reader = self.begin(CHUNKED + chunked(b"x" * 101))
        self.failureResultOf(run(reader.whole(100, 5)), ProtocolError)

    def test_exactly_the_limit(self) -> None:
        """The limit itself is allowed."""
        _, _, reader = self.begin(ok(b"x" * 100))
        self.assertEqual(len(self.successResultOf(run(reader.whole(100, 5)))), 100)

    def test_large_body_is_not_paused_forever(self) -> None:
        """A body larger than what is buffered for streams is read through."""
        _, wire, reader = self.begin()
        wire.answer(chunked(b"x" * 100_000, end=False))
        self.assertTrue(wire.paused)
        reading = run(reader.whole(1_000_000, 5))
        self.assertFalse(wire.paused)
        wire.answer(*[chunked(b"x" * 100_000, end=False)] * 8, chunked(b"x" * 100_000))
        self.assertFalse(wire.paused)
        self.assertEqual(len(self.successResultOf(reading)), 1_000_000)

    def test_deadline_is_for_all_of_it(self) -> None:
        """U3: bytes that come do not put the end off."""
        memory, wire, reader = self.begin()
        reading = run(reader.whole(1000, 2.0))
        for _ in range(20):
            wire.answer(chunked(b"x", end=False))
            memory.pass_time(0.1)
        memory.pass_time(0.1)
        self.failureResultOf(reading, BackendTimeout)
        self.assertTrue(wire.aborted)

    def test_cut(self) -> None:
        """U8: a body that ends before its end is not an answer."""
        for head, piece in (
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"four"),
            (CHUNKED, chunked(b"four", end=False)),
            (CHUNKED, b"4\r\nfo"),
        ):
            for clean in (True, False):
                _, wire, reader = self.begin(head)
                reading = run(reader.whole(100, 5))
                wire.answer(piece)
                wire.close(clean)
                self.failureResultOf(reading, Unreachable)

    def test_body_without_a_length(self) -> None:
        """U8: a body that only the connection's end ends cannot be trusted as a whole one."""
        _, wire, reader = self.begin(UNTIL_CLOSE)
        wire.answer(b'{"a":1}')
        wire.close()
        self.failureResultOf(run(reader.whole(100, 5)), ProtocolError)

    def test_cancel(self) -> None:
        """U2: cancelling a read cuts the connection at once."""
        memory, wire, reader = self.begin()
        reading = run(reader.whole(100, 5))
        reading.cancel()
        self.failureResultOf(reading, CancelledError)
        self.assertTrue(wire.aborted)
        self.assertEqual((memory.agent.active, memory.wheel.pending), (0, 0))


class ChunkTests(BodyTestCase):
    def test_all_that_has_come_at_once(self) -> None:
        """Whoever comes late gets everything that waits, joined, in order."""
        _, wire, reader = self.begin()
        wire.answer(chunked(b"a", b"b", end=False), chunked(b"c", end=False))
        self.assertEqual(self.successResultOf(run(reader.chunk(1))), b"abc")
        waiting = run(reader.chunk(1))
        self.assertNoResult(waiting)
        wire.answer(chunked(b"d"))
        self.assertEqual(self.successResultOf(waiting), b"d")
        self.assertEqual(self.successResultOf(run(reader.chunk(1))), b"")
        self.assertEqual(self.successResultOf(run(reader.chunk(1))), b"")

    def test_empty_means_the_end(self) -> None:
        """U8: no bytes are given only at the proper end."""
        _, wire, reader = self.begin()
        waiting = run(reader.chunk(1))
        wire.answer(b"1")
        wire.answer(b"\r\n")
        self.assertNoResult(waiting)
        wire.answer(b"x\r\n")
        self.assertEqual(self.successResultOf(waiting), b"x")
        waiting = run(reader.chunk(1))
        wire.answer(b"0\r\n")
        self.assertNoResult(waiting)
        wire.answer(b"\r\n")
        self.assertEqual(self.successResultOf(waiting), b"")
        self.assertTrue(reader.proper_end)

    def test_bytes_before_the_cut_are_given(self) -> None:
        """U8: what came whole before the break is given first, then the error, each time."""
        _, wire, reader = self.begin()
        wire.answer(chunked(b"a", end=False))
        wire.close()
        self.assertEqual(self.successResultOf(run(reader.chunk(1))), b"a")
        for _ in range(2):
            self.failureResultOf(run(reader.chunk(1)), Unreachable)

    def test_end_by_closing(self) -> None:
        """U8: an end that only the connection told is marked, and a reset is never an end."""
        _, wire, reader = self.begin(UNTIL_CLOSE)
        self.assertFalse(reader.proper_end)
        wire.answer(b"a")
        wire.close()
        self.assertEqual(self.successResultOf(run(reader.chunk(1))), b"a")
        self.assertEqual(self.successResultOf(run(reader.chunk(1))), b"")
        self.assertFalse(reader.proper_end)
        _, wire, reader = self.begin(UNTIL_CLOSE)
        wire.close(clean=False)
        self.failureResultOf(run(reader.chunk(1)), Unreachable)

    def test_silence(self) -> None:
        """U3: each wait has its own deadline, and bytes put the next one off."""
        memory, wire, reader = self.begin()
        for _ in range(3):
            waiting = run(reader.chunk(2.0))
            memory.pass_time(1.5)
            wire.answer(chunked(b"x", end=False))
            self.assertEqual(self.successResultOf(waiting), b"x")
        waiting = run(reader.chunk(2.0))
        memory.pass_time(1.9)
        self.assertNoResult(waiting)
        memory.pass_time(0.2)
        self.failureResultOf(waiting, BackendTimeout)
        self.assertTrue(wire.aborted)
        self.assertEqual((memory.agent.active, memory.wheel.pending), (0, 0))

    def test_silence_may_get_shorter(self) -> None:
        """U3: a shorter wait after a longer one ends in its own time."""
        memory, wire, reader = self.begin()
        waiting = run(reader.chunk(60.0))
        wire.answer(chunked(b"x", end=False))
        self.successResultOf(waiting)
        waiting = run(reader.chunk(1.0))
        memory.pass_time(1.1)
        self.failureResultOf(waiting, BackendTimeout)

    def test_a_slow_reader_is_not_a_silent_backend(self) -> None:
        """Time in which nobody waits does not count."""
        memory, wire, reader = self.begin()
        waiting = run(reader.chunk(1.0))
        wire.answer(chunked(b"x", end=False))
        self.successResultOf(waiting)
        memory.pass_time(5.0)
        waiting = run(reader.chunk(1.0))
        memory.pass_time(0.9)
        self.assertNoResult(waiting)
        wire.answer(chunked(b"y", end=False))
        self.assertEqual(self.successResultOf(waiting), b"y")

    def test_extensions_are_not_a_sign_of_life(self) -> None:
        """U3: bytes that are no body do not put the deadline off."""
        memory, wire, reader = self.begin()
        waiting = run(reader.chunk(1.0))
        wire.answer(b"5;")
        for _ in range(11):
            if not wire.aborted:
                wire.answer(b"x")
            memory.pass_time(0.1)
        self.failureResultOf(waiting, BackendTimeout)

    def test_back_pressure(self) -> None:
        """While more waits than a stream needs, the backend is paused; reading resumes it."""
        _, wire, reader = self.begin()
        wire.answer(chunked(b"x" * 60_000, end=False))
        self.assertFalse(wire.paused)
        wire.answer(chunked(b"x" * 60_000, end=False))
        self.assertTrue(wire.paused)
        self.assertEqual(len(self.successResultOf(run(reader.chunk(1)))), 120_000)
        self.assertFalse(wire.paused)

    def test_back_pressure_before_anybody_reads(self) -> None:
        """A body that nobody reads yet does not pile up either."""
        memory = Memory()
        sent = memory.send()
        wire = memory.accept()
        wire.answer(CHUNKED + chunked(b"x" * 100_000, end=False))
        response = self.successResultOf(sent)
        self.assertTrue(wire.paused)
        reader = memory.reader(response)
        self.assertEqual(len(self.successResultOf(run(reader.chunk(1)))), 100_000)
        self.assertFalse(wire.paused)

    def test_cancel(self) -> None:
        """U2: cancelling a wait cuts the connection at once, and later reads say so."""
        memory, wire, reader = self.begin()
        waiting = run(reader.chunk(5))
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertTrue(wire.aborted)
        self.failureResultOf(run(reader.chunk(5)), CancelledError)
        self.assertEqual((memory.agent.active, memory.wheel.pending), (0, 0))

    def test_abort(self) -> None:
        """U2: an abort cuts the connection, wakes who waits, and may be repeated."""
        memory, wire, reader = self.begin()
        waiting = run(reader.chunk(5))
        reader.abort()
        reader.abort()
        self.failureResultOf(waiting, CancelledError)
        self.assertTrue(wire.aborted)
        wire.close(clean=False)
        self.assertEqual((memory.agent.active, memory.wheel.pending), (0, 0))

    def test_abort_while_paused(self) -> None:
        """U2: a paused connection is cut just the same."""
        _, wire, reader = self.begin()
        wire.answer(chunked(b"x" * 100_000, end=False))
        reader.abort()
        self.assertTrue(wire.aborted)
        self.failureResultOf(run(reader.chunk(5)), CancelledError)

    def test_abort_from_within(self) -> None:
        """Whoever has seen enough may stop while the bytes are handed over."""
        memory, wire, reader = self.begin()

        async def one() -> bytes:
            data = await reader.chunk(5)
            reader.abort()
            return data

        reading = run(one())
        wire.answer(chunked(b"a", b"b", end=False))
        self.assertEqual(self.successResultOf(reading), b"ab")
        self.assertTrue(wire.aborted)
        self.assertEqual(memory.agent.active, 0)

    def test_abort_from_within_the_last_piece(self) -> None:
        """An abort with the last piece in hand finds the connection at rest and leaves it."""
        memory, wire, reader = self.begin()

        async def one() -> bytes:
            data = await reader.chunk(5)
            reader.abort()
            return data

        reading = run(one())
        wire.answer(chunked(b"a"))
        self.assertEqual(self.successResultOf(reading), b"a")
        self.assertFalse(wire.aborted)
        self.assertEqual(memory.agent.idle, 1)
        # The pool's own, and the connection's, which the next request goes on with.
        self.assertEqual(memory.wheel.pending, 2)

    def test_a_body_is_read_once(self) -> None:
        """Two readers cannot share a body."""
        memory = Memory()
        sent = memory.send()
        memory.accept().answer(CHUNKED)
        response = self.successResultOf(sent)
        memory.reader(response)
        with self.assertRaises(RuntimeError):
            memory.reader(response)


class FlowTests(BodyTestCase):
    def flow(
        self, reader: BodyReader, took: list[bytes], enough: bytes = b"", end_by: float = 60.0
    ) -> Deferred[bool]:
        """Begin to read on, until *enough* came."""

        def take(data: bytes) -> bool:
            took.append(data)
            return data != enough

        return run(reader.flow(take, 2.0, end_by))

    def test_everything_is_handed_on_as_it_comes(self) -> None:
        """What waited and what comes later is given out at once, up to the body's end."""
        _, wire, reader = self.begin()
        wire.answer(chunked(b"a", b"b", end=False))
        took: list[bytes] = []
        flowing = self.flow(reader, took)
        self.assertEqual(took, [b"ab"])
        wire.answer(chunked(b"c", end=False))
        self.assertEqual(took, [b"ab", b"c"])
        self.assertNoResult(flowing)
        wire.answer(chunked(b"d"))
        self.assertEqual(took, [b"ab", b"c", b"d"])
        self.assertTrue(self.successResultOf(flowing))

    def test_enough(self) -> None:
        """Whoever has enough is given no more, and what comes later waits."""
        for early in (True, False):
            _, wire, reader = self.begin()
            took: list[bytes] = []
            if early:
                wire.answer(chunked(b"stop", end=False))
            flowing = self.flow(reader, took, b"stop")
            if not early:
                wire.answer(chunked(b"stop", end=False))
            self.assertFalse(self.successResultOf(flowing))
            wire.answer(chunked(b"later"))
            self.assertEqual(took, [b"stop"])
            self.assertEqual(self.successResultOf(run(reader.chunk(1))), b"later")

    def test_a_cut_is_told_after_what_came(self) -> None:
        """U8: a break is no end."""
        _, wire, reader = self.begin()
        took: list[bytes] = []
        flowing = self.flow(reader, took)
        wire.answer(chunked(b"a", end=False))
        wire.close()
        self.failureResultOf(flowing, Unreachable)
        self.assertEqual(took, [b"a"])

    def test_silence(self) -> None:
        """U3: each piece puts the deadline off."""
        memory, wire, reader = self.begin()
        flowing = self.flow(reader, [])
        for _ in range(3):
            memory.pass_time(1.5)
            wire.answer(chunked(b"x", end=False))
        memory.pass_time(1.9)
        self.assertNoResult(flowing)
        memory.pass_time(0.2)
        self.failureResultOf(flowing, BackendTimeout)
        self.assertTrue(wire.aborted)
        self.assertEqual((memory.agent.active, memory.wheel.pending), (0, 0))

    def test_nothing_puts_the_last_deadline_off(self) -> None:
        """U3: a trickle without end is cut when all must have come."""
        memory, wire, reader = self.begin()
        flowing = self.flow(reader, [], end_by=memory.wheel.now() + 3.0)
        for _ in range(2):
            memory.pass_time(1.4)
            wire.answer(chunked(b"x", end=False))
        self.assertNoResult(flowing)
        memory.pass_time(0.3)
        self.failureResultOf(flowing, BackendTimeout)
        self.assertTrue(wire.aborted)

    def test_back_pressure(self) -> None:
        """A body that nobody takes on is paused, and resumed by who goes on."""
        _, wire, reader = self.begin()
        took: list[bytes] = []
        flowing = self.flow(reader, took, b"stop")
        wire.answer(chunked(b"stop", end=False))
        self.assertFalse(self.successResultOf(flowing))
        wire.answer(chunked(b"x" * 100_000, end=False))
        self.assertTrue(wire.paused)
        self.flow(reader, took)
        self.assertFalse(wire.paused)
        self.assertEqual(took[1:], [b"x" * 100_000])

    def test_cancel(self) -> None:
        """U2: cancelling cuts the connection at once, and nothing more is handed on."""
        memory, wire, reader = self.begin()
        took: list[bytes] = []
        flowing = self.flow(reader, took)
        flowing.cancel()
        self.failureResultOf(flowing, CancelledError)
        self.assertTrue(wire.aborted)
        wire.answer(chunked(b"x", end=False))
        self.assertEqual(took, [])
        self.assertEqual((memory.agent.active, memory.wheel.pending), (0, 0))
