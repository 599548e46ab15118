"""Rows 1 to 15 of the fault matrix: connections and bodies that fail."""

from __future__ import annotations

import json
import socket

from tests.fakes import DONE, LONG, STREAM, USAGE, chunk, completion
from tests.faults.law import FaultCase
from tests.faults.proxy import FaultProxy, Harm
from tests.faults.scripted import EVENTS, Connection, answer, chunked
from tests.harness import free_port

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
        self.serve_only(free_port())
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
        self.addCleanup(lambda: [each.close() for each in (*fillers, full)])
        await self.serve(port, self.faulty(well))
        got = await self.put(within=1)
        self.assertEqual(got.code, 200)

    async def test_row_03_accepts_and_never_reads(self) -> None:
        """A backend that reads nothing of a large request is left at its deadline."""

        async def deaf(connection: Connection) -> None:
            connection.transport.pauseProducing()  # type: ignore[union-attr]
            await connection.hold()

        await self.serve(self.faulty(deaf))
        messages = [{"role": "user", "content": "x" * 8_000_000}]
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


class StreamRows(FaultCase):
    """What happens in the middle of an answer."""

    async def cut(self, how: str) -> None:
        """A stream that ends too early is told in band, and is not a whole one."""

        async def script(connection: Connection) -> None:
            await connection.request()
            connection.send(EVENTS + chunked(*STREAM[:3]))
            await connection.pause(0.1)
            getattr(connection, how)()

        await self.serve(self.faulty(script), self.faulty(well))
        response = await self.begin_stream()
        text = await self.rest_of(response)
        self.assertIn(b"Hello", text)
        self.assertIn(b'"error"', text)
        self.assertNotIn(b"[DONE]", text)
        entry = (await self.entries())[0]
        self.assertFalse(entry["success"])
        self.assertEqual(entry["error"], "stream_interrupted")

    async def test_row_07_reset_in_mid_stream(self) -> None:
        """A reset after output is an error event, then an abort."""
        await self.cut("reset")

    async def test_row_08_end_in_mid_stream(self) -> None:
        """So is an end of the connection without the end of the stream."""
        await self.cut("close")
