"""The server in memory: deadlines, clients that leave, and how connections end."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.errors import Draining
from lmgateway.wire.limits import Limits
from tests.wire.serving import JSON, Server, get, post, statuses


class DeadlineTests(SynchronousTestCase):
    """Absolute deadlines, which no trickle moves."""

    def setUp(self) -> None:
        self.server = Server()
        self.client = self.server.connect()

    def _trickle(self, data: bytes, seconds: int) -> None:
        for second in range(seconds):
            if not self.client.closing:
                self.client.channel.dataReceived(data[second : second + 1])
            self.server.advance(1)

    def test_c8_slow_headers(self) -> None:
        """C8, row 35: headers at a byte a second are 408 at the header deadline."""
        self._trickle(post(b"/echo", b"hello"), 9)
        self.assertEqual(self.client.received(), b"")
        self._trickle(b"xxx", 2)
        self.assertEqual(statuses(self.client.received()), [408])
        self.assertTrue(self.client.closing)

    def test_c8_slow_body(self) -> None:
        """C8, row 35: a body at a byte a second is 408 at the body deadline."""
        self.client.send(post(b"/echo", b"x" * 500)[:-499])
        self._trickle(b"x" * 59, 59)
        self.assertEqual(self.client.received(), b"")
        self._trickle(b"xx", 2)
        self.assertEqual(statuses(self.client.received()), [408])
        ((head, _, error),) = self.server.door.refusals
        self.assertIsNotNone(head)
        self.assertEqual(error.kind, "request_timeout")

    def test_c10_silence(self) -> None:
        """C10: a client that sends nothing is disconnected without a word."""
        self.server.advance(10.2)
        self.assertTrue(self.client.closing)
        self.assertEqual(self.client.received(), b"")
        self.assertEqual(self.server.door.refusals, [])

    def test_c8_empty_lines(self) -> None:
        """C8: empty lines do not keep a connection open."""
        self.client.send(get(b"/echo"))
        for _ in range(31):
            if not self.client.closing:
                self.client.channel.dataReceived(b"\r\n")
            self.server.advance(1)
        self.assertTrue(self.client.closing)

    def test_idle(self) -> None:
        """Between requests a connection may idle, each time anew, and then closes silently."""
        for _ in range(3):
            self.client.send(get(b"/echo"))
            self.server.advance(25)
            self.assertFalse(self.client.closing)
        self.server.advance(5.2)
        self.assertTrue(self.client.closing)
        self.assertEqual(statuses(self.client.received()), [200] * 3)

    def test_second_request_slow(self) -> None:
        """A later request's headers have their own deadline, shorter than idling."""
        self.client.send(get(b"/echo"))
        self.server.advance(20)
        self.client.send(b"GET /ec")
        self.server.advance(9.5)
        self.assertFalse(self.client.closing)
        self.server.advance(1)
        self.assertEqual(statuses(self.client.received()), [200, 408])

    def test_no_deadline_while_answering(self) -> None:
        """How long an answer may take is not the wire's to say."""
        self.client.send(get(b"/wait"))
        self.server.advance(200)
        self.assertFalse(self.client.closing)
        self.server.site.go()
        self.assertEqual(statuses(self.client.received()), [200])

    def test_c9_linger(self) -> None:
        """C9: a client that does not close after the last answer is cut off."""
        self.client.send(get(b"/echo", b"Connection: close"))
        self.assertTrue(self.client.closing)
        self.server.advance(4.8)
        self.assertFalse(self.client.aborted)
        self.server.advance(0.5)
        self.assertTrue(self.client.aborted)

    def test_limits_can_change(self) -> None:
        """New limits hold for the next request of a connection that is open."""
        self.client.send(get(b"/echo"))
        self.server.factory.limits = Limits(body_seconds=2)
        self.client.send(post(b"/echo", b"hello")[:-1])
        self.server.advance(2.2)
        self.assertEqual(statuses(self.client.received()), [200, 408])


class LeavingTests(SynchronousTestCase):
    """C14, C15: a client that leaves cancels its route."""

    def setUp(self) -> None:
        self.server = Server()
        self.client = self.server.connect()

    def test_c15_while_waiting(self) -> None:
        """C14, C15, row 31: leaving cancels a route that waits, quietly."""
        self.client.send(get(b"/wait"))
        self.client.leave()
        self.assertEqual(self.server.site.cancelled, 1)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_c15_in_a_stream(self) -> None:
        """C15, row 32: leaving cancels a route in mid-stream."""
        self.client.send(get(b"/stream"))
        self.client.leave()
        self.assertEqual(self.server.site.cancelled, 1)

    def test_leaving_in_the_body(self) -> None:
        """Row 30: leaving before the body is whole runs no route and leaves no timer."""
        self.client.send(post(b"/echo", b"hello")[:-1])
        self.client.leave()
        self.assertEqual(self.server.site.requests, [])
        self.assertEqual(self.server.wheel.pending, 0)

    def test_c17_after_leaving(self) -> None:
        """C17: whatever a route still does after its client left is harmless."""
        self.client.send(get(b"/wait"))
        (request,) = self.server.site.requests
        self.client.leave()
        request.write(b"more")
        request.begin(200, JSON)
        request.respond(200, JSON, b"more")
        request.finish()
        request.abort()
        request.unregisterProducer()
        self.assertEqual(self.client.received(), b"")

    def test_notify_finish(self) -> None:
        """Twisted's own signal works as well: fired at the end, failed when the client left."""
        self.client.send(get(b"/wait"))
        ended = self.server.site.requests[0].notifyFinish()
        self.assertNoResult(ended)
        self.server.site.go()
        self.assertIsNone(self.successResultOf(ended))
        self.client.send(get(b"/wait"))
        ended = self.server.site.requests[1].notifyFinish()
        self.client.leave()
        self.failureResultOf(ended, ConnectionDone)


class DrainTests(SynchronousTestCase):
    """The end of a server."""

    def setUp(self) -> None:
        self.server = Server()

    def test_no_connections(self) -> None:
        """With nothing open, draining is done at once."""
        self.successResultOf(self.server.factory.drain())

    def test_idle_closes_soon(self) -> None:
        """An idle connection is closed after a moment; a request in it is answered as the last."""
        idle, busy = self.server.connect(), self.server.connect()
        for client in (idle, busy):
            client.send(get(b"/echo"))
            client.received()
        drained = self.server.factory.drain()
        self.assertIn(b"connection: close", busy.send(get(b"/echo")))
        self.assertTrue(busy.closing)
        busy.leave()
        self.assertFalse(idle.closing)
        self.server.advance(1.2)
        self.assertTrue(idle.closing)
        self.assertNoResult(drained)
        idle.leave()
        self.successResultOf(drained)

    def test_answer_is_finished(self) -> None:
        """A request in flight is answered, told to close, and then the connection is."""
        client = self.server.connect()
        client.send(get(b"/wait"))
        drained = self.server.factory.drain()
        self.assertFalse(client.closing)
        self.server.site.go()
        self.assertIn(b"connection: close", client.received())
        self.assertTrue(client.closing)
        self.assertNoResult(drained)
        client.leave()
        self.successResultOf(drained)

    def test_stream_is_finished(self) -> None:
        """A stream that began before the drain ends properly and closes."""
        client = self.server.connect()
        client.send(get(b"/stream"))
        self.server.factory.drain()
        self.server.site.go()
        self.assertTrue(client.received().endswith(b"0\r\n\r\n"))
        self.assertTrue(client.closing)

    def test_request_on_its_way(self) -> None:
        """A connection just made is given a moment to send what it was made for."""
        served, silent = self.server.connect(), self.server.connect()
        self.server.factory.drain()
        self.assertEqual(statuses(served.send(get(b"/echo"))), [200])
        self.assertTrue(served.closing)
        self.assertFalse(silent.closing)
        self.server.advance(1.2)
        self.assertTrue(silent.closing)

    def test_request_half_sent(self) -> None:
        """A request half sent is read to its end and answered."""
        client = self.server.connect()
        client.send(post(b"/echo", b"hello")[:-3])
        self.server.factory.drain()
        self.assertEqual(statuses(client.send(b"llo")), [200])
        self.assertTrue(client.closing)

    def test_interrupt(self) -> None:
        """An interrupted stream says why in its own grammar and is visibly not whole."""
        client = self.server.connect()
        client.send(get(b"/stream"))
        self.server.factory.interrupt(Draining())
        self.assertIn(b"data: draining", client.received())
        self.assertFalse(client.received().endswith(b"0\r\n\r\n"))
        self.assertTrue(client.closing)

    def test_interrupt_before_the_answer(self) -> None:
        """An interrupted request that had no answer yet gets one that says why."""
        client = self.server.connect()
        client.send(get(b"/wait"))
        self.server.factory.interrupt(Draining())
        self.assertEqual(statuses(client.received()), [500])
        self.assertIn(b"draining", client.received())
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_interrupt_in_the_body(self) -> None:
        """An interrupted upload is refused."""
        client = self.server.connect()
        client.send(post(b"/echo", b"hello")[:-1])
        self.server.factory.interrupt(Draining())
        self.assertEqual(statuses(client.received()), [503])

    def test_interrupt_of_the_idle(self) -> None:
        """Interrupting closes what is idle, and does nothing to what is gone."""
        idle, half = self.server.connect(), self.server.connect()
        idle.send(get(b"/echo"))
        half.send(post(b"/echo", b"hello")[:-1])
        half.channel.abort()
        self.server.factory.interrupt(Draining())
        self.assertTrue(idle.closing)
        self.assertEqual(half.received(), b"")

    def test_connection_during_a_drain(self) -> None:
        """A connection that comes late is served once, if it hurries."""
        busy = self.server.connect()
        busy.send(get(b"/wait"))
        self.server.factory.drain()
        late, silent = self.server.connect(), self.server.connect()
        self.assertIn(b"connection: close", late.send(get(b"/echo")))
        self.server.advance(1.2)
        self.assertTrue(silent.closing)

    def test_drain_between_head_and_end(self) -> None:
        """A whole answer begun as a stream before the drain still ends the connection."""
        client = self.server.connect()
        client.send(get(b"/stream") + get(b"/echo"))
        self.server.factory.drain()
        self.server.site.go()
        self.assertEqual(statuses(client.received()), [200, 200])
        self.assertIn(b"connection: close", client.received())
        self.assertTrue(client.closing)

    def test_transport_without_abort(self) -> None:
        """A transport that cannot abort is closed."""
        plain: Any = StringTransport()
        plain.abortConnection = None
        channel = self.server.factory.buildProtocol(None)
        self.assertIsNotNone(channel)
        if channel is not None:
            channel.makeConnection(plain)
            channel.abort()
        self.assertTrue(plain.disconnecting)

    def test_abort(self) -> None:
        """Aborting ends every connection there and then."""
        clients = [self.server.connect() for _ in range(3)]
        self.server.factory.abort()
        self.assertTrue(all(client.aborted for client in clients))


class CapTests(SynchronousTestCase):
    """Row 59: the number of connections."""

    def test_row_59_one_too_many(self) -> None:
        """Row 59: a connection above the limit gets 503 and is closed; others are not touched."""
        server = Server(Limits(max_connections=2))
        first, _, third = server.connect(), server.connect(), server.connect()
        self.assertEqual(statuses(third.received()), [503])
        self.assertTrue(third.closing)
        self.assertEqual(statuses(first.send(get(b"/echo"))), [200])
        third.leave()
        first.leave()
        self.assertEqual(statuses(server.connect().send(get(b"/echo"))), [200])

    def test_row_59_far_too_many(self) -> None:
        """Row 59: far above the limit, connections are closed without a word."""
        server = Server(Limits(max_connections=1))
        clients = [server.connect() for _ in range(65)]
        self.assertIsNone(server.factory.buildProtocol(None))
        for client in clients:
            client.channel.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(server.factory.connections, set())
