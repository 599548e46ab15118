"""R-S05: words that a stream begins with."""

from __future__ import annotations

import json
from typing import Any

from tests.fakes import Asked, chunk, hang, status, until
from tests.harness import GatewayCase

POOL = """
    [profiles.default.thinking_messages]
    "local:fast" = ["One moment.", "Let me see."]
"""
WORDS = {"One moment. ", "Let me see. "}


def deltas(body: bytes) -> list[str]:
    """Give the texts of a streamed completion, chunk by chunk."""
    texts = []
    for event in body.split(b"\n\n"):
        if event.startswith(b"data: {"):
            choices = json.loads(event[6:]).get("choices", [])
            texts += [choice["delta"].get("content") or "" for choice in choices]
    return texts


class OpeningCases(GatewayCase):
    """Tests for ``thinking_messages``."""

    async def test_R_S05_opening_words(self) -> None:
        """The first chunk is one of the pool and a space; the answer follows."""
        self.start(more=POOL)
        self.backend.script = streaming
        got = await self.chat(stream=True)
        first, *rest = deltas(got.body)
        self.assertIn(first, WORDS)
        self.assertEqual("".join(rest), "Hello")
        self.assertTrue(got.body.endswith(b"data: [DONE]\n\n"))
        self.assertEqual(got.headers["x-lmg-tier"], "local:fast")
        (entry,) = await self.entries()
        self.assertTrue(entry["success"])

    async def test_R_S05_only_on_streams_and_for_its_tier(self) -> None:
        """There are none without a stream, nor for a tier without a pool."""
        self.start(more=POOL)
        self.assertNotIn((await self.chat()).text + " ", WORDS)
        self.backend.script = streaming
        got = await self.chat("cloud:economy", stream=True)
        self.assertNotIn(deltas(got.body)[0], WORDS)

    async def test_at_once(self) -> None:
        """They are there before the backend has answered at all."""
        self.start(more=POOL)
        self.backend.script = hang
        response = await self.begin(
            "POST",
            "/v1/chat/completions",
            {"model": "x", "stream": True, "messages": [{"role": "user", "content": "hi"}]},
        )
        parts: list[bytes] = []
        reading = response.collect(parts.append)
        reading.addErrback(lambda failure: None)
        await until(lambda: bool(parts))
        self.assertIn(deltas(b"".join(parts))[0], WORDS)
        reading.cancel()

    async def test_failure_after_them_is_told_in_band(self) -> None:
        """Once they are out a failure has no status: it is told in the stream."""
        self.start(more=POOL)
        self.backend.script = status(503)
        response = await self.begin(
            "POST",
            "/v1/chat/completions",
            {"model": "x", "stream": True, "messages": [{"role": "user", "content": "hi"}]},
        )
        parts: list[bytes] = []
        reading = response.collect(parts.append)
        reading.addErrback(lambda failure: None)
        await reading
        body = b"".join(parts)
        self.assertEqual(response.code, 200)
        self.assertIn(b'"error"', body)
        self.assertNotIn(b"[DONE]", body)
        (entry,) = await self.entries()
        self.assertFalse(entry["success"])

    async def test_translated(self) -> None:
        """An Ollama client before an OpenAI backend gets them in its own grammar."""
        self.start(more=POOL)
        self.backend.script = streaming
        body = {"model": "local:fast", "messages": [{"role": "user", "content": "hi"}]}
        got = await self.ask("POST", "/api/chat", body)
        lines = [json.loads(line) for line in got.body.splitlines()]
        self.assertIn(lines[0]["message"]["content"], WORDS)
        self.assertTrue(lines[-1]["done"])
        self.assertEqual("".join(line["message"]["content"] for line in lines[1:]), "Hello")

    async def test_ollama_backend(self) -> None:
        """An OpenAI client before an Ollama backend, likewise."""
        other, url = self.another()
        other.script = olla
        self.start(
            backends=f'[backends.olla]\nprovider = "ollama"\nbase_url = "{url}"',
            more='[[tiers]]\nname = "olla"\nbackend = "olla"\nmodel = "m"\n'
            + '[profiles.p]\nclassifier = "olla"\nthinking_messages = { olla = ["One moment."] }',
        )
        got = await self.chat("p", stream=True, stream_options={"include_usage": True})
        self.assertEqual("".join(deltas(got.body)), "One moment. Hello")
        self.assertIn(b'"completion_tokens":2', got.body.replace(b" ", b""))
        self.assertTrue(got.body.endswith(b"data: [DONE]\n\n"))


def streaming(request: Any, asked: Asked) -> Any:
    """Answer with one word, streamed if asked to."""
    if not asked.body.get("stream"):
        return {"choices": [{"message": {"role": "assistant", "content": "Hello"}}]}
    return (chunk({"content": "Hello"}), chunk({}, "stop"), b"data: [DONE]\n\n")


def olla(request: Any, asked: Asked) -> None:
    """Answer as Ollama streams."""
    request.setHeader("content-type", "application/x-ndjson")
    for line in (
        {"model": "m", "message": {"role": "assistant", "content": "Hello"}, "done": False},
        {
            "model": "m",
            "message": {"role": "assistant", "content": ""},
            "done": True,
            "done_reason": "stop",
            "prompt_eval_count": 3,
            "eval_count": 2,
        },
    ):
        request.write(json.dumps(line).encode() + b"\n")
    request.finish()
