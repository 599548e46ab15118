"""R-S: streaming, on the diagonal."""

from __future__ import annotations

from typing import Any

from treq.content import collect
from twisted.internet.error import ConnectionRefusedError

from tests.fakes import DONE, STREAM, USAGE, chunk, hang, status, turns, until
from tests.harness import GatewayCase

HIDDEN = b"".join(part for part in STREAM if part is not USAGE)


class StreamingCases(GatewayCase):
    """Tests for server-sent events."""

    async def open(self, **members: Any) -> Any:
        """Begin a streamed request; give the response and what has come of its body so far."""
        body = {
            "model": "hint:fast",
            "stream": True,
            "messages": [{"role": "user", "content": "hi"}],
            **members,
        }
        response = await self.begin("POST", "/v1/chat/completions", body)
        got: list[bytes] = []
        done = collect(response, got.append)
        done.addErrback(lambda failure: got.append(b"<cut>"))
        return response, got, done

    async def test_R_S01_bytes_are_relayed(self) -> None:
        """The client gets the backend's very bytes, but for the usage it did not ask for."""
        self.start()
        self.backend.script = lambda request, asked: STREAM
        got = await self.chat(stream=True)
        self.assertEqual(got.body, HIDDEN)
        self.assertEqual(got.headers["content-type"], "text/event-stream")
        self.assertEqual(got.headers["cache-control"], "no-cache")
        self.assertEqual(got.headers["x-accel-buffering"], "no")
        self.assertEqual(got.headers["x-lmg-tier"], "local:fast")

    async def test_usage_for_who_asks(self) -> None:
        """A client that asked for the usage gets it, and with it every byte."""
        self.start()
        self.backend.script = lambda request, asked: STREAM
        got = await self.chat(stream=True, stream_options={"include_usage": True})
        self.assertEqual(got.body, b"".join(STREAM))

    async def test_R_S02_upstream_is_asked_to_stream(self) -> None:
        """The backend is asked to stream, and to tell the usage, which is recorded."""
        self.start()
        self.backend.script = lambda request, asked: STREAM
        await self.chat(stream=True)
        body = self.backend.asked[0].body
        self.assertIs(body["stream"], True)
        self.assertEqual(body["stream_options"], {"include_usage": True})
        (entry,) = await self.entries()
        self.assertEqual((entry["input_tokens"], entry["output_tokens"]), (3, 5))
        self.assertFalse(entry["usage_estimated"])
        self.assertEqual((entry["stream"], entry["finish_reason"]), (True, "stop"))
        self.assertGreaterEqual(entry["ttft_ms"], 0)

    async def test_usage_is_estimated_where_none_is_told(self) -> None:
        """Where the backend tells no usage it is counted, and marked."""
        self.start()
        self.backend.script = lambda request, asked: tuple(p for p in STREAM if p is not USAGE)
        await self.chat(stream=True)
        (entry,) = await self.entries()
        self.assertTrue(entry["usage_estimated"])
        self.assertGreater(entry["output_tokens"], 0)

    async def test_R_S03_first_chunk_at_once(self) -> None:
        """An event reaches the client before the backend has the next."""
        self.start()
        self.backend.script = half
        _, got, done = await self.open()
        await until(lambda: b"Hello" in b"".join(got))
        request = self.backend.requests[0]
        request.write(chunk({}, "stop") + DONE)
        request.finish()
        await done
        self.assertTrue(b"".join(got).endswith(DONE))

    async def test_R_S04_disconnect_reaches_the_backend(self) -> None:
        """When the client leaves, the backend's connection is closed."""
        self.start()
        self.backend.script = half
        response, got, _ = await self.open()
        await until(lambda: bool(got))
        response.original._transport.loseConnection()
        await until(lambda: self.backend.lost == [0])
        await until(lambda: self.service.resources.traffic.total == 1)  # type: ignore[union-attr]
        (entry,) = await self.entries()
        self.assertEqual((entry["outcome"], entry["success"]), ("client_closed", False))

    async def test_R_S06_error_before_the_first_event(self) -> None:
        """A backend that fails before its first event is an error with a true status."""
        self.start(gateway="failover = false")
        self.backend.script = status(500)
        got = await self.chat(stream=True)
        self.assertEqual((got.code, got.headers["content-type"]), (502, "application/json"))
        self.assertFalse((await self.entries())[0]["success"])

    async def test_failover_before_the_first_output(self) -> None:
        """A stream that dies before any output is answered by the next tier, and is not seen."""

        def dies(request, asked):  # type: ignore[no-untyped-def]
            request.setHeader("content-type", "text/event-stream")
            request.write(chunk({"role": "assistant", "content": ""}))
            request.transport.loseConnection()

        self.start()
        self.backend.script = turns(dies, lambda r, a: STREAM)
        got = await self.chat(stream=True)
        self.assertEqual((got.body, got.headers["x-lmg-tier"]), (HIDDEN, "cloud:economy"))

    async def test_cut_after_output_is_told_in_band(self) -> None:
        """A stream that breaks after output ends with an error event, and is cut."""
        self.start()
        self.backend.script = half
        _, got, done = await self.open()
        await until(lambda: b"Hello" in b"".join(got))
        self.backend.cut(0)
        await done
        body = b"".join(got)
        self.assertIn(b'"stream_interrupted"', body)
        self.assertIn(b'"attempts":[{"tier":"local:fast"', body)
        self.assertNotIn(b"[DONE]", body)
        self.assertEqual(got[-1], b"<cut>")
        self.assertEqual((await self.entries())[0]["outcome"], "stream_interrupted")

    async def test_end_without_done_is_a_cut(self) -> None:
        """A stream that ends without ``[DONE]`` is not passed on as a whole one."""
        self.start()
        self.backend.script = lambda request, asked: STREAM[:3]
        _, got, done = await self.open()
        await done
        self.assertIn(b'"stream_interrupted"', b"".join(got))
        self.assertEqual(got[-1], b"<cut>")

    async def test_silence_ends(self) -> None:
        """Silence in a stream ends at the backend's idle timeout, in band."""
        self.start(backends="idle_timeout_ms = 200")
        self.backend.script = half
        _, got, done = await self.open()
        await done
        self.assertIn(b'"stream_interrupted"', b"".join(got))
        await until(lambda: self.backend.lost == [0])

    async def test_first_output_deadline(self) -> None:
        """Silence before the first output is a 504 at the backend's first-byte timeout."""
        self.start(backends="first_byte_timeout_ms = 200", gateway="failover = false")
        self.backend.script = hang
        got = await self.chat(stream=True)
        self.assertEqual((got.code, got.headers["x-lmg-error"]), (504, "backend_timeout"))

    async def test_wrong_kind_of_answer(self) -> None:
        """JSON where a stream was asked for, and a stream for JSON, are a 502."""
        self.start(gateway="failover = false")
        got = await self.chat(stream=True)
        self.assertEqual((got.code, got.headers["x-lmg-error"]), (502, "backend_protocol"))
        self.backend.script = lambda request, asked: STREAM
        self.assertEqual((await self.chat()).code, 502)

    async def test_error_event_before_output(self) -> None:
        """An error that the backend tells in its stream, before output, moves on."""
        self.start()
        broken = (b'data: {"error":{"message":"secret text","code":"rate_limit"}}\n\n',)
        self.backend.script = turns(lambda r, a: broken, lambda r, a: STREAM)
        got = await self.chat(stream=True)
        self.assertEqual(got.body, HIDDEN)

    async def test_connections_are_used_again(self) -> None:
        """Streams that ended properly leave their connection for the next one."""
        self.start()
        self.backend.script = lambda request, asked: STREAM
        for _ in range(5):
            await self.chat(stream=True)
        peers = {request.getClientAddress().port for request in self.backend.requests}
        self.assertEqual(len(peers), 1)

    async def test_drain_lets_a_stream_finish(self) -> None:
        """A drain refuses newcomers and lets the stream in flight end as it should."""
        service = self.start()
        self.backend.script = half
        _, got, done = await self.open()
        await until(lambda: b"Hello" in b"".join(got))
        drained = service.drain()
        with self.assertRaises(ConnectionRefusedError):
            await self.chat()
        request = self.backend.requests[0]
        request.write(chunk({}, "stop") + DONE)
        request.finish()
        await done
        await drained
        self.assertTrue(b"".join(got).endswith(DONE))

    async def test_drain_deadline_is_told_in_band(self) -> None:
        """At the drain deadline what is in flight is told so, in its own grammar."""
        service = self.start(gateway="drain_timeout_ms = 200")
        self.backend.script = half
        _, got, done = await self.open()
        await until(lambda: b"Hello" in b"".join(got))
        await service.drain()
        await done
        self.assertIn(b'"draining"', b"".join(got))
        self.assertEqual(got[-1], b"<cut>")
        await until(lambda: self.backend.lost == [0])


def half(request: Any, asked: Any) -> None:
    """Write the first half of a stream, and leave it open."""
    request.setHeader("content-type", "text/event-stream")
    request.write(STREAM[0] + STREAM[1])
