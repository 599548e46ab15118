"""The ``anthropic`` package against every backend grammar."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.clients.running import DIALECTS, KEY, RunningCase

try:
    import anthropic
except ImportError:
    anthropic = None  # type: ignore[assignment]

TOOL: dict[str, Any] = {
    "name": "get_weather",
    "description": "Tell the weather.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class AnthropicTests(RunningCase):
    """Tests with the official client, on every backend."""

    if anthropic is None:
        skip = "the package 'anthropic' is not installed"

    def setUp(self) -> None:
        """Make a client."""
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = anthropic.Anthropic(base_url=self.url, api_key=KEY, max_retries=0)
        self.addCleanup(self.client.close)

    def ask(self, model: str, text: str = "Hello?", **members: Any) -> Any:
        """Ask for a message."""
        members.setdefault("messages", [{"role": "user", "content": text}])
        return self.client.messages.create(model=model, max_tokens=500, **members)

    def test_message(self) -> None:
        """A whole answer, with usage and stop reason."""
        for model in DIALECTS:
            answer = self.ask(model, system="Be kind.")
            self.assertIn("Hello?", answer.content[0].text)
            self.assertEqual(answer.stop_reason, "end_turn")
            self.assertGreater(answer.usage.output_tokens, 0)

    def test_stream(self) -> None:
        """A streamed answer says what the whole one says."""
        for model in DIALECTS:
            whole = self.ask(model).content[0].text
            with self.client.messages.stream(
                model=model, max_tokens=500, messages=[{"role": "user", "content": "Hello?"}]
            ) as stream:
                text = "".join(stream.text_stream)
                final = stream.get_final_message()
            self.assertEqual(text, whole, model)
            self.assertEqual(final.stop_reason, "end_turn")
            self.assertGreater(final.usage.output_tokens, 0)

    def test_tools(self) -> None:
        """A tool is used and its result answered; streamed input adds up to the same."""
        for model in DIALECTS:
            text = "Please use get_weather."
            answer = self.ask(model, text, tools=[TOOL])
            self.assertEqual(answer.stop_reason, "tool_use", model)
            (use,) = [block for block in answer.content if block.type == "tool_use"]
            self.assertIn("city", use.input)
            messages = [
                {"role": "user", "content": text},
                {"role": "assistant", "content": [b.model_dump() for b in answer.content]},
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "sunny"}],
                },
            ]
            final = self.ask(model, messages=messages, tools=[TOOL])
            self.assertIn("sunny", final.content[0].text)
            with self.client.messages.stream(
                model=model,
                max_tokens=500,
                messages=[{"role": "user", "content": text}],
                tools=[TOOL],  # type: ignore[list-item]
            ) as stream:
                streamed: Any = stream.get_final_message()
            self.assertEqual(streamed.content[0].type, "tool_use")
            self.assertEqual(streamed.content[0].input, use.input)

    def test_image(self) -> None:
        """An image goes through to every backend."""
        block = {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": PIXEL},
        }
        parts = [{"type": "text", "text": "What is this?"}, block]
        for model in DIALECTS:
            answer = self.ask(model, messages=[{"role": "user", "content": parts}])
            self.assertTrue(answer.content[0].text)

    def test_count_tokens(self) -> None:
        """Tokens are counted, by the backend or by estimate."""
        for model in DIALECTS:
            counted = self.client.messages.count_tokens(
                model=model, messages=[{"role": "user", "content": "Hello?"}]
            )
            self.assertGreater(counted.input_tokens, 0)

    def test_models(self) -> None:
        """The listing has Anthropic's shape."""
        ids = [model.id for model in self.client.models.list()]
        self.assertEqual(ids[:3], list(DIALECTS))
        self.assertEqual(self.client.models.retrieve("ollama").display_name, "ollama")

    def test_errors(self) -> None:
        """Each failure is the client's own class of error."""
        with self.assertRaises(anthropic.NotFoundError):
            self.ask("no-such-model")
        with self.assertRaises(anthropic.BadRequestError):
            self.ask("anthropic", messages=[])
        wrong = anthropic.Anthropic(base_url=self.url, api_key="nope", max_retries=0)
        self.addCleanup(wrong.close)
        with self.assertRaises(anthropic.AuthenticationError):
            wrong.models.list()
        for model in DIALECTS:
            with self.assertRaises(anthropic.RateLimitError) as limited:
                self.ask(f"{model}-limited")
            self.assertEqual(limited.exception.response.headers["retry-after"], "7")
            with self.assertRaises(anthropic.InternalServerError):
                self.ask(f"{model}-failing")

    def test_dropped_stream(self) -> None:
        """A stream that breaks is an error, never a short answer."""
        for model in DIALECTS:
            with self.assertRaises(anthropic.APIError, msg=model):
                with self.client.messages.stream(
                    model=f"{model}-cut",
                    max_tokens=500,
                    messages=[{"role": "user", "content": "Hello?"}],
                ) as stream:
                    stream.get_final_message()

    def test_bearer_and_async(self) -> None:
        """The asynchronous client, with an auth token instead of a key."""

        async def one() -> str:
            async with anthropic.AsyncAnthropic(base_url=self.url, auth_token=KEY) as client:
                answer = await client.messages.create(
                    model="openai",
                    max_tokens=50,
                    messages=[{"role": "user", "content": "Hello?"}],
                )
                return str(answer.content[0].type)

        self.assertEqual(asyncio.run(one()), "text")
