"""Tests for the OpenAI dialect: what is checked, changed, marked and said of errors."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.backend_errors import (
    BackendFailed,
    BackendLimited,
    BackendOverloaded,
    BackendTimeout,
    ContextExceeded,
    CredentialRefused,
    ProtocolError,
    Rejected,
)
from lmgateway.backends.quirks import QUIRKS
from lmgateway.chat import ChatRequest, Event, Overrides
from lmgateway.dialects.base import Mark
from lmgateway.dialects.openai import OPENAI
from lmgateway.dialects.openai_errors import read_error
from lmgateway.errors import MalformedRequest
from tests.fakes import STREAM

PLAIN = QUIRKS["openai"]
HELLO = [{"role": "user", "content": "hi"}]


def asked(**members: Any) -> ChatRequest:
    """Parse a request with these members."""
    return OPENAI.parse(json.dumps({"model": "m", "messages": HELLO, **members}).encode(), "chat")


def sent(request: ChatRequest, quirks: Any = PLAIN, **overrides: Any) -> Any:
    """Give what a backend would be sent."""
    return json.loads(OPENAI.render(request, Overrides(model="t", **overrides), quirks))


def event(data: bytes) -> Event:
    """Make one SSE event."""
    return Event(b"data: " + data + b"\n\n", b"", data)


class ParseTests(SynchronousTestCase):
    """Tests for what a client may say."""

    def test_wrong_types_name_the_member(self) -> None:
        """Every member that the gateway or any backend reads has its type checked."""
        bad: list[tuple[str, Any]] = [
            ("model", 7),
            ("stream", "yes"),
            ("stream", 1),
            ("messages", {}),
            ("messages", []),
            ("messages", None),
            ("n", True),
            ("n", 0),
            ("max_tokens", -1),
            ("max_tokens", "5"),
            ("max_completion_tokens", 1.5),
            ("temperature", "hot"),
            ("temperature", 2.1),
            ("top_p", 2),
            ("presence_penalty", -3),
            ("tools", {}),
            ("stream_options", []),
            ("response_format", "json"),
        ]
        for name, value in bad:
            with self.assertRaises(MalformedRequest, msg=name) as caught:
                asked(**{name: value})
            self.assertEqual(caught.exception.param, name)

    def test_faults_within_messages_are_located(self) -> None:
        """A message at fault is named by its place."""
        for message, param in (
            (7, "messages[1]"),
            ({"content": "x"}, "messages[1].role"),
            ({"role": "wizard", "content": "x"}, "messages[1].role"),
            ({"role": "user", "content": 7}, "messages[1].content"),
        ):
            with self.assertRaises(MalformedRequest) as caught:
                asked(messages=[*HELLO, message])
            self.assertEqual(caught.exception.param, param)

    def test_numbers_are_let_in_to_their_bounds(self) -> None:
        """A count is a whole number and nothing else; a sampling parameter has its bounds."""
        odd: list[Any] = [
            None,
            True,
            "1",
            [],
            {},
            -3,
            -2,
            -1,
            0,
            1,
            2,
            3,
            2**70,
            -2.5,
            -2.0,
            0.0,
            1.0,
            2.0,
            2.5,
        ]

        def is_from(low: float, high: float) -> list[Any]:
            numbers = [value for value in odd if type(value) in (int, float)]
            return [None, *(value for value in numbers if low <= value <= high)]

        whole = [value for value in odd if type(value) is int]
        counts = [None, *(value for value in whole if value >= 1)]
        allowed = {
            "max_tokens": counts,
            "max_completion_tokens": counts,
            "n": counts,
            "top_logprobs": [None, 0, *counts[1:]],
            "temperature": is_from(0, 2),
            "top_p": is_from(0, 1),
            "presence_penalty": is_from(-2, 2),
            "frequency_penalty": is_from(-2, 2),
        }
        for name, good in allowed.items():
            let_in = []
            for value in odd:
                with contextlib.suppress(MalformedRequest):
                    let_in.append(asked(**{name: value}).document[name])
            self.assertEqual(
                [*map(repr, let_in)], [repr(v) for v in odd if repr(v) in map(repr, good)]
            )

    def test_absent_model(self) -> None:
        """No model, and an empty one, are none."""
        for model in (None, ""):
            self.assertIsNone(asked(model=model).model)

    def test_usage_wanted(self) -> None:
        """Usage is wanted only by who streams and asks for it."""
        options = {"include_usage": True}
        self.assertTrue(asked(stream=True, stream_options=options).wants_usage)
        self.assertFalse(asked(stream=True).wants_usage)


class RenderTests(SynchronousTestCase):
    """Tests for what a backend is sent."""

    @given(
        st.dictionaries(
            st.text("abcxyz_", min_size=1, max_size=6),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.text(max_size=9),
                lambda inner: st.lists(inner, max_size=3),
                max_leaves=5,
            ),
            max_size=4,
        ),
        st.booleans(),
    )
    def test_diagonal(self, extra: dict[str, Any], stream: bool) -> None:
        """Upstream is sent the client's document, but for the model and the metering."""
        document = {"model": "m", "messages": HELLO, "stream": stream, **extra}
        request = OPENAI.parse(json.dumps(document).encode(), "chat")
        wanted = {**document, "model": "t"}
        if stream:
            wanted["stream_options"] = {"include_usage": True}
        self.assertEqual(sent(request), wanted)

    def test_numbers_keep_their_spelling(self) -> None:
        """Numbers go on as they were written."""
        raw = b'{"model":"m","messages":[{"role":"user","content":"a"}],"temperature":1.0,"x":1E2}'
        out = OPENAI.render(OPENAI.parse(raw, "chat"), Overrides(model="t"), PLAIN)
        self.assertIn(b"1.0", out)
        self.assertIn(b"1E2", out)

    def test_think(self) -> None:
        """A tier's flag is sent to those who take it, and yields to the client's."""
        takes = replace(PLAIN, takes_think=True)
        self.assertIs(sent(asked(), takes, think=False)["think"], False)
        self.assertIs(sent(asked(think=True), takes, think=False)["think"], True)
        self.assertNotIn("think", sent(asked(), think=False))

    def test_output_bound(self) -> None:
        """The bound goes by the one name that a provider takes; ours only where none is."""
        new = replace(PLAIN, max_tokens_field="max_completion_tokens")
        self.assertEqual(sent(asked(max_tokens=5), new)["max_completion_tokens"], 5)
        self.assertNotIn("max_tokens", sent(asked(max_tokens=5), new))
        self.assertEqual(sent(asked(max_tokens=5), max_tokens=9)["max_tokens"], 5)
        self.assertEqual(sent(asked(), max_tokens=9)["max_tokens"], 9)

    def test_refused_members_are_dropped(self) -> None:
        """What a provider refuses is not sent."""
        self.assertNotIn("seed", sent(asked(seed=1), replace(PLAIN, drop=frozenset({"seed"}))))


class ReaderTests(SynchronousTestCase):
    """Tests for marks."""

    def test_marks(self) -> None:
        """A role is not an answer yet, text is, and the usage is apart."""
        reader = OPENAI.reader(PLAIN)
        marks = [reader.inspect(event(part[6:-2])) for part in STREAM]
        self.assertEqual(
            marks, [Mark.QUIET, Mark.OUTPUT, Mark.OUTPUT, Mark.QUIET, Mark.USAGE, Mark.END]
        )
        self.assertEqual((reader.finish_reason, reader.model), ("stop", "m"))
        assert reader.usage is not None
        self.assertEqual((reader.usage.input_tokens, reader.usage.output_tokens), (3, 5))
        self.assertEqual(reader.output_bytes, len("Hello, world"))

    def test_what_is_output(self) -> None:
        """Reasoning, refusals and calls are output; empty ones are not."""
        for delta, mark in (
            ({"reasoning_content": "hm"}, Mark.OUTPUT),
            ({"reasoning": "hm"}, Mark.OUTPUT),
            ({"refusal": "no"}, Mark.OUTPUT),
            ({"tool_calls": [{"index": 0}]}, Mark.OUTPUT),
            ({"content": [{"type": "text", "text": "a"}]}, Mark.OUTPUT),
            ({"tool_calls": []}, Mark.QUIET),
            ({"content": None, "tool_calls": None}, Mark.QUIET),
            ({}, Mark.QUIET),
        ):
            data = json.dumps({"choices": [{"delta": delta}]}).encode()
            self.assertIs(OPENAI.reader(PLAIN).inspect(event(data)), mark, delta)

    def test_invalid_utf8_is_read_all_the_same(self) -> None:
        """Bytes that are no UTF-8 do not hide the output around them."""
        data = b'{"choices":[{"delta":{"content":"a\xff"}}]}'
        self.assertIs(OPENAI.reader(PLAIN).inspect(event(data)), Mark.OUTPUT)

    def test_garbage_is_passed_on_but_not_translated(self) -> None:
        """An event that is no JSON is no answer, and cannot be put into other words."""
        reader = OPENAI.reader(PLAIN)
        self.assertIs(reader.inspect(event(b"{oops")), Mark.QUIET)
        with self.assertRaises(ProtocolError):
            reader.decode(event(b"{oops"))

    def test_errors_in_band(self) -> None:
        """An error in the stream is known by its code, and its text is kept from the client."""
        for code, kind in (("rate_limit_exceeded", BackendLimited), ("x", BackendFailed)):
            reader = OPENAI.reader(PLAIN)
            data = json.dumps({"error": {"code": code, "message": "sk-secret"}}).encode()
            self.assertIs(reader.inspect(event(data)), Mark.ERROR)
            self.assertIsInstance(reader.error, kind)
            self.assertNotIn("sk-secret", str(reader.error))

    def test_an_answer_that_failed_behind_a_router(self) -> None:
        """``finish_reason: "error"`` is no end of an answer, in a stream as in a whole one."""
        reader = OPENAI.reader(PLAIN)
        data = b'{"choices":[{"delta":{"content":""},"finish_reason":"error"}]}'
        self.assertIs(reader.inspect(event(data)), Mark.ERROR)
        self.assertIsInstance(reader.error, BackendFailed)
        whole = b'{"choices":[{"message":{"content":"Hel"},"finish_reason":"error"}]}'
        with self.assertRaises(BackendFailed):
            OPENAI.read_answer(whole)

    def test_an_end_of_nothing(self) -> None:
        """``[DONE]`` alone is no answer; an empty one has its reason, or some output."""
        reader = OPENAI.reader(PLAIN)
        self.assertIs(reader.inspect(event(b"[DONE]")), Mark.ERROR)
        self.assertIsInstance(reader.error, ProtocolError)
        for chunk in (
            b'{"choices":[{"delta":{},"finish_reason":"stop"}]}',
            b'{"choices":[{"delta":{"content":"a"}}]}',
        ):
            reader = OPENAI.reader(PLAIN)
            reader.inspect(event(chunk))
            self.assertIs(reader.inspect(event(b"[DONE]")), Mark.END)


class ErrorTests(SynchronousTestCase):
    """Tests for what a backend's refusal means."""

    def test_statuses(self) -> None:
        """Each status has its class, and only a 4xx of the request's own is final."""
        for status, kind, retryable in (
            (400, Rejected, False),
            (401, CredentialRefused, False),
            (403, CredentialRefused, False),
            (404, Rejected, False),
            (408, BackendTimeout, True),
            (409, BackendFailed, True),
            (422, Rejected, False),
            (425, BackendFailed, True),
            (429, BackendLimited, True),
            (500, BackendFailed, True),
            (503, BackendOverloaded, True),
            (529, BackendOverloaded, True),
        ):
            error = read_error(status, {}, b"")
            self.assertIs(type(error), kind, status)
            self.assertEqual(error.retryable, retryable)

    def test_too_long(self) -> None:
        """A prompt that is too long is told by code or by words."""
        for error in (
            {"code": "context_length_exceeded", "message": "x"},
            {"message": "This model's maximum context length is 8192 tokens."},
        ):
            body = json.dumps({"error": error}).encode()
            self.assertIsInstance(read_error(400, {}, body), ContextExceeded)

    def test_odd_bodies(self) -> None:
        """Whatever the body is, something is said."""
        for body in (b"", b"<html>", b"[]", b'{"error": 7}', b'{"error": "text"}', b"\xff"):
            self.assertTrue(str(read_error(400, {}, body)))
