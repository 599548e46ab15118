"""Bodies of the Responses API, read into the hub."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.chat import ChatRequest, Document
from lmgateway.dialects.base import SurfaceDialect
from lmgateway.dialects.responses import RESPONSES
from lmgateway.errors import MalformedRequest, Unsupported, UnsupportedParameter


def parse(**document: Any) -> ChatRequest:
    """Parse a document as a client would send it."""
    return RESPONSES.parse(msgspec.json.encode({"model": "m", **document}))


def messages(*items: Document) -> list[Document]:
    """Give the hub's messages for items."""
    read: list[Document] = parse(input=list(items)).hub["messages"]
    return read


CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"x":1}'}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "ok"}


class InputTests(SynchronousTestCase):
    """``input`` and ``instructions``."""

    def test_is_a_surface(self) -> None:
        """The grammar has the client's half of a dialect."""
        dialect: SurfaceDialect = RESPONSES
        self.assertEqual((dialect.name, dialect.framing), ("responses", "sse"))

    def test_text(self) -> None:
        """A string is what the user says, instructions come before it."""
        request = parse(input="hi", instructions="be", stream=True)
        self.assertEqual(
            request.hub["messages"],
            [{"role": "system", "content": "be"}, {"role": "user", "content": "hi"}],
        )
        self.assertEqual((request.model, request.stream), ("m", True))
        self.assertEqual((request.endpoint, request.wants_usage), ("responses", True))

    def test_messages_of_every_kind(self) -> None:
        """Messages with or without a type, of every role, with every part."""
        read = messages(
            {"role": "developer", "content": "be"},
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "see"},
                    {
                        "type": "input_image",
                        "image_url": "data:image/png;base64,AA",
                        "detail": "low",
                    },
                    {"type": "input_file", "filename": "a.pdf", "file_data": "data:x"},
                    {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}},
                ],
            },
            {
                "type": "message",
                "id": "msg_1",
                "role": "assistant",
                "status": "completed",
                "content": [
                    {"type": "output_text", "text": "so", "annotations": []},
                    {"type": "refusal", "refusal": "no"},
                ],
            },
        )
        self.assertEqual(read[0], {"role": "developer", "content": "be"})
        self.assertEqual(
            [p["type"] for p in read[1]["content"]], ["text", "image_url", "file", "input_audio"]
        )
        self.assertEqual(
            read[1]["content"][1]["image_url"], {"url": "data:image/png;base64,AA", "detail": "low"}
        )
        self.assertEqual(read[2], {"role": "assistant", "content": "so", "refusal": "no"})

    def test_a_turn_is_put_together(self) -> None:
        """Reasoning, text and calls of one turn are one message; outputs are tool messages."""
        second = {**CALL, "call_id": "c2", "arguments": ""}
        reasoning = {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "hm"}],
        }
        read = messages(
            {"role": "user", "content": "hi"},
            reasoning,
            {"role": "assistant", "content": "let me see"},
            CALL,
            second,
            OUTPUT,
            {**OUTPUT, "call_id": "c2", "output": [{"type": "input_text", "text": "fine"}]},
            CALL,
        )
        self.assertEqual(
            [m["role"] for m in read], ["user", "assistant", "tool", "tool", "assistant"]
        )
        turn = read[1]
        self.assertEqual((turn["content"], turn["reasoning_content"]), ("let me see", "hm"))
        self.assertEqual([call["id"] for call in turn["tool_calls"]], ["c1", "c2"])
        self.assertEqual(turn["tool_calls"][1]["function"], {"name": "f", "arguments": "{}"})
        self.assertEqual(read[3], {"role": "tool", "tool_call_id": "c2", "content": "fine"})
        self.assertIsNone(read[4]["content"])

    def test_two_turns_stay_two(self) -> None:
        """What the assistant says after it spoke, or called, is another message."""
        said = {"role": "assistant", "content": "x"}
        thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "s"}]}
        self.assertEqual(len(messages(said, said)), 2)
        self.assertEqual(len(messages(CALL, said)), 2)
        self.assertEqual(messages(said, thought, said)[1]["reasoning_content"], "s")

    def test_what_is_wrong_is_named(self) -> None:
        """Malformed input is refused with the path of the member at fault."""
        for param, document in (
            ("input", {}),
            ("input", {"input": []}),
            ("input", {"input": 4}),
            ("input[0]", {"input": ["x"]}),
            ("input[0].role", {"input": [{"role": "tool", "content": "x"}]}),
            ("input[0].content", {"input": [{"role": "user"}]}),
            ("input[0].content[0]", {"input": [{"role": "user", "content": ["x"]}]}),
            ("input[0].call_id", {"input": [{"type": "function_call", "name": "f"}]}),
            ("input[0].name", {"input": [{"type": "function_call", "call_id": "c"}]}),
            ("input[0].call_id", {"input": [{"type": "function_call_output", "output": "x"}]}),
            ("instructions", {"input": "x", "instructions": []}),
            ("max_output_tokens", {"input": "x", "max_output_tokens": 0}),
            ("max_output_tokens", {"input": "x", "max_output_tokens": True}),
            ("stream", {"input": "x", "stream": 1}),
            ("text.format.schema", {"input": "x", "text": {"format": {"type": "json_schema"}}}),
            ("text.format.type", {"input": "x", "text": {"format": {"type": "xml"}}}),
            ("reasoning.effort", {"input": "x", "reasoning": {"effort": 3}}),
            ("tools[0].name", {"input": "x", "tools": [{"type": "function"}]}),
        ):
            error = self.assertRaises(MalformedRequest, parse, **document)
            self.assertEqual(error.param, param)


class MemberTests(SynchronousTestCase):
    """The other members."""

    def test_T050_what_needs_a_store_is_refused(self) -> None:
        """What needs stored answers is refused by name; not asking for it is fine."""
        for name, value in (
            ("previous_response_id", "resp_1"),
            ("conversation", "conv_1"),
            ("prompt", {"id": "p"}),
            ("background", True),
            ("store", True),
        ):
            error = self.assertRaises(UnsupportedParameter, parse, input="x", **{name: value})
            self.assertEqual((error.status, error.kind), (400, "unsupported_parameter"))
            self.assertEqual(error.param, name)
        parse(input="x", store=False, background=False, previous_response_id=None)
        error = self.assertRaises(
            UnsupportedParameter, parse, input=[{"type": "item_reference", "id": "msg_1"}]
        )
        self.assertEqual(error.param, "input[0].type")

    def test_what_this_gateway_has_not_is_refused(self) -> None:
        """Hosted tools, their items, and content that would have to be fetched."""
        for param, document in (
            ("tools[0].type", {"tools": [{"type": "web_search"}]}),
            ("tool_choice.type", {"tool_choice": {"type": "file_search"}}),
            ("input[0].type", {"input": [{"type": "computer_call"}]}),
            (
                "input[0].content[0].type",
                {"input": [{"role": "user", "content": [{"type": "video"}]}]},
            ),
            (
                "input[0].content[0].image_url",
                {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
            ),
            (
                "input[0].content[0].file_data",
                {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "u"}]}]},
            ),
        ):
            error = self.assertRaises(Unsupported, parse, **{"input": "x", **document})
            self.assertEqual(error.param, param)

    def test_what_the_hub_cannot_say_is_named(self) -> None:
        """What will have no effect is named."""
        self.assertEqual(
            parse(input="x", truncation="auto", max_tool_calls=3).unsaid,
            ("max_tool_calls", "truncation"),
        )
        self.assertEqual(parse(input="x", truncation="disabled", store=False).unsaid, ())

    def test_tools(self) -> None:
        """Functions are nested, and every choice has its counterpart."""
        tools = [{"type": "function", "name": n, "parameters": {}, "strict": True} for n in "fg"]
        hub = parse(input="x", tools=tools, tool_choice="required").hub
        self.assertEqual(
            hub["tools"][0],
            {"type": "function", "function": {"name": "f", "parameters": {}, "strict": True}},
        )
        self.assertEqual(hub["tool_choice"], "required")
        hub = parse(input="x", tools=tools, tool_choice={"type": "function", "name": "g"}).hub
        self.assertEqual(hub["tool_choice"], {"type": "function", "function": {"name": "g"}})
        some = {
            "type": "allowed_tools",
            "mode": "auto",
            "tools": [{"type": "function", "name": "g"}],
        }
        hub = parse(input="x", tools=tools, tool_choice=some).hub
        self.assertEqual([t["function"]["name"] for t in hub["tools"]], ["g"])
        self.assertEqual(hub["tool_choice"], "auto")
        self.assertNotIn("tool_choice", parse(input="x", tool_choice="auto").hub)

    def test_forms_and_bounds(self) -> None:
        """Structured output, reasoning, bounds and logprobs get their hub names."""
        form = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
        hub = parse(
            input="x",
            text={"format": form, "verbosity": "low"},
            reasoning={"effort": "high", "summary": "auto"},
            max_output_tokens=9,
            temperature=0.5,
            parallel_tool_calls=False,
            metadata={"a": "b"},
            user="u",
            truncation="auto",
            include=["message.output_text.logprobs"],
            top_logprobs=2,
        ).hub
        self.assertEqual(
            hub["response_format"],
            {
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
            },
        )
        self.assertEqual((hub["verbosity"], hub["reasoning_effort"]), ("low", "high"))
        self.assertEqual((hub["max_tokens"], hub["temperature"]), (9, 0.5))
        self.assertEqual((hub["logprobs"], hub["top_logprobs"]), (True, 2))
        self.assertEqual((hub["parallel_tool_calls"], hub["user"]), (False, "u"))
        self.assertNotIn("truncation", hub)
        plain = parse(input="x", text={"format": {"type": "json_object"}}).hub
        self.assertEqual(plain["response_format"], {"type": "json_object"})
