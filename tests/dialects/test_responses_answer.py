"""Answers of the Responses API, whole and streamed."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.backend_errors import ProtocolError
from lmgateway.chat import ChatRequest, Chunk, Document, Usage
from lmgateway.dialects import hub
from lmgateway.dialects.responses import RESPONSES
from lmgateway.errors import RateLimited, StreamInterrupted, UnsupportedParameter
from tests.dialects.recorded import load, sse


def asked(**document: Any) -> ChatRequest:
    """Give a request."""
    return RESPONSES.parse(msgspec.json.encode({"model": "m", "input": "x", **document}))


def delta(**members: Any) -> Chunk:
    """Give a hub chunk."""
    return hub.chunk("id", "backend", 1700000000, members)


def call(index: int, **function: str) -> Chunk:
    """Give a chunk with a piece of a call."""
    return delta(tool_calls=[{"index": index, "id": f"c{index}", "function": function}])


def finish(reason: str) -> Chunk:
    """Give the chunk that says why it ended."""
    return hub.chunk("id", "backend", 1700000000, {}, reason)


USAGE = Usage(input_tokens=5, output_tokens=7, cached_read=2, cached_write=1, reasoning=3)


def told(*chunks: Chunk, request: ChatRequest | None = None) -> list[Document]:
    """Give the events of a whole stream."""
    writer = RESPONSES.writer(request or asked())
    return events(b"".join([writer.encode(chunk) for chunk in chunks]) + writer.end())


def events(raw: bytes) -> list[Document]:
    """Parse events, whose names must be their types."""
    read = []
    for event in sse(raw):
        document = load(event.data)
        assert event.name.decode() == document["type"]
        read.append(document)
    return read


def names(read: list[Document]) -> list[str]:
    """Give the events' names without what all have."""
    return [event["type"].removeprefix("response.") for event in read]


class WholeTests(SynchronousTestCase):
    """Not streamed."""

    def answer(self, message: Document, reason: str = "stop", **document: Any) -> Document:
        """Give the response object for a message."""
        whole = hub.completion("id", "backend", 1700000000, message, reason, USAGE)
        return load(RESPONSES.write_answer(whole, asked(**document)))

    def test_everything(self) -> None:
        """Reasoning, text, refusal and calls are items, in this order."""
        answer = self.answer(
            {
                "content": "hi",
                "refusal": "no",
                "reasoning_content": "hm",
                "tool_calls": [hub.tool_call("c1", "f", '{"x":1}')],
            },
            "tool_calls",
        )
        self.assertEqual((answer["status"], answer["model"]), ("completed", "backend"))
        self.assertTrue(answer["id"].startswith("resp_"))
        reasoning, message, called = answer["output"]
        self.assertEqual(reasoning["content"], [{"type": "reasoning_text", "text": "hm"}])
        self.assertEqual([p["type"] for p in message["content"]], ["output_text", "refusal"])
        self.assertEqual((called["call_id"], called["arguments"]), ("c1", '{"x":1}'))
        self.assertEqual(
            answer["usage"],
            {
                "input_tokens": 5,
                "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 1},
                "output_tokens": 7,
                "output_tokens_details": {"reasoning_tokens": 3},
                "total_tokens": 12,
            },
        )

    def test_incomplete(self) -> None:
        """An answer that was cut says so, and why."""
        answer = self.answer({"content": "hi"}, "length")
        self.assertEqual(answer["status"], "incomplete")
        self.assertEqual(answer["incomplete_details"], {"reason": "max_output_tokens"})
        self.assertEqual(answer["output"][0]["status"], "incomplete")
        answer = self.answer({"content": "hi"}, "content_filter")
        self.assertEqual(answer["incomplete_details"], {"reason": "content_filter"})

    def test_parameters_are_repeated(self) -> None:
        """What the client asked for is repeated, with the API's defaults for the rest."""
        tools = [{"type": "function", "name": "f", "parameters": {}}]
        answer = self.answer({"content": "x"}, tools=tools, temperature=0.2, instructions="be")
        self.assertEqual((answer["tools"], answer["temperature"]), (tools, 0.2))
        self.assertEqual((answer["instructions"], answer["top_p"]), ("be", 1.0))
        self.assertEqual((answer["store"], answer["tool_choice"]), (False, "auto"))
        self.assertEqual(answer["text"], {"format": {"type": "text"}})

    def test_summary_if_asked(self) -> None:
        """Who asks for a summary of the reasoning finds it there."""
        answer = self.answer(
            {"content": "x", "reasoning_content": "hm"}, reasoning={"summary": "auto"}
        )
        self.assertEqual(answer["output"][0]["summary"], [{"type": "summary_text", "text": "hm"}])

    def test_items_can_be_sent_back(self) -> None:
        """The output of one answer is good input for the next."""
        answer = self.answer(
            {
                "content": "hi",
                "reasoning_content": "hm",
                "tool_calls": [hub.tool_call("c1", "f", "{}")],
            }
        )
        (turn,) = asked(input=answer["output"]).hub["messages"]
        self.assertEqual((turn["content"], turn["reasoning_content"]), ("hi", "hm"))
        self.assertEqual(turn["tool_calls"], [hub.tool_call("c1", "f", "{}")])

    def test_error(self) -> None:
        """Errors are OpenAI's, with the parameter at fault."""
        raw = RESPONSES.write_error(UnsupportedParameter("no", param="store"), "id")
        error = load(raw)["error"]
        self.assertEqual((error["code"], error["param"]), ("unsupported_parameter", "store"))
        self.assertEqual(error["type"], "invalid_request_error")


class StreamTests(SynchronousTestCase):
    """Streamed."""

    def test_text(self) -> None:
        """The whole sequence of a plain answer, numbered from 0, without [DONE]."""
        read = told(
            delta(role="assistant", content=""),
            delta(content="Grüß "),
            delta(content="🎩"),
            finish("stop"),
            hub.usage_chunk("id", "backend", 1, USAGE),
        )
        self.assertEqual(
            names(read),
            [
                "created",
                "in_progress",
                "output_item.added",
                "content_part.added",
                "output_text.delta",
                "output_text.delta",
                "output_text.done",
                "content_part.done",
                "output_item.done",
                "completed",
            ],
        )
        self.assertEqual([event["sequence_number"] for event in read], list(range(10)))
        self.assertEqual(read[6]["text"], "Grüß 🎩")
        whole = read[-1]["response"]
        self.assertEqual(whole["output"], [read[8]["item"]])
        self.assertEqual((whole["status"], whole["usage"]["total_tokens"]), ("completed", 12))
        self.assertEqual({e["response"]["id"] for e in read if "response" in e}, {whole["id"]})
        self.assertEqual(read[0]["response"]["status"], "in_progress")

    def test_reasoning_text_and_calls(self) -> None:
        """Items follow one another; arguments stay incremental."""
        read = told(
            delta(reasoning_content="h"),
            delta(reasoning_content="m"),
            delta(content="so"),
            call(0, name="f", arguments=""),
            call(0, arguments='{"x"'),
            call(0, arguments=":1}"),
            finish("tool_calls"),
        )
        self.assertEqual(
            names(read)[2:-1],
            [
                "output_item.added",
                "content_part.added",
                "reasoning_text.delta",
                "reasoning_text.delta",
                "reasoning_text.done",
                "content_part.done",
                "output_item.done",
                "output_item.added",
                "content_part.added",
                "output_text.delta",
                "output_text.done",
                "content_part.done",
                "output_item.done",
                "output_item.added",
                "function_call_arguments.delta",
                "function_call_arguments.delta",
                "function_call_arguments.done",
                "output_item.done",
            ],
        )
        output = read[-1]["response"]["output"]
        self.assertEqual([i["type"] for i in output], ["reasoning", "message", "function_call"])
        self.assertEqual((output[2]["call_id"], output[2]["arguments"]), ("c0", '{"x":1}'))

    def test_summary_if_asked(self) -> None:
        """Reasoning is told as a summary to who asked for one."""
        read = told(
            delta(reasoning_content="hm"),
            delta(content="x"),
            finish("stop"),
            request=asked(reasoning={"summary": "auto"}),
        )
        self.assertEqual(
            names(read)[2:8],
            [
                "output_item.added",
                "reasoning_summary_part.added",
                "reasoning_summary_text.delta",
                "reasoning_summary_text.done",
                "reasoning_summary_part.done",
                "output_item.done",
            ],
        )

    def test_interleaved_calls(self) -> None:
        """Pieces of calls that come mixed end up each with its own."""
        read = told(
            call(0, name="f", arguments='{"a":'),
            call(1, name="g", arguments='{"b":'),
            call(0, arguments="1}"),
            call(1, arguments="2}"),
            finish("tool_calls"),
        )
        output = read[-1]["response"]["output"]
        self.assertEqual([item["arguments"] for item in output], ['{"a":1}', '{"b":2}'])
        for place, name in ((0, "f"), (1, "g")):
            said = [e["delta"] for e in read if e.get("output_index") == place and "delta" in e]
            self.assertEqual("".join(said), output[place]["arguments"])
            self.assertEqual(output[place]["name"], name)

    def test_a_name_that_comes_late(self) -> None:
        """Nothing is told of a call before its name is known, and nothing is lost of it."""
        read = told(call(0, arguments='{"a"'), call(0, name="f", arguments=":1}"), finish("stop"))
        self.assertEqual(read[-1]["response"]["output"][0]["arguments"], '{"a":1}')
        nameless = told(call(0, arguments="{}"), finish("stop"))
        self.assertEqual(nameless[-1]["response"]["output"][0]["arguments"], "{}")

    def test_refusal(self) -> None:
        """A refusal is a part of its own in the message."""
        read = told(delta(content="x"), delta(refusal="n"), delta(refusal="o"), finish("stop"))
        self.assertIn("refusal.done", names(read))
        parts = read[-1]["response"]["output"][0]["content"]
        self.assertEqual([p["type"] for p in parts], ["output_text", "refusal"])
        self.assertEqual(parts[1]["refusal"], "no")
        self.assertEqual({e["content_index"] for e in read if "refusal" in e["type"]}, {1})

    def test_incomplete(self) -> None:
        """A cut answer ends with another event."""
        read = told(delta(content="x"), finish("length"))
        self.assertEqual(names(read)[-1], "incomplete")
        self.assertEqual(
            read[-1]["response"]["incomplete_details"], {"reason": "max_output_tokens"}
        )
        self.assertEqual(read[-1]["response"]["output"][0]["status"], "incomplete")

    def test_nothing_said(self) -> None:
        """A stream without a chunk is still a whole response."""
        self.assertEqual(names(told()), ["created", "in_progress", "completed"])

    def test_error(self) -> None:
        """A failure is told in an ``error`` event and a failed response; nothing completes."""
        writer = RESPONSES.writer(asked())
        writer.encode(delta(content="x"))
        read = events(writer.error(StreamInterrupted()))
        self.assertEqual([e["type"] for e in read], ["error", "response.failed"])
        self.assertEqual(read[0]["message"], str(StreamInterrupted()))
        self.assertEqual(read[0]["error"]["origin"], "upstream")
        self.assertEqual(read[1]["response"]["status"], "failed")
        self.assertEqual(read[1]["response"]["error"]["code"], "server_error")
        limited = events(RESPONSES.writer(asked()).error(RateLimited("slow")))
        self.assertEqual(limited[-1]["response"]["error"]["code"], "rate_limit_exceeded")

    def test_keep_alive(self) -> None:
        """Waiting clients get a comment."""
        self.assertTrue(RESPONSES.writer(asked()).keep_alive().startswith(b":"))

    def test_what_is_held_is_bounded(self) -> None:
        """A backend cannot make the gateway hold any amount of text."""
        writer = RESPONSES.writer(asked())
        piece = delta(content="x" * (1 << 20))
        with self.assertRaises(ProtocolError):
            for _ in range(20):
                writer.encode(piece)

    @given(
        st.lists(
            st.one_of(
                st.tuples(st.sampled_from(["content", "reasoning_content", "refusal"]), st.text()),
                st.tuples(st.integers(0, 2), st.text()),
            ),
            max_size=12,
        )
    )
    def test_what_is_streamed_is_what_is_told_whole(self, pieces: list[tuple[Any, str]]) -> None:
        """Deltas joined are the final items, every item opened is closed, and numbers count."""
        chunks = [
            delta(**{kind: text}) if isinstance(kind, str) else call(kind, name="f", arguments=text)
            for kind, text in pieces
        ]
        read = told(*chunks, finish("stop"))
        self.assertEqual([e["sequence_number"] for e in read], list(range(len(read))))
        output = read[-1]["response"]["output"]
        for what in ("added", "done"):
            opened = [e["output_index"] for e in read if e["type"].endswith(f"item.{what}")]
            self.assertEqual(sorted(opened), list(range(len(output))))
        for place, item in enumerate(output):
            said = "".join(
                e["delta"] for e in read if e.get("output_index") == place and "delta" in e
            )
            parts = item.get("content") or item.get("summary") or []
            whole = "".join(part.get("text", part.get("refusal", "")) for part in parts)
            self.assertEqual(said, item.get("arguments", whole))
