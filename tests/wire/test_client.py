"""Sending requests and reading the heads of their answers."""

from __future__ import annotations

from typing import cast

from klein import Klein
from treq.testing import RequestTraversalAgent
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http import Request
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IRequest, IResponse
from zope.interface.verify import verifyObject

from lmgateway.errors import (
    BackendTimeout,
    ProtocolError,
    Unreachable,
    UnsupportedEncoding,
)
from lmgateway.wire.body import BodyReader
from lmgateway.wire.client import Origin, Target, WireClient
from lmgateway.wire.timers import Wheel
from tests.wire.dialing import CHUNKED, SECRET, Memory, chunked, ok, run


class SendTests(SynchronousTestCase):
    def test_request_is_one_exact_write(self) -> None:
        """A request goes out as prepared: prefix, host, fixed and added headers, length, body."""
        memory = Memory()
        memory.send(b'{"a":1}', [(b"x-request-id", b"r1")])
        self.assertEqual(
            memory.accept().sent(),
            b"POST /v1/chat/completions HTTP/1.1\r\n"
            b"host: 127.0.0.1:8000\r\n"
            b"accept-encoding: identity\r\n"
            b"authorization: Bearer " + SECRET + b"\r\n"
            b"x-request-id: r1\r\n"
            b"content-length: 7\r\n\r\n"
            b'{"a":1}',
        )

    def test_get_has_no_length(self) -> None:
        """A request without a body says nothing of one."""
        memory = Memory()
        target = Target.prepare(memory.origin, b"GET", "/models")
        memory.client.send(target, b"", head_seconds=1)
        self.assertNotIn(b"length", memory.accept().sent())

    def test_large_body_is_not_copied_into_the_head(self) -> None:
        """A body of megabytes arrives whole after the head."""
        memory = Memory()
        body = b"x" * 1_000_000
        memory.send(body)
        self.assertTrue(memory.accept().sent().endswith(b"\r\n\r\n" + body))

    def test_response_tells_status_and_headers(self) -> None:
        """Header names come in lower case, in order, and none is lost."""
        memory = Memory()
        sent = memory.send()
        memory.accept().answer(
            b"HTTP/1.1 429 Slow\r\nRetry-After: 2\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 0\r\n\r\n"
        )
        response = self.successResultOf(sent)
        self.assertEqual(response.code, 429)
        self.assertEqual(response.get(b"retry-after"), b"2")
        self.assertEqual(response.get(b"x-a"), b"1")
        self.assertIsNone(response.get(b"x-b"))
        self.assertIn((b"x-a", b"2"), response.raw_headers)
        self.assertEqual(response.headers.getRawHeaders(b"X-A"), [b"1", b"2"])

    def test_interfaces_are_whole(self) -> None:
        """Agent and response are what Twisted says they must be."""
        memory = Memory()
        verifyObject(IAgent, memory.agent)
        sent = memory.send()
        memory.accept().answer(ok())
        response = self.successResultOf(sent)
        verifyObject(IResponse, response)
        response.setPreviousResponse(cast(IResponse, response))
        self.assertIs(response.previousResponse, response)

    def test_head_may_come_byte_by_byte(self) -> None:
        """However an answer is cut into reads, it is the same answer."""
        whole = ok(b"hello", b"X-A: b")
        for step in (1, 2, 3, 7):
            memory = Memory()
            sent = memory.send()
            wire = memory.accept()
            wire.answer(*[whole[at : at + step] for at in range(0, len(whole), step)])
            body = memory.reader(self.successResultOf(sent)).whole(100, 1)
            self.assertEqual(self.successResultOf(run(body)), b"hello")
            self.assertEqual(memory.agent.idle, 1)

    def test_bodiless_answers(self) -> None:
        """204, 304 and the answer to HEAD have no body, whatever length they tell."""
        for method, head in (
            (b"POST", b"HTTP/1.1 204 No\r\n\r\n"),
            (b"POST", b"HTTP/1.1 304 No\r\nContent-Length: 5\r\n\r\n"),
            (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        ):
            memory = Memory()
            target = Target.prepare(memory.origin, method, "/x")
            sent = memory.client.send(target, b"", head_seconds=1)
            memory.accept().answer(head)
            body = memory.reader(self.successResultOf(sent)).chunk(1)
            self.assertEqual(self.successResultOf(run(body)), b"")

    def test_header_values_cannot_break_out(self) -> None:
        """A line break in a forwarded header value is refused before anything is sent."""
        memory = Memory()
        for value in (b"a\r\nX: y", b"a\nb", b"a\rb", b"a\0b"):
            with self.assertRaises(ValueError):
                memory.send(b"", [(b"x-request-id", value)])
        self.assertEqual(memory.connections, 0)

    def test_interim_answers_are_passed_over(self) -> None:
        """100 Continue and 103 Early Hints come before the answer, they are not it."""
        memory = Memory()
        sent = memory.send()
        memory.accept().answer(
            b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n", ok(b"x")
        )
        response = self.successResultOf(sent)
        self.assertEqual(response.code, 200)
        self.assertIsNone(response.get(b"link"))
        self.assertEqual(memory.agent.idle, 1)


class GuardTests(SynchronousTestCase):
    """What a lying backend may send (U5 to U8)."""

    def refused(self, *pieces: bytes) -> None:
        memory = Memory()
        sent = memory.send()
        wire = memory.accept()
        wire.answer(*pieces)
        self.failureResultOf(sent, ProtocolError)
        self.assertTrue(wire.aborted, pieces)
        self.assertEqual((memory.agent.idle, memory.agent.active), (0, 0))

    def test_malformed_heads(self) -> None:
        """U6: what two readers could read differently is refused, and not pooled."""
        for head in (
            b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
            b"XXX/9.9 200 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
            b"RTSP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 2_00 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 99999 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2,2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
            b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
            b"HTTP/1.1 101 Switching\r\n\r\n",
            b"SSH-2.0-OpenSSH\r\n",
            b"\r\n\r\n",
            b"\x16\x03\x01",
        ):
            self.refused(head)

    def test_headers_without_end(self) -> None:
        """U7: a flood of headers ends at 64 KiB or 100 lines."""
        start = b"HTTP/1.1 200 OK\r\n"
        self.refused(start, *[b"X-%d: %b\r\n" % (n, b"a" * 1000) for n in range(70)])
        self.refused(start + b"X: " + b"a" * 70000, b"\r\n\r\n")
        self.refused(start + b"X: " + b"a" * 66000 + b"\r\nContent-Length: 0\r\n\r\n")
        self.refused(start + b"X: y\r\n" * 101 + b"\r\n")
        self.refused(start, b"X: ", *[b"a" * 100 for _ in range(700)])

    def test_interim_answers_without_end(self) -> None:
        """U7: the seventeenth interim answer is one too many."""
        self.refused(*[b"HTTP/1.1 103 Early\r\n\r\n"] * 17)
        self.refused(b"HTTP/1.1 100 Continue\r\n\r\n" * 10000)
        self.refused(*[b"HTTP/1.1 103 E\r\n" + b"X: y\r\n" * 10 + b"\r\n"] * 11)

    def test_compressed_answers_are_refused(self) -> None:
        """U1: an encoding that was not asked for is an error of its own kind."""
        for encoding in (b"gzip", b"br", b"deflate", b"GZIP", b"identity, gzip"):
            memory = Memory()
            sent = memory.send()
            wire = memory.accept()
            wire.answer(ok(b"xx", b"Content-Encoding: " + encoding))
            self.failureResultOf(sent, UnsupportedEncoding)
            self.assertTrue(wire.aborted)
        memory = Memory()
        sent = memory.send()
        memory.accept().answer(ok(b"xx", b"Content-Encoding: Identity"))
        self.successResultOf(sent)

    def test_close_is_understood_in_any_case(self) -> None:
        """U5: a connection that the backend will close is not used again, however it says so."""
        for line in (b"close", b"Close", b"CLOSE", b"x, close", b"close, x", b"keep-alive, Close"):
            memory = Memory()
            sent = memory.send()
            wire = memory.accept()
            wire.answer(ok(b"ok", b"Connection: " + line))
            self.successResultOf(sent)
            self.assertTrue(wire.closing)
            self.assertEqual((memory.agent.idle, memory.agent.active), (0, 0))

    def test_old_http_is_kept_only_if_it_says_so(self) -> None:
        """U5: HTTP/1.0 closes by default."""
        for line, idle in ((b"X: y", 0), (b"Connection: Keep-Alive", 1)):
            memory = Memory()
            sent = memory.send()
            memory.accept().answer(ok(b"ok", line).replace(b"1.1", b"1.0", 1))
            self.successResultOf(sent)
            self.assertEqual(memory.agent.idle, idle)

    def test_bytes_after_the_answer(self) -> None:
        """U6: more than the answer is an error, and the connection is not used again."""
        for more in (b"X", b"HTTP/1.1 200 OK\r\n", ok()):
            for line in (b"X: y", b"Connection: close"):
                self.refused(ok(b"ok", line) + more)

    def test_bytes_between_two_answers(self) -> None:
        """U6: a connection that speaks unasked is cut, not reused."""
        memory = Memory()
        sent = memory.send()
        wire = memory.accept()
        wire.answer(ok())
        self.successResultOf(sent)
        wire.answer(ok(b"evil"))
        self.assertTrue(wire.aborted)
        self.assertEqual(memory.agent.idle, 0)

    def test_bad_chunks(self) -> None:
        """U6: chunks that are none end the body with an error."""
        for chunk in (
            b"zz\r\n",
            b"2\nok\n",
            b"2\r\nokX",
            b"-1\r\n",
            b"2 \r\nok\r\n",
            b"0x2\r\nok\r\n",
        ):
            memory = Memory()
            sent = memory.send()
            wire = memory.accept()
            wire.answer(CHUNKED)
            reading = run(memory.reader(self.successResultOf(sent)).whole(100, 1))
            wire.answer(chunk)
            self.failureResultOf(reading, ProtocolError)
            self.assertTrue(wire.aborted)

    def test_trailers_without_end(self) -> None:
        """U7: trailers and chunk extensions are bounded like headers."""
        for first, more in ((b"0\r\nX: ", b"a" * 1000), (b"2;", b"x" * 1000)):
            memory = Memory()
            sent = memory.send()
            wire = memory.accept()
            wire.answer(CHUNKED)
            reading = run(memory.reader(self.successResultOf(sent)).whole(100, 1))
            wire.answer(first, *[more] * 70)
            self.failureResultOf(reading, ProtocolError)
            self.assertTrue(wire.aborted)

    def test_trailers_are_ignored(self) -> None:
        """Trailers do not become headers, and the connection is good afterwards."""
        memory = Memory()
        sent = memory.send()
        memory.accept().answer(CHUNKED, chunked(b"ok", end=False) + b"0\r\nX-T: y\r\n\r\n")
        response = self.successResultOf(sent)
        self.assertEqual(self.successResultOf(run(memory.reader(response).whole(9, 1))), b"ok")
        self.assertIsNone(response.get(b"x-t"))
        self.assertEqual(memory.agent.idle, 1)


class FailureTests(SynchronousTestCase):
    def test_connection_failures(self) -> None:
        """Each way of not connecting is told as what it is, naming no host."""
        for cause, kind in (
            (error.ConnectionRefusedError(), Unreachable),
            (error.ConnectError(), Unreachable),
            (error.TCPTimedOutError(), BackendTimeout),
        ):
            memory = Memory()
            sent = memory.send()
            memory.refuse(cause)
            fault = self.failureResultOf(sent, kind).value
            self.assertNotIn("127.0.0.1", str(fault))
            self.assertIs(fault.__cause__, cause)
            self.assertEqual(memory.wheel.pending, 0)

    def test_connect_deadline(self) -> None:
        """U3: the connection has one deadline of its own, whose text says what it was doing."""
        memory = Memory(connect_seconds=3.0)
        sent = memory.send()
        memory.pass_time(2.9)
        self.assertNoResult(sent)
        memory.pass_time(0.2)
        self.assertIn("look-up", str(self.failureResultOf(sent, BackendTimeout).value))
        self.assertTrue(memory.reactor.connectors[-1].stoppedConnecting)

    def test_head_deadline(self) -> None:
        """U3: the answer's head has a deadline, after which the connection is cut."""
        memory = Memory()
        sent = memory.send(head_seconds=5.0)
        wire = memory.accept()
        wire.answer(b"HTTP/1.1 200 OK\r\n")
        memory.pass_time(4.9)
        self.assertNoResult(sent)
        memory.pass_time(0.2)
        self.failureResultOf(sent, BackendTimeout)
        self.assertTrue(wire.aborted)
        wire.close(clean=False)
        self.assertEqual(memory.agent.active, 0)

    def test_drip_does_not_extend_the_head_deadline(self) -> None:
        """U3: one byte now and then is not an answer."""
        memory = Memory()
        sent = memory.send(head_seconds=2.0)
        wire = memory.accept()
        for byte in b"HTTP/1.1 200 OK\r\nX: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"[:25]:
            if not wire.aborted:
                wire.answer(bytes([byte]))
            memory.pass_time(0.1)
        self.failureResultOf(sent, BackendTimeout)

    def test_closed_without_an_answer(self) -> None:
        """A fresh connection that closes is a failure, and nothing is sent twice."""
        for clean in (True, False):
            memory = Memory()
            sent = memory.send()
            memory.accept().close(clean)
            self.failureResultOf(sent, Unreachable)
            self.assertEqual(memory.connections, 1)
            self.assertEqual((memory.agent.active, memory.wheel.pending), (0, 0))

    def test_cancel_while_connecting(self) -> None:
        """U2: nobody waits, nothing connects."""
        memory = Memory()
        sent = memory.send()
        sent.cancel()
        self.failureResultOf(sent, CancelledError)
        self.assertTrue(memory.reactor.connectors[-1].stoppedConnecting)
        self.assertEqual(memory.wheel.pending, 0)

    def test_cancel_while_waiting_for_the_head(self) -> None:
        """U2: the connection is cut at once and is not pooled."""
        memory = Memory()
        sent = memory.send()
        wire = memory.accept()
        sent.cancel()
        self.failureResultOf(sent, CancelledError)
        self.assertTrue(wire.aborted)
        wire.close(clean=False)
        self.assertEqual((memory.agent.active, memory.agent.idle, memory.wheel.pending), (0, 0, 0))


class SecretTests(SynchronousTestCase):
    def test_nothing_shows_the_credential(self) -> None:
        """U13: what may end up in a log does not hold the key."""
        memory = Memory(proxy="http://user:canary-7f3a@127.0.0.1:3128")
        secret = SECRET.decode()
        sent = memory.send()
        for shown in (memory.target, memory.origin, memory.agent, memory.client, sent):
            self.assertNotIn(secret, repr(shown))
        memory.refuse(error.ConnectionRefusedError())
        failure = self.failureResultOf(sent, Unreachable)
        self.assertNotIn(secret, failure.getTraceback() + repr(failure.value.__cause__))

    def test_response_does_not_show_the_request(self) -> None:
        """U13: the response knows what was asked, but not with which headers."""
        memory = Memory()
        sent = memory.send()
        memory.accept().answer(ok())
        response = self.successResultOf(sent)
        self.assertNotIn(SECRET.decode(), repr(response) + repr(vars(response.request)))


class TreqTests(SynchronousTestCase):
    """treq's own methods over our agent."""

    def test_get(self) -> None:
        """The calls of treq work, within the origin."""
        memory = Memory()
        got = memory.client.get(
            "http://127.0.0.1:8000/v1/models?x=1", headers=Headers({b"X-A": [b"b"]})
        )
        wire = memory.accept()
        sent = wire.sent()
        self.assertTrue(sent.startswith(b"GET /v1/models?x=1 HTTP/1.1\r\nhost: 127.0.0.1:8000\r\n"))
        self.assertIn(b"\r\nX-A: b\r\n", sent)
        self.assertEqual(sent.lower().count(b"accept-encoding"), 1)
        self.assertIn(b"accept-encoding: identity\r\n", sent)
        wire.answer(ok(b'{"a":1}'))
        response = self.successResultOf(got)
        self.assertEqual(self.successResultOf(response.json()), {"a": 1})

    def test_another_origin_is_refused(self) -> None:
        """U1: no URL makes this agent talk to anybody else."""
        memory = Memory()
        for uri in (
            b"http://evil.example/",
            b"https://127.0.0.1:8000/",
            b"http://127.0.0.1:80001/",
            b"http://127.0.0.1:8000@evil.example/",
            b"http://127.0.0.1:8000.evil.example/",
        ):
            self.failureResultOf(memory.agent.request(b"GET", uri), ValueError)
        self.failureResultOf(
            memory.agent.request(b"GET", b"http://127.0.0.1:8000/ HTTP/1.1\r\nX: y"), ValueError
        )
        self.assertEqual(memory.connections, 0)

    def test_redirects_are_not_followed(self) -> None:
        """U1: a redirect is an answer like any other, and no second request is sent."""
        for code in (301, 302, 303, 307, 308):
            memory = Memory()
            got = memory.client.post("http://127.0.0.1:8000/v1/x", data=b"")
            wire = memory.accept()
            wire.sent()
            wire.answer(b"HTTP/1.1 %d X\r\nLocation: /y\r\nContent-Length: 0\r\n\r\n" % code)
            self.assertEqual(self.successResultOf(got).code, code)
            self.assertEqual((wire.sent(), memory.connections), (b"", 1))

    def test_cookies_are_not_kept(self) -> None:
        """U1: what one answer sets is never sent with a later request."""
        memory = Memory()
        for _ in range(2):
            got = memory.client.get("http://127.0.0.1:8000/v1/x")
            wire = memory.wires[0] if memory.wires else memory.accept()
            self.assertNotIn(b"cookie", wire.sent().lower())
            wire.answer(ok(b"ok", b"Set-Cookie: a=b; Path=/"))
            self.successResultOf(got)

    def test_framing_headers_are_ours(self) -> None:
        """U12: hop-by-hop headers that somebody passes on do not go out."""
        memory = Memory()
        headers = Headers()
        for name in (b"Connection", b"Transfer-Encoding", b"Content-Length", b"TE", b"Upgrade"):
            headers.addRawHeader(name, b"X-Secret")
        headers.addRawHeader(b"Host", b"evil.example")
        memory.agent.request(b"POST", b"http://127.0.0.1:8000/x", headers)
        sent = memory.accept().sent()
        self.assertNotIn(b"X-Secret", sent)
        self.assertNotIn(b"evil", sent)
        self.assertEqual(sent.count(b"content-length: 0"), 1)

    def test_body_producers(self) -> None:
        """Bodies made of Twisted's producers are sent with their length."""
        memory = Memory()
        memory.client.post("http://127.0.0.1:8000/x", json={"a": 1})
        self.assertTrue(memory.accept().sent().endswith(b'content-length: 7\r\n\r\n{"a":1}'))


class StockAgentTests(SynchronousTestCase):
    """The same client over an agent of another make, without a socket."""

    def setUp(self) -> None:
        self.app = Klein()
        self.clock = MemoryReactorClock()
        self.wheel = Wheel(self.clock)
        self.hanging: Deferred[bytes] = Deferred()
        self.cancelled = False

        @self.app.route("/v1/echo", methods=["POST"])
        def echo(request: IRequest) -> bytes:
            request.setHeader(b"X-Seen", request.getHeader(b"x-request-id") or b"")
            request.setHeader(b"X-Asked", request.getHeader(b"accept-encoding") or b"")
            return cast(bytes, request.content.read())

        @self.app.route("/v1/gzip", methods=["POST"])
        def gzip(request: IRequest) -> bytes:
            request.setHeader(b"Content-Encoding", b"gzip")
            return b"x"

        @self.app.route("/v1/hang", methods=["POST"])
        def hang(request: Request) -> Deferred[bytes]:
            request.notifyFinish().addErrback(self.gone)
            return self.hanging

        agent = RequestTraversalAgent(self.app.resource())
        self.flush = agent.flush
        self.client = WireClient(agent, self.wheel)
        self.origin = Origin.parse("http://127.0.0.1:8000/v1")

    def gone(self, _: object) -> None:
        self.cancelled = True

    def target(self, path: str) -> Target:
        return Target.prepare(self.origin, b"POST", path, [(b"authorization", b"Bearer x")])

    def test_answer(self) -> None:
        """Head and body read the same as over our own agent."""
        sent = self.client.send(
            self.target("/echo"), b"hello", [(b"x-request-id", b"r1")], head_seconds=1
        )
        response = self.successResultOf(sent)
        self.assertEqual(response.code, 200)
        self.assertEqual(response.get(b"x-seen"), b"r1")
        self.assertEqual(response.get(b"x-asked"), b"identity")
        self.assertNotIn("Bearer", repr(response))
        body = run(BodyReader(response, self.wheel).whole(100, 1))
        self.assertEqual(self.successResultOf(body), b"hello")
        self.assertEqual(self.wheel.pending, 0)

    def test_compressed(self) -> None:
        """U1: an encoding that was not asked for is refused here too."""
        sent = self.client.send(self.target("/gzip"), b"", head_seconds=1)
        self.failureResultOf(sent, UnsupportedEncoding)

    def test_head_deadline(self) -> None:
        """U3: silence ends in a timeout, and the request is cut."""
        sent = self.client.send(self.target("/hang"), b"", head_seconds=1)
        self.clock.pump([0.05] * 22)
        self.failureResultOf(sent, BackendTimeout)
        self.flush()
        self.assertTrue(self.cancelled)

    def test_cancel(self) -> None:
        """U2: cancelling cuts the request."""
        sent = self.client.send(self.target("/hang"), b"", head_seconds=1)
        sent.cancel()
        self.failureResultOf(sent, CancelledError)
        self.flush()
        self.assertTrue(self.cancelled)
        self.assertEqual(self.wheel.pending, 0)
