"""Answers in memory: whole, streamed, paused, stalled, broken off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.errors import Draining
from lmgateway.wire.heads import render_head
from lmgateway.wire.outlet import Outlet
from lmgateway.wire.request import Request
from tests.wire.serving import JSON, Client, Server, body_of, get, post, statuses


class Answering(SynchronousTestCase):
    """One request that waits to be answered."""

    def setUp(self) -> None:
        self.server = Server()
        self.client = self.server.connect()

    def request(self, client: Client | None = None, version: bytes = b"1.1") -> Request:
        """Ask, and leave the answer to the test."""
        (client or self.client).send(get(b"/wait", version=version))
        return self.server.site.requests[-1]


class OutletTests(Answering):
    """Streams with back-pressure."""

    def setUp(self) -> None:
        super().setUp()
        self.outlet = Outlet(self.request())
        self.outlet.open(200, JSON, b"one")

    def test_stream(self) -> None:
        """Writes leave as chunks, the first with the head, the last with the end."""
        self.assertIn(b"transfer-encoding: chunked\r\n", self.client.received())
        self.assertIsNone(self.outlet.write(b"two"))
        self.outlet.finish(b"three")
        chunked = b"3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n"
        self.assertEqual(body_of(self.client.received()), chunked)
        self.assertFalse(self.client.closing)
        self.assertEqual(statuses(self.client.send(get(b"/echo"))), [200])

    def test_empty_write(self) -> None:
        """Writing nothing does not end the stream."""
        self.outlet.write(b"")
        self.outlet.finish()
        self.assertEqual(body_of(self.client.received()), b"3\r\none\r\n0\r\n\r\n")

    def test_c18_wait(self) -> None:
        """C18: a write says what to wait for while the transport holds enough."""
        self.client.transport.producer.pauseProducing()
        first, second = self.outlet.write(b"two"), self.outlet.write(b"three")
        if first is None or second is None:
            self.fail("nothing to wait for")
        self.assertNoResult(first)
        self.client.transport.producer.resumeProducing()
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertIsNone(self.outlet.write(b"four"))

    def test_c18_cancelled_wait(self) -> None:
        """C18: a wait can be cancelled, and the rest still goes on."""
        self.client.transport.producer.pauseProducing()
        first, second = self.outlet.write(b"two"), self.outlet.write(b"three")
        if first is None or second is None:
            self.fail("nothing to wait for")
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.client.transport.producer.resumeProducing()
        self.successResultOf(second)

    def test_c9_stall(self) -> None:
        """C9, row 34: output that stands still for the stall time aborts the connection."""
        self.client.transport.producer.pauseProducing()
        self.server.advance(29)
        self.assertFalse(self.client.aborted)
        self.server.advance(2)
        self.assertTrue(self.client.aborted)

    def test_c9_no_stall_after_resume(self) -> None:
        """C9: a client that goes on reading in time is left alone."""
        for _ in range(4):
            self.client.transport.producer.pauseProducing()
            self.server.advance(20)
            self.client.transport.producer.resumeProducing()
            self.server.advance(5)
        self.assertFalse(self.client.aborted)

    def test_producer_is_let_go(self) -> None:
        """After the end nothing is registered with the transport any more."""
        self.assertIsNotNone(self.client.transport.producer)
        self.outlet.finish()
        self.assertIsNone(self.client.transport.producer)

    def test_abort(self) -> None:
        """A stream broken off has no last chunk, and the connection closes after what was sent."""
        self.outlet.write(b"two")
        self.outlet.abort()
        self.assertTrue(self.client.received().endswith(b"3\r\ntwo\r\n"))
        self.assertTrue(self.client.closing)
        self.assertFalse(self.client.aborted)
        self.server.advance(5.2)
        self.assertTrue(self.client.aborted)

    def test_c17_order_of_ends(self) -> None:
        """C17: the second end of a stream is harmless, whichever came first."""
        ends: list[Callable[[], None]] = [self.outlet.finish, self.outlet.abort]
        for end in ends * 2:
            end()
        self.assertEqual(self.client.received().count(b"0\r\n\r\n"), 1)

    def test_leaving_while_paused(self) -> None:
        """A client that leaves while its stream is paused cancels the route, and no timer stays."""
        self.client.transport.producer.pauseProducing()
        self.client.leave()
        self.assertEqual(self.server.site.cancelled, 1)
        self.assertEqual(self.server.wheel.pending, 0)

    def test_flood(self) -> None:
        """C18: a route that writes without end waits as soon as the transport says so."""
        client = self.server.connect()
        original = client.transport.write
        written: list[int] = []

        def write(data: bytes) -> None:
            written.append(len(data))
            original(data)
            if len(written) == 5:
                client.transport.producer.pauseProducing()

        client.transport.write = write
        client.send(get(b"/flood"))
        self.assertEqual(len(written), 5)
        client.leave()
        self.assertEqual(self.server.site.cancelled, 1)


class OldClientTests(Answering):
    """HTTP/1.0, which knows no chunks."""

    def test_stream(self) -> None:
        """A stream to HTTP/1.0 ends with the connection."""
        outlet = Outlet(self.request(version=b"1.0"))
        outlet.open(200, JSON, b"one")
        outlet.write(b"two")
        outlet.finish()
        self.assertEqual(body_of(self.client.received()), b"onetwo")
        self.assertIn(b"connection: close\r\n", self.client.received())
        self.assertTrue(self.client.closing)

    def test_abort(self) -> None:
        """A stream to HTTP/1.0 that is broken off is reset: nothing else would tell."""
        outlet = Outlet(self.request(version=b"1.0"))
        outlet.open(200, JSON, b"one")
        outlet.abort()
        self.assertTrue(self.client.aborted)


class BodilessTests(Answering):
    """Streams that have no body."""

    def test_head(self) -> None:
        """A stream in answer to HEAD is its head alone, for old clients too."""
        for version in (b"1.1", b"1.0"):
            client = self.server.connect()
            client.send(get(b"/stream", b"Connection: keep-alive", method=b"HEAD", version=version))
            self.server.site.go()
            self.assertEqual(body_of(client.received()), b"")
            self.assertFalse(client.closing)

    def test_not_modified(self) -> None:
        """A stream with a status that has no body is its head alone."""
        outlet = Outlet(self.request())
        outlet.open(304, (), b"ignored")
        outlet.write(b"ignored")
        outlet.finish()
        self.assertEqual(body_of(self.client.received()), b"")
        self.assertNotIn(b"chunked", self.client.received())

    def test_leaving_without_a_route(self) -> None:
        """A client that leaves a request which nothing runs for is no trouble."""

        class Forgetful:
            def dispatch(self, request: Request) -> None:
                """Neither answers nor says what runs."""

        self.server.factory.resource = Forgetful()
        self.client.send(get(b"/echo"))
        self.server.factory.interrupt(Draining())
        self.client.leave()
        self.assertEqual(self.server.factory.connections, set())

    def test_nothing_to_write(self) -> None:
        """Writing nothing into a stream with a length sends nothing."""
        request = self.request()
        request.responseHeaders.addRawHeader(b"content-length", b"0")
        request.write(b"")
        request.write(b"")
        request.write(b"too much")
        request.finish()
        self.assertEqual(body_of(self.client.received()), b"")
        self.assertFalse(self.client.closing)


class RequestTests(Answering):
    """What routes do with a request."""

    def test_respond_once(self) -> None:
        """A second answer, or one after a stream began, is a mistake of the route's."""
        request = self.request()
        request.begin(200, JSON)
        self.assertRaises(RuntimeError, request.respond, 200, JSON, b"")
        self.assertRaises(RuntimeError, request.begin, 200, JSON)

    def test_one_write(self) -> None:
        """A whole answer leaves in one write."""
        writes: list[bytes] = []
        request = self.request()
        self.client.transport.write = writes.append
        request.respond(200, JSON, b"body")
        self.assertEqual(len(writes), 1)

    def test_no_content(self) -> None:
        """204 has neither a body nor a length."""
        self.request().respond(204, (), b"ignored")
        self.assertNotIn(b"content-length", self.client.received())
        self.assertEqual(body_of(self.client.received()), b"")

    def test_known_length(self) -> None:
        """A route that sets a length streams without chunks."""
        request = self.request()
        request.responseHeaders.addRawHeader(b"content-length", b"6")
        request.write(b"abc")
        request.write(b"defghi")
        request.finish()
        self.assertEqual(body_of(self.client.received()), b"abcdef")
        self.assertFalse(self.client.closing)

    def test_short_of_known_length(self) -> None:
        """An answer shorter than it said ends the connection."""
        request = self.request()
        request.responseHeaders.addRawHeader(b"content-length", b"6")
        request.write(b"abc")
        request.finish()
        self.assertTrue(self.client.closing)

    def test_finish_with_data(self) -> None:
        """Finishing with the only word is a short stream."""
        self.request().finish(b"word")
        self.assertEqual(body_of(self.client.received()), b"4\r\nword\r\n0\r\n\r\n")

    def test_finish_alone(self) -> None:
        """Finishing without a word is an empty answer."""
        self.request().finish()
        self.assertIn(b"content-length: 0\r\n", self.client.received())

    def test_twisted_attributes(self) -> None:
        """What Twisted's code reads from a request is there."""
        self.client.send(post(b"/echo?a=1&a=2&b", b"body", b"X-A: 1", b"X-A: 2"))
        request: Any = self.server.site.requests[-1]
        self.assertEqual(request.args, {b"a": [b"1", b"2"], b"b": [b""]})
        self.assertEqual(request.content.read(), b"body")
        self.assertEqual(request.getHeader(b"X-A"), b"2")
        self.assertEqual(request.getHeader("x-a"), "2")
        self.assertIsNone(request.getHeader(b"x-b"))
        self.assertEqual(list(request.requestHeaders.getRawHeaders(b"x-a") or ()), [b"1", b"2"])
        self.assertEqual(request.getClientAddress().host, "192.0.2.7")
        self.assertEqual(request.getHost().port, 12345)
        self.assertEqual(request.getRequestHostname(), b"gateway")
        self.assertFalse(request.isSecure())
        self.assertIn("method=POST", repr(request))

    def test_twisted_attributes_without_headers(self) -> None:
        """What is not there is empty, not an error."""
        request: Any = self.request()
        self.assertEqual(request.prepath, [])
        self.assertEqual(request.postpath, [b"wait"])
        self.assertEqual(request.received_cookies, {})
        self.assertIsNone(request.getCookie(b"a"))
        request.setComponent(int, 7)
        self.assertEqual(request.getComponent(int), 7)
        request.addCookie(b"a", b"b")
        request.write(b"")
        self.assertIn(b"set-cookie: a=b\r\n", self.client.received())

    def test_write_after_finish(self) -> None:
        """Writing after the end is a mistake of the route's."""
        request = self.request()
        request.respond(200, JSON, b"")
        self.assertRaises(RuntimeError, request.write, b"more")

    def test_late_producer(self) -> None:
        """A producer that comes after the end is stopped."""
        stopped: list[bool] = []

        class Late(Outlet):
            def stopProducing(self) -> None:
                stopped.append(True)

        request = self.request()
        request.respond(200, JSON, b"")
        request.registerProducer(Late(request), True)
        self.assertEqual(stopped, [True])

    def test_interrupt_after_the_end(self) -> None:
        """An interruption that comes too late changes nothing."""
        request = self.request()
        request.respond(200, JSON, b"")
        request.interrupt(Draining())
        self.assertIsNone(request.interruption)

    def test_pull_producers(self) -> None:
        """Producers that must be asked are not served."""
        self.assertRaises(
            ValueError, self.request().registerProducer, Outlet(self.request()), False
        )

    def test_two_producers(self) -> None:
        """Only one producer writes an answer."""
        request = self.request()
        request.registerProducer(Outlet(request), True)
        self.assertRaises(RuntimeError, request.registerProducer, Outlet(request), True)


class HeadTests(SynchronousTestCase):
    """Response heads as bytes."""

    def test_c19_phrase_and_status(self) -> None:
        """C19: phrases are ours, and statuses outside 200 to 599 become 500."""
        self.assertTrue(render_head(404, (), b"").startswith(b"HTTP/1.1 404 Not Found\r\n"))
        self.assertTrue(render_head(599, (), b"").startswith(b"HTTP/1.1 599 Unknown\r\n"))
        for status in (0, 101, 199, 600, -1):
            self.assertTrue(render_head(status, (), b"").startswith(b"HTTP/1.1 500 "), status)

    def test_c19_line_breaks(self) -> None:
        """C19, row 41: no header value or name can begin another line."""
        hostile = (
            (b"x-a", b"1\r\nx-evil: 1"),
            (b"x-b", b"1\nx-evil: 1"),
            (b"x-c\r\nx-evil", b"1"),
            (b"x-d", b"1\0\r"),
        )
        lines = render_head(200, hostile, b"").split(b"\r\n")
        self.assertEqual([line for line in lines if line.lower().startswith(b"x-evil")], [])
        self.assertIn(b"x-a: 1 x-evil: 1", lines)
        self.assertIn(b"x-d: 1 ", lines)

    def test_framing_is_ours(self) -> None:
        """Headers that frame a message cannot be set from outside."""
        given = ((b"Content-Length", b"7"), (b"transfer-encoding", b"x"), (b"Server", b"y"))
        head = render_head(200, (*given, (b"Connection", b"z")), b"").lower()
        for word in (b"content-length", b"transfer-encoding", b"server", b"connection"):
            self.assertNotIn(word, head)
