"""Rows 30 to 44 of the fault matrix: clients that leave, dawdle, lie and guess."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.task import deferLater

from tests.fakes import STREAM
from tests.faults.caller import Caller, post, request
from tests.faults.law import FaultCase, reactor
from tests.faults.scripted import EVENTS, Connection, chunked
from tests.faults.test_rows_01_15 import well

QUICK = """
    header_timeout_ms = 700
    body_timeout_ms = 900
    write_stall_timeout_ms = 800
"""


_CLIENT = """
    [[clients]]
    name = "x"
    key_env = "KEY"
    profile = "default"
    allow_models = ["a"]
"""


async def silent(connection: Connection) -> None:
    """Take a request, and say nothing."""
    await connection.request()
    await connection.hold()


async def frozen(connection: Connection) -> None:
    """Begin a stream, and say no more."""
    await connection.request()
    connection.send(EVENTS + chunked(*STREAM[:3]))
    await connection.hold()


class LeavingRows(FaultCase):
    """Clients that go: what was done for them ends at once, and is told as 499."""

    async def dial(self) -> Caller:
        """Connect to the client port."""
        return await Caller.dial(self.client_port)

    async def gone(self, caller: Caller, within: float = 0.5) -> None:
        """Leave; the backend's connection must end soon, and the entry say so."""
        self.expected += 1
        began = reactor.seconds()
        await caller.leave()
        connection = self.scripted[0].connections[0]
        await connection.hold()
        self.assertLess(connection.lost_at - began, within)
        entry = (await self.entries())[0]
        self.assertEqual((entry["outcome"], entry["success"]), ("client_closed", False))

    async def asked(self) -> None:
        """Wait until the backend has a request."""
        while not self.scripted[0].requests:
            await deferLater(reactor, 0.01)

    async def test_row_30_leaves_before_all_is_sent(self) -> None:
        """Of half a request, nothing reaches a backend."""
        await self.serve(self.faulty(well))
        caller = await self.dial()
        caller.send(request()[:-5])
        await deferLater(reactor, 0.1)
        await caller.leave()
        self.assertEqual(self.scripted[0].connections, [])

    async def test_row_31_leaves_while_waiting(self) -> None:
        """A client that leaves before the answer takes the backend's work with it."""
        await self.serve(self.faulty(silent))
        caller = await self.dial()
        caller.send(request())
        await self.asked()
        await self.gone(caller)
        self.assertEqual((await self.entries())[0]["status"], 499)

    async def test_row_32_leaves_in_mid_stream(self) -> None:
        """So does one that leaves in the middle of a stream that stands still."""
        await self.serve(self.faulty(frozen))
        caller = await self.dial()
        caller.send(request(stream=True))
        await caller.until(b"Hello")
        await self.gone(caller)

    async def test_row_33_leaves_behind_much_more(self) -> None:
        """40 kB sent behind a request do not hide that the client went."""
        await self.serve(self.faulty(silent))
        caller = await self.dial()
        caller.send(request())
        await self.asked()
        caller.send(b"x" * 40_000)
        await self.gone(caller)


class SlowRows(FaultCase):
    """Clients that take their time."""

    async def test_row_34_slow_reader(self) -> None:
        """A client that takes nothing stops the backend, costs little, and is let go."""
        sent = 0

        async def endless(connection: Connection) -> None:
            nonlocal sent
            await connection.request()
            connection.send(EVENTS + chunked(*STREAM[:2]))
            piece = chunked(STREAM[1].replace(b"Hello", b"x" * 8000))
            while not connection.lost:
                connection.send(piece)
                sent += len(piece)
                await connection.drained()

        await self.serve(self.faulty(endless), gateway=QUICK)
        caller = await Caller.dial(self.client_port)
        caller.deafen()
        caller.send(request(stream=True))
        self.expected += 1
        began = reactor.seconds()
        connection = await self.connection()
        await connection.hold()
        self.assertLess(reactor.seconds() - began, 5)
        self.assertLess(sent, 20_000_000)
        await caller.leave()

    async def connection(self) -> Connection:
        """Wait for the backend's first connection."""
        while not self.scripted[0].connections:
            await deferLater(reactor, 0.01)
        return self.scripted[0].connections[0]

    async def test_row_35_slow_headers(self) -> None:
        """Headers at a byte now and then are 408 at their deadline."""
        await self.slow(request(), 0.1)

    async def test_row_35_slow_body(self) -> None:
        """So is a body."""
        head, _, body = request().partition(b"\r\n\r\n")
        await self.slow(body, 0.1, first=head + b"\r\n\r\n")

    async def slow(self, data: bytes, gap: float, first: bytes = b"") -> None:
        """Trickle; the gateway must end it in time."""
        await self.serve(self.faulty(well), gateway=QUICK)
        caller = await Caller.dial(self.client_port)
        caller.send(first)
        self.expected += 1
        began = reactor.seconds()
        await caller.drip(data, gap)
        answer = await caller.end()
        self.assertIn(b"HTTP/1.1 408 ", answer)
        self.assertLess(reactor.seconds() - began, 3)
        self.assertEqual(self.scripted[0].connections, [])


class RudeRows(FaultCase):
    """Requests that are too large, malformed, forged, or guesses."""

    async def told(self, data: bytes) -> tuple[int, bytes]:
        """Send bytes on a new connection; give status and body of the answer."""
        if self.service is None:
            await self.serve(self.faulty(well), gateway="max_body_bytes = 100000")
        caller = await Caller.dial(self.client_port)
        caller.send(data)
        self.expected += 1
        await caller.until(b"}")
        head, _, body = caller.received.partition(b"\r\n\r\n")
        await caller.leave()
        return int(head.split()[1]), body

    async def test_row_36_too_large(self) -> None:
        """A body over the bound is 413 before it is sent, however its size is told."""
        code, _ = await self.told(post(b"", length=99_999_999_999))
        self.assertEqual(code, 413)
        code, _ = await self.told(post(b"", b"Expect: 100-continue", length=99_999_999_999))
        self.assertEqual(code, 413)
        body = b"20000\r\n" + b"x" * 0x20000 + b"\r\n"
        code, _ = await self.told(post(body, b"Transfer-Encoding: chunked", length=-1))
        self.assertEqual(code, 413)
        self.assertEqual(self.scripted[0].connections, [])

    async def test_row_38_malformed_json(self) -> None:
        """Bodies that are no proper JSON are 400 in the caller's format."""
        bodies = [
            b"[" * 90_000 + b"]" * 9,
            b'{"model": "a", "max_tokens": ' + b"9" * 4301 + b"}",
            b'{"model": "a", "messages": [], "temperature": NaN}',
            b'{"model": "a", "model": "b", "messages": []}',
            b'{"model": "a", "MODEL": "b", "messages": []}',
            b'{"model": "a", "messages": [{"role": "user", "content": "\\ud800"}]}',
            '{"model": "a", "messages": []}'.encode("utf-16"),
            b"",
            b"[]",
            b'"a"',
        ]
        for body in bodies:
            code, text = await self.told(post(body))
            self.assertEqual(code, 400, body[:60])
            self.assertIn("message", json.loads(text)["error"])
        self.assertEqual(self.scripted[0].connections, [])

    async def test_row_39_wrong_types(self) -> None:
        """Members of the wrong type are 400, and named."""
        wrong: dict[str, Any] = {
            "model": 7,
            "stream": "yes",
            "messages": {},
            "n": True,
            "max_tokens": -1,
        }
        for name, value in wrong.items():
            code, text = await self.told(request(**{name: value}))
            self.assertEqual((code, json.loads(text)["error"]["param"]), (400, name))

    async def test_row_40_unknown_models(self) -> None:
        """A model that is not there, and one of another tenant, are the same 404."""
        await self.serve(
            self.faulty(well),
            self.faulty(well),
            gateway='unknown_model = "reject"',
            more=_CLIENT,
        )
        told = []
        for model in ("b", "nothing"):
            self.expected += 1
            got = await self.chat(model, Authorization="Bearer sk-x")
            self.assertEqual(got.code, 404)
            told.append(got.body.replace(model.encode(), b"?"))
        self.assertEqual(_without_id(told[0]), _without_id(told[1]))

    def setUp(self) -> None:
        """Have a client's key."""
        super().setUp()
        self.environ["KEY"] = "sk-x"

    async def test_row_41_forged_lines(self) -> None:
        """No name and no id that a client chooses can begin another line, of header or log."""
        code, _ = await self.told(request(model="x\r\nX-Evil: 1\x1b[31m"))
        self.assertIn(code, (200, 404))
        caller = await Caller.dial(self.client_port)
        caller.send(
            request().replace(b"Host: localhost", b"Host: localhost\r\nX-Request-ID: a b\x1b;")
        )
        self.expected += 1
        text = await caller.until(b"}")
        await caller.leave()
        self.assertNotIn(b"\x1b", text.partition(b"\r\n\r\n")[0])
        assert self.service is not None
        self.service.resources.access.flush()
        for line in b"".join(self.lines).splitlines():
            json.loads(line)
            self.assertNotIn(b"\x1b", line)


def _without_id(body: bytes) -> object:
    document = json.loads(body)
    document["error"].pop("request_id", None)
    return document
