"""Rows 1 to 15 of the fault matrix: connections and bodies that fail."""

from __future__ import annotations

import json
import socket

from tests.fakes import LONG, STREAM, completion
from tests.faults.law import FaultCase, reactor
from tests.faults.scripted import EVENTS, HEAD, Connection, answer, chunked
from tests.harness import Got, free_port

WELL = answer(json.dumps(completion()).encode())


async def well(connection: Connection) -> None:
    """Answer every request as one should, streamed if asked for."""
    while True:
        body = await connection.request()
        if json.loads(body or b"{}").get("stream"):
            connection.send(EVENTS + chunked(*STREAM, end=True))
        else:
            connection.send(WELL)


class ConnectionRows(FaultCase):
    """What happens before a byte of an answer."""

    async def test_row_01_backend_refuses(self) -> None:
        """The next backend answers at once; with none left it is 502."""
        await self.serve(free_port(), self.faulty(well))
        got = await self.put(within=0.5)
        self.assertEqual((got.code, got.text), (200, LONG))
        await self.serve(free_port())
        got = await self.put(within=0.5)
        self.assertEqual((got.code, self.kind(got)), (502, "backend_unavailable"))

    async def test_row_02_syn_black_hole(self) -> None:
        """A backend whose backlog is full is left at the connect deadline."""
        full = socket.socket()
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        for each in (*fillers, full):
            self.addCleanup(each.close)
        await self.serve(port, self.faulty(well))
        got = await self.put(within=1)
        self.assertEqual(got.code, 200)

    async def test_row_03_accepts_and_never_reads(self) -> None:
        """A backend that reads nothing of a large request is left at its deadline."""

        async def deaf(connection: Connection) -> None:
            connection.transport.pauseProducing()  # type: ignore[union-attr]
            await connection.hold()

        await self.serve(self.faulty(deaf))
        messages = [{"role": "user", "content": "x" * 4_000_000}]
        got = await self.put(within=2, messages=messages)
        self.assertEqual((got.code, self.kind(got)), (504, "backend_timeout"))

    async def test_row_04_reset_before_headers(self) -> None:
        """A fresh connection that is reset unanswered is not tried again: the next backend is."""

        async def reset(connection: Connection) -> None:
            await connection.request()
            connection.reset()

        await self.serve(self.faulty(reset), self.faulty(well))
        got = await self.put()
        self.assertEqual(got.code, 200)
        self.assertEqual(self.scripted[0].requests, 1)

    async def test_row_05_reset_on_a_reused_connection(self) -> None:
        """A connection that died while idle costs one try on a fresh one, unseen by the client."""

        async def once(connection: Connection) -> None:
            await connection.request()
            connection.send(WELL)
            await connection.request()
            connection.reset()

        await self.serve(self.faulty(once, well))
        self.assertEqual((await self.put()).code, 200)
        self.assertEqual((await self.put()).code, 200)
        self.assertEqual(len(self.scripted[0].connections), 2)

    async def test_row_10_stall_before_headers(self) -> None:
        """Silence is left at its deadline, and the next backend answers within the whole one."""

        async def silent(connection: Connection) -> None:
            await connection.request()
            await connection.hold()

        await self.serve(self.faulty(silent), self.faulty(well))
        got = await self.put(within=2)
        self.assertEqual(got.code, 200)
        self.assertEqual(self.scripted[0].requests, 1)


class BodyRows(FaultCase):
    """Answers that are broken, not what was asked for, or never end."""

    async def refused(self, *parts: bytes, stream: bool = False, end: str = "close") -> Got:
        """Ask a backend that sends *parts* and ends; give the answer."""

        async def script(connection: Connection) -> None:
            await connection.request()
            for part in parts:
                connection.send(part)
                await connection.pause(0.02)
            if end != "hold":
                getattr(connection, end)()

        await self.serve(self.faulty(script))
        return await self.put(stream=stream)

    async def test_row_06_reset_in_a_json_body(self) -> None:
        """Half a JSON answer is 502, and not a byte of it is passed on."""
        got = await self.refused(WELL[:-20], end="reset")
        self.assertEqual((got.code, self.kind(got)), (502, "backend_unavailable"))
        self.assertNotIn(b"perfectly fine", got.body)

    async def test_row_09_json_until_the_end_of_the_connection(self) -> None:
        """A JSON answer without a length is whole only if it says so: 502."""
        head = HEAD + b"Content-Type: application/json\r\n\r\n"
        got = await self.refused(head + json.dumps(completion()).encode()[:-9])
        self.assertEqual((got.code, self.kind(got)), (502, "backend_protocol"))

    async def test_row_09_stream_until_the_end_of_the_connection(self) -> None:
        """A stream without a length is whole if it has its own end."""
        head = HEAD + b"Content-Type: text/event-stream\r\n\r\n"
        got = await self.refused(head + b"".join(STREAM), stream=True)
        self.assertEqual(got.code, 200)
        self.assertIn(b"[DONE]", got.body)

    async def test_row_12_drip(self) -> None:
        """A stream of a byte now and then for ever ends at the total deadline, told in band."""

        async def drip(connection: Connection) -> None:
            await connection.request()
            connection.send(EVENTS + chunked(*STREAM[:2]))
            await connection.drip(chunked(STREAM[2]) * 1000, gap=0.05)

        await self.serve(self.faulty(drip), gateway="total_timeout_ms = 2000")
        began = reactor.seconds()
        text = await self.rest_of(await self.begin_stream())
        self.assertLess(reactor.seconds() - began, 3)
        self.assertIn(b'"error"', text)
        self.assertNotIn(b"[DONE]", text)

    async def test_row_13_invalid_json(self) -> None:
        """A 200 that is no JSON is 502."""
        got = await self.refused(answer(b'{"choices": [oops'))
        self.assertEqual((got.code, self.kind(got)), (502, "backend_protocol"))

    async def test_row_14_wrong_content_type(self) -> None:
        """A page of HTML with status 200 is 502, and none of it is passed on."""
        page = b"<html><body>Sign in to the wifi</body></html>"
        head = HEAD + b"Content-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(page)
        got = await self.refused(head + page)
        self.assertEqual((got.code, self.kind(got)), (502, "backend_protocol"))
        self.assertNotIn(b"wifi", got.body)

    async def test_row_15_json_where_a_stream_was_asked_for(self) -> None:
        """A whole answer in place of a stream is 502, before anything was sent."""
        got = await self.refused(WELL, stream=True)
        self.assertEqual((got.code, self.kind(got)), (502, "backend_protocol"))

    async def test_row_15_stream_where_json_was_asked_for(self) -> None:
        """A stream in place of a whole answer is 502: it was not asked for."""
        got = await self.refused(EVENTS + chunked(*STREAM, end=True))
        self.assertEqual((got.code, self.kind(got)), (502, "backend_protocol"))


class StreamRows(FaultCase):
    """Streams that break."""

    async def cut(self, how: str) -> None:
        """A stream that ends too early is told in band, and is not a whole one."""

        async def script(connection: Connection) -> None:
            await connection.request()
            connection.send(EVENTS + chunked(*STREAM[:3]))
            await connection.pause(0.1)
            if how != "silence":
                getattr(connection, how)()
            await connection.hold()

        await self.serve(self.faulty(script), self.faulty(well))
        text = await self.rest_of(await self.begin_stream())
        self.assertIn(b"Hello", text)
        self.assertIn(b'"error"', text)
        self.assertNotIn(b"[DONE]", text)
        entry = (await self.entries())[0]
        self.assertFalse(entry["success"])
        self.assertEqual(entry["error"], "stream_interrupted")
        self.assertGreater(entry["output_tokens"], 0)

    async def test_row_07_reset_in_mid_stream(self) -> None:
        """A reset after output is an error event, then an abort."""
        await self.cut("reset")

    async def test_row_08_end_in_mid_stream(self) -> None:
        """So is an end of the connection without the end of the stream."""
        await self.cut("close")

    async def test_row_11_stall_in_mid_stream(self) -> None:
        """Silence in a stream is told at the idle deadline."""
        await self.cut("silence")
