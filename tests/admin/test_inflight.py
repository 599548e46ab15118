"""Tests for what is under way, and ending it."""

from __future__ import annotations

from typing import Any

from treq.content import collect
from twisted.internet.defer import Deferred

from tests.fakes import chunk, hang, until
from tests.harness import GatewayCase, ensureDeferred


def half(request: Any, asked: Any) -> None:
    """Begin a stream, and leave it."""
    request.setHeader("content-type", "text/event-stream")
    request.write(chunk({"role": "assistant", "content": ""}) + chunk({"content": "Hello you"}))


class InFlightTests(GatewayCase):
    """Tests for the list, and for cancelling."""

    async def in_flight(self) -> list[dict[str, Any]]:
        """Give what is listed."""
        got = (await self.ask("GET", "/admin/inflight", admin=True)).json
        self.assertEqual(got["total"], len(got["in_flight"]))
        listed: list[dict[str, Any]] = got["in_flight"]
        return listed

    async def test_L13_4_a_stream_is_listed_and_ended(self) -> None:
        """A stream is listed with what came so far; ended, it is told in band, and recorded."""
        service = self.start()
        self.backend.script = half
        body = {
            "model": "hint:fast", "stream": True, "messages": [{"role": "user", "content": "hi"}],
        }  # fmt: skip
        response = await self.begin("POST", "/v1/chat/completions", body, X_Request_ID="r1")
        got: list[bytes] = []
        done: Deferred[None] = collect(response, got.append)
        done.addErrback(lambda failure: got.append(b"<cut>"))
        await until(lambda: b"Hello" in b"".join(got))
        (listed,) = await self.in_flight()
        self.assertEqual(
            (listed["id"], listed["phase"], listed["tier"], listed["backend"], listed["model"]),
            ("r1", "answering", "local:fast", "mock", "fast-model"),
        )
        self.assertEqual((listed["stream"], listed["tokens_out"]), (True, 3))
        self.assertGreater(listed["bytes_out"], 0)
        got_cancel = await self.ask("POST", "/admin/inflight/r1/cancel", admin=True)
        self.assertEqual((got_cancel.code, got_cancel.json), (200, {"cancelled": 1}))
        await done
        text = b"".join(got)
        self.assertIn(b"cancelled_by_operator", text)
        self.assertNotIn(b"[DONE]", text)
        await until(lambda: self.backend.lost == [0])
        await until(lambda: service.resources.traffic.total == 1)
        (entry,) = await self.entries()
        self.assertEqual((entry["outcome"], entry["success"]), ("cancelled_by_operator", False))
        self.assertEqual(await self.in_flight(), [])

    async def test_one_that_waits_is_told_with_a_status(self) -> None:
        """Before a byte was sent the client gets an error that its library does not retry."""
        self.start()
        self.backend.script = hang
        chat = ensureDeferred(self.chat(X_Request_ID="r2"))
        await until(lambda: bool(self.backend.asked))
        (listed,) = await self.in_flight()
        self.assertEqual(
            (listed["phase"], listed["tier"], listed["attempts"]), ("waiting", "local:fast", 1)
        )
        await self.ask("POST", "/admin/inflight/r2/cancel", admin=True)
        got = await chat
        self.assertEqual((got.code, got.headers["x-lmg-error"]), (403, "cancelled_by_operator"))

    async def test_what_is_not_there_cannot_be_ended(self) -> None:
        """An id that nobody goes by is a 404."""
        self.start()
        got = await self.ask("POST", "/admin/inflight/none/cancel", admin=True)
        self.assertEqual(got.code, 404)
