"""Tests of writing a client's stream in Anthropic's grammar."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.chat import Document, Usage
from lmgateway.dialects.anthropic import ANTHROPIC
from lmgateway.dialects.hub import chunk, usage_chunk
from lmgateway.errors import RateLimited, StreamInterrupted
from tests.dialects.anthropic_vectors import FOLDER, asked, decoded, message, written

USAGE = Usage(input_tokens=12, output_tokens=7, cached_read=2)


def said(finish: str | None = None, **delta: Any) -> Document:
    """Make a hub chunk."""
    return chunk("chatcmpl-1", "gpt-test", 1, delta, finish)


def call(index: int, arguments: str = "", **members: Any) -> Document:
    """Make a hub chunk with a piece of a tool call."""
    function = {"name": members.pop("name"), "arguments": arguments} if "name" in members else {}
    function["arguments"] = arguments
    return said(tool_calls=[{"index": index, **members, "function": function}])


USED = usage_chunk("chatcmpl-1", "gpt-test", 1, USAGE)
ROLE = said(role="assistant", content="")


def events(*chunks: Document, **members: Any) -> list[Document]:
    """Give the events that a client is sent for these chunks, the end included."""
    writer = ANTHROPIC.writer(asked(**members))
    return written(b"".join([writer.encode(each) for each in chunks]) + writer.end())


def shape(*chunks: Document) -> list[str]:
    """Give the events in short: type, index, and what kind of block or delta."""
    return [_short(each) for each in events(*chunks)]


def _short(event: Document) -> str:
    kind = event["type"].removeprefix("content_block_").removeprefix("message_")
    inner = event.get("content_block") or event.get("delta") or {}
    index = event.get("index", "")
    return f"{kind}{index} {inner.get('type', '')}".strip()


class WriterTests(SynchronousTestCase):
    """The event grammar."""

    def test_text(self) -> None:
        """Text is one block between the message's frame, with the real usage."""
        stream = events(ROLE, said(content="Grü"), said(content="ße"), said("stop"), USED)
        self.assertEqual(
            stream,
            [
                {
                    "type": "message_start",
                    "message": {
                        "id": "msg_1",
                        "type": "message",
                        "role": "assistant",
                        "model": "gpt-test",
                        "content": [],
                        "stop_reason": None,
                        "stop_sequence": None,
                        "usage": {
                            "input_tokens": 0,
                            "cache_creation_input_tokens": 0,
                            "cache_read_input_tokens": 0,
                            "output_tokens": 0,
                        },
                    },
                },
                {
                    "type": "content_block_start",
                    "index": 0,
                    "content_block": {"type": "text", "text": ""},
                },
                {
                    "type": "content_block_delta",
                    "index": 0,
                    "delta": {"type": "text_delta", "text": "Grü"},
                },
                {
                    "type": "content_block_delta",
                    "index": 0,
                    "delta": {"type": "text_delta", "text": "ße"},
                },
                {"type": "content_block_stop", "index": 0},
                {
                    "type": "message_delta",
                    "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                    "usage": {
                        "input_tokens": 10,
                        "cache_creation_input_tokens": 0,
                        "cache_read_input_tokens": 2,
                        "output_tokens": 7,
                    },
                },
                {"type": "message_stop"},
            ],
        )

    def test_trap_15_tools_only(self) -> None:
        """No empty text block, indices from 0, the right reason, no [DONE]."""
        chunks = [
            ROLE,
            call(0, id="call_a", name="f"),
            call(0, '{"x":'),
            call(0, "1}"),
            call(1, id="call_b", name="g"),
            call(1, "{}"),
            said("tool_calls"),
            USED,
        ]
        self.assertEqual(
            shape(*chunks),
            [
                "start",
                "start0 tool_use",
                "delta0 input_json_delta",
                "delta0 input_json_delta",
                "stop0",
                "start1 tool_use",
                "delta1 input_json_delta",
                "stop1",
                "delta",
                "stop",
            ],
        )
        whole = message(events(*chunks))
        self.assertEqual(whole["stop_reason"], "tool_use")
        self.assertEqual(
            whole["content"],
            [
                {"type": "tool_use", "id": "call_a", "name": "f", "input": {"x": 1}},
                {"type": "tool_use", "id": "call_b", "name": "g", "input": {}},
            ],
        )
        writer = ANTHROPIC.writer(asked())
        out = b"".join([writer.encode(each) for each in chunks]) + writer.end()
        self.assertNotIn(b"[DONE]", out)

    def test_all_kinds(self) -> None:
        """Thinking, text, call and text again: four blocks, one after the other."""
        chunks = [
            said(role="assistant", reasoning_content="Hm"),
            said(reasoning="."),
            said(content="A"),
            call(0, "{}", id="c", name="f"),
            said(content="B", refusal="C"),
            said("stop"),
        ]
        self.assertEqual(
            shape(*chunks),
            [
                "start",
                "start0 thinking",
                "delta0 thinking_delta",
                "delta0 thinking_delta",
                "stop0",
                "start1 text",
                "delta1 text_delta",
                "stop1",
                "start2 tool_use",
                "delta2 input_json_delta",
                "stop2",
                "start3 text",
                "delta3 text_delta",
                "delta3 text_delta",
                "stop3",
                "delta",
                "stop",
            ],
        )
        whole = message(events(*chunks))
        self.assertEqual(
            whole["content"][0], {"type": "thinking", "thinking": "Hm.", "signature": ""}
        )
        self.assertEqual(whole["stop_reason"], "tool_use")

    def test_signed_thinking(self) -> None:
        """A signature ends its thinking; what is redacted is a block by itself."""
        redacted = {"type": "redacted_thinking", "data": "eA=="}
        whole = message(
            events(
                said(reasoning_content="Hm."),
                said(thinking_blocks=[{"type": "thinking", "signature": "c2ln"}, redacted]),
                said(thinking_blocks=[redacted]),
                said(thinking_blocks=[{"type": "thinking"}]),
                said(content="A"),
            )
        )
        self.assertEqual(
            whole["content"],
            [
                {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
                redacted,
                redacted,
                {"type": "text", "text": "A"},
            ],
        )

    def test_name_comes_late(self) -> None:
        """A call begins when its name is known; what came before is kept."""
        chunks = [
            said(tool_calls=[{"index": 0, "id": "c", "function": {"arguments": '{"a":'}}]),
            said(tool_calls=[{"index": 0, "function": {"name": "f", "arguments": "1}"}}]),
        ]
        block = message(events(*chunks, said("tool_calls")))["content"][0]
        self.assertEqual(block, {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}})

    def test_interleaved_calls(self) -> None:
        """A backend that returns to an earlier call loses nothing."""
        chunks = [
            call(0, '{"a":', id="c0", name="f"),
            call(1, '{"b":', id="c1", name="g"),
            call(0, "1}"),
            call(1, "2}"),
        ]
        whole = message(events(*chunks, said("tool_calls")))
        self.assertEqual([block["input"] for block in whole["content"]], [{"a": 1}, {"b": 2}])

    def test_no_id(self) -> None:
        """A call without an id is given one."""
        block = message(events(call(0, "{}", name="f")))["content"][0]
        self.assertRegex(block["id"], r"^toolu_\w+$")

    def test_nameless_call(self) -> None:
        """A call whose name never comes is no call."""
        whole = message(events(call(0, "{}", id="c"), said("stop")))
        self.assertEqual((whole["content"], whole["stop_reason"]), ([], "end_turn"))

    def test_usage_follows_the_finish(self) -> None:
        """The reason waits for the usage, and is told as soon as it is there."""
        writer = ANTHROPIC.writer(asked())
        writer.encode(said(content="A"))
        self.assertEqual(
            [_short(each) for each in written(writer.encode(said("length")))], ["stop0"]
        )
        (told,) = written(writer.encode(USED))
        self.assertEqual(told["delta"]["stop_reason"], "max_tokens")
        self.assertEqual(told["usage"]["output_tokens"], 7)
        self.assertEqual(writer.encode(USED), b"")
        self.assertEqual([_short(each) for each in written(writer.end())], ["stop"])

    def test_no_usage(self) -> None:
        """Without usage the reason is told at the end, with zeros."""
        told = events(said(content="A"), said("stop"))[-2]
        self.assertEqual(told["usage"]["output_tokens"], 0)
        self.assertEqual(told["delta"]["stop_reason"], "end_turn")

    def test_usage_in_every_chunk(self) -> None:
        """Usage that grows with each chunk is told once, and the input from the start."""
        first = {**said(content="A"), "usage": {"prompt_tokens": 5, "completion_tokens": 1}}
        last = {**said("stop"), "usage": {"prompt_tokens": 5, "completion_tokens": 2}}
        stream = events(first, last)
        self.assertEqual(stream[0]["message"]["usage"]["input_tokens"], 5)
        self.assertEqual([each["type"] for each in stream].count("message_delta"), 1)
        self.assertEqual(stream[-2]["usage"]["output_tokens"], 2)

    def test_no_finish(self) -> None:
        """A backend that never says why it ended has just ended."""
        self.assertEqual(message(events(said(content="A")))["stop_reason"], "end_turn")
        called = events(call(0, "{}", id="c", name="f"))
        self.assertEqual(message(called)["stop_reason"], "tool_use")

    def test_stop_sequence(self) -> None:
        """The client's own sequence is named where the backend names it."""
        finish = said("stop")
        finish["choices"][0]["stop_reason"] = "END"
        whole = message(events(said(content="A"), finish, stop_sequences=["END"]))
        self.assertEqual((whole["stop_reason"], whole["stop_sequence"]), ("stop_sequence", "END"))

    def test_nothing(self) -> None:
        """A stream without chunks is an answer without content."""
        self.assertEqual(shape(), ["start", "delta", "stop"])
        self.assertEqual(events(model="asked")[0]["message"]["model"], "asked")

    def test_other_choices(self) -> None:
        """Anthropic has one answer: others are left out."""
        other = said(content="B")
        other["choices"][0]["index"] = 1
        self.assertEqual(message(events(said(content="A"), other))["content"][0]["text"], "A")

    def test_error(self) -> None:
        """A failure is told in band, and nothing is ended properly."""
        writer = ANTHROPIC.writer(asked())
        (told,) = written(writer.error(StreamInterrupted()))
        self.assertEqual(told["type"], "error")
        self.assertEqual(told["error"]["type"], "api_error")
        self.assertEqual(told["error"]["origin"], "upstream")
        (told,) = written(writer.error(RateLimited("Slower.")))
        self.assertEqual(told["error"]["type"], "rate_limit_error")

    def test_keep_alive(self) -> None:
        """A waiting client is sent a ping."""
        self.assertEqual(written(ANTHROPIC.writer(asked()).keep_alive()), [{"type": "ping"}])


class ThereAndBackTests(SynchronousTestCase):
    """What both grammars can say survives the way into the hub and out of it."""

    def test_recorded_streams(self) -> None:
        """A recorded stream, read and written again, is the same answer."""
        for path in sorted((FOLDER / "streams").glob("*.sse")):
            if path.stem == "error":
                continue
            with self.subTest(path.stem):
                data = path.read_bytes()
                original = message(_told(data))
                again = message(events(*decoded(data)))
                for name in ("id", "model", "content", "stop_reason"):
                    self.assertEqual(again[name], original[name])
                for name, count in original["usage"].items():
                    self.assertEqual(again["usage"][name], count)

    @given(st.data())
    @settings(max_examples=100, deadline=None)
    def test_any_answer(self, data: st.DataObject) -> None:
        """Whatever the pieces, the answer that a client puts together is the backend's."""
        chunks = [ROLE]
        calls: list[list[Any]] = []
        said_text, reasoned = "", ""
        for kind in data.draw(st.lists(st.sampled_from(["content", "reasoning", "call", "more"]))):
            piece = data.draw(st.text(max_size=4))
            if kind == "content":
                said_text += piece
                chunks.append(said(content=piece))
            elif kind == "reasoning":
                reasoned += piece
                chunks.append(said(reasoning_content=piece))
            elif kind == "call":
                chunks.append(call(len(calls), id=f"c{len(calls)}", name="f"))
                calls.append([])
            elif calls:
                number = data.draw(st.integers(0, len(calls) - 1))
                chunks.append(call(number, "[" if not calls[number] else ",["))
                chunks.append(call(number, json.dumps(piece) + "]"))
                calls[number].append([piece])
        content = message(events(*_as_objects(chunks, len(calls))))["content"]
        texts = [block["text"] for block in content if block["type"] == "text"]
        thoughts = [block["thinking"] for block in content if block["type"] == "thinking"]
        inputs = [block["input"] for block in content if block["type"] == "tool_use"]
        self.assertEqual("".join(texts), said_text)
        self.assertEqual("".join(thoughts), reasoned)
        self.assertEqual(inputs, [{"a": pieces} for pieces in calls])


def _as_objects(chunks: list[Document], calls: int) -> list[Document]:
    opened = [call(number, '{"a":[') for number in range(calls)]
    closed = [call(number, "]}") for number in range(calls)]
    begun = [each for each in chunks if _begins(each)]
    rest = [each for each in chunks if not _begins(each)]
    return [*begun, *opened, *rest, *closed, said("stop"), USED]


def _begins(chunk: Document) -> bool:
    calls = chunk["choices"][0]["delta"].get("tool_calls")
    return bool(calls and "id" in calls[0])


def _told(data: bytes) -> list[Document]:
    return [
        json.loads(line.removeprefix("data: "))
        for line in data.decode().splitlines()
        if line.startswith("data: ")
    ]
