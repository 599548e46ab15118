"""Every surface before every backend, by the official clients: what is said arrives."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

from tests import vectors
from tests.reference.three import MESSAGES, TOOLS, ThreeCase

try:
    import anthropic
    import ollama
    import openai
    import pydantic
except ImportError:
    openai = None  # type: ignore[assignment]

ANTHROPIC_TOOLS = [
    {"name": t["function"]["name"], "input_schema": t["function"]["parameters"]} for t in TOOLS
]
RESPONSES_TOOLS = [{"type": "function", "strict": False, **t["function"]} for t in TOOLS]
MADE = [(name, json.loads(arguments)) for name, arguments in vectors.CALLS]

Seen = tuple[str, list[tuple[str, Any]], str | None, tuple[int, int] | None]
"""Text, calls, why it ended, and input and output tokens."""


class MatrixCase(ThreeCase):
    """Runs the clients in threads."""

    if openai is None:
        skip = "the official clients are not installed"

    def setUp(self) -> None:
        """Know what asks how."""
        super().setUp()
        self.surfaces: dict[str, Callable[[str, bool, bool], Seen]] = {
            "chat": self.chat_seen,
            "completions": self.completions_seen,
            "responses": self.responses_seen,
            "messages": self.messages_seen,
            "ollama": self.ollama_seen,
        }

    timeout = 240  # a busy machine needs long for hundreds of calls

    @property
    def url(self) -> str:
        """Where the gateway is."""
        return f"http://127.0.0.1:{self.client_port}"

    @cached_property
    def openai(self) -> Any:
        """Make a client."""
        return openai.OpenAI(base_url=self.url + "/v1", api_key="k", max_retries=0, timeout=10)

    @cached_property
    def anthropic(self) -> Any:
        """Make a client."""
        return anthropic.Anthropic(base_url=self.url, api_key="k", max_retries=0, timeout=10)

    @cached_property
    def ollama_client(self) -> Any:
        """Make a client."""
        return ollama.Client(host=self.url, timeout=10)

    def chat_seen(self, model: str, stream: bool, tools: bool) -> Seen:
        """Ask for a chat completion."""
        more: dict[str, Any] = {"tools": TOOLS} if tools else {}
        if stream:
            more["stream_options"] = {"include_usage": True}
        got = self.openai.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "hi"}], stream=stream, **more
        )
        if not stream:
            choice = got.choices[0]
            calls = [
                (c.function.name, json.loads(c.function.arguments))
                for c in choice.message.tool_calls or ()
            ]
            usage = (got.usage.prompt_tokens, got.usage.completion_tokens)
            return choice.message.content or "", calls, choice.finish_reason, usage
        text, reason, used = "", None, None
        made: dict[int, list[str]] = {}
        for chunk in got:
            if chunk.usage:
                used = (chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
            for choice in chunk.choices:
                text += choice.delta.content or ""
                reason = choice.finish_reason or reason
                for call in choice.delta.tool_calls or ():
                    kept = made.setdefault(call.index, ["", ""])
                    kept[0] += call.function.name or ""
                    kept[1] += call.function.arguments or ""
        return text, [(n, json.loads(a)) for n, a in made.values()], reason, used

    def completions_seen(self, model: str, stream: bool, tools: bool) -> Seen:
        """Ask for a completion."""
        more = {"stream_options": {"include_usage": True}} if stream else {}
        got = self.openai.completions.create(model=model, prompt="hi", stream=stream, **more)
        text, reason, used = "", None, None
        for chunk in got if stream else [got]:
            if chunk.usage:
                used = (chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
            for choice in chunk.choices:
                text += choice.text
                reason = choice.finish_reason or reason
        return text, [], reason, used

    def responses_seen(self, model: str, stream: bool, tools: bool) -> Seen:
        """Ask for a response."""
        more = {"tools": RESPONSES_TOOLS} if tools else {}
        got = self.openai.responses.create(model=model, input="hi", stream=stream, **more)
        text = ""
        if stream:
            done = None
            for event in got:
                if event.type == "response.output_text.delta":
                    text += event.delta
                if event.type in ("response.completed", "response.incomplete"):
                    done = event.response
            assert done is not None and text == done.output_text
            got = done
        calls = [(i.name, json.loads(i.arguments)) for i in got.output if i.type == "function_call"]
        details = got.incomplete_details
        reason = "stop" if details is None else "length"
        reason = "tool_calls" if calls else reason
        return got.output_text, calls, reason, (got.usage.input_tokens, got.usage.output_tokens)

    def messages_seen(self, model: str, stream: bool, tools: bool) -> Seen:
        """Ask for a message."""
        more: dict[str, Any] = {"tools": ANTHROPIC_TOOLS} if tools else {}
        asked = {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
        if stream:
            with self.anthropic.messages.stream(**asked, **more) as events:
                got = events.get_final_message()
        else:
            got = self.anthropic.messages.create(**asked, **more)
        text = "".join(b.text for b in got.content if b.type == "text")
        calls = [(b.name, b.input) for b in got.content if b.type == "tool_use"]
        words = {"end_turn": "stop", "max_tokens": "length", "tool_use": "tool_calls"}
        return (
            text,
            calls,
            words[got.stop_reason],
            (got.usage.input_tokens, got.usage.output_tokens),
        )

    def ollama_seen(self, model: str, stream: bool, tools: bool) -> Seen:
        """Ask Ollama's chat."""
        more: dict[str, Any] = {"tools": TOOLS} if tools else {}
        got = self.ollama_client.chat(
            model=model, messages=[{"role": "user", "content": "hi"}], stream=stream, **more
        )
        text, calls, last = "", [], None
        for last in got if stream else [got]:
            text += last.message.content or ""
            calls += [
                (c.function.name, dict(c.function.arguments)) for c in last.message.tool_calls or ()
            ]
        assert last is not None and last.done
        reason = "tool_calls" if calls else last.done_reason
        return text, calls, reason, (last.prompt_eval_count, last.eval_count)


def _pairs(case: MatrixCase) -> list[tuple[str, str, bool]]:
    return [
        (surface, dialect, stream)
        for surface in case.surfaces
        for dialect in vectors.DIALECTS
        for stream in (False, True)
    ]


USED = (vectors.IN, vectors.OUT)


class MatrixTests(MatrixCase):
    """Tests for all pairs."""

    async def see(self, surface: str, dialect: str, stream: bool, tools: bool = False) -> Seen:
        """Ask at a surface for an answer of a backend."""
        seen: Seen = await self.client(lambda: self.surfaces[surface](dialect, stream, tools))
        return seen

    async def test_text(self) -> None:
        """The text, the reason and the usage of every backend reach every client."""
        self.serve()
        for surface, dialect, stream in _pairs(self):
            for reason in ("stop", "length"):
                self.backend.script = vectors.answering(
                    vectors.text(dialect, reason), vectors.streamed_text(dialect, reason)
                )
                seen = await self.see(surface, dialect, stream)
                want: Seen = (vectors.SAID, [], reason, USED)
                self.assertEqual(seen, want, f"{surface} {dialect} {stream}")
                if surface != "completions":
                    self.assertEqual(self.backend.asked[-1].path, vectors.PATHS[dialect])

    async def test_tools(self) -> None:
        """Two calls at once, one without arguments, reach every client that can be told of them."""
        self.serve()
        for surface, dialect, stream in _pairs(self):
            if surface == "completions":
                continue
            self.backend.script = vectors.answering(
                vectors.calls(dialect), vectors.streamed_calls(dialect)
            )
            seen = await self.see(surface, dialect, stream, tools=True)
            self.assertEqual(seen, ("", MADE, "tool_calls", USED), f"{surface} {dialect} {stream}")


class FailureTests(MatrixCase):
    """Tests for what goes wrong, as each client raises it."""

    async def raised(self, surface: str, dialect: str, stream: bool) -> Exception:
        """Ask at a surface; give what the client raises."""

        def call() -> Exception:
            try:
                seen = self.surfaces[surface](dialect, stream, False)
            except Exception as error:
                return error
            raise AssertionError(f"nothing was raised but {seen}")

        error: Exception = await self.client(call)
        return error

    async def test_statuses(self) -> None:
        """A backend's refusal is of the class that the client has for it, streamed or not."""
        self.serve()
        want = {400: 400, 401: 502, 404: 404, 429: 429, 500: 502}
        for surface, dialect, stream in _pairs(self):
            for code, told in want.items():
                self.backend.script = vectors.refusing(dialect, code, retry_after="7")
                error: Any = await self.raised(surface, dialect, stream)
                where = f"{surface} {dialect} {stream} {code}: {error!r}"
                self.assertEqual(error.status_code, told, where)
                kind = "ResponseError" if surface == "ollama" else _CLASSES[told]
                self.assertEqual(type(error).__name__, kind, where)
                if told < 429:
                    self.assertIn(f"refused with {code}", str(error), where)
                if told == 429 and surface != "ollama":
                    self.assertEqual(error.response.headers["retry-after"], "7", where)

    async def test_dropped_stream(self) -> None:
        """A stream that breaks after its first output never looks whole."""
        self.serve()
        for surface, dialect, _ in _pairs(self):
            parts = vectors.streamed_text(dialect)
            cut = 4 if dialect == "anthropic" else 2
            self.backend.script = vectors.breaking(parts[:cut])
            error = await self.raised(surface, dialect, stream=True)
            kinds = ("APIError", "APIConnectionError", "APIStatusError", "ResponseError")
            names = {cls.__name__ for cls in type(error).__mro__}
            self.assertTrue(names & {*kinds}, f"{surface} {dialect} {error!r}")


_CLASSES = {
    400: "BadRequestError",
    404: "NotFoundError",
    429: "RateLimitError",
    502: "InternalServerError",
}


class HelperTests(MatrixCase):
    """Tests for what the clients build on top."""

    def says(self, dialect: str, text: str) -> None:
        """Let the backend say one text, whole or streamed."""
        told = json.dumps(text, ensure_ascii=False)[1:-1]
        whole = json.loads(json.dumps(vectors.text(dialect)).replace(_ESCAPED, told))
        parts = vectors.streamed_text(dialect)
        place = next(n for n, part in enumerate(parts) if vectors.PIECES[0].encode() in part)
        first = parts[place].replace(vectors.PIECES[0].encode(), told.encode())
        self.backend.script = vectors.answering(
            whole, [*parts[:place], first, *parts[place + len(vectors.PIECES) :]]
        )

    async def test_structured_output(self) -> None:
        """The clients' own parsers get what they asked for, whole and streamed."""
        self.serve()

        class Answer(pydantic.BaseModel):
            n: int

        asked: list[Any] = [{"role": "user", "content": "hi"}]

        def chat(dialect: str) -> Any:
            got = self.openai.chat.completions.parse(
                model=dialect, messages=asked, response_format=Answer
            )
            return got.choices[0].message.parsed

        def chat_streamed(dialect: str) -> Any:
            with self.openai.chat.completions.stream(
                model=dialect, messages=asked, response_format=Answer
            ) as events:
                return events.get_final_completion().choices[0].message.parsed

        def responses(dialect: str) -> Any:
            got = self.openai.responses.parse(model=dialect, input="hi", text_format=Answer)
            return got.output_parsed

        def responses_streamed(dialect: str) -> Any:
            with self.openai.responses.stream(
                model=dialect, input="hi", text_format=Answer
            ) as events:
                return events.get_final_response().output_parsed

        for dialect in vectors.DIALECTS:
            self.says(dialect, '{"n": 5}')
            for call in (chat, chat_streamed, responses, responses_streamed):
                parsed = await self.client(partial(call, dialect))
                self.assertEqual(parsed.n, 5, dialect)

    async def test_beta(self) -> None:
        """The beta calls of Anthropic's client have a query; their betas are forwarded."""
        self.serve()
        self.says("anthropic", "Well.")
        asked = {"model": "anthropic", "max_tokens": 9, "messages": MESSAGES}

        def call() -> Any:
            return self.anthropic.beta.messages.create(**asked, betas=["one-1", "two-2"])

        got = await self.client(call)
        self.assertEqual(got.content[0].text, "Well.")
        self.assertEqual(self.backend.asked[-1].headers["anthropic-beta"], "one-1,two-2")

        def listing() -> Any:
            try:
                return self.anthropic.models.retrieve("nope")
            except anthropic.NotFoundError as error:
                return error.body

        self.assertEqual((await self.client(listing))["type"], "error")
        names = await self.client(lambda: [m.id for m in self.anthropic.models.list()])
        self.assertIn("ollama", names)


_ESCAPED = json.dumps(vectors.SAID)[1:-1]


class OnceTests(MatrixCase):
    """``Idempotency-Key``, as the official clients send it."""

    async def test_C10_streams_twice(self) -> None:
        """Every client reads the second stream as it read the first."""
        self.serve()
        headers = {"Idempotency-Key": "once"}
        self.openai._custom_headers = headers
        self.anthropic._custom_headers = headers
        for number, (surface, dialect, stream) in enumerate(_pairs(self)):
            headers["Idempotency-Key"] = f"once-{number}"
            self.ollama_client._client.headers["Idempotency-Key"] = f"once-{number}"
            self.backend.script = vectors.answering(
                vectors.text(dialect), vectors.streamed_text(dialect)
            )
            self.backend.asked.clear()
            ask = partial(self.surfaces[surface], dialect, stream, False)
            first, second = await self.client(ask), await self.client(ask)
            self.assertEqual(first, (vectors.SAID, [], "stop", USED))
            self.assertEqual(second, first, f"{surface} {dialect} {stream}")
            self.assertEqual(len(self.backend.asked), 1, f"{surface} {dialect} {stream}")
