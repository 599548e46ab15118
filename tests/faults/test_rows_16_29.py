"""Rows 16 to 29 of the fault matrix: what a backend says that it should not."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from time import time
from typing import Any

from tests.fakes import DONE, LONG, STREAM, USAGE, chunk, completion
from tests.faults.law import FaultCase, reactor
from tests.faults.proxy import FaultProxy, Harm
from tests.faults.scripted import EVENTS, HEAD, Connection, Script, answer, chunked
from tests.faults.test_rows_01_15 import WELL, well
from tests.harness import Got
from tests.wire.upstreams import Authority


def saying(data: bytes) -> Script:
    """Make a script that answers every request with the same bytes."""

    async def script(connection: Connection) -> None:
        while True:
            await connection.request()
            connection.send(data)

    return script


def status(line: bytes, *headers: bytes) -> Script:
    """Make a script that answers with an error status."""
    return saying(
        answer(b'{"error": {"message": "no, and your key is sk-canary"}}', *headers, status=line)
    )


class StatusRows(FaultCase):
    """Statuses other than 200."""

    async def test_row_16_too_many_requests(self) -> None:
        """A 429 goes to the next backend, whatever nonsense its Retry-After is."""
        date = formatdate(time() + 2, usegmt=True).encode()
        for wait in (b"2", date, b"1000000000", b"-5", b"NaN", b"soon", b""):
            await self.serve(
                *map(
                    self.faulty,
                    (
                        status(b"429 Too Many", b"Retry-After: " + wait),
                        well,
                    ),
                )
            )
            got = await self.put()
            self.assertEqual(got.code, 200, wait)

    async def test_row_16_all_limited(self) -> None:
        """If all are limited, the client is told the least wait, and it is true."""
        scripts = [status(b"429 Too Many", b"Retry-After: %d" % wait) for wait in (1000000000, 7)]
        await self.serve(*[self.faulty(script) for script in scripts])
        got = await self.put()
        self.assertEqual((got.code, self.kind(got)), (429, "backend_rate_limited"))
        self.assertIn(int(got.headers["retry-after"]), range(5, 9))

    async def test_row_17_burst_of_500(self) -> None:
        """A backend that always fails is asked five times at most, then left alone."""
        await self.serve(self.faulty(status(b"500 Oops")), self.faulty(well))
        for _ in range(20):
            self.assertEqual((await self.put()).code, 200)
        self.assertLessEqual(self.scripted[0].requests, 8)

    async def test_row_18_credential_refused(self) -> None:
        """A backend's 401 or 403 is 502, its text is not passed on, and nobody is asked again."""
        for line in (b"401 Unauthorized", b"403 Forbidden"):
            await self.serve(
                *map(
                    self.faulty,
                    (
                        status(line),
                        well,
                    ),
                )
            )
            got = await self.put()
            self.assertEqual((got.code, self.kind(got)), (502, "backend_credential"))
            self.assertNotIn(b"your key", got.body)
            self.assertEqual(self.scripted[-2].requests, 1)

    async def test_row_18_no_credit(self) -> None:
        """A backend whose account is empty (402) is one that fails: the next one answers."""
        await self.serve(self.faulty(status(b"402 Payment Required")), self.faulty(well))
        self.assertEqual((await self.put()).code, 200)
        await self.serve(self.faulty(status(b"402 Payment Required")))
        got = await self.put()
        self.assertEqual((got.code, self.kind(got)), (502, "backend_failed"))
        self.assertNotIn(b"your key", got.body)

    async def test_row_19_redirect(self) -> None:
        """A redirect is 502, and is not followed."""
        target = self.faulty(well)
        for code in (301, 303, 307):
            line = b"%d Elsewhere" % code
            await self.serve(
                *map(self.faulty, (status(line, b"Location: http://127.0.0.1:%d/x" % target),))
            )
            got = await self.put()
            self.assertEqual((got.code, self.kind(got)), (502, "backend_protocol"))
        self.assertEqual(self.scripted[0].requests, 0)

    async def test_row_20_interim_answers_without_end(self) -> None:
        """Ten thousand interim answers are too many: 502."""
        interim = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
        await self.serve(self.faulty(saying(interim * 10_000 + WELL)))
        got = await self.put()
        self.assertEqual((got.code, self.kind(got)), (502, "backend_protocol"))


class ContentRows(FaultCase):
    """Bodies and headers that are too large, garbled, or not what they say."""

    async def told(self, data: bytes) -> Got:
        """Ask a backend that answers with *data*."""
        await self.serve(self.faulty(saying(data)))
        return await self.put()

    async def test_row_21_huge_json(self) -> None:
        """An answer of a gigabyte is left at the cap, with little of it kept."""

        async def endless(connection: Connection) -> None:
            await connection.request()
            connection.send(
                HEAD + b"Content-Type: application/json\r\nContent-Length: 1000000000\r\n\r\n"
            )
            transport: Any = connection.transport
            transport.registerProducer(_Endless(connection), False)
            await connection.hold()

        await self.serve(self.faulty(endless))
        got = await self.put()
        self.assertEqual((got.code, self.kind(got)), (502, "backend_protocol"))

    async def test_row_22_huge_line(self) -> None:
        """One event of 64 MB is left at the cap of a line, told in band or as 502."""

        async def endless(connection: Connection) -> None:
            await connection.request()
            connection.send(EVENTS + chunked(*STREAM[:2]) + b"4000000\r\ndata: ")
            transport: Any = connection.transport
            transport.registerProducer(_Endless(connection), False)
            await connection.hold()

        await self.serve(self.faulty(endless))
        text = await self.rest_of(await self.begin_stream())
        self.assertIn(b'"error"', text)
        self.assertLess(len(text), 100_000)

    async def test_row_23_invalid_utf8(self) -> None:
        """Bytes that are no UTF-8 are relayed as they came, and the answer is counted."""
        bad = chunk({"content": "a??b"}).replace(b"??", b"\xff\xfe")
        parts = [STREAM[0], STREAM[1], bad, chunk({}, "stop"), USAGE, DONE]
        await self.serve(self.faulty(saying(EVENTS + chunked(*parts, end=True))))
        text = await self.rest_of(await self.begin_stream())
        self.assertIn(b"a\xff\xfeb", text)
        self.assertIn(b"[DONE]", text)

    async def test_row_24_compressed(self) -> None:
        """An answer that was compressed unasked is 502, be it a bomb or not."""
        bomb = gzip.compress(bytes(50_000_000))
        for coding, body in ((b"gzip", bomb), (b"br", b"x"), (b"deflate", b"x")):
            data = answer(body, b"Content-Encoding: " + coding)
            await self.serve(self.faulty(saying(data)))
            got = await self.put()
            self.assertEqual((got.code, self.kind(got)), (502, "unsupported_encoding"))

    async def test_row_25_cut_at_every_byte(self) -> None:
        """A stream in segments of one byte, in every style of lines, says the same."""
        for end in (b"\n", b"\r\n", b"\r"):
            stream = b"".join(STREAM).replace(b"\n", end)
            stream = b"\xef\xbb\xbf: hello" + end + end + stream.replace(b"data: {", b"data:{")
            backend = self.faulty(saying(EVENTS + chunked(stream, end=True)))
            proxy = FaultProxy(backend, Harm(size=1))
            port = proxy.listen()
            try:
                await self.serve(port)
                got = await self.put(stream=True, within=10)
            finally:
                assert self.service is not None
                self.service.resources.keep_only(set())
                await proxy.stop()
            text = "".join(_deltas(got.body))
            self.assertEqual(text, "Hello, world", end)

    async def test_row_26_large_headers(self) -> None:
        """A hundred kilobytes of headers are 502."""
        got = await self.told(HEAD + b"X-Pad: " + b"x" * 100_000 + b"\r\n\r\n")
        self.assertEqual((got.code, self.kind(got)), (502, "backend_protocol"))

    async def test_row_26_headers_that_are_not_for_the_client(self) -> None:
        """Hop-by-hop headers, and those that Connection names, stay with us."""
        got = await self.told(
            answer(
                json.dumps(completion()).encode(),
                b"Connection: X-Secret",
                b"X-Secret: 1",
                b"Keep-Alive: timeout=5",
                b"Set-Cookie: a=b",
                b"Server: Backend/1.0",
            )
        )
        self.assertEqual(got.code, 200)
        for name in ("x-secret", "keep-alive", "set-cookie", "server"):
            self.assertNotIn(name, got.headers)

    async def test_row_27_ambiguous_framing(self) -> None:
        """What may be read in two ways is 502, and its connection is not used again."""
        body = json.dumps(completion()).encode()
        length = b"Content-Length: %d\r\n" % len(body)
        bad = (
            HEAD + length + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(body, end=True),
            HEAD + length + b"Content-Length: 5\r\n\r\n" + body,
            HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + body,
        )
        for data in bad:
            port = self.faulty(saying(data))
            await self.serve(port)
            got = await self.put()
            self.assertEqual((got.code, self.kind(got)), (502, "backend_protocol"), data)
            await self.scripted[-1].connections[0].hold()

    async def test_row_27_stray_bytes(self) -> None:
        """So are bytes that nobody asked for, right behind an answer."""
        await self.serve(self.faulty(saying(WELL + b"HTTP/1.1 200 OK\r\n")))
        got = await self.put()
        self.assertEqual((got.code, self.kind(got)), (502, "backend_protocol"))
        await self.scripted[0].connections[0].hold()


class NameRows(FaultCase):
    """Names and certificates."""

    async def test_row_28_no_such_name(self) -> None:
        """A name that nobody knows goes to the next backend; another one is not disturbed."""
        await self.serve("http://nowhere.invalid:1", self.faulty(well))
        got = await self.put(within=1)
        self.assertEqual((got.code, got.text), (200, LONG))

    async def refused(self, context: Callable[[Authority], Any]) -> None:
        """A certificate that is not to be trusted is 502; not a byte of the request is sent."""
        authority = Authority(Path(self.mktemp()).absolute())
        port = self.faulty(well, ssl=context(authority))
        await self.serve(f"https://localhost:{port}", each=f'ca_file = "{authority.path}"')
        got = await self.put(within=2)
        self.assertEqual((got.code, self.kind(got)), (502, "backend_tls"))
        self.assertEqual(self.scripted[-1].requests, 0)

    async def test_row_29_certificate_of_another_name(self) -> None:
        """A certificate for another name is refused."""
        await self.refused(lambda authority: authority.server(["elsewhere.example"]))

    async def test_row_29_expired_certificate(self) -> None:
        """So is one whose time is over."""
        await self.refused(lambda authority: authority.server(["localhost"], days=(-9, -1)))

    async def test_row_29_self_signed_certificate(self) -> None:
        """So is one that vouches for itself."""
        await self.refused(lambda authority: authority.server(["localhost"], self_signed=True))

    async def test_row_29_unknown_authority(self) -> None:
        """So is one of an authority that is not trusted."""
        stranger = Authority(Path(self.mktemp()).absolute())
        await self.refused(lambda authority: stranger.server(["localhost"]))

    async def test_row_29_good_certificate(self) -> None:
        """A good one is not: the rows above fail for their certificates alone."""
        authority = Authority(Path(self.mktemp()).absolute())
        port = self.faulty(well, ssl=authority.server(["localhost"]))
        await self.serve(f"https://localhost:{port}", each=f'ca_file = "{authority.path}"')
        self.assertEqual((await self.put()).code, 200)


class _Endless:
    """Sends for as long as the other side reads."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def resumeProducing(self) -> None:
        """Send some more."""
        reactor.callLater(0, self.connection.send, b"x" * 65536)

    def stopProducing(self) -> None:
        """Nothing is held."""


def _deltas(body: bytes) -> list[str]:
    """Read what was written in the events of a stream, whatever ends its lines."""
    found = []
    for line in body.decode("utf-8-sig").splitlines():
        if line.startswith("data:") and "[DONE]" not in line:
            document = json.loads(line[5:])
            found += [c["delta"].get("content") or "" for c in document["choices"]]
    return found
