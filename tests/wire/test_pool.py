"""Connections that are used again, and requests that are sent again."""

from __future__ import annotations

import gc
from weakref import ref

from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.backend_errors import BackendTimeout, ProtocolError, Unreachable
from lmgateway.wire.client import Response
from tests.wire.dialing import CHUNKED, UNTIL_CLOSE, Memory, Wire, chunked, ok, run


def exchange(case: SynchronousTestCase, memory: Memory, wire: Wire | None = None) -> Wire:
    """Carry one request through, over *wire* or a new connection."""
    sent = memory.send()
    wire = wire or memory.accept()
    wire.sent()
    wire.answer(ok())
    body = memory.reader(case.successResultOf(sent)).whole(100, 1)
    case.assertEqual(case.successResultOf(run(body)), b"ok")
    return wire


class ReuseTests(SynchronousTestCase):
    def test_connection_is_used_again(self) -> None:
        """U4: the second request goes over the first one's connection."""
        memory = Memory()
        wire = exchange(self, memory)
        exchange(self, memory, wire)
        agent = memory.agent
        self.assertEqual((agent.opened, agent.reused, agent.idle, agent.active), (1, 1, 1, 0))

    def test_as_many_connections_as_requests_at_once(self) -> None:
        """U4: twenty at once leave twenty to use again."""
        memory = Memory()
        pending: list[tuple[Deferred[Response], Wire]] = []
        for _ in range(20):
            sent = memory.send()
            pending.append((sent, memory.accept()))
        self.assertEqual(memory.agent.active, 20)
        for sent, wire in pending:
            wire.answer(ok())
            self.successResultOf(sent)
        self.assertEqual((memory.agent.active, memory.agent.idle), (0, 20))

    def test_idle_connections_are_closed_in_time(self) -> None:
        """U4: an unused connection is closed before the backend would close it."""
        memory = Memory(pool_idle_seconds=4.0)
        wire = exchange(self, memory)
        memory.pass_time(3.8)
        self.assertFalse(wire.closing)
        memory.pass_time(0.4)
        self.assertTrue(wire.closing)
        self.assertEqual(memory.agent.idle, 0)

    def test_use_renews_idle_time(self) -> None:
        """U4: idle time counts from the last answer; only what lies idle is closed."""
        memory = Memory(pool_idle_seconds=4.0)
        sent = memory.send()
        other = memory.accept()
        wire = exchange(self, memory)
        other.answer(ok())
        self.successResultOf(sent)
        for _ in range(3):
            memory.pass_time(2.0)
            wire = exchange(self, memory, memory.wires[0])
        self.assertFalse(wire.closing)
        self.assertTrue(memory.wires[1].closing)
        self.assertEqual(memory.agent.opened, 2)

    def test_too_old_connection_is_not_taken(self) -> None:
        """U4: a connection past its time is not used even if nobody has closed it yet."""
        memory = Memory(pool_idle_seconds=4.0)
        wire = exchange(self, memory)
        memory.reactor.rightNow += 5.0  # the wheel has not turned
        exchange(self, memory)
        self.assertTrue(wire.closing)
        self.assertEqual(memory.agent.opened, 2)

    def test_no_more_than_max_idle(self) -> None:
        """U4: beyond the limit, connections are closed after use."""
        memory = Memory(max_idle=1)
        sent = [memory.send() for _ in range(2)]
        factories = [client[2] for client in memory.reactor.tcpClients]
        wires = []
        for factory in factories:
            factory.doStart()
            wires.append(Wire(factory.buildProtocol(memory.reactor.connectors[0].getDestination())))
        for wire, each in zip(wires, sent, strict=True):
            wire.answer(ok())
            self.successResultOf(each)
        self.assertEqual(memory.agent.idle, 1)
        self.assertEqual([wire.closing for wire in wires], [False, True])

    def test_idle_connection_that_closes_is_forgotten(self) -> None:
        """U4: what the backend has closed is not tried again."""
        memory = Memory()
        wire = exchange(self, memory)
        wire.close()
        self.assertEqual((memory.agent.idle, memory.agent.active), (0, 0))
        exchange(self, memory)
        self.assertEqual(memory.agent.opened, 2)

    def test_close_ends_idle_connections(self) -> None:
        """A closed agent keeps nothing: idle connections end now, others after their answer."""
        memory = Memory()
        idle = exchange(self, memory)
        first = memory.send()
        second = memory.send()
        busy = memory.accept()
        idle.answer(ok())
        self.successResultOf(first)
        memory.agent.close()
        self.assertTrue(idle.closing)
        self.assertFalse(busy.closing)
        busy.answer(ok())
        self.successResultOf(second)
        self.assertTrue(busy.closing)
        for wire in memory.wires:
            wire.close()
        self.assertEqual((memory.agent.idle, memory.agent.active), (0, 0))
        self.assertEqual(memory.wheel.pending, 0)

    def test_a_closing_handshake_that_hangs_is_cut(self) -> None:
        """A connection that does not close after it was asked to is cut."""
        memory = Memory()
        wire = exchange(self, memory)
        memory.agent.close()
        self.assertFalse(wire.aborted)
        memory.pass_time(1.2)
        self.assertTrue(wire.aborted)

    def test_answer_is_pooled_before_it_is_told(self) -> None:
        """Whoever asks again as soon as an answer is there needs no second connection."""
        memory = Memory()
        again: list[Deferred[Response]] = []
        memory.send().addCallback(lambda _: again.append(memory.send()))
        wire = memory.accept()
        wire.sent()
        wire.answer(ok())
        self.assertIn(b"POST", wire.sent())
        wire.answer(ok(b"again"))
        body = memory.reader(self.successResultOf(again[0])).whole(100, 1)
        self.assertEqual(self.successResultOf(run(body)), b"again")
        self.assertEqual(memory.connections, 1)

    def test_unread_body_does_not_hold_the_connection(self) -> None:
        """A connection whose body has come whole is free, read or not; aborting cuts nothing."""
        memory = Memory()
        sent = memory.send()
        wire = memory.accept()
        wire.answer(ok())
        response = self.successResultOf(sent)
        exchange(self, memory, wire)
        response.abortConnection()
        memory.reader(response).abort()
        self.assertFalse(wire.aborted)
        self.assertEqual(memory.agent.idle, 1)

    def test_connection_is_reading_again_when_reused(self) -> None:
        """A connection that was paused for its last reader is not paused for the next."""
        memory = Memory()
        sent = memory.send()
        wire = memory.accept()
        wire.answer(CHUNKED)
        reader = memory.reader(self.successResultOf(sent))
        wire.answer(chunked(b"x" * 100_000, end=False))
        self.assertTrue(wire.paused)
        wire.answer(chunked())
        self.assertFalse(wire.paused)
        self.assertEqual(len(self.successResultOf(run(reader.whole(100_000, 1)))), 100_000)
        exchange(self, memory, wire)


class StaleTests(SynchronousTestCase):
    def test_stale_connection_is_tried_once_more(self) -> None:
        """U4: a reused connection that closes without a byte costs the client nothing."""
        for clean in (True, False):
            memory = Memory()
            stale = exchange(self, memory)
            sent = memory.send(b"body")
            first = stale.sent()
            stale.close(clean)
            fresh = memory.accept()
            self.assertEqual(fresh.sent(), first)
            fresh.answer(ok())
            self.successResultOf(sent)
            self.assertEqual((memory.agent.opened, memory.agent.active), (2, 0))

    def test_only_once(self) -> None:
        """U4: if the fresh connection closes too, that is the backend's failure."""
        memory = Memory()
        stale = exchange(self, memory)
        sent = memory.send()
        stale.close()
        memory.accept().close()
        self.failureResultOf(sent, Unreachable)
        self.assertEqual(memory.connections, 2)

    def test_the_second_try_never_takes_a_pooled_connection(self) -> None:
        """U4: the other idle connections are as old as the one that failed."""
        memory = Memory()
        other = memory.send()
        wire = memory.accept()
        stale = exchange(self, memory)
        wire.answer(ok())
        self.successResultOf(other)
        sent = memory.send()
        wire, stale = (wire, stale) if wire.sent() else (stale, wire)
        before = memory.connections
        memory.wires[0].close()
        self.assertEqual(memory.connections, before + 1)
        memory.accept().answer(ok())
        self.successResultOf(sent)

    def test_not_after_a_byte(self) -> None:
        """U4: one byte of an answer, and the request may have been carried out."""
        memory = Memory()
        stale = exchange(self, memory)
        sent = memory.send()
        stale.answer(b"H")
        stale.close()
        self.failureResultOf(sent, Unreachable)
        self.assertEqual(memory.connections, 1)

    def test_not_after_nonsense(self) -> None:
        """U4: a malformed answer is an answer."""
        memory = Memory()
        stale = exchange(self, memory)
        sent = memory.send()
        stale.answer(b"nonsense")
        self.failureResultOf(sent, ProtocolError)
        self.assertEqual(memory.connections, 1)

    def test_not_after_a_timeout(self) -> None:
        """U4: a backend that was silent may be working on it."""
        memory = Memory(pool_idle_seconds=60)
        stale = exchange(self, memory)
        sent = memory.send(head_seconds=1.0)
        memory.pass_time(1.2)
        self.failureResultOf(sent, BackendTimeout)
        stale.close(clean=False)
        self.assertEqual(memory.connections, 1)

    def test_not_after_the_head(self) -> None:
        """U4: an answer that breaks off is told, not asked for again."""
        memory = Memory()
        stale = exchange(self, memory)
        sent = memory.send()
        stale.answer(CHUNKED)
        reading = run(memory.reader(self.successResultOf(sent)).chunk(1))
        stale.close()
        self.failureResultOf(reading, Unreachable)
        self.assertEqual(memory.connections, 1)

    def test_fresh_connection_is_refused(self) -> None:
        """U4: the second try fails as any first one would."""
        memory = Memory()
        stale = exchange(self, memory)
        sent = memory.send()
        stale.close()
        memory.refuse(error.ConnectionRefusedError())
        self.failureResultOf(sent, Unreachable)
        memory.agent.close()
        self.assertEqual(memory.wheel.pending, 0)

    def test_cancel_during_the_second_try(self) -> None:
        """U2: cancelling works while the second connection is opened."""
        memory = Memory()
        stale = exchange(self, memory)
        sent = memory.send()
        stale.close()
        sent.addErrback(lambda _: None).cancel()
        self.assertTrue(memory.reactor.connectors[-1].stoppedConnecting)
        memory.agent.close()
        self.assertEqual(memory.wheel.pending, 0)


class LeftoverTests(SynchronousTestCase):
    def test_nothing_is_left_after_a_thousand(self) -> None:
        """Cancelled, cut, finished: no connection, timer or object stays behind."""
        memory = Memory(pool_idle_seconds=0.1)
        dead = []
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        for turn in range(1000):
            sent = memory.send()
            wire = memory.accept() if not memory.agent.idle else memory.wires[-1]
            dead.append(ref(wire.protocol))
            if turn % 4 == 0:
                sent.addErrback(lambda _: None).cancel()
                wire.close(clean=False)
            elif turn % 4 == 1:
                wire.answer(UNTIL_CLOSE + b"cut")
                memory.reader(self.successResultOf(sent)).abort()
                wire.close(clean=False)
            elif turn % 4 == 2:
                wire.answer(CHUNKED)
                reader = memory.reader(self.successResultOf(sent))
                wire.answer(chunked(b"a", b"b"))
                self.assertEqual(self.successResultOf(run(reader.whole(9, 1))), b"ab")
                wire.close()
            else:
                wire.answer(b"nonsense")
                self.failureResultOf(sent, ProtocolError)
                wire.close(clean=False)
            memory.wires.clear()
            memory.reactor.tcpClients.clear()
            memory.reactor.connectors.clear()
            del wire, sent
        self.assertEqual((memory.agent.idle, memory.agent.active), (0, 0))
        memory.pass_time(0.3)
        self.assertEqual(memory.wheel.pending, 0)
        # Not even the garbage collector was needed.
        self.assertEqual(sum(each() is not None for each in dead), 0)
