"""Tests of reading a backend's stream in Anthropic's grammar."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.backend_errors import BackendFailed, BackendLimited, BackendOverloaded, ProtocolError
from lmgateway.chat import Document, Event, Usage
from lmgateway.dialects.anthropic import ANTHROPIC
from lmgateway.dialects.base import Mark
from lmgateway.dialects.document import encode
from lmgateway.wire.sse import Splitter
from tests.dialects.anthropic_vectors import (
    FOLDER,
    QUIRKS,
    decoded,
    inspected,
    split,
    stream,
)

Q, O, E = Mark.QUIET, Mark.OUTPUT, Mark.END  # noqa: E741 - read as a row of marks


def event(document: Document | bytes) -> Event:
    """Make one event."""
    data = document if isinstance(document, bytes) else encode(document)
    return Event(b"data: " + data + b"\n\n", b"", data)


def delta(**members: Any) -> Event:
    """Make a delta of the first block."""
    return event({"type": "content_block_delta", "index": 0, "delta": members})


def started(*events: Event) -> Any:
    """Show events to a reader whose message has begun."""
    start = event({"type": "message_start", "message": {"id": "msg_1", "model": "m"}})
    return inspected([start, *events])


def deltas(name: str) -> list[Document]:
    """Give the deltas of a recorded stream that say something."""
    choices = [choice for chunk in decoded(stream(name)) for choice in chunk["choices"]]
    return [choice["delta"] for choice in choices if choice["delta"]]


def finishes(name: str) -> list[str]:
    """Give the finish reasons of a recorded stream."""
    choices = [choice for chunk in decoded(stream(name)) for choice in chunk["choices"]]
    return [choice["finish_reason"] for choice in choices if choice["finish_reason"]]


def call(index: int, arguments: str, **members: Any) -> Document:
    """Make a delta of a tool call."""
    function = {**members.pop("function", {}), "arguments": arguments}
    return {"tool_calls": [{"index": index, **members, "function": function}]}


def begun(index: int, id: str, name: str, arguments: str = "") -> Document:  # noqa: A002
    """Make the first delta of a tool call."""
    return call(index, arguments, id=id, type="function", function={"name": name})


class MarkTests(SynchronousTestCase):
    """What each event is to the gateway."""

    def test_streams(self) -> None:
        """The events of each recorded stream are marked as the grammar says."""
        for name, wanted in (
            ("text", [Q, Q, Q, O, O, Q, O, Q, Q, E]),
            ("tools", [Q, Q, O, Q, O, Q, O, O, Q, O, O, Q, Q, E]),
            ("tool_only", [Q, O, Q, Q, E]),
            ("thinking", [Q, Q, O, O, Q, Q, O, Q, Q, O, Q, Q, Q, Q, E]),
            ("refusal", [Q, Q, O, Q, Q, E]),
            ("error", [Q, Q, O, Mark.ERROR]),
        ):
            with self.subTest(name):
                self.assertEqual(inspected(split(stream(name)))[1], wanted)

    def test_facts(self) -> None:
        """Usage of both events is merged; model, finish and size of the output are noted."""
        reader, _ = inspected(split(stream("text")))
        self.assertEqual(
            reader.usage,
            Usage(input_tokens=35, output_tokens=15, cached_read=7, cached_write=3),
        )
        self.assertEqual(reader.finish_reason, "stop")
        self.assertEqual(reader.model, "claude-test")
        self.assertEqual(reader.output_bytes, len("Grüße, 世界 👋".encode()))

    def test_reasoning_tokens(self) -> None:
        """What was spent on thinking is told."""
        reader, _ = inspected(split(stream("thinking")))
        self.assertEqual(reader.usage, Usage(input_tokens=25, output_tokens=9, reasoning=5))
        self.assertEqual(reader.finish_reason, "length")

    def test_no_usage(self) -> None:
        """Where none is told, none is made up."""
        reader, _ = started(event({"type": "message_delta", "delta": {"stop_reason": "refusal"}}))
        self.assertIsNone(reader.usage)
        self.assertEqual(reader.finish_reason, "content_filter")

    def test_usage_only_grows(self) -> None:
        """A server that tells the input last, or zero last, loses nothing."""
        told = [
            event({"type": "message_delta", "delta": {}, "usage": usage})
            for usage in (
                {"input_tokens": 0, "output_tokens": 2},
                {"input_tokens": 9, "cache_read_input_tokens": 4, "output_tokens": 5},
                {"input_tokens": 0, "cache_read_input_tokens": None, "output_tokens": 5},
            )
        ]
        reader, _ = started(*told)
        self.assertEqual(reader.usage, Usage(input_tokens=13, output_tokens=5, cached_read=4))

    def test_trap_14_every_cut(self) -> None:
        """Cut at any byte, line ends and characters included, a stream gives the same."""
        for path in sorted((FOLDER / "streams").glob("*.sse")):
            lines = path.read_bytes()
            for data in (lines, lines.replace(b"\n", b"\r\n")):
                self.cut_anywhere(data)

    def cut_anywhere(self, data: bytes) -> None:
        """Check that marks, facts and chunks do not depend on how a stream comes in."""
        reader, marks = inspected(split(data))
        chunks = [_timeless(chunk) for chunk in decoded(data)]
        for cut in range(len(data) + 1):
            splitter = Splitter()
            events = splitter.feed(data[:cut]) + splitter.feed(data[cut:]) + splitter.close()
            other, other_marks = inspected(events)
            self.assertEqual(other_marks, marks)
            self.assertEqual(other.usage, reader.usage)
            self.assertEqual(other.output_bytes, reader.output_bytes)
            again = [chunk for each in events for chunk in other.decode(each)]
            self.assertEqual([_timeless(chunk) for chunk in again], chunks)

    def test_no_output(self) -> None:
        """Empty pieces, unknown events and comments bear no output."""
        for quiet in (
            event(b""),
            delta(type="text_delta", text=""),
            delta(type="input_json_delta", partial_json=""),
            delta(type="signature_delta", signature="x"),
            event({"type": "content_block_delta", "index": 0}),
            event({"type": "content_block_start", "index": 0}),
            event({"type": "brand_new", "delta": None}),
            event({"type": "message_start"}),
        ):
            reader, marks = started(quiet)
            self.assertIs(marks[-1], Q, quiet.data)
            self.assertEqual(reader.output_bytes, 0)

    def test_garbage(self) -> None:
        """What is not of the grammar is told as such, and never raises."""
        for data in (
            b"[DONE]",
            b"{",
            b"[]",
            b"{}",
            b'{"type":5}',
            b'{"type":"ping","index":"x"}',
            b'{"type":"\xff"}',
            b"[" * 100_000,
            b'{"type":"content_block_delta","delta":{"text":5}}',
        ):
            reader = ANTHROPIC.reader(QUIRKS)
            self.assertIs(reader.inspect(event(data)), Mark.ERROR, data[:20])
            self.assertIsInstance(reader.error, ProtocolError)

    def test_end_without_a_beginning(self) -> None:
        """A stream that is nothing but its end is no answer."""
        reader, marks = inspected([event({"type": "message_stop"})])
        self.assertEqual(marks, [Mark.ERROR])
        self.assertIsInstance(reader.error, ProtocolError)

    def test_R_B06_errors_are_surfaced(self) -> None:
        """An error event says what went wrong, without the backend's own words."""
        for kind, error in (
            ("overloaded_error", BackendOverloaded),
            ("rate_limit_error", BackendLimited),
            ("api_error", BackendFailed),
            (None, BackendFailed),
        ):
            told = event({"type": "error", "error": {"type": kind, "message": "secret"}})
            reader, marks = started(told)
            self.assertIs(marks[-1], Mark.ERROR)
            self.assertIsInstance(reader.error, error)
            self.assertNotIn("secret", str(reader.error))
        reader, marks = started(event({"type": "error"}))
        self.assertIsInstance(reader.error, BackendFailed)


class DecodeTests(SynchronousTestCase):
    """What the events are in the hub."""

    def test_R_B04_text(self) -> None:
        """Role, text, finish and usage; pings and frames are nothing."""
        chunks = decoded(stream("text"))
        self.assertEqual({chunk["id"] for chunk in chunks}, {"msg_01"})
        self.assertEqual({chunk["model"] for chunk in chunks}, {"claude-test"})
        self.assertEqual(
            deltas("text"),
            [
                {"role": "assistant", "content": ""},
                {"content": "Grüße"},
                {"content": ", 世界"},
                {"content": " 👋"},
            ],
        )
        self.assertEqual(finishes("text"), ["stop"])
        last = chunks[-1]
        self.assertEqual(last["choices"], [])
        self.assertEqual(last["usage"]["prompt_tokens"], 35)
        self.assertEqual(last["usage"]["prompt_tokens_details"]["cached_tokens"], 7)

    def test_tools(self) -> None:
        """Calls are numbered by themselves, and their arguments come piece by piece."""
        self.assertEqual(
            deltas("tools")[1:],
            [
                {"content": "One moment."},
                begun(0, "toolu_01", "weather"),
                call(0, '{"city":"Z'),
                call(0, 'ürich"}'),
                begun(1, "toolu_02", "clock"),
                call(1, "{}"),
            ],
        )
        self.assertEqual(finishes("tools"), ["tool_calls"])

    def test_input_at_once(self) -> None:
        """A server that gives the whole input where the block begins loses none."""
        self.assertEqual(
            deltas("tool_only")[1:], [begun(0, "toolu_01", "clock", '{"zone": "UTC"}')]
        )

    def test_thinking(self) -> None:
        """Thinking is reasoning; its signature and what is redacted are kept."""
        self.assertEqual(
            deltas("thinking")[1:],
            [
                {"reasoning_content": "Let me"},
                {"reasoning_content": " see."},
                {"thinking_blocks": [{"type": "thinking", "signature": "c2ln"}]},
                {"thinking_blocks": [{"type": "redacted_thinking", "data": "b3BhcXVl"}]},
                {"content": "So."},
            ],
        )

    def test_server_tools(self) -> None:
        """What a server tool is given is no call of the client's."""
        block = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
        events = [
            event({"type": "content_block_start", "index": 0, "content_block": block}),
            delta(type="input_json_delta", partial_json="{}"),
        ]
        reader, marks = started(*events)
        self.assertEqual(marks[1:], [O, O])
        self.assertEqual([reader.decode(each) for each in events], [(), ()])

    def test_text_where_the_block_begins(self) -> None:
        """Text and thinking that stand in the beginning of a block are not lost."""
        for kind, member, said in (
            ("text", "text", "content"),
            ("thinking", "thinking", "reasoning_content"),
        ):
            block = {"type": kind, member: "a"}
            start = event({"type": "content_block_start", "index": 0, "content_block": block})
            reader, marks = started(start)
            self.assertIs(marks[-1], O)
            self.assertEqual(reader.decode(start)[0]["choices"][0]["delta"], {said: "a"})

    def test_finish_without_usage(self) -> None:
        """A finish without usage is a finish; a delta without a reason is nothing."""
        end = event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}})
        early = event({"type": "message_delta", "delta": {"stop_reason": None}})
        reader, _ = started(early, end)
        self.assertEqual(reader.decode(early), ())
        self.assertEqual(len(reader.decode(end)), 1)
        self.assertEqual(reader.decode(event(b"")), ())


def _timeless(chunk: Document) -> Document:
    return {name: value for name, value in chunk.items() if name != "created"}
