"""Faults: as they are written, and what they do."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.backend_errors import (
    BackendError,
    BackendFailed,
    BackendLimited,
    BackendOverloaded,
    BackendTimeout,
    ProtocolError,
    Rejected,
    Unreachable,
)
from lmgateway.backends.mock_faults import MAX_CHUNKS, Fault, fault_in
from lmgateway.dialects.base import Mark
from tests.backends.mock_calls import MockTestCase, call_of, chat


class WrittenFaultTests(SynchronousTestCase):
    """Reading faults."""

    def test_letters(self) -> None:
        """Each letter is one fault, and they combine."""
        cases = {
            "c100-d20-t50": Fault(chunks=100, gap_ms=20, first_token_ms=50),
            "h": Fault(hold_after=1),
            "h3": Fault(hold_after=3),
            "x5": Fault(cut_after=5),
            "g0": Fault(garbage_after=0),
            "i2": Fault(error_after=2),
            "e503": Fault(status=503),
            "r429": Fault(status=429, retry_after=1),
            "r503:30": Fault(status=503, retry_after=30),
            "w200:a-h\n": Fault(status=200, body=b"a-h\n"),
            "t5-w404:{}": Fault(status=404, body=b"{}", first_token_ms=5),
            "c9999999": Fault(chunks=MAX_CHUNKS),
        }
        for text, wanted in cases.items():
            self.assertEqual(fault_in(f"mock-{text}"), wanted, text)

    def test_not_faults(self) -> None:
        """What is no fault is part of a plain name."""
        for text in ("", "e5", "e200", "c", "x", "z5", "e503-", "c1 ", "r429:", "c12345678"):
            self.assertIsNone(fault_in(f"mock-{text}"), text)

    def test_real_model_names_are_no_faults(self) -> None:
        """Names of real models mean themselves."""
        for model in ("gpt-4o-mini", "text-embedding-e5", "claude-3-5-haiku", "qwen3:4b", "h", ""):
            self.assertIsNone(fault_in(model))

    def test_long_names_cost_nothing(self) -> None:
        """A hostile name is looked at only at its end."""
        self.assertIsNone(fault_in("-c1" * 1_000_000 + "-"))


class FaultTests(MockTestCase):
    """What goes wrong on purpose."""

    def fails(self, fault: str, *, stream: bool) -> tuple[BackendError, Any]:
        """Ask for a fault, by model name."""
        backend = self.backend(style="echo", allow_model_faults=True)
        document = chat("a b c d e f", stream=stream)
        now = self.clock.seconds()
        call = call_of(document, model=f"mock-{fault}", commit_by=now + 100, end_by=now + 200)
        answered, done = self.start(backend, call)
        self.clock.advance(300)
        return self.failureResultOf(done, BackendError).value, answered

    def test_L15_4_statuses(self) -> None:
        """An error status fails as that of a real backend would."""
        kinds = {"e500": BackendFailed, "e503": BackendOverloaded, "e429": BackendLimited}
        for stream in (False, True):
            for fault, kind in kinds.items():
                error, _ = self.fails(fault, stream=stream)
                self.assertIs(type(error), kind)
                self.assertEqual(error.backend, "m1")
                self.assertEqual(error.upstream_status, int(fault[1:]))
            error, _ = self.fails("e400", stream=stream)
            assert isinstance(error, Rejected)
            self.assertEqual((error.status, error.code), (400, "mock"))

    def test_L15_4_retry_after(self) -> None:
        """A limit tells when to come again."""
        error, _ = self.fails("r429:7", stream=False)
        self.assertEqual((type(error), error.retry_after), (BackendLimited, 7.0))

    def test_status_after_a_delay(self) -> None:
        """An error may take its time."""
        backend = self.backend(allow_model_faults=True)
        _, done = self.start(backend, call_of(chat(), model="m-e503-t50"))
        self.assertNoResult(done)
        self.clock.advance(0.05)
        self.failureResultOf(done, BackendOverloaded)

    def test_L15_4_cut(self) -> None:
        """A stream that breaks off raises after what was sent."""
        error, answered = self.fails("x3", stream=True)
        self.assertIs(type(error), Unreachable)
        self.assertEqual(answered.text, "a b c")
        self.assertNotIn(Mark.END, answered.marks)
        self.assertEqual(error.backend, "m1")

    def test_cut_before_any_output(self) -> None:
        """A stream that breaks at once never commits."""
        error, answered = self.fails("x0", stream=True)
        self.assertIs(type(error), Unreachable)
        self.assertIsNone(answered.reply)

    def test_cut_at_the_very_end(self) -> None:
        """All the text without a proper end is still a broken answer."""
        error, answered = self.fails("x6", stream=True)
        self.assertIs(type(error), Unreachable)
        self.assertEqual(answered.text, "a b c d e f")

    def test_error_in_band(self) -> None:
        """An error told in a stream breaks it."""
        error, answered = self.fails("i2", stream=True)
        self.assertIs(type(error), BackendFailed)
        self.assertEqual(answered.text, "a b")

    def test_hold(self) -> None:
        """A stream that goes silent is a timeout, by the silence it is allowed."""
        error, answered = self.fails("h", stream=True)
        self.assertIs(type(error), BackendTimeout)
        self.assertEqual(answered.text, "a")
        error, answered = self.fails("h0", stream=True)
        self.assertIs(type(error), BackendTimeout)
        self.assertIsNone(answered.reply)

    def test_L15_4_garbage_is_what_a_backend_would_send(self) -> None:
        """An event that is no JSON comes as it is; the dialect says what to make of it."""
        backend = self.backend(style="echo", allow_model_faults=True)
        answered = self.ask(backend, call_of(chat("a b", stream=True), model="m-g1"))
        broken = [event for event, _ in answered.events if not event.data.endswith((b"}", b"]"))]
        self.assertEqual(len(broken), 1)
        self.assertEqual(answered.events.index((broken[0], Mark.QUIET)), 2)

    def test_whole_answers_break_too(self) -> None:
        """What has no chunks fails as a whole."""
        kinds = {"x2": Unreachable, "g2": ProtocolError, "i2": ProtocolError, "h": BackendTimeout}
        for fault, kind in kinds.items():
            error, _ = self.fails(fault, stream=False)
            self.assertIs(type(error), kind, fault)

    def test_given_body(self) -> None:
        """A lying backend answers 200 with anything."""
        for stream in (False, True):
            error, _ = self.fails("w200:<html>", stream=stream)
            self.assertIs(type(error), ProtocolError)
        error, _ = self.fails("w302:", stream=False)
        self.assertIs(type(error), ProtocolError)
        document = {"choices": [{"finish_reason": "stop"}]}
        backend = self.backend(allow_model_faults=True)
        model = f"m-w200:{json.dumps(document)}"
        call = call_of(chat(), model=model, commit_by=1e9, end_by=1e9)
        self.assertEqual(self.ask(backend, call).document, document)

    def test_counted_and_delayed_chunks(self) -> None:
        """The letters of the load tools mean the same here."""
        backend = self.backend(allow_model_faults=True)
        answered, done = self.start(backend, call_of(chat(stream=True), model="mock-c5-d20-t50"))
        self.pump([0.005] * 30)
        self.successResultOf(done)
        self.assertEqual(sum(mark is Mark.OUTPUT for mark in answered.marks), 5)
        for found, wanted in zip(answered.times, [0.05, 0.07, 0.09, 0.11, 0.13], strict=True):
            self.assertLess(abs(found - wanted), 0.0051)

    def test_the_asked_model_may_name_a_fault(self) -> None:
        """A client names a fault although the target's model has none."""
        backend = self.backend(allow_model_faults=True)
        document = {**chat(), "model": "mock-e500"}
        _, done = self.start(backend, call_of(document))
        self.failureResultOf(done, BackendFailed)

    def test_model_faults_must_be_allowed(self) -> None:
        """By default a model name is only a name."""
        answered = self.ask(self.backend(), call_of(chat(), model="mock-e503"))
        self.assertEqual(answered.document["model"], "mock-e503")

    def test_L15_4_configured_fault_by_probability(self) -> None:
        """A share of requests fails, the same in every run of a seed."""

        def failed() -> list[bool]:
            backend = self.backend(fault=Fault(status=500, probability=0.3), seed=5)
            runs = [self.start(backend, call_of(chat()))[1] for _ in range(100)]
            return [bool(self.failed(done)) for done in runs]

        first = failed()
        self.assertEqual(first, failed())
        self.assertTrue(15 < sum(first) < 45, sum(first))

    def test_L15_4_configured_fault_every_so_often(self) -> None:
        """Each third request fails."""
        backend = self.backend(fault=Fault(status=500, every=3))
        runs = [self.start(backend, call_of(chat()))[1] for _ in range(6)]
        self.assertEqual(
            [self.failed(done) for done in runs], [False, False, True, False, False, True]
        )

    def failed(self, done: Any) -> bool:
        """Tell whether a request failed."""
        outcome: list[bool] = []
        done.addCallbacks(lambda _: outcome.append(False), lambda _: outcome.append(True))
        return outcome[0]
