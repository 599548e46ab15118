"""A real provider's refusals, over sockets: what the status says outlives a bad text."""

from __future__ import annotations

from twisted.web.server import Request

from lmgateway.backends.http import MAX_REFUSAL
from tests.fakes import Asked, Script
from tests.harness import GatewayCase


def raw(answer: bytes, *, close: bool = True) -> Script:
    """Make a script that writes *answer* past the server's own framing."""

    def script(request: Request, asked: Asked) -> None:
        transport = request.transport
        assert transport is not None
        transport.write(answer)
        if close:
            transport.loseConnection()

    return script


LIMITED = b"HTTP/1.1 429 Slow\r\nretry-after: 3\r\ncontent-type: text/html\r\n"


class RefusalTests(GatewayCase):
    """Tests for error answers of a backend."""

    async def test_a_long_text_hides_no_status(self) -> None:
        """A page larger than what is read of a refusal: it is a 429 all the same."""
        body = b"x" * (MAX_REFUSAL + 1)
        self.backend.script = raw(LIMITED + b"content-length: %d\r\n\r\n" % len(body) + body)
        self.start(profile="failover = false")
        got = await self.chat()
        self.assertEqual((got.code, got.headers["retry-after"]), (429, "3"))
        self.assertEqual(got.headers["x-lmg-error"], "backend_rate_limited")

    async def test_a_text_without_length_is_read(self) -> None:
        """A refusal that ends with its connection is no cut answer; its reason is passed on."""
        self.backend.script = raw(
            b"HTTP/1.1 400 No\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n"
            b'{"error": {"message": "too hot", "param": "temperature"}}'
        )
        self.start()
        got = await self.chat()
        error = got.json["error"]
        self.assertEqual(
            (got.code, error["message"], error["param"]), (400, "too hot", "temperature")
        )

    async def test_a_text_that_never_ends(self) -> None:
        """A refusal whose text stalls is told by its status, within the attempt's deadline."""
        self.backend.script = raw(LIMITED + b"content-length: 100\r\n\r\n{", close=False)
        self.start(backends="timeout_ms = 200", profile="failover = false")
        got = await self.chat()
        self.assertEqual(got.headers["x-lmg-error"], "backend_rate_limited")
        (entry,) = await self.entries()
        self.assertEqual(entry["attempts"][0]["status"], 429)

    async def test_a_text_that_is_cut(self) -> None:
        """A refusal whose text breaks off is told by its status."""
        self.backend.script = raw(LIMITED + b"content-length: 100\r\n\r\n{")
        self.start(profile="failover = false")
        got = await self.chat()
        self.assertEqual(got.headers["x-lmg-error"], "backend_rate_limited")
