"""Through an outbound proxy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.protocol import ClientCreator, Protocol
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.backend_errors import BackendError, ProtocolError, Unreachable
from lmgateway.wire.body import BodyReader
from lmgateway.wire.client import Origin
from lmgateway.wire.origin import Way
from tests.wire.dialing import Memory, Wire, ok
from tests.wire.upstreams import (
    Authority,
    Line,
    Lines,
    SocketTestCase,
    answering,
    reactor,
)

PROXY = "http://user:p%40ss@127.0.0.1:3128"


class WayTests(SynchronousTestCase):
    def test_parse(self) -> None:
        """Host, port and credentials are read; the password is decoded and not shown."""
        way = Way.parse(PROXY)
        self.assertEqual((way.host, way.port), ("127.0.0.1", 3128))
        self.assertEqual(way.credentials, b"Basic dXNlcjpwQHNz")
        self.assertNotIn("dXNlcj", repr(way))
        self.assertIsNone(Way.parse("http://proxy.test:80/").credentials)

    def test_bad_urls(self) -> None:
        """What is not a plain HTTP proxy is refused, without repeating its password."""
        for url in (
            "socks5://canary@proxy.test:1080",
            "https://canary@proxy.test",
            "http://user:canary@proxy.test:3128/path",
            "http://user:canary@proxy.test:3128?x",
            "http://user:canary@:3128",
            "http://user:canary@proxy.test:99999",
            "proxy.test:3128",
        ):
            with self.assertRaises(ValueError) as caught:
                Origin.parse("https://backend.test", proxy=url)
            self.assertNotIn("canary", str(caught.exception))

    def test_request(self) -> None:
        """The proxy is told the origin and its own credentials, and no credential of ours."""
        self.assertEqual(
            Way.parse(PROXY).ask("backend.test", 443),
            b"CONNECT backend.test:443 HTTP/1.1\r\nHost: backend.test:443\r\n"
            b"Proxy-Authorization: Basic dXNlcjpwQHNz\r\n\r\n",
        )
        self.assertIn(b"CONNECT [::1]:80 ", Way.parse("http://p.test").ask("::1", 80))


class TunnelTests(SynchronousTestCase):
    def begin(self) -> tuple[Memory, Any, Wire]:
        memory = Memory("http://backend.test/v1", proxy=PROXY)
        sent = memory.send()
        wire = memory.accept()
        self.assertTrue(wire.sent().startswith(b"CONNECT backend.test:80 HTTP/1.1\r\n"))
        return memory, sent, wire

    def test_open(self) -> None:
        """Once the tunnel is open, requests go through it as to the backend itself, again too."""
        memory, sent, wire = self.begin()
        self.assertEqual(memory.reactor.tcpClients[0][:2], ("127.0.0.1", 3128))
        wire.answer(b"HTTP/1.1 200 Connection ", b"established\r\nVia: x\r\n", b"\r\n")
        for _ in range(2):
            request = wire.sent()
            self.assertTrue(request.startswith(b"POST /v1/chat/completions HTTP/1.1\r\nhost: back"))
            self.assertNotIn(b"Proxy", request)
            wire.answer(ok())
            self.successResultOf(sent)
            sent = memory.send()
        self.assertEqual(memory.connections, 1)

    def test_refused(self) -> None:
        """A proxy's refusal is told by its status only."""
        for code in (403, 407, 502):
            memory, sent, wire = self.begin()
            wire.answer(b"HTTP/1.1 %d canary\r\nX: canary\r\n\r\ncanary" % code)
            fault = self.failureResultOf(sent, Unreachable).value
            self.assertIn(str(code), str(fault))
            self.assertNotIn("canary", str(fault))
            self.assertTrue(wire.aborted)
            wire.close()
            self.assertEqual((memory.agent.active, memory.wheel.pending), (0, 0))

    def test_nonsense(self) -> None:
        """What is not an HTTP answer, has no end, or goes on after it, is refused."""
        for pieces in (
            [b"SSH-2.0\r\n\r\n"],
            [b"HTTP/1.1 999 X\r\n\r\n"],
            [b"HTTP/1.1 200 OK\r\n"] + [b"X: " + b"y" * 1000 + b"\r\n"] * 20,
            [b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n"],
        ):
            memory, sent, wire = self.begin()
            for piece in pieces:
                if not wire.aborted:
                    wire.answer(piece)
            self.failureResultOf(sent, ProtocolError)
            self.assertTrue(wire.aborted)
            wire.close(clean=False)
            self.assertEqual((memory.agent.active, memory.wheel.pending), (0, 0))

    def test_closed(self) -> None:
        """A proxy that hangs up is unreachable."""
        memory, sent, wire = self.begin()
        wire.close()
        self.failureResultOf(sent, Unreachable)
        self.assertEqual(memory.wheel.pending, 0)

    def test_connection_lost_in_the_tunnel(self) -> None:
        """The loss of the proxy's connection is the loss of the backend's."""
        memory, sent, wire = self.begin()
        wire.answer(b"HTTP/1.1 200 OK\r\n\r\n")
        wire.close(clean=False)
        self.failureResultOf(sent, Unreachable)
        self.assertEqual((memory.agent.active, memory.wheel.pending), (0, 0))

    def test_cancelled(self) -> None:
        """U2: whoever leaves before the tunnel is open leaves no connection behind."""
        memory, sent, wire = self.begin()
        sent.addErrback(lambda _: None).cancel()
        self.assertTrue(wire.aborted)
        wire.close(clean=False)
        self.assertEqual((memory.agent.active, memory.wheel.pending), (0, 0))


class _Copy(Protocol):
    """The proxy's connection to the origin."""

    def __init__(self, line: Line) -> None:
        self.line = line

    def dataReceived(self, data: bytes) -> None:
        self.line.write(data)


def leave(onward: Protocol) -> None:
    """Close the connection to the origin."""
    assert onward.transport is not None
    onward.transport.loseConnection()


def forwarding(line: Line, data: bytes) -> None:
    """Be a proxy."""
    if hasattr(line, "onward"):
        line.onward.transport.write(data)
        return
    port = int(data.split(b" ")[1].rpartition(b":")[2])

    def connected(onward: _Copy) -> None:
        line.onward = onward  # type: ignore[attr-defined]  # the proxy's own state
        line.closed.addCallback(lambda _: leave(onward))
        line.write(b"HTTP/1.1 200 OK\r\n\r\n")

    ClientCreator(reactor, _Copy, line).connectTCP("127.0.0.1", port).addCallback(connected)


class RealTests(SocketTestCase):
    async def ask(self, lines: Lines, proxy: Lines, **origin: Any) -> bytes:
        url = f"http://127.0.0.1:{proxy.port}"
        client, target = self.client(lines, proxy=url, **origin)
        for _ in range(2):
            response = await client.send(target, b"", head_seconds=5)
            body = await BodyReader(response, self.wheel).whole(100, 5)
        self.assertEqual((len(proxy.lines), self.agent.reused), (1, 1))
        return body

    async def test_plain_and_tls(self) -> None:
        """Origins with and without TLS are reached through the tunnel."""
        proxy = self.serve(forwarding)
        self.assertEqual(await self.ask(self.serve(answering(ok(b"plain"))), proxy), b"plain")

    async def test_tls(self) -> None:
        """TLS goes through the tunnel end to end, verified as without a proxy."""
        proxy = self.serve(forwarding)
        authority = Authority(Path(self.mktemp()))
        lines = self.serve(answering(ok(b"secure")), authority.server(["127.0.0.1"]))
        ca_file = authority.path
        self.assertEqual(await self.ask(lines, proxy, scheme="https", ca_file=ca_file), b"secure")
        self.assertNotIn(b"canary", proxy.lines[0].received)
        wrong = self.serve(answering(ok()), authority.server(["other.test"]))
        try:
            await self.ask(wrong, proxy, scheme="https", ca_file=ca_file)
        except BackendError as error:
            self.assertEqual(error.kind, "backend_tls")
        else:
            self.fail("accepted")

    async def test_proxy_is_down(self) -> None:
        """A proxy that is not there is unreachable; the backend is not tried directly."""
        lines = self.serve(answering(ok()))
        client, target = self.client(lines, proxy="http://127.0.0.1:1")
        try:
            await client.send(target, b"", head_seconds=5)
        except Unreachable as error:
            self.assertIn("proxy", str(error))
        else:
            self.fail("connected")
        self.assertEqual(lines.lines, [])
