"""A backend's stream, relayed batch by batch."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.backend_errors import BackendError, BackendTimeout, ProtocolError, Unreachable
from lmgateway.backends.base import Batch
from lmgateway.backends.batches import BodyBatches
from lmgateway.dialects.openai_stream import OpenAIReader
from lmgateway.wire import sse
from tests.wire.dialing import CHUNKED, Memory, Wire, chunked, run

END = b"data: [DONE]\n\n"


def event(text: str) -> bytes:
    """Give an event with some text."""
    return b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\n' % text.encode()


class RelayTests(SynchronousTestCase):
    """A stream whose first output has come."""

    def setUp(self) -> None:
        self.memory = Memory()
        sent = self.memory.send()
        self.wire: Wire = self.memory.accept()
        self.wire.answer(CHUNKED)
        self.body = self.memory.reader(self.successResultOf(sent))
        self.reader = OpenAIReader()
        wheel = self.memory.wheel
        self.batches = BodyBatches(
            self.body, sse.Splitter(), self.reader, wheel.now, silence=5, end_by=wheel.now() + 20
        )
        self.gate: Deferred[None] | None = None
        self.written: list[bytes] = []

    def write(self, batch: Batch) -> Deferred[None] | None:
        """Take a batch."""
        self.written.append(b"".join(event.raw for event, _ in batch))
        return self.gate

    def relay(self, first: bytes = event("one")) -> Deferred[Batch]:
        """Commit, and relay the rest."""
        self.wire.answer(chunked(first, end=False))
        self.successResultOf(run(self.batches.commit(20)))
        return run(self.batches.relay(self.write))

    def say(self, *pieces: bytes) -> None:
        """Let more come."""
        for piece in pieces:
            self.wire.answer(chunked(piece, end=False))

    def test_all_of_it(self) -> None:
        """Every event is written as it comes, and the last are given back."""
        relaying = self.relay()
        self.assertEqual(self.written, [event("one")])
        self.say(event("two") + event("three"), event("four")[:9])
        self.assertEqual(self.written[1:], [event("two") + event("three")])
        self.say(event("four")[9:])
        self.assertEqual(self.written[2:], [event("four")])
        self.assertNoResult(relaying)
        self.wire.answer(chunked(event("five") + END))
        last = self.successResultOf(relaying)
        self.assertEqual([each.raw for each, _ in last], [event("five"), END])
        self.assertEqual(self.memory.agent.idle, 1)

    def test_the_end_was_the_beginning(self) -> None:
        """A stream that came in one piece has nothing left to give."""
        relaying = self.relay(event("one") + END)
        self.assertEqual(self.written, [event("one") + END])
        self.assertEqual(self.successResultOf(relaying), ())

    def test_a_slow_client(self) -> None:
        """Nothing is written until the client has taken what it has."""
        relaying = self.relay()
        self.gate = Deferred()
        self.say(event("two"))
        self.say(event("three"), event("four"))
        self.assertEqual(self.written[1:], [event("two")])
        gate, self.gate = self.gate, None
        gate.callback(None)
        self.assertEqual(self.written[2:], [event("three") + event("four")])
        self.assertNoResult(relaying)

    def test_cancelled_before_the_gate(self) -> None:
        """U2: a client that leaves while it is waited for ends the relay."""
        relaying = self.relay()
        self.gate = Deferred()
        self.say(event("two"))
        relaying.cancel()
        self.failureResultOf(relaying, CancelledError)

    def test_failures(self) -> None:
        """Whatever ends a stream badly is raised where it is waited for, after what was whole."""
        failing: tuple[tuple[bytes, type[BackendError]], ...] = (
            (event("two") + b'data: {"error":{"message":"x"}}\n\n', BackendError),
            (b"data: " + b"x" * (sse.MAX_EVENT + 1), ProtocolError),
        )
        for said, kind in failing:
            self.setUp()
            relaying = self.relay()
            self.say(said)
            self.failureResultOf(relaying, kind)
            self.assertEqual(self.written[1:], [event("two")] if b"two" in said else [])

    def test_cut_and_unfinished(self) -> None:
        """U8: neither a break nor an end without the grammar's own is one."""
        relaying = self.relay()
        self.wire.close()
        self.failureResultOf(relaying, Unreachable)
        self.setUp()
        relaying = self.relay()
        self.wire.answer(b"0\r\n\r\n")
        self.failureResultOf(relaying, ProtocolError)

    def test_a_writer_that_fails(self) -> None:
        """What cannot be written is told by the relay, and not to the connection."""

        def write(batch: Batch) -> None:
            raise ProtocolError("No such word.")

        self.say(event("one"))
        self.successResultOf(run(self.batches.commit(20)))
        self.batches.at_hand()
        relaying = run(self.batches.relay(write))
        self.say(event("two"))
        self.failureResultOf(relaying, ProtocolError)

    def test_deadlines(self) -> None:
        """U3: silence has a limit, and so has the whole."""
        relaying = self.relay()
        self.memory.pass_time(5.1)
        self.failureResultOf(relaying, BackendTimeout)
        self.setUp()
        relaying = self.relay()
        for _ in range(4):
            self.memory.pass_time(4.9)
            self.say(event("more"))
        self.memory.pass_time(0.5)
        self.failureResultOf(relaying, BackendTimeout)
