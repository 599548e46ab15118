"""Tests of whole answers in Anthropic's grammar, both ways."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.backend_errors import BackendLimited, BackendOverloaded, ProtocolError
from lmgateway.chat import Document, Usage
from lmgateway.dialects.anthropic import ANTHROPIC, count_tokens_answer, models_page
from lmgateway.dialects.document import encode
from tests.dialects.anthropic_vectors import asked, vectors


def decoded(answer: Document) -> Document:
    """Give the hub form of a backend's answer, without the time."""
    hub = ANTHROPIC.decode_answer(ANTHROPIC.read_answer(encode(answer)))
    assert hub.pop("created") > 0
    return hub


def written(hub: Document, **members: Any) -> Document:
    """Give what a client is sent for a hub answer."""
    answer: Document = json.loads(ANTHROPIC.write_answer(hub, asked(**members)))
    return answer


def message(*blocks: Document, stop: str | None = "end_turn", **members: Any) -> Document:
    """Make a backend's answer."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": list(blocks),
        "stop_reason": stop,
        "stop_sequence": None,
        **members,
    }


def hub_answer(finish: str | None = "stop", **members: Any) -> Document:
    """Make a hub answer."""
    choice = {"index": 0, "message": {"role": "assistant", **members}, "finish_reason": finish}
    return {"id": "x", "model": "m", "choices": [choice]}


class VectorTests(SynchronousTestCase):
    """The vectors, both ways."""

    def test_decode(self) -> None:
        """Each answer of a backend means what its hub form says."""
        for name, vector in vectors("answers"):
            if vector.get("only", "decode") == "decode":
                with self.subTest(name):
                    self.assertEqual(decoded(vector["anthropic"]), vector["hub"])

    def test_write(self) -> None:
        """Each hub answer is written as its Anthropic form says."""
        for name, vector in vectors("answers"):
            if vector.get("only", "write") == "write":
                with self.subTest(name):
                    self.assertEqual(written(vector["hub"]), vector["anthropic"])


class ReadTests(SynchronousTestCase):
    """What the gateway notes of an answer."""

    def test_R_B03_finish_and_usage(self) -> None:
        """The reason and the usage are told in the hub's words; id and model are kept."""
        told = {"input_tokens": 3, "output_tokens": 4}
        for stop, finish in (
            ("end_turn", "stop"),
            ("stop_sequence", "stop"),
            ("pause_turn", "stop"),
            ("something_new", "stop"),
            ("max_tokens", "length"),
            ("model_context_window_exceeded", "length"),
            ("tool_use", "tool_calls"),
            ("refusal", "content_filter"),
            (None, None),
        ):
            answer = ANTHROPIC.read_answer(encode(message(stop=stop, usage=told)))
            self.assertEqual(answer.finish_reason, finish)
            self.assertEqual(answer.usage, Usage(input_tokens=3, output_tokens=4))
            self.assertEqual(answer.model, "m")
        hub = decoded(message(usage=told))
        self.assertEqual(hub["usage"]["total_tokens"], 7)
        self.assertEqual(hub["id"], "msg_1")

    def test_no_usage(self) -> None:
        """No usage is no usage, and not zero."""
        for usage in (None, "many"):
            self.assertIsNone(ANTHROPIC.read_answer(encode(message(usage=usage))).usage)
        self.assertNotIn("usage", decoded(message()))

    def test_not_an_answer(self) -> None:
        """What is no answer of this grammar is told as such."""
        for body in (b"", b"<html>", b"[]", b"{}", b'{"content":"x"}', b'{"content":["x"]}'):
            self.assertRaises(ProtocolError, ANTHROPIC.read_answer, body)

    def test_error_that_says_200(self) -> None:
        """An error is one, whatever the status."""
        for kind, error in (
            ("overloaded_error", BackendOverloaded),
            ("rate_limit_error", BackendLimited),
        ):
            body = encode({"type": "error", "error": {"type": kind, "message": "x"}})
            self.assertRaises(error, ANTHROPIC.read_answer, body)

    def test_strange_blocks(self) -> None:
        """Blocks that lack something do no harm."""
        blocks: list[Document] = [
            {"type": "text"},
            {"type": "tool_use"},
            {"type": "thinking"},
            {"type": "new"},
            {},
        ]
        choice = decoded(message(*blocks))["choices"][0]
        self.assertEqual(choice["message"]["content"], "")
        self.assertEqual(choice["message"]["tool_calls"][0]["function"]["arguments"], "{}")


class WriteTests(SynchronousTestCase):
    """What a client is sent."""

    def test_R_B06_tool_use_only(self) -> None:
        """An answer that only calls tools is no error and has no text block."""
        call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        for content in (None, ""):
            answer = written(hub_answer("tool_calls", content=content, tool_calls=[call]))
            self.assertEqual([block["type"] for block in answer["content"]], ["tool_use"])
            self.assertEqual(answer["stop_reason"], "tool_use")

    def test_stop_reasons(self) -> None:
        """Each finish has its reason."""
        for finish, stop in (
            ("stop", "end_turn"),
            ("length", "max_tokens"),
            ("content_filter", "refusal"),
            ("function_call", "tool_use"),
            ("eos", "end_turn"),
            (None, "end_turn"),
        ):
            answer = written(hub_answer(finish, content="a"))
            self.assertEqual(answer["stop_reason"], stop)
            self.assertIsNone(answer["stop_sequence"])

    def test_stop_sequence(self) -> None:
        """Where the backend says which of the client's sequences it met, so do we."""
        hub = hub_answer(content="a")
        hub["choices"][0]["stop_reason"] = "END"
        answer = written(hub, stop_sequences=["END"])
        self.assertEqual((answer["stop_reason"], answer["stop_sequence"]), ("stop_sequence", "END"))
        self.assertEqual(written(hub)["stop_reason"], "end_turn")

    def test_ids(self) -> None:
        """Every answer has an id that clients know, and every call one."""
        function = {"name": "f", "arguments": "{}"}
        for odd in (None, "", "!!", 5):
            answer = written(
                {**hub_answer(tool_calls=[{"id": odd, "function": function}]), "id": odd}
            )
            self.assertRegex(answer["id"], r"^msg_[a-zA-Z0-9]+$")
        self.assertRegex(answer["content"][0]["id"], r"^toolu_[a-zA-Z0-9]+$")

    def test_arguments(self) -> None:
        """Arguments become an object whatever they were, their spelling kept."""
        for arguments, wanted in (
            ('{"a":1.0}', {"a": 1.0}),
            (" ", {}),
            (None, {}),
            ({"a": 1}, {"a": 1}),
            ("[1]", {"raw_arguments": "[1]"}),
            ("{", {"raw_arguments": "{"}),
        ):
            call = {"id": "c", "function": {"name": "f", "arguments": arguments}}
            answer = written(hub_answer(tool_calls=[call]))
            self.assertEqual(answer["content"][0]["input"], wanted)

    def test_nothing(self) -> None:
        """An answer without a choice is an answer without content."""
        empty: list[Document] = [{}, {"choices": []}, {"choices": [None]}, {"choices": "x"}]
        for hub in empty:
            answer = written({"id": "x", **hub})
            self.assertEqual((answer["content"], answer["stop_reason"]), ([], "end_turn"))
            self.assertEqual(answer["usage"]["output_tokens"], 0)


_text = st.text(min_size=1)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=5,
)
_thought = st.builds(
    lambda text, signature: {"type": "thinking", "thinking": text, "signature": signature},
    _text,
    _text,
)
_call = st.builds(
    lambda name, given: {"type": "tool_use", "id": f"toolu_{name}", "name": name, "input": given},
    _text,
    st.dictionaries(st.text(), _json, max_size=3),
)
_answers = st.builds(
    lambda thoughts, texts, calls, counts, stop: message(
        *thoughts,
        *({"type": "text", "text": text} for text in texts),
        *calls,
        stop="tool_use" if calls else stop,
        usage={
            "input_tokens": counts[0],
            "cache_creation_input_tokens": counts[1],
            "cache_read_input_tokens": counts[2],
            "output_tokens": counts[3],
        },
    ),
    st.lists(_thought, max_size=1),
    st.lists(_text, max_size=1),
    st.lists(_call, max_size=3),
    st.tuples(*[st.integers(0, 10**9)] * 4),
    st.sampled_from(["end_turn", "max_tokens", "refusal"]),
)


class RoundTripTests(SynchronousTestCase):
    """What both grammars can say survives the way there and back."""

    @given(_answers)
    @settings(max_examples=150, deadline=None)
    def test_answers(self, answer: Document) -> None:
        """An answer read into the hub and written again is the same answer."""
        self.assertEqual(written(decoded(answer)), answer)


class SmallAnswerTests(SynchronousTestCase):
    """Answers that are no chat."""

    def test_models_page(self) -> None:
        """Models are listed as Anthropic lists them."""
        page = json.loads(models_page(["a", "b"]))
        self.assertEqual([model["id"] for model in page["data"]], ["a", "b"])
        self.assertEqual(
            page["data"][0],
            {
                "type": "model",
                "id": "a",
                "display_name": "a",
                "created_at": "1970-01-01T00:00:00Z",
            },
        )
        self.assertEqual((page["has_more"], page["first_id"], page["last_id"]), (False, "a", "b"))

    def test_empty_models_page(self) -> None:
        """No models are an empty page."""
        self.assertEqual(
            json.loads(models_page([])),
            {"data": [], "has_more": False, "first_id": None, "last_id": None},
        )

    def test_count_tokens_answer(self) -> None:
        """A count is one number."""
        self.assertEqual(json.loads(count_tokens_answer(12)), {"input_tokens": 12})
