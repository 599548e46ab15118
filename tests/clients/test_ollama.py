"""The ``ollama`` package against every backend grammar."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

from tests.clients.running import DIALECTS, KEY, RunningCase

try:
    import ollama
except ImportError:
    ollama = None  # type: ignore[assignment]

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "Where."}},
            "required": ["city"],
        },
    },
}
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class OllamaTests(RunningCase):
    """Tests with the official client, on every backend."""

    if ollama is None:
        skip = "the package 'ollama' is not installed"

    def setUp(self) -> None:
        """Make a client."""
        self.url = f"http://127.0.0.1:{self.port}"
        self.headers = {"authorization": f"Bearer {KEY}"}
        self.client = ollama.Client(host=self.url, headers=self.headers)

    def ask(self, model: str, text: str = "Hello?", **members: Any) -> Any:
        """Chat."""
        members.setdefault("messages", [{"role": "user", "content": text}])
        return self.client.chat(model=model, **members)

    def test_chat(self) -> None:
        """A whole answer, with counts and a reason."""
        for model in DIALECTS:
            answer = self.ask(model)
            self.assertIn("Hello?", answer.message.content)
            self.assertEqual((answer.done, answer.done_reason), (True, "stop"))
            self.assertGreater(answer.eval_count, 0)

    def test_stream(self) -> None:
        """A streamed answer says what the whole one says, once."""
        for model in DIALECTS:
            whole = self.ask(model).message.content
            parts = list(self.ask(model, stream=True))
            self.assertEqual("".join(p.message.content or "" for p in parts), whole, model)
            self.assertTrue(parts[-1].done)
            self.assertGreater(parts[-1].eval_count, 0)

    def test_generate(self) -> None:
        """A prompt is completed, whole and streamed."""
        for model in DIALECTS:
            whole = self.client.generate(model=model, prompt="Hello?").response
            self.assertIn("Hello?", whole)
            parts = list(self.client.generate(model=model, prompt="Hello?", stream=True))
            self.assertEqual("".join(p.response or "" for p in parts), whole)

    def test_tools(self) -> None:
        """A tool is called with an object, and its result is answered."""
        for model in DIALECTS:
            text = "Please use get_weather."
            for stream in (False, True):
                answer = self.ask(model, text, tools=[TOOL], stream=stream)
                parts = list(answer) if stream else [answer]
                calls = [c for p in parts for c in p.message.tool_calls or ()]
                self.assertEqual([c.function.name for c in calls], ["get_weather"], model)
                self.assertIn("city", calls[0].function.arguments)
            messages = [
                {"role": "user", "content": text},
                {"role": "assistant", "content": "", "tool_calls": calls},
                {"role": "tool", "content": "sunny", "tool_name": "get_weather"},
            ]
            final = self.ask(model, messages=messages, tools=[TOOL])
            self.assertIn("sunny", final.message.content)

    def test_image(self) -> None:
        """An image goes through to every backend."""
        for model in DIALECTS:
            message = {"role": "user", "content": "What is this?", "images": [PIXEL]}
            self.assertTrue(self.ask(model, messages=[message]).message.content)

    def test_embeddings(self) -> None:
        """Vectors, by the new call and the old."""
        for model in ("openai", "ollama"):
            self.assertEqual(len(self.client.embed(model=model, input=["a", "b"]).embeddings), 2)
            self.assertGreater(len(self.client.embeddings(model=model, prompt="a").embedding), 9)

    def test_discovery(self) -> None:
        """Profiles are listed as models, and tiers can be shown."""
        names = [model.model for model in self.client.list().models]
        self.assertEqual(names, ["default:latest"])
        self.assertTrue(self.client.show("default:latest").details)
        self.assertTrue(self.client.show("openai").details)
        self.assertEqual([m.model for m in self.client.ps().models], names)

    def test_errors(self) -> None:
        """Each failure is a ResponseError with its true status."""
        for model, status in (("no-such-model", 404), ("openai-failing", 502)):
            with self.assertRaises(ollama.ResponseError) as caught:
                self.ask(model)
            self.assertEqual(caught.exception.status_code, status)
            self.assertTrue(caught.exception.error)
        with self.assertRaises(ollama.ResponseError) as caught:
            ollama.Client(host=self.url).chat(model="openai", messages=[])
        self.assertEqual(caught.exception.status_code, 401)
        for model in DIALECTS:
            with self.assertRaises(ollama.ResponseError) as caught:
                self.ask(f"{model}-limited")
            self.assertEqual(caught.exception.status_code, 429)

    def test_dropped_stream(self) -> None:
        """A stream that breaks is an error, never a short answer."""
        for model in DIALECTS:
            with self.assertRaises(Exception, msg=model) as caught:
                list(self.ask(f"{model}-cut", stream=True))
            self.assertNotIsInstance(caught.exception, AssertionError)

    def test_async(self) -> None:
        """The asynchronous client."""

        async def one() -> str:
            client = ollama.AsyncClient(host=self.url, headers=self.headers)
            parts: Any = await client.chat(
                model="anthropic", messages=[{"role": "user", "content": "Hello?"}], stream=True
            )
            return "".join([p.message.content or "" async for p in parts])

        self.assertIn("Hello?", asyncio.run(one()))
