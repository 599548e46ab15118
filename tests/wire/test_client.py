"""Sending requests, and what becomes of them."""

from __future__ import annotations

from typing import cast

from twisted.internet import error
from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IAgent, IResponse
from zope.interface.verify import verifyObject

from lmgateway.backend_errors import BackendTimeout, Unreachable
from lmgateway.wire.client import Origin, Target
from tests.wire.dialing import SECRET, Memory, ok, run


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

    def test_targets_of_others_are_refused(self) -> None:
        """A target prepared for one origin is never sent, with its key, to another."""
        memory = Memory()
        target = Target.prepare(Origin.parse("http://127.0.0.1:8001/v1"), b"POST", "/x")
        with self.assertRaises(ValueError):
            memory.client.send(target, b"", head_seconds=1)
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
