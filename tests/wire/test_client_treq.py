"""The methods of treq over our agent, and our client over the agents of others."""

from __future__ import annotations

from typing import Any, cast

from klein import Klein
from treq.testing import RequestTraversalAgent
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IConsumer
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web._newclient import ParseError, ResponseNeverReceived
from twisted.web.http import Request
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IRequest, IResponse
from zope.interface import implementer

from lmgateway.backend_errors import BackendTimeout, ProtocolError, Unreachable, UnsupportedEncoding
from lmgateway.wire.body import BodyReader
from lmgateway.wire.client import Origin, Target, WireClient
from lmgateway.wire.timers import Wheel
from tests.wire.dialing import Memory, ok, run


@implementer(IBodyProducer)
class Slow:
    """A body that takes its time, or is too large."""

    length = 4

    def __init__(self, produced: Deferred[None], huge: bool = False) -> None:
        self.produced = produced
        self.huge = huge
        self.stopped = False

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.registerProducer(self, True)
        consumer.write(b"body")
        if self.huge:
            for _ in range(65):
                consumer.write(b"x" * 1024 * 1024)
            self.produced.callback(None)
        consumer.unregisterProducer()
        return self.produced

    def stopProducing(self) -> None:
        self.stopped = True

    def pauseProducing(self) -> None:
        """Not asked for."""

    def resumeProducing(self) -> None:
        """Not asked for."""


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

    def test_body_that_is_not_bytes(self) -> None:
        """Any of Twisted's producers will do, within a bound, and is stopped with the request."""
        memory = Memory()
        produced: Deferred[None] = Deferred()
        producer = Slow(produced)
        uri = b"http://127.0.0.1:8000/x"
        memory.agent.request(b"POST", uri, None, producer)
        self.assertEqual(memory.connections, 0)
        produced.callback(None)
        self.assertTrue(memory.accept().sent().endswith(b"content-length: 4\r\n\r\nbody"))
        self.failureResultOf(memory.agent.request(b"POST", uri, None, Slow(Deferred(), True)))
        producer = Slow(Deferred())
        asked = memory.agent.request(b"POST", uri, None, producer)
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.assertTrue(producer.stopped)

    def test_body_producers(self) -> None:
        """Bodies made of Twisted's producers are sent with their length."""
        memory = Memory()
        memory.client.post("http://127.0.0.1:8000/x", json={"a": 1})
        self.assertTrue(memory.accept().sent().endswith(b'content-length: 7\r\n\r\n{"a":1}'))


@implementer(IAgent)
class Failing:
    """An agent that fails."""

    def __init__(self, reason: Exception) -> None:
        self.reason = reason

    def request(self, *asked: object) -> Deferred[IResponse]:
        return fail(self.reason)


class StockAgentTests(SynchronousTestCase):
    """The same client over an agent of another make, without a socket."""

    def setUp(self) -> None:
        self.app = Klein()
        self.clock = MemoryReactorClock()
        self.wheel = Wheel(self.clock)
        self.hanging: Deferred[bytes] = Deferred()
        self.cancelled = False
        self.requests: list[Request] = []

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

        @self.app.route("/v1/cut", methods=["POST"])
        def cut(request: Request) -> Deferred[bytes]:
            self.requests.append(request)
            request.notifyFinish().addErrback(self.gone)
            request.write(b"part")
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

    def test_connection_failures(self) -> None:
        """Whatever another agent wraps its failures in, they are told as ours are."""
        for reason, kind in (
            (error.ConnectionRefusedError(), Unreachable),
            (ResponseNeverReceived([Failure(error.ConnectionLost())]), Unreachable),
            (ResponseNeverReceived([Failure(error.TimeoutError())]), BackendTimeout),
            (ResponseNeverReceived([Failure(ParseError("x", b"y"))]), ProtocolError),
            (ProtocolError("x"), ProtocolError),
        ):
            client = WireClient(Failing(reason), self.wheel)
            sent = client.send(self.target("/x"), b"", head_seconds=1)
            self.failureResultOf(sent, kind)
            self.assertEqual(self.wheel.pending, 0)

    def test_cut_body(self) -> None:
        """U8: a body that another agent's connection cuts is an error here too."""
        sent = self.client.send(self.target("/cut"), b"", head_seconds=1)
        reader = BodyReader(self.successResultOf(sent), self.wheel)
        self.assertEqual(self.successResultOf(run(reader.chunk(1))), b"part")
        waiting = run(reader.chunk(1))
        cast(Any, self.requests[0].transport).loseConnection()
        self.flush()
        self.failureResultOf(waiting, Unreachable)

    def test_abort(self) -> None:
        """U2: an abort reaches the other agent's connection."""
        sent = self.client.send(self.target("/cut"), b"", head_seconds=1)
        BodyReader(self.successResultOf(sent), self.wheel).abort()
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
