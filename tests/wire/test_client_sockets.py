"""The client over real sockets: cancellation, stalls, back-pressure, reuse."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet.defer import CancelledError, Deferred

from lmgateway.backend_errors import BackendError, BackendTimeout
from lmgateway.wire.body import BodyReader
from lmgateway.wire.client import Response
from lmgateway.wire.sse import Splitter
from tests.wire.dialing import CHUNKED, chunked, ok, run
from tests.wire.upstreams import (
    Authority,
    Line,
    Lines,
    SocketTestCase,
    answering,
    quiet,
    reactor,
    wait,
)


class PlainTests(SocketTestCase):
    async def test_requests_share_a_connection(self) -> None:
        """Two requests, one connection, two answers."""
        lines = self.serve(answering(ok(b"hello")))
        client, target = self.client(lines)
        for _ in range(2):
            response = await client.send(target, b"{}", head_seconds=5)
            self.assertEqual(await BodyReader(response, self.wheel).whole(100, 5), b"hello")
        self.assertEqual((len(lines.lines), self.agent.reused), (1, 1))

    async def test_large_request(self) -> None:
        """A request larger than any socket buffer arrives whole."""
        size = 8 * 1024 * 1024

        def script(line: Line, data: bytes) -> None:
            if line.received.endswith(b"END"):
                line.write(ok(b"%d" % len(line.received.partition(b"\r\n\r\n")[2])))

        lines = self.serve(script)
        client, target = self.client(lines)
        response = await client.send(target, b"x" * (size - 3) + b"END", head_seconds=15)
        self.assertEqual(await BodyReader(response, self.wheel).whole(100, 5), b"%d" % size)

    async def test_stream(self) -> None:
        """Events come as they are sent."""
        lines = self.serve(answering(CHUNKED + chunked(b"data: 0\n\n", end=False)))
        client, target = self.client(lines)
        reader = BodyReader(await client.send(target, b"{}", head_seconds=5), self.wheel)
        splitter = Splitter()
        for number in range(1, 20):
            [event] = splitter.feed(await reader.chunk(5))
            self.assertEqual(event.data, b"%d" % (number - 1))
            lines.lines[0].write(chunked(b"data: %d\n\n" % number, end=False))
        lines.lines[0].write(chunked())
        rest = b""
        while piece := await reader.chunk(5):
            rest += piece
        self.assertEqual(rest, b"data: 19\n\n")
        self.assertEqual(self.agent.idle, 1)

    async def test_environment_is_ignored(self) -> None:
        """U10: proxies that the environment names are not used."""
        lines = self.serve(answering(ok()))
        nowhere = "http://127.0.0.1:1"
        names = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy")
        with mock.patch.dict(os.environ, dict.fromkeys(names, nowhere)):
            client, target = self.client(lines)
            response = await client.send(target, b"", head_seconds=5)
        self.assertEqual(response.code, 200)

    async def test_back_pressure(self) -> None:
        """An endless backend is paused when nobody reads, and goes on when somebody does."""
        sent = 0

        class Source:
            def __init__(self, line: Line) -> None:
                self.line = line

            def resumeProducing(self) -> None:
                nonlocal sent
                sent += 65536
                self.line.write(chunked(b"x" * 65536, end=False))

            def stopProducing(self) -> None:
                pass

        def script(line: Line, data: bytes) -> None:
            line.write(CHUNKED)
            line.transport.registerProducer(Source(line), False)  # type: ignore[union-attr]  # made

        client, target = self.client(self.serve(script))
        reader = BodyReader(await client.send(target, b"", head_seconds=5), self.wheel)
        await wait(0.3)
        stalled = sent
        await wait(0.3)
        self.assertEqual(sent, stalled)
        read = 0
        while read < stalled + 1_000_000:
            read += len(await reader.chunk(5))
        self.assertGreater(sent, stalled)
        reader.abort()

    async def test_backend_that_closes_idle_connections(self) -> None:
        """U4: requests at odd moments never fail, and none is carried out twice."""
        served = 0

        def script(line: Line, data: bytes) -> None:
            nonlocal served
            served += 1
            line.write(ok())
            reactor.callLater(0.003, line.close)

        client, target = self.client(self.serve(script))
        for number in range(150):
            response = await client.send(target, b"", head_seconds=5)
            self.assertEqual(await BodyReader(response, self.wheel).whole(9, 5), b"ok")
            await wait((number % 7) / 1000)
        self.assertEqual(served, 150)
        self.assertGreater(self.agent.reused, 0)

    async def test_thousand_streams_started_and_stopped(self) -> None:
        """Nothing is left of streams that were dropped: no socket, no timer."""
        lines = self.serve(answering(CHUNKED + chunked(b"data: x\n\n", end=False)))
        client, target = self.client(lines)
        before = len(os.listdir("/proc/self/fd"))
        for number in range(1000):
            sent = client.send(target, b"", head_seconds=5)
            if number % 3 == 0:
                sent.addErrback(lambda _: None).cancel()
                continue
            reader = BodyReader(await sent, self.wheel)
            if number % 3 == 1:
                await reader.chunk(5)
            reader.abort()
        await wait(0.05)
        self.assertEqual((self.agent.active, self.agent.idle, self.wheel.pending), (0, 0, 0))
        self.assertLess(len(os.listdir("/proc/self/fd")), before + 5)


class StallTests(SocketTestCase):
    """U3: wherever a backend stalls, the wait ends in its own time, and nothing stays behind."""

    async def stalls(self, sent: Deferred[Any], words: str) -> None:
        try:
            await sent
        except BackendTimeout as error:
            self.assertIn(words, str(error))
        else:
            self.fail("no timeout")
        await wait(0.02)
        self.assertEqual((self.agent.active, self.wheel.pending), (0, 0))

    async def test_no_connection(self) -> None:
        """U3: the SYN is not answered."""
        client, target = self.client(self.deaf_port(), agent={"connect_seconds": 0.2})
        await self.stalls(client.send(target, b"", head_seconds=5), "connection")

    async def test_no_handshake(self) -> None:
        """U3: the TLS handshake is not answered."""
        lines = self.serve(quiet)
        client, target = self.client(lines, scheme="https", agent={"connect_seconds": 0.2})
        await self.stalls(client.send(target, b"", head_seconds=5), "TLS handshake")
        await lines.lines[0].closed

    async def test_no_tunnel(self) -> None:
        """U3: the proxy does not answer."""
        lines = self.serve(quiet)
        proxy = f"http://127.0.0.1:{lines.port}"
        client, target = self.client(9, agent={"connect_seconds": 0.2}, proxy=proxy)
        await self.stalls(client.send(target, b"", head_seconds=5), "proxy")
        await lines.lines[0].closed

    async def test_no_head(self) -> None:
        """U3: the request is not answered, or the backend does not even read it."""
        for body in (b"", b"x" * 10_000_000):
            lines = self.serve(quiet)
            client, target = self.client(lines)
            await self.stalls(client.send(target, body, head_seconds=0.2), "no answer")
            await lines.lines[0].closed

    async def test_no_body(self) -> None:
        """U3: the answer begins and does not go on."""
        lines = self.serve(answering(CHUNKED))
        client, target = self.client(lines)
        reader = BodyReader(await client.send(target, b"", head_seconds=5), self.wheel)
        await self.stalls(run(reader.chunk(0.2)), "silent")
        reader = BodyReader(await client.send(target, b"", head_seconds=5), self.wheel)
        await self.stalls(run(reader.whole(9, 0.2)), "silent")
        for line in lines.lines:
            await line.closed


class CancelTests(SocketTestCase):
    """U2: whoever leaves, leaves no connection behind, in any phase, with TLS or without."""

    def setUp(self) -> None:
        super().setUp()
        self.authority = Authority(Path(self.mktemp()))

    def secured(self, script: Callable[[Line, bytes], None], tls: bool) -> tuple[Lines, Any, Any]:
        if not tls:
            lines = self.serve(script)
            return lines, *self.client(lines)
        lines = self.serve(script, self.authority.server(["127.0.0.1"]))
        return lines, *self.client(lines, scheme="https", ca_file=self.authority.path)

    async def gone(self, pending: Deferred[Any], line: Line | None) -> None:
        pending.cancel()
        try:
            await pending
        except CancelledError:
            pass
        else:
            self.fail("not cancelled")
        if line is not None:
            await line.closed
        await wait(0.02)
        self.assertEqual((self.agent.active, self.agent.idle, self.wheel.pending), (0, 0, 0))

    async def test_while_connecting(self) -> None:
        """U2: the SYN is not answered yet."""
        for scheme in ("http", "https"):
            client, target = self.client(self.deaf_port(), scheme=scheme)
            sent = client.send(target, b"", head_seconds=5)
            await wait(0.02)
            await self.gone(sent, None)

    async def test_during_the_handshake(self) -> None:
        """U2: the TLS handshake is not answered yet."""
        lines = self.serve(quiet)
        client, target = self.client(lines, scheme="https")
        arrived = lines.next()
        sent = client.send(target, b"", head_seconds=5)
        await self.gone(sent, await arrived)

    async def test_in_the_tunnel(self) -> None:
        """U2: the proxy has not answered yet."""
        lines = self.serve(quiet)
        proxy = f"http://127.0.0.1:{lines.port}"
        client, target = self.client(9, proxy=proxy)
        arrived = lines.next()
        sent = client.send(target, b"", head_seconds=5)
        line = await arrived
        await line.begun
        await self.gone(sent, line)

    async def test_before_the_head(self) -> None:
        """U2: the request is sent, and not answered yet."""
        for tls in (False, True):
            lines, client, target = self.secured(quiet, tls)
            arrived = lines.next()
            sent = client.send(target, b"", head_seconds=5)
            line = await arrived
            await line.begun
            await self.gone(sent, line)

    async def test_while_sending(self) -> None:
        """U2: the backend has stopped reading in the middle of the request."""

        def frozen(line: Line, data: bytes) -> None:
            if not line.begun.called:
                line.transport.pauseProducing()  # type: ignore[union-attr]  # made

        for tls in (False, True):
            lines, client, target = self.secured(frozen, tls)
            arrived = lines.next()
            sent = client.send(target, b"x" * 10_000_000, head_seconds=5)
            line = await arrived
            await line.begun
            sent.addErrback(lambda _: None).cancel()
            await wait(0.02)
            line.transport.resumeProducing()  # type: ignore[union-attr]  # only now it can notice
            await line.closed
            self.assertEqual((self.agent.active, self.wheel.pending), (0, 0))

    async def test_in_the_body(self) -> None:
        """U2: the answer has begun; the backend may be frozen, and we may have paused it."""
        for tls in (False, True):
            for piece in (b"", chunked(b"x", end=False), chunked(b"x" * 200_000, end=False)):
                lines, client, target = self.secured(answering(CHUNKED + piece), tls)
                reader = BodyReader(await client.send(target, b"", head_seconds=5), self.wheel)
                await wait(0.02)
                if piece:
                    await reader.chunk(5)
                if len(piece) < 1000:
                    await self.gone(run(reader.chunk(5)), lines.lines[0])
                else:
                    reader.abort()
                    await lines.lines[0].closed
                self.assertEqual((self.agent.active, self.wheel.pending), (0, 0))

    async def test_abort_of_an_unread_answer(self) -> None:
        """U2: an answer that nobody wants to read is cut."""
        for tls in (False, True):
            lines, client, target = self.secured(answering(CHUNKED), tls)
            response: Response = await client.send(target, b"", head_seconds=5)
            response.abortConnection()
            await lines.lines[0].closed
            self.assertEqual(self.agent.active, 0)


class CloseTests(SocketTestCase):
    async def test_tls_backend_that_does_not_answer_our_goodbye(self) -> None:
        """U2: a TLS connection is closed in bounded time even if the backend is frozen."""
        authority = Authority(Path(self.mktemp()))

        def script(line: Line, data: bytes) -> None:
            line.write(ok())
            line.transport.transport.pauseProducing()  # type: ignore[union-attr]  # below TLS

        lines = self.serve(script, authority.server(["127.0.0.1"]))
        client, target = self.client(lines, scheme="https", ca_file=authority.path)
        response = await client.send(target, b"", head_seconds=5)
        await BodyReader(response, self.wheel).whole(9, 5)
        self.agent.close()
        await wait(1.2)
        lines.lines[0].transport.transport.resumeProducing()  # type: ignore[union-attr]  # as above
        await lines.lines[0].closed
        self.assertEqual(self.wheel.pending, 0)

    async def test_refused(self) -> None:
        """A closed port is told as such, at once."""
        lines = self.serve(quiet)
        client, target = self.client(1)
        del lines
        try:
            await client.send(target, b"", head_seconds=5)
        except BackendError as error:
            self.assertEqual(error.kind, "backend_unavailable")
            self.assertIn("refused", str(error))
        else:
            self.fail("connected")
