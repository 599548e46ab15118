"""The mock backend as a backend: replies, deadlines, cancellation, faults."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError

from lmgateway.backend_errors import BackendOverloaded, BackendTimeout
from lmgateway.backends.base import Backend
from lmgateway.backends.mock import MockBackend, MockSettings
from lmgateway.backends.mock_faults import Fault
from lmgateway.chat import Document, Usage
from lmgateway.dialects.base import Mark
from lmgateway.dialects.openai import OPENAI
from lmgateway.errors import ConfigError
from tests.backends.mock_calls import MockTestCase, call_of, chat, started


class WholeAnswerTests(MockTestCase):
    """Answers that are not streamed."""

    def test_L15_1_whole_answer_is_a_chat_completion(self) -> None:
        """A client reads the mock's answer as it reads any model's."""
        backend: Backend = self.backend()
        assert isinstance(backend, MockBackend)
        answered = self.ask(backend, call_of(chat("What is 2 + 2?")))
        document, reply = answered.document, answered.reply
        assert reply is not None and reply.answer is not None
        self.assertEqual(document["object"], "chat.completion")
        self.assertEqual(document["created"], 1700)
        self.assertEqual(document["model"], "target")
        self.assertTrue(document["id"].startswith("chatcmpl-"))
        [choice] = document["choices"]
        self.assertEqual(choice["finish_reason"], "stop")
        self.assertIn("mock", choice["message"]["content"])
        self.assertIn("What is 2 + 2?", choice["message"]["content"])
        usage = document["usage"]
        self.assertEqual(usage["prompt_tokens_details"], {"cached_tokens": 0})
        self.assertEqual(
            reply.usage,
            Usage(input_tokens=usage["prompt_tokens"], output_tokens=usage["completion_tokens"]),
        )
        self.assertEqual((reply.dialect, reply.status), ("openai", 200))
        self.assertEqual(reply.answer.finish_reason, "stop")

    def test_ids_are_unique(self) -> None:
        """No two answers have the same id."""
        backend = self.backend()
        ids = {self.ask(backend, call_of(chat())).document["id"] for _ in range(20)}
        self.assertEqual(len(ids), 20)

    def test_first_token_and_rate_delay_a_whole_answer(self) -> None:
        """A whole answer takes as long as its tokens take."""
        backend = self.backend(style="echo", first_token_ms=500, tokens_per_second=10)
        answered, done = self.start(backend, call_of(chat("one two three")))
        self.pump([0.5, 0.1, 0.099])
        self.assertNoResult(done)
        self.pump([0.002])
        self.successResultOf(done)
        self.assertEqual(answered.document["choices"][0]["message"]["content"], "one two three")

    def test_probe_is_well(self) -> None:
        """A mock that answers is well."""
        self.successResultOf(started(self.backend().probe()))

    def test_probe_fails_with_a_status_fault(self) -> None:
        """A mock that always answers with an error is not well."""
        backend = self.backend(fault=Fault(status=503))
        self.failureResultOf(started(backend.probe()), BackendOverloaded)

    def test_scripted_style_needs_fixtures(self) -> None:
        """A style that could never answer is refused at start-up."""
        self.assertRaises(ConfigError, self.backend, style="scripted")

    def test_settings_are_checked(self) -> None:
        """What makes no sense is refused."""
        wrong: list[dict[str, Any]] = [{"style": "x"}, {"first_token_ms": -1}, {"chunks": 0}]
        for one in wrong:
            with self.assertRaises(ValueError):
                MockSettings(**one)


class StreamTests(MockTestCase):
    """Streamed answers."""

    def test_L15_1_stream_ends_with_usage_and_done(self) -> None:
        """A stream has a role, text, a finish reason, the usage and its proper end."""
        answered = self.ask(self.backend(style="echo"), call_of(chat("one two", stream=True)))
        self.assertEqual(
            answered.marks,
            [Mark.QUIET, Mark.OUTPUT, Mark.OUTPUT, Mark.QUIET, Mark.USAGE, Mark.END],
        )
        self.assertEqual(answered.text, "one two")
        self.assertEqual(answered.deltas[0]["role"], "assistant")
        self.assertEqual(answered.chunks[-2]["choices"][0]["finish_reason"], "stop")
        self.assertEqual(answered.chunks[-1]["choices"], [])
        self.assertEqual({chunk["object"] for chunk in answered.chunks}, {"chat.completion.chunk"})
        self.assertEqual(len({chunk["id"] for chunk in answered.chunks}), 1)
        reply = answered.reply
        assert reply is not None and reply.reader is not None
        self.assertEqual(reply.usage, Usage(input_tokens=6, output_tokens=2))
        self.assertEqual(reply.reader.finish_reason, "stop")
        self.assertEqual(reply.reader.output_bytes, 7)

    def test_raw_bytes_are_server_sent_events(self) -> None:
        """What is relayed verbatim is well-formed."""
        answered = self.ask(self.backend(), call_of(chat(stream=True)))
        for event, _ in answered.events:
            self.assertEqual(event.raw, b"data: " + event.data + b"\n\n")

    def test_unpaced_stream_comes_in_few_batches(self) -> None:
        """Without a pace nothing is scheduled and events come together."""
        backend = self.backend(allow_model_faults=True)
        answered = self.ask(backend, call_of(chat(stream=True), model="m-c100"))
        self.assertEqual(sum(mark is Mark.OUTPUT for mark in answered.marks), 100)
        self.assertLessEqual(answered.batches, 3)

    def test_tool_calls_are_output(self) -> None:
        """A streamed tool call commits as text does, and joins to valid JSON."""
        schema = {"type": "object", "properties": {"city": {"type": "string"}}}
        tools = [{"type": "function", "function": {"name": "weather", "parameters": schema}}]
        document = chat("weather?", stream=True, tools=tools)
        answered = self.ask(self.backend(), call_of(document))
        calls = [call for delta in answered.deltas for call in delta.get("tool_calls") or ()]
        self.assertIs(answered.marks[1], Mark.OUTPUT)
        self.assertEqual(calls[0]["function"]["name"], "weather")
        self.assertTrue(calls[0]["id"].startswith("call_"))
        arguments = "".join([call["function"]["arguments"] for call in calls])
        self.assertEqual(json.loads(arguments), {"city": "mock"})
        self.assertEqual(answered.chunks[-2]["choices"][0]["finish_reason"], "tool_calls")

    def test_committed_with_the_first_output_in_hand(self) -> None:
        """The reply is there once the first output is, and not before."""
        backend = self.backend(style="echo", first_token_ms=50, tokens_per_second=10)
        answered, done = self.start(backend, call_of(chat("one two", stream=True)))
        self.pump([0.049])
        self.assertIsNone(answered.reply)
        self.pump([0.001])
        self.assertIsNotNone(answered.reply)
        self.assertEqual(answered.marks, [Mark.QUIET, Mark.OUTPUT])
        self.pump([0.1])
        self.successResultOf(done)

    def test_L15_3_tokens_come_at_their_rate(self) -> None:
        """First token and rate are kept, to the millisecond on an exact clock."""
        backend = self.backend(style="echo", first_token_ms=200, tokens_per_second=20)
        answered, done = self.start(backend, call_of(chat("a b c d", stream=True)))
        self.pump([0.001] * 400)
        self.successResultOf(done)
        for found, wanted in zip(answered.times, [0.2, 0.25, 0.3, 0.35], strict=True):
            self.assertLess(abs(found - wanted), 0.0021)

    def test_L15_3_jitter_is_seeded_and_bounded(self) -> None:
        """The same seed has the same jitter, and it is never more than asked for."""

        def times() -> list[float]:
            backend = self.backend(style="echo", first_token_ms=100, jitter_ms=50, seed=7)
            self.clock.rightNow = 0.0
            answered, done = self.start(backend, call_of(chat("a b c", stream=True)))
            self.pump([0.001] * 300)
            self.successResultOf(done)
            return answered.times

        first = times()
        self.assertEqual(first, times())
        self.assertGreater(first[0], 0.1005)
        self.assertTrue(all(0.1 <= moment <= 0.153 for moment in first), first)

    def test_empty_answer_is_a_stream_too(self) -> None:
        """A model that says nothing still ends properly."""
        backend = self.backend(allow_model_faults=True)
        answered = self.ask(backend, call_of(chat(stream=True), model="m-c0"))
        self.assertEqual(answered.text, "")
        self.assertIs(answered.marks[-1], Mark.END)

    def test_choices_take_turns(self) -> None:
        """Several choices are streamed side by side."""
        answered = self.ask(self.backend(style="echo"), call_of(chat("one two", stream=True, n=2)))
        order = [choice["index"] for chunk in answered.chunks for choice in chunk["choices"]]
        self.assertEqual(order, [0, 1] * 4)

    @given(st.text(max_size=80), st.integers(1, 40), st.integers(1, 3))
    @settings(max_examples=60, deadline=None)
    def test_MP2_streamed_text_is_the_whole_text(self, text: str, bound: int, choices: int) -> None:
        """The deltas of a stream join to the message that is told whole."""
        for style in ("plain", "echo", "lorem"):
            document = chat(text, max_tokens=bound, n=choices)
            whole = self.ask(self.backend(style=style), call_of(document)).document
            stream = self.ask(self.backend(style=style), call_of({**document, "stream": True}))
            self.assertEqual(stream.text, whole["choices"][0]["message"]["content"])
            self.assertEqual(stream.chunks[-1]["usage"], whole["usage"])


class DeadlineTests(MockTestCase):
    """Deadlines and cancellation."""

    def test_commit_deadline(self) -> None:
        """A first token after the deadline is a timeout."""
        backend = self.backend(first_token_ms=5000)
        _, done = self.start(backend, call_of(chat(stream=True), commit_by=1.0))
        self.pump([0.999])
        self.assertNoResult(done)
        self.pump([0.001])
        error = self.failureResultOf(done, BackendTimeout).value
        self.assertEqual(error.backend, "m1")

    def test_end_deadline(self) -> None:
        """A stream that is still going at its end is a timeout, after the commit point."""
        backend = self.backend(style="echo", tokens_per_second=1)
        answered, done = self.start(backend, call_of(chat("a b c d", stream=True), end_by=1.5))
        self.pump([0.5] * 3)
        self.failureResultOf(done, BackendTimeout)
        self.assertEqual(answered.text, "a b")

    def test_deadline_that_has_passed(self) -> None:
        """A call that comes too late is not answered."""
        _, done = self.start(self.backend(), call_of(chat(), commit_by=0.0))
        self.assertEqual(self.failureResultOf(done, BackendTimeout).value.backend, "m1")

    def test_own_timeouts(self) -> None:
        """The backend's own timeouts hold as they do for a real one."""
        cases: list[tuple[dict[str, Any], Document]] = [
            ({"first_token_ms": 2000, "timeout_ms": 1000}, chat()),
            ({"first_token_ms": 2000, "first_byte_timeout_ms": 1000}, chat(stream=True)),
            ({"tokens_per_second": 0.5, "idle_timeout_ms": 1000}, chat(stream=True)),
        ]
        for settings_, document in cases:
            _, done = self.start(self.backend(**settings_), call_of(document, commit_by=1e9))
            self.pump([1.0])
            self.failureResultOf(done, BackendTimeout)

    def test_cancelled_before_the_commit_point(self) -> None:
        """A client that leaves early leaves nothing behind."""
        for document in (chat(), chat(stream=True)):
            _, done = self.start(self.backend(first_token_ms=50), call_of(document))
            done.cancel()
            self.failureResultOf(done, CancelledError)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancelled_within_the_stream(self) -> None:
        """A client that leaves within a stream leaves nothing behind."""
        backend = self.backend(style="echo", tokens_per_second=10)
        answered, done = self.start(backend, call_of(chat("a b c", stream=True)))
        self.pump([0.1])
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertEqual(answered.text, "a b")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_left_without_reading(self) -> None:
        """Whoever leaves the scope early is not waited for."""
        backend = self.backend(style="echo", tokens_per_second=10)

        async def peek() -> str:
            async with backend.open(call_of(chat("a b c", stream=True))) as reply:
                assert reply.batches is not None
                first = await anext(reply.batches)
                return first[-1][0].data.decode()

        self.assertIn('"a"', self.successResultOf(started(peek())))

    def test_left_while_someone_reads(self) -> None:
        """A reader that is still waiting when the scope is left is cancelled."""
        backend = self.backend(style="echo", tokens_per_second=10)
        readers: list[Any] = []

        async def after(batches: Any) -> Any:
            return await anext(batches)

        async def race() -> None:
            async with backend.open(call_of(chat("a b c", stream=True))) as reply:
                assert reply.batches is not None
                await anext(reply.batches)
                readers.append(started(after(reply.batches)))

        self.successResultOf(started(race()))
        self.failureResultOf(readers[0], CancelledError)

    def test_a_thousand_streams_leave_nothing(self) -> None:
        """Starting and abandoning streams adds up to nothing."""
        backend = self.backend(style="echo", first_token_ms=5, tokens_per_second=100)
        running = [self.start(backend, call_of(chat("a b", stream=True)))[1] for _ in range(1000)]
        self.pump([0.005])
        for done in running:
            done.cancel()
            self.failureResultOf(done, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class DialectTests(MockTestCase):
    """The mock and its dialect."""

    def test_names_its_dialect(self) -> None:
        """Others know how to read it."""
        self.assertEqual(self.backend().dialect, OPENAI.name)
