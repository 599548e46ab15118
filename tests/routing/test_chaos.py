"""Failures on purpose, in a whole gateway."""

from __future__ import annotations

from typing import Any

from treq import collect
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseFailed

from lmgateway.errors import MalformedRequest
from lmgateway.routing.chaos import Mishap, read_mishap
from tests.harness import GatewayCase

CLIENTS = """
[[clients]]
name = "breaker"
key_env = "ONE"
profile = "default"
chaos = true

[[clients]]
name = "other"
key_env = "TWO"
profile = "default"
"""
ONE: dict[str, Any] = {"Authorization": "Bearer key-of-breaker"}
TWO: dict[str, Any] = {"Authorization": "Bearer key-of-other"}


class ChaosCases(GatewayCase):
    """Tests for what a client sees, and what nobody else does."""

    def setUp(self) -> None:
        """Serve one client that may, and one that may not."""
        super().setUp()
        self.environ |= {"ONE": "key-of-breaker", "TWO": "key-of-other"}
        self.start(more=CLIENTS)

    async def test_a_status(self) -> None:
        """As a backend's, without asking one; and nothing is paid."""
        got = await self.chat(X_LMG_Chaos="status=429;retry_after=7", **ONE)
        self.assertEqual((got.code, got.headers["retry-after"]), (429, "7"))
        self.assertEqual((await self.chat(X_LMG_Chaos="status=503", **ONE)).code, 503)
        self.assertEqual(self.backend.asked, [])
        for entry in await self.entries():
            self.assertEqual((entry["tier"], entry["routing_mode"]), ("chaos", "chaos"))
            self.assertEqual((entry["success"], entry["cost_usd"]), (False, 0.0))
            self.assertEqual(entry["attempts"], [])

    async def streamed(self, what: str) -> bytes:
        """Give all that comes of a stream."""
        body = {"model": "x", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        response = await self.begin("POST", "/v1/chat/completions", body, X_LMG_Chaos=what, **ONE)
        self.assertEqual(response.code, 200)
        self.assertEqual(response.headers.getRawHeaders("x-lmg-tier"), ["chaos"])
        got: list[bytes] = []
        done = collect(response, got.append)
        done.addErrback(lambda failure: failure.trap(ResponseFailed))
        await done
        return b"".join(got)

    async def test_streams_that_break_off(self) -> None:
        """They begin well, and end with an error in band."""
        got = await self.streamed("cut=3")
        self.assertTrue('"stream_interrupted"' in got.decode() and b"[DONE]" not in got)
        self.assertEqual(self.backend.asked, [])

    async def test_garbage(self) -> None:
        """An event in the middle is no JSON."""
        events = (await self.streamed("malformed=3")).split(b"\n\n")
        broken = [event for event in events if event.startswith(b"data: {") and event[-1:] != b"}"]
        self.assertEqual(len(broken), 1)

    async def test_anthropic(self) -> None:
        """In any grammar."""
        body = {"model": "x", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
        got = await self.ask("POST", "/v1/messages", body, X_LMG_Chaos="status=503", **ONE)
        self.assertEqual((got.code, got.json["type"]), (503, "error"))

    async def test_a_delay_alone_is_served(self) -> None:
        """Later, by the backend."""
        begun = reactor.seconds()
        got = await self.chat(X_LMG_Chaos="delay_ms=100", **ONE)
        self.assertEqual((got.code, got.headers["x-lmg-backend"]), (200, "mock"))
        self.assertGreaterEqual(reactor.seconds() - begun, 0.1)

    async def test_never(self) -> None:
        """A probability of 0 lets everything be as it is."""
        got = await self.chat(X_LMG_Chaos="status=500;probability=0", **ONE)
        self.assertEqual((got.code, len(self.backend.asked)), (200, 1))

    async def test_others_are_not_heard(self) -> None:
        """Nor is what they say looked at."""
        for said in ("status=503", "nonsense"):
            self.assertEqual((await self.chat(X_LMG_Chaos=said, **TWO)).code, 200)
        self.assertEqual(len(self.backend.asked), 2)

    async def test_what_cannot_be_read(self) -> None:
        """400: a test that tests nothing would be worse."""
        got = await self.chat(X_LMG_Chaos="status=200", **ONE)
        self.assertEqual((got.code, got.json["error"]["code"]), (400, "malformed_request"))
        self.assertEqual(self.backend.asked, [])


class ReadingTests(SynchronousTestCase):
    """Tests for the header."""

    def test_nothing(self) -> None:
        """Is nothing that happens."""
        self.assertEqual(read_mishap(" ; "), Mishap(None, 0.0, 1.0))

    def test_all_of_it(self) -> None:
        """Blanks do not matter."""
        mishap = read_mishap("delay_ms = 1500 ; cut=4;stall=5; malformed=6;probability=.5")
        self.assertEqual((mishap.seconds, mishap.probability), (1.5, 0.5))
        assert mishap.fault is not None
        told = (mishap.fault.cut_after, mishap.fault.hold_after, mishap.fault.garbage_after)
        self.assertEqual(told, (4, 5, 6))

    def test_faults(self) -> None:
        """Whatever is out of range or unknown."""
        for text in (
            "x", "cut", "cut=", "cut=-1", "cut=1e9", "status=99", "status=600", "delay_ms=nan",
            "delay_ms=inf", "probability=2", "retry_after=5", "retry_after=x;status=500",
        ):  # fmt: skip
            with self.assertRaises(MalformedRequest):
                read_mishap(text)
