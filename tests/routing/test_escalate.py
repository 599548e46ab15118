"""Tests for escalation on a clock: three grammars, and cancellation at every point."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from random import Random
from typing import Any, TypeAlias

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.backend_errors import BackendError, BackendFailed
from lmgateway.backends.base import Batch, Call, Reply
from lmgateway.backends.quirks import QUIRKS
from lmgateway.chat import ChatRequest, Event, Overrides
from lmgateway.dialects.anthropic import ANTHROPIC
from lmgateway.dialects.base import Dialect, Mark
from lmgateway.dialects.ollama import OLLAMA
from lmgateway.dialects.openai import OPENAI
from lmgateway.errors import BudgetExhausted, Insufficient
from lmgateway.exchange import Attempt, Exchange, Unaccounted
from lmgateway.routing.escalate import Escalation, Standard
from lmgateway.routing.gate_judge import Judge
from lmgateway.routing.ladder import Climber, Step, Tier
from lmgateway.wire.ndjson import Splitter as NdjsonSplitter
from lmgateway.wire.sse import Splitter as SseSplitter
from lmgateway.wire.timers import Wheel
from tests.fakes import DONE, LONG, chunk, completion

DIALECTS: dict[str, Dialect] = {d.name: d for d in (OPENAI, ANTHROPIC, OLLAMA)}
PAUSE = 0.1

Part: TypeAlias = bytes | float | BackendError
"""What a stream does next: send bytes, wait so many seconds, fail."""


@define
class Ledger(Unaccounted):
    """An account that remembers, and refuses what it is told to."""

    reserved: list[Attempt] = field(factory=list)
    settled: list[Attempt] = field(factory=list)
    refused: tuple[str, ...] = ()

    def reserve(self, attempt: Attempt, request: ChatRequest) -> int | None:
        """Remember a reservation."""
        if attempt.tier in self.refused:
            raise BudgetExhausted()
        self.reserved.append(attempt)
        return None

    def settle(self, attempt: Attempt) -> None:
        """Remember a settlement."""
        self.settled.append(attempt)


@define
class ScriptedBackend:
    """A backend in memory: each call follows the next script, the last one for ever."""

    codec: Dialect
    clock: Clock
    scripts: list[Any]
    name: str = "scripted"
    open_now: int = 0
    asked: list[Call] = field(factory=list)

    @property
    def dialect(self) -> str:
        """The grammar spoken."""
        return self.codec.name

    @asynccontextmanager
    async def open(self, call: Call) -> AsyncIterator[Reply]:
        """Follow a script: a document, or the parts of a stream."""
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        self.asked.append(call)
        self.open_now += 1
        try:
            await deferLater(self.clock, PAUSE)
            if isinstance(script, BackendError):
                raise script
            if isinstance(script, dict):
                body = json.dumps(script).encode()
                yield Reply(dialect=self.dialect, body=body, answer=self.codec.read_answer(body))
                return
            reader = self.codec.reader(QUIRKS[self.dialect])
            async with aclosing(self._batches(script, reader)) as batches:
                yield Reply(dialect=self.dialect, reader=reader, batches=batches)
        finally:
            self.open_now -= 1

    async def probe(self) -> int:
        """Be well."""
        return 200

    async def _batches(self, script: Sequence[Part], reader: Any) -> AsyncGenerator[Batch, None]:
        split = SseSplitter() if self.codec.framing == "sse" else NdjsonSplitter()
        for part in script:
            if isinstance(part, BackendError):
                raise part
            if isinstance(part, float):
                await deferLater(self.clock, part)
                continue
            batch = [(event, reader.inspect(event)) for event in split.feed(part)]
            yield batch
            if any(mark is Mark.END for _, mark in batch):
                return


def openai(*texts: str) -> list[Part]:
    """Give an OpenAI stream, a pause before each part."""
    parts = [*(chunk({"content": text}) for text in texts), chunk({}, "stop") + DONE]
    return [step for part in parts for step in (PAUSE, part)]


def anthropic(*texts: str) -> list[Part]:
    """Give an Anthropic stream."""
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    usage = {"input_tokens": 3, "output_tokens": 1}
    block = {"type": "text", "text": ""}
    documents: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**message, "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": block},
        *(
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": text},
            }
            for text in texts
        ),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 5},
        },
        {"type": "message_stop"},
    ]
    return [
        step
        for document in documents
        for step in (
            0.01,
            f"event: {document['type']}\ndata: {json.dumps(document)}\n\n".encode(),
        )
    ]


def ollama(*texts: str) -> list[Part]:
    """Give an Ollama stream."""
    head = {"model": "m", "created_at": "2026-01-01T00:00:00Z"}
    lines: list[dict[str, Any]] = [
        {**head, "message": {"role": "assistant", "content": text}, "done": False} for text in texts
    ]
    last = {"role": "assistant", "content": ""}
    lines.append({**head, "message": last, "done": True, "done_reason": "stop"})
    return [step for line in lines for step in (0.01, json.dumps(line).encode() + b"\n")]


STREAMS = {OPENAI.name: openai, ANTHROPIC.name: anthropic, OLLAMA.name: ollama}
REFUSAL = ("I'm sorry, but ", "I'm not ", "able to help with that.")
GOOD = ("This is a perfectly ", "fine answer ", "of a decent length.")
SLOW = ("I cannot help with that. ", *(["word "] * 60))


def raw(parts: Sequence[Part]) -> bytes:
    """Give the bytes of a stream."""
    return b"".join(part for part in parts if isinstance(part, bytes))


class EscalationCase(SynchronousTestCase):
    """Runs an escalation over two tiers on a clock."""

    def setUp(self) -> None:
        """Make what every run needs."""
        self.clock = Clock()
        self.wheel = Wheel(self.clock)
        self.ledger = Ledger()
        self.got: list[Event] = []
        self.deltas: list[str] = []

    def tiers(self, cheap: list[Any], dear: list[Any], codec: Dialect = OPENAI) -> None:
        """Script the two tiers; *codec* is what the dear one speaks."""
        self.cheap = ScriptedBackend(OPENAI, self.clock, cheap)
        self.dear = ScriptedBackend(codec, self.clock, dear)
        self.steps = [
            Step(
                tier=Tier(name=name, index=index, backend=backend, model="m"),
                overrides=Overrides(model="m"),
            )
            for index, (name, backend) in enumerate((("cheap", self.cheap), ("dear", self.dear)))
        ]

    def begin(self, *, stream: bool = True, standard: Standard | None = None) -> Deferred[Reply]:
        """Start; what is relayed is collected in ``got``."""
        document = {"messages": [{"role": "user", "content": "hi"}], "stream": stream}
        self.exchange = Exchange(
            id="1",
            surface="openai",
            path="/",
            peer="",
            started=self.clock.seconds(),
            wall=0.0,
            account=self.ledger,
            request=OPENAI.parse(json.dumps(document).encode(), "chat"),
        )
        escalation = Escalation(
            climber=Climber(wheel=self.wheel, random=Random(1)),
            dialects=DIALECTS,
            standard=standard or Standard(),
        )
        return Deferred.fromCoroutine(self._relay(escalation))

    async def _relay(self, escalation: Escalation) -> Reply:
        async with escalation.open(self.steps, self.exchange) as reply:
            if reply.batches is not None:
                async with aclosing(reply.batches) as batches:
                    async for batch in batches:
                        self.take(batch, reply)
            else:
                await deferLater(self.clock, PAUSE)
        return reply

    def take(self, batch: Batch, reply: Reply) -> None:
        """Keep what came, and what it says."""
        assert reply.reader is not None, "a stream has a reader"
        self.got += [event for event, _ in batch]
        for event, _ in batch:
            for part in reply.reader.decode(event):
                for choice in part.get("choices", ()):
                    self.deltas.append(choice["delta"].get("content") or "")

    def run_to_end(self, **options: Any) -> Reply:
        """Start, and let time pass until it is over."""
        running = self.begin(**options)
        self.clock.pump([0.01] * 2000)
        reply = self.successResultOf(running)
        self.check_closed()
        return reply

    def check_closed(self) -> None:
        """Nothing is left open, reserved or ticking."""
        self.assertEqual((self.cheap.open_now, self.dear.open_now), (0, 0))
        self.assertEqual(len(self.ledger.reserved), len(self.ledger.settled))
        for attempt in self.ledger.reserved:
            self.assertEqual(sum(one is attempt for one in self.ledger.settled), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    @property
    def outcomes(self) -> list[str]:
        """The outcomes of the attempts."""
        return [attempt.outcome for attempt in self.exchange.attempts]

    def relayed(self) -> bytes:
        """What the client would be sent on the diagonal."""
        return b"".join(event.raw for event in self.got)


class StreamTests(EscalationCase):
    """Tests for streams in all grammars."""

    def test_refusal_in_three_chunks(self) -> None:
        """A refusal is not seen, whichever grammar the good answer comes in."""
        for name, stream in STREAMS.items():
            self.got = []
            self.tiers([openai(*REFUSAL)], [stream(*GOOD)], DIALECTS[name])
            reply = self.run_to_end()
            self.assertEqual(reply.dialect, name)
            self.assertEqual(self.relayed(), raw(stream(*GOOD)))
            self.assertEqual(self.outcomes, ["insufficient:refusal", "ok"])
            self.assertTrue(self.exchange.escalated)
            (climb,) = self.exchange.climbs
            self.assertEqual(
                (climb.from_tier, climb.to_tier, climb.reason),
                ("cheap", "dear", "insufficient:refusal"),
            )

    def test_refusals_in_every_grammar(self) -> None:
        """A refusal is seen through in whichever grammar it comes."""
        for name, stream in STREAMS.items():
            self.got = []
            self.tiers([BackendFailed()], [stream(*REFUSAL)], DIALECTS[name])
            self.run_to_end()
            self.assertEqual(self.outcomes, ["backend_failed", "insufficient:refusal"])
            self.assertEqual(self.exchange.insufficient, "refusal")

    def test_events_are_decoded_once(self) -> None:
        """The chunks of a released stream are those of the stream itself."""
        for name, stream in STREAMS.items():
            self.tiers([BackendFailed()], [stream(*GOOD)], DIALECTS[name])
            self.deltas = []
            self.run_to_end()
            self.assertEqual("".join(self.deltas), "".join(GOOD))

    def test_good_stream_waits_for_its_hold_at_most(self) -> None:
        """A slow good stream begins within ``hold_seconds`` of its first output."""
        parts: list[Part] = [chunk({"content": "Once"}), 10.0, chunk({"content": " upon"}), DONE]
        self.tiers([parts], [openai(*GOOD)])
        running = self.begin(standard=Standard(hold_seconds=1.5))
        self.clock.advance(PAUSE)
        self.clock.advance(1.49)
        self.assertEqual(self.got, [])
        self.clock.advance(0.01)
        self.assertEqual(self.relayed(), chunk({"content": "Once"}))
        self.clock.advance(10)
        self.successResultOf(running)
        self.assertEqual(self.relayed(), raw(parts))
        self.check_closed()

    def test_full_hold(self) -> None:
        """Once so many tokens have come the rest is relayed as it comes."""
        parts = openai(*["and "] * 60)
        self.tiers([parts], [openai(*GOOD)])
        running = self.begin(standard=Standard(hold_tokens=10, hold_seconds=100.0))
        self.clock.pump([PAUSE] * 10)
        self.assertEqual(self.got, [])
        self.clock.advance(PAUSE)
        self.assertEqual(len(self.got), 10)
        self.clock.pump([PAUSE] * 60)
        self.successResultOf(running)
        self.assertEqual(self.relayed(), raw(parts))
        self.check_closed()

    def test_batch_that_comes_while_judging(self) -> None:
        """What comes between the end of the hold and the release is not lost."""
        parts = openai(*["word "] * 30)
        self.tiers([parts], [openai(*GOOD)])
        self.run_to_end(standard=Standard(hold_tokens=1000, hold_seconds=PAUSE * 2.5))
        self.assertEqual(self.relayed(), raw(parts))

    def test_break_within_the_hold(self) -> None:
        """A stream that breaks before it was released is as if it had never begun."""
        broken: list[Part] = [chunk({"content": "Once"}), PAUSE, BackendFailed()]
        self.tiers([broken], [openai(*GOOD)])
        self.run_to_end()
        self.assertEqual(self.relayed(), raw(openai(*GOOD)))
        self.assertEqual(self.outcomes, ["backend_failed", "ok"])

    def test_break_after_the_hold(self) -> None:
        """A stream that breaks after it was released fails."""
        broken: list[Part] = [chunk({"content": "Once"}), 5.0, BackendFailed()]
        self.tiers([broken], [openai(*GOOD)])
        running = self.begin()
        self.clock.pump([PAUSE] * 60)
        self.failureResultOf(running, BackendFailed)
        self.assertEqual(self.outcomes, ["backend_failed"])
        self.check_closed()

    def test_budget_ends_above(self) -> None:
        """Where the dearer tier cannot be paid for, the best answer so far is given."""
        self.ledger.refused = ("dear",)
        self.tiers([openai(*REFUSAL)], [openai(*GOOD)])
        self.run_to_end()
        self.assertEqual(self.relayed(), raw(openai(*REFUSAL)))
        self.assertEqual(self.exchange.insufficient, "refusal")
        self.assertFalse(self.exchange.escalated)

    def test_early_stream_in_another_grammar(self) -> None:
        """A stream that was opened early is said in the client's grammar, whoever answers."""
        slow: list[Part] = [5.0, *anthropic(*GOOD)]
        self.tiers([openai(*REFUSAL)], [slow], ANTHROPIC)
        reply = self.run_to_end(standard=Standard(hold_seconds=0.5))
        self.assertEqual(reply.dialect, "openai")
        said = self.relayed()
        self.assertTrue(said.startswith(b": keep-alive\n\n"))
        self.assertTrue(said.endswith(DONE))
        self.assertIn(b": x-lmg-tier: dear\n", said)
        reader = OPENAI.reader(QUIRKS["openai"])
        text = ""
        for event in SseSplitter().feed(said):
            reader.inspect(event)
            for part in reader.decode(event):
                text += part["choices"][0]["delta"].get("content") or ""
        self.assertEqual(text, "".join(GOOD))


class WholeTests(EscalationCase):
    """Tests for whole answers."""

    def test_best_answer_has_its_own_facts(self) -> None:
        """What the exchange says is about the answer that was sent."""
        self.tiers([completion("Sure.")], [completion("")])
        self.run_to_end(stream=False)
        exchange = self.exchange
        self.assertEqual((exchange.tier, exchange.insufficient), ("cheap", "length"))
        self.assertIsNotNone(exchange.usage)
        self.assertEqual(exchange.finish_reason, "stop")

    def test_insufficient(self) -> None:
        """With ``on_insufficient = "error"`` the error lists what was tried."""
        self.tiers([completion("Sure.")], [completion("")])
        running = self.begin(stream=False, standard=Standard(on_insufficient="error"))
        self.clock.pump([PAUSE] * 10)
        error = self.failureResultOf(running, Insufficient).value
        self.assertEqual(len(error.attempts), 2)
        self.check_closed()

    def test_judge_is_charged(self) -> None:
        """The judge's tokens are reserved and settled as everybody's are."""
        self.tiers([completion(LONG), completion("2"), completion("9")], [completion(LONG)])
        self.run_to_end(stream=False, standard=Standard(judge=self.judge()))
        self.assertEqual(
            [(a.tier, a.purpose, a.outcome) for a in self.ledger.settled],
            [
                ("cheap", "judge", "ok"),
                ("cheap", "answer", "insufficient:judge"),
                ("cheap", "judge", "ok"),
                ("dear", "answer", "ok"),
            ],
        )
        self.assertTrue(all(attempt.usage for attempt in self.ledger.settled))
        self.assertEqual(len(self.exchange.climbs), 1)
        self.assertEqual((self.exchange.tier, self.exchange.escalated), ("dear", True))

    def test_judge_without_budget(self) -> None:
        """A judge that cannot be paid for does not judge."""
        self.tiers([completion(LONG)], [completion("2")])
        self.ledger.refused = ("dear",)
        self.run_to_end(stream=False, standard=Standard(judge=self.judge(1)))
        self.assertEqual(self.outcomes, ["ok", "budget_exhausted"])

    def judge(self, index: int = 0) -> Judge:
        """Make a judge of one of the tiers."""
        tier = self.steps[index].tier
        return Judge(tier=tier, min_score=7, seconds=10.0, dialects=DIALECTS)


class CancellationTests(EscalationCase):
    """Tests for a client that leaves, whenever."""

    def check(
        self,
        cheap: Callable[[], list[Any]],
        dear: Callable[[], list[Any]],
        standard: Callable[[], Standard] = Standard,
        *,
        stream: bool = True,
    ) -> int:
        """Cancel ever later, until the run ends by itself; count the points."""
        points = 0
        while True:
            self.setUp()
            self.tiers(cheap(), dear())
            running = self.begin(stream=stream, standard=standard())
            self.clock.pump([PAUSE / 4] * points)
            if running.called:
                self.successResultOf(running)
                self.check_closed()
                return points
            running.cancel()
            self.failureResultOf(running, CancelledError)
            self.check_closed()
            self.assertNotIn("open", self.outcomes)
            points += 1

    def test_streams(self) -> None:
        """Whenever the client leaves, all is closed, and every attempt settled once."""
        self.assertGreater(self.check(refusing, good), 20)

    def test_streams_opened_early(self) -> None:
        """So it is where the stream was opened while the search went on."""
        points = self.check(refusing, good, lambda: Standard(hold_seconds=0.05))
        self.assertGreater(points, 10)

    def test_streams_cut_off(self) -> None:
        """So it is where a stream was cut off and is asked for again."""
        points = self.check(
            lambda: [openai(*SLOW), openai("I cannot help with that. ")],
            lambda: [BackendFailed()],
            lambda: Standard(hold_tokens=3),
        )
        self.assertGreater(points, 10)
        self.assertEqual(self.outcomes, ["insufficient:refusal", "backend_failed", "ok"])

    def test_whole(self) -> None:
        """So it is for whole answers."""
        points = self.check(lambda: [completion("Sure.")], lambda: [completion(LONG)], stream=False)
        self.assertGreater(points, 8)

    def test_judged(self) -> None:
        """So it is while the judge is asked."""

        def standard() -> Standard:
            tier = self.steps[1].tier
            return Standard(judge=Judge(tier=tier, min_score=7, seconds=9.0, dialects=DIALECTS))

        for cheap, stream in ((lambda: [completion(LONG)], False), (good, True)):
            points = self.check(cheap, lambda: [completion("9")], standard, stream=stream)
            self.assertGreater(points, 8)
            self.assertEqual(self.outcomes, ["ok", "ok"])


def refusing() -> list[Any]:
    """Give the script of a tier that refuses."""
    return [openai(*REFUSAL)]


def good() -> list[Any]:
    """Give the script of a tier that answers well."""
    return [openai(*GOOD)]
