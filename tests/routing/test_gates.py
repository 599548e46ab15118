"""Tests for the gates: what is good enough, and what is not."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.chat import ChatRequest
from lmgateway.dialects.openai import OPENAI
from lmgateway.routing.gates import WORTH, Finding, Gates

LONG = "This is a perfectly fine answer of a decent length."
TOOL = {"type": "function", "function": {"name": "turn_on"}}
ALL = Gates(truncated=True, language=True, repeats=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def request(content: Any = "hi", **members: Any) -> ChatRequest:
    """Give a parsed chat request."""
    body = {"model": "m", "messages": [{"role": "user", "content": content}], **members}
    return OPENAI.parse(json.dumps(body).encode(), "chat")


def answer(text: Any = LONG, reason: str = "stop", **message: Any) -> dict[str, Any]:
    """Give a hub answer."""
    return {"choices": [{"message": {"content": text, **message}, "finish_reason": reason}]}


def gate(finding: Finding | None) -> str | None:
    """Give the name of the gate that fired."""
    return None if finding is None else finding.gate


class WholeTests(SynchronousTestCase):
    """Tests for complete answers."""

    def judged(self, hub: dict[str, Any], gates: Gates = ALL, **members: Any) -> str | None:
        """Judge *hub* as an answer to a request with *members*."""
        return gate(gates.judge_whole(hub, request(**members)))

    def test_good(self) -> None:
        """A plain answer of decent length passes every gate."""
        self.assertIsNone(self.judged(answer()))

    def test_empty(self) -> None:
        """No text, white space and null are empty."""
        texts: list[Any] = ["", " \n\t", None, [], 7]
        for text in texts:
            self.assertEqual(self.judged(answer(text)), "empty")

    def test_garbage_is_empty(self) -> None:
        """What has none of the members of an answer says nothing."""
        hubs: list[Any] = [{}, {"choices": 0}, {"choices": [3]}, {"choices": [{"message": []}]}]
        for hub in hubs:
            self.assertEqual(self.judged(hub), "empty")

    def test_length(self) -> None:
        """The bound is in UTF-8 bytes: seven Chinese characters are enough, nineteen Latin not."""
        self.assertEqual(self.judged(answer("x" * 19)), "length")
        self.assertIsNone(self.judged(answer("x" * 20)))
        self.assertIsNone(self.judged(answer("巴黎是法国首都"), content="法国的首都在哪里"))

    def test_length_of_what_the_client_bounded(self) -> None:
        """An answer that the client lets have one token is not too short with one letter."""
        self.assertIsNone(self.judged(answer("B"), max_tokens=1))
        self.assertIsNone(self.judged(answer("B"), max_completion_tokens=1))

    def test_parts_of_content(self) -> None:
        """Text in parts is text."""
        self.assertIsNone(self.judged(answer([{"type": "text", "text": LONG}])))

    def test_what_is_not_text(self) -> None:
        """An image or a sound is an answer."""
        image = [{"type": "image_url", "image_url": {"url": "data:,"}}]
        self.assertIsNone(self.judged(answer(image)))
        self.assertIsNone(self.judged(answer(None, audio={"data": "x"})))

    def test_truncated(self) -> None:
        """An answer that ran out of its bound is stopped, where that gate is on."""
        self.assertEqual(self.judged(answer(reason="length")), "truncated")
        self.assertIsNone(self.judged(answer(reason="length"), Gates()))

    def test_marked_refusal(self) -> None:
        """A refusal that the model marked is one, whatever its words."""
        self.assertEqual(self.judged(answer(None, refusal="No.")), "refusal")

    def test_legacy_completion(self) -> None:
        """The text of a legacy completion is judged as well."""
        self.assertIsNone(self.judged({"choices": [{"text": LONG}]}))
        self.assertEqual(self.judged({"choices": [{"text": ""}]}), "empty")

    def test_all_off(self) -> None:
        """With every gate off, anything passes."""
        off = Gates(min_bytes=None, refusal=False, empty=False, json_valid=False, tool_valid=False)
        for hub in ({}, answer(""), answer("I don't know"), answer("no")):
            self.assertIsNone(self.judged(hub, off, response_format={"type": "json_object"}))

    @given(JSON)
    def test_hostile_answers(self, value: Any) -> None:
        """Whatever a backend says, judging it does not fail."""
        for hub in ({"choices": value}, {"choices": [value]}, {"choices": [{"message": value}]}):
            ALL.judge_whole(hub, request(tools=[{"type": "function", "function": {"name": "f"}}]))
        message = {"content": value, "tool_calls": value, "function_call": value}
        ALL.judge_whole({"choices": [{"message": message}]}, request())

    def test_every_gate_has_a_worth(self) -> None:
        """An empty answer is worth the least, one that a judge scored low the most."""
        self.assertEqual(Finding(WORTH[0], "").worth, 0)
        self.assertGreater(Finding("judge", "").worth, Finding("refusal", "").worth)


class JsonTests(SynchronousTestCase):
    """Tests for answers in JSON."""

    def judged(self, text: str, **kind: Any) -> str | None:
        """Judge a text where JSON of some kind was asked for."""
        return gate(Gates().judge_whole(answer(text), request(response_format=kind)))

    def test_short_json_is_good(self) -> None:
        """JSON is not judged by its length."""
        self.assertIsNone(self.judged("{}", type="json_object"))

    def test_not_json(self) -> None:
        """Prose, a code fence, half a document and a list are not the object asked for."""
        for text in (LONG, '```json\n{"a":1}\n```', '{"a":', '[{"a":1}]'):
            self.assertEqual(self.judged(text, type="json_object"), "json_valid")

    def test_deep_nesting(self) -> None:
        """An answer nested beyond reason is not JSON, and breaks nothing."""
        self.assertEqual(self.judged("[" * 100_000, type="json_object"), "json_valid")

    def test_plain_text_is_not_asked_to_be_json(self) -> None:
        """``"text"`` asks for nothing."""
        self.assertIsNone(self.judged(LONG, type="text"))

    def test_hostile_formats(self) -> None:
        """A format that is none asks for nothing."""
        values: list[Any] = [None, {}, {"type": 3}, {"type": "xml"}]
        for value in values:
            self.assertIsNone(Gates().judge_whole(answer(), request(response_format=value)))


class ToolTests(SynchronousTestCase):
    """Tests for answers that call tools."""

    def judged(self, name: str, arguments: Any, **members: Any) -> str | None:
        """Judge a call."""
        call = {"type": "function", "function": {"name": name, "arguments": arguments}}
        members.setdefault("tools", [TOOL])
        return gate(Gates().judge_whole(answer(None, tool_calls=[call]), request(**members)))

    def test_declared(self) -> None:
        """A call of a declared tool is good, with arguments or with none."""
        for arguments in ('{"area":"Office"}', "{}", "", None):
            self.assertIsNone(self.judged("turn_on", arguments))

    def test_undeclared(self) -> None:
        """A call of another tool is not; without tools declared, nobody can tell."""
        self.assertEqual(self.judged("turn_off", "{}"), "tool_valid")
        self.assertIsNone(self.judged("turn_off", "{}", tools=[]))

    def test_bad_arguments(self) -> None:
        """Arguments that are not a JSON object are not good."""
        for arguments in ("{", "[]", "3", "area=Office"):
            self.assertEqual(self.judged("turn_on", arguments), "tool_valid")

    def test_text_of_a_calling_answer_is_not_judged(self) -> None:
        """What is said beside a call may be short, or a refusal."""
        call = {"type": "function", "function": {"name": "turn_on", "arguments": "{}"}}
        hub = answer("I don't know", tool_calls=[call])
        self.assertIsNone(Gates().judge_whole(hub, request(tools=[TOOL])))

    def test_custom_tools(self) -> None:
        """A custom tool takes any text."""
        tools = [{"type": "custom", "custom": {"name": "shell"}}]
        call = {"type": "custom", "custom": {"name": "shell", "input": "ls"}}
        hub = answer(None, tool_calls=[call])
        self.assertIsNone(Gates().judge_whole(hub, request(tools=tools)))

    def test_legacy_functions(self) -> None:
        """The functions of old are tools."""
        functions = [{"name": "turn_on"}]
        for name, expected in (("turn_on", None), ("turn_off", "tool_valid")):
            hub = answer(None, function_call={"name": name, "arguments": "{}"})
            self.assertEqual(gate(Gates().judge_whole(hub, request(functions=functions))), expected)

    def test_must_call(self) -> None:
        """Text is no answer where a tool must be called."""
        for choice, expected in (("required", "tool_valid"), ("auto", None)):
            asked = request(tools=[TOOL], tool_choice=choice)
            self.assertEqual(gate(Gates().judge_whole(answer(), asked)), expected)


class PrefixTests(SynchronousTestCase):
    """Tests for the beginnings of streams."""

    def judged(self, text: str, **members: Any) -> str | None:
        """Judge a beginning."""
        return gate(ALL.judge_prefix(text, False, request(**members)))

    def test_short_beginnings_are_good(self) -> None:
        """A beginning is not judged by its length, nor found empty for lack of words."""
        for text in ("", "\n", "S", LONG):
            self.assertIsNone(self.judged(text))

    def test_white_space_without_end(self) -> None:
        """Nothing but white space, and a lot of it, is empty."""
        self.assertEqual(self.judged("\n" * 100), "empty")

    def test_refusal(self) -> None:
        """A refusal shows in its beginning."""
        self.assertEqual(self.judged("I'm sorry, but I cannot help with"), "refusal")

    def test_word_that_may_go_on(self) -> None:
        """A last word that may still grow is not taken for a whole one."""
        self.assertIsNone(self.judged("Take this as an ai"))
        self.assertEqual(self.judged("Speaking as an AI model"), "refusal")

    def test_json(self) -> None:
        """What does not begin as JSON will not be JSON."""
        wanted = {"response_format": {"type": "json_object"}}
        for text in ("Sure! Here", "```json", "["):
            self.assertEqual(self.judged(text, **wanted), "json_valid")
        for text in ("", "  ", ' {"a'):
            self.assertIsNone(self.judged(text, **wanted))

    def test_json_of_any_kind(self) -> None:
        """Where the schema asks for no object, any JSON may begin."""
        schema = {"type": "json_schema", "json_schema": {"schema": {"type": "array"}}}
        self.assertIsNone(self.judged("[1", response_format=schema))
        self.assertEqual(self.judged("Sure", response_format=schema), "json_valid")

    def test_tool_calls_are_judged_whole(self) -> None:
        """Of a call that has begun nothing can be said yet."""
        self.assertIsNone(ALL.judge_prefix("I don't know. ", True, request()))
