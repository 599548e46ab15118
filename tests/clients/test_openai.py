"""The ``openai`` package against every backend grammar."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.clients.running import DIALECTS, KEY, RunningCase

try:
    import openai
except ImportError:
    openai = None  # type: ignore[assignment]

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
OTHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_time",
        "parameters": {
            "type": "object",
            "properties": {"zone": {"type": "string"}},
            "required": ["zone"],
        },
    },
}
PIXEL = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class OpenAITests(RunningCase):
    """Tests with the official client, on every backend."""

    if openai is None:
        skip = "the package 'openai' is not installed"

    def setUp(self) -> None:
        """Make a client."""
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.client = openai.OpenAI(base_url=self.url, api_key=KEY, max_retries=0)
        self.addCleanup(self.client.close)

    def ask(self, model: str, text: str = "Hello?", **members: Any) -> Any:
        """Ask for a chat completion."""
        members.setdefault("messages", [{"role": "user", "content": text}])
        return self.client.chat.completions.create(model=model, **members)

    def test_chat(self) -> None:
        """A whole answer, with usage and finish reason."""
        for model in DIALECTS:
            answer = self.ask(model)
            self.assertIn("Hello?", answer.choices[0].message.content)
            self.assertEqual(answer.choices[0].finish_reason, "stop")
            self.assertGreater(answer.usage.completion_tokens, 0)
            self.assertTrue(answer.id)

    def test_stream(self) -> None:
        """A streamed answer says what the whole one says; usage only for who asks."""
        for model in DIALECTS:
            whole = self.ask(model).choices[0].message.content
            chunks = list(self.ask(model, stream=True))
            text = "".join(c.choices[0].delta.content or "" for c in chunks)
            self.assertEqual(text, whole, model)
            self.assertTrue(all(c.choices for c in chunks), model)
            self.assertEqual(chunks[-1].choices[0].finish_reason, "stop")
            asked = list(self.ask(model, stream=True, stream_options={"include_usage": True}))
            self.assertEqual(asked[-1].choices, [])
            self.assertGreater(asked[-1].usage.completion_tokens, 0)

    def test_tools(self) -> None:
        """A tool is called, its result is answered; streamed calls add up to the same."""
        for model in DIALECTS:
            text = "Please use get_weather."
            answer = self.ask(model, text, tools=[TOOL])
            (call,) = answer.choices[0].message.tool_calls
            self.assertEqual(answer.choices[0].finish_reason, "tool_calls")
            self.assertEqual(call.function.name, "get_weather")
            self.assertIn("city", json.loads(call.function.arguments))
            messages = [
                {"role": "user", "content": text},
                answer.choices[0].message.model_dump(exclude_none=True),
                {"role": "tool", "tool_call_id": call.id, "content": "sunny, 21 degrees"},
            ]
            final = self.ask(model, messages=messages, tools=[TOOL])
            self.assertIn("sunny", final.choices[0].message.content)
            name, arguments = "", ""
            for chunk in self.ask(model, text, tools=[TOOL], stream=True):
                for part in chunk.choices[0].delta.tool_calls or ():
                    name += part.function.name or ""
                    arguments += part.function.arguments or ""
            self.assertEqual(
                (name, json.loads(arguments)), ("get_weather", json.loads(call.function.arguments))
            )

    def test_parallel_tools(self) -> None:
        """Two tools are called at once, each with an id of its own."""
        for model in DIALECTS:
            answer = self.ask(model, "Use get_weather and get_time.", tools=[TOOL, OTHER])
            calls = answer.choices[0].message.tool_calls
            self.assertEqual({c.function.name for c in calls}, {"get_weather", "get_time"})
            self.assertEqual(len({c.id for c in calls}), 2)

    def test_tool_choice(self) -> None:
        """A named tool is forced, and none is none."""
        forced = {"type": "function", "function": {"name": "get_weather"}}
        for model in ("openai", "anthropic"):
            answer = self.ask(model, "hi", tools=[TOOL], tool_choice=forced)
            self.assertTrue(answer.choices[0].message.tool_calls, model)
            answer = self.ask(model, "use get_weather", tools=[TOOL], tool_choice="none")
            self.assertFalse(answer.choices[0].message.tool_calls, model)

    def test_images(self) -> None:
        """An image goes through to every backend."""
        parts = [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": PIXEL}},
        ]
        for model in DIALECTS:
            answer = self.ask(model, messages=[{"role": "user", "content": parts}])
            self.assertTrue(answer.choices[0].message.content)

    def test_json_schema(self) -> None:
        """A JSON Schema is satisfied."""
        schema = {
            "name": "city",
            "schema": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "people": {"type": "integer"}},
                "required": ["name", "people"],
                "additionalProperties": False,
            },
        }
        for model in DIALECTS:
            answer = self.ask(model, response_format={"type": "json_schema", "json_schema": schema})
            self.assertEqual(
                set(json.loads(answer.choices[0].message.content)), {"name", "people"}, model
            )

    def test_embeddings(self) -> None:
        """Vectors come from the backends that have them."""
        for model in ("openai", "ollama"):
            answer = self.client.embeddings.create(model=model, input=["a", "b"])
            self.assertEqual([d.index for d in answer.data], [0, 1])
            self.assertGreater(len(answer.data[0].embedding), 10)

    def test_models(self) -> None:
        """The listing and one of its entries."""
        ids = [model.id for model in self.client.models.list()]
        self.assertEqual(ids[:3], list(DIALECTS))
        self.assertEqual(self.client.models.retrieve("ollama").id, "ollama")

    def test_responses(self) -> None:
        """The Responses API, whole and streamed."""
        for model in DIALECTS:
            whole = self.client.responses.create(model=model, input="Hello?")
            self.assertIn("Hello?", whole.output_text)
            self.assertEqual(whole.status, "completed")
            with self.client.responses.stream(model=model, input="Hello?") as stream:
                kinds = [event.type for event in stream]
                final = stream.get_final_response()
            self.assertEqual(final.output_text, whole.output_text)
            self.assertEqual(kinds[0], "response.created")
            self.assertEqual(kinds[-1], "response.completed")

    def test_responses_tools(self) -> None:
        """A function call by the Responses API, and its result."""
        tool = {"type": "function", **TOOL["function"], "strict": False}
        for model in DIALECTS:
            first = self.client.responses.create(
                model=model,
                input="Use get_weather.",
                tools=[tool],  # type: ignore[list-item]
            )
            (call,) = [item for item in first.output if item.type == "function_call"]
            self.assertEqual(call.name, "get_weather")
            second = self.client.responses.create(
                model=model,
                tools=[tool],  # type: ignore[list-item]
                input=[
                    {"role": "user", "content": "Use get_weather."},
                    call.model_dump(exclude_none=True),  # type: ignore[list-item]
                    {
                        "type": "function_call_output",
                        "call_id": call.call_id,
                        "output": "sunny today",
                    },
                ],
            )
            self.assertIn("sunny", second.output_text)

    def test_errors(self) -> None:
        """Each failure is the client's own class of error."""
        with self.assertRaises(openai.NotFoundError) as unknown:
            self.ask("no-such-model")
        self.assertEqual(unknown.exception.code, "model_not_found")
        with self.assertRaises(openai.BadRequestError) as bad:
            self.ask("openai", temperature=9)
        self.assertEqual(bad.exception.param, "temperature")
        wrong = openai.OpenAI(base_url=self.url, api_key="nope", max_retries=0)
        self.addCleanup(wrong.close)
        with self.assertRaises(openai.AuthenticationError):
            wrong.models.list()
        for model in DIALECTS:
            with self.assertRaises(openai.RateLimitError) as limited:
                self.ask(f"{model}-limited")
            self.assertEqual(limited.exception.response.headers["retry-after"], "7")
            with self.assertRaises(openai.InternalServerError):
                self.ask(f"{model}-failing")

    def test_dropped_stream(self) -> None:
        """A stream that breaks is an error, never a short answer."""
        for model in DIALECTS:
            got: list[Any] = []
            with self.assertRaises(openai.APIError, msg=model):
                got.extend(self.ask(f"{model}-cut", stream=True))
            self.assertTrue(got, model)

    def test_async(self) -> None:
        """The asynchronous client, twenty at once."""

        async def many() -> list[str]:
            async with openai.AsyncOpenAI(base_url=self.url, api_key=KEY) as client:

                async def one(model: str) -> str:
                    stream = await client.chat.completions.create(
                        model=model,
                        stream=True,
                        messages=[{"role": "user", "content": "Hello?"}],
                    )
                    return "".join([c.choices[0].delta.content or "" async for c in stream])

                return await asyncio.gather(*[one(m) for m in DIALECTS * 7])

        self.assertTrue(all("Hello?" in text for text in asyncio.run(many())))
