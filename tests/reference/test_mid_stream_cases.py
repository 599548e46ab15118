"""Streams that break off in the middle: told, begun anew, or gone on with (MX9)."""

from __future__ import annotations

import json
from functools import partial
from itertools import permutations
from typing import Any

from tests import vectors
from tests.fakes import Asked, hang, turns, until
from tests.reference.test_matrix import USED, MatrixCase, Seen
from tests.reference.three import MESSAGES, events
from tests.vectors import DIALECTS, PIECES, SAID

PAIRS = [*permutations(DIALECTS, 2)]
PROFILES = "".join(
    f"""
    [profiles.{first}-{second}]
    classifier = "{first}"
    fallback = ["{second}"]
    mid_stream = "{{way}}"
"""
    for first, second in PAIRS
)
PREFILLED = """
    [[tiers]]
    name = "onward"
    backend = "{backend}"
    model = "m"
    prefill = "{prefill}"
    [profiles.onward]
    classifier = "{first}"
    fallback = ["onward"]
    mid_stream = "resume"
"""
SAYS_TWO = {"openai": 3, "anthropic": 5, "ollama": 2}
"""So many events of a stream say two of its three pieces."""


def two_pieces(dialect: str) -> list[bytes]:
    """Give a stream up to its second piece."""
    return vectors.streamed_text(dialect)[: SAYS_TWO[dialect]]


def other(dialect: str, *pieces: str) -> list[bytes]:
    """Give a stream that says something else."""
    parts = vectors.streamed_text(dialect)
    places = dict(zip(PIECES, pieces, strict=True))
    for number, part in enumerate(parts):
        for piece, said in places.items():
            if f'"{piece}"'.encode() in part:
                parts[number] = part.replace(piece.encode(), said.encode())
    return parts


class MidStreamCase(MatrixCase):
    """A gateway whose first target breaks off."""

    def plan(self, way: str = "resume", **parts: str) -> None:
        """Serve a profile for each pair of targets."""
        self.serve(more=PROFILES.format(way=way) + parts.pop("more", ""), **parts)

    def script(self, first: list[bytes], *then: list[bytes], breaks: bool = False) -> None:
        """Let the first attempt break off after *first*; the further ones send *then*."""
        self.backend.asked.clear()
        rest = list(then)

        def script(request: Any, asked: Asked) -> None:
            if len(self.backend.asked) == 1 or (breaks and len(rest) > 1):
                parts = first if len(self.backend.asked) == 1 else rest.pop(0)
                vectors.breaking(parts)(request, asked)
                return
            vectors.send(request, asked, rest.pop(0))
            request.finish()

        self.backend.script = script

    async def latest(self) -> Any:
        """Give the newest traffic entry."""
        return (await self.entries())[0]

    async def streamed(self, model: str, **members: Any) -> bytes:
        """Ask for a streamed chat; give all that came, and how it ended."""
        body = {"model": model, "stream": True, "messages": MESSAGES, **members}
        response = await self.begin("POST", "/v1/chat/completions", body)
        got: list[bytes] = []
        try:
            await response.collect(got.append)
        except Exception:
            got.append(b"<cut>")
        return b"".join(got)


class ResumeCases(MidStreamCase):
    """``mid_stream = "resume"``."""

    async def test_every_client_gets_one_whole_answer(self) -> None:
        """A broken stream is gone on with, from any backend to any other, for every client."""
        self.plan()
        for first, second in PAIRS:
            for surface, ask in self.surfaces.items():
                self.script(two_pieces(first), vectors.streamed_text(second))
                seen: Seen = await self.client(partial(ask, f"{first}-{second}", True, False))
                self.assertEqual(seen, (SAID, [], "stop", USED), f"{surface} {first} {second}")
                self.assertEqual(len(self.backend.asked), 2)
                entry = await self.latest()
                self.assertEqual((entry["mid_stream"], entry["outcome"]), ("resumed", "ok"))

    async def test_both_attempts_are_recorded_and_charged(self) -> None:
        """The broken attempt is charged for what it produced, the other for what it told."""
        price = "price = { input = 1.0, output = 10.0 }"
        self.plan(more=PRICED.format(price=price))
        self.script(two_pieces("openai"), vectors.streamed_text("anthropic"))
        await self.streamed("priced")
        entry = await self.latest()
        self.assertEqual(
            [(a["backend"], a["outcome"]) for a in entry["attempts"]],
            [("openai", "stream_interrupted"), ("anthropic", "ok")],
        )
        self.assertEqual(entry["backend"], "anthropic")
        said = -(-len("".join(PIECES[:2]).encode()) // 4)
        asked = len(self.sent_raw) // 4
        want = (asked * 1 + said * 10) + (vectors.IN * 1 + vectors.OUT * 10)
        self.assertAlmostEqual(entry["cost_usd"] * 1e6, want)

    @property
    def sent_raw(self) -> bytes:
        """The body that the client sent."""
        body = {"model": "priced", "stream": True, "messages": MESSAGES}
        return json.dumps(body).encode()

    async def test_ids_stay_those_of_the_first(self) -> None:
        """All chunks have one id, one time and one model, and no second role."""
        self.plan()
        self.script(two_pieces("openai"), vectors.streamed_text("ollama"))
        *chunks, done = events(await self.streamed("openai-ollama"))
        self.assertEqual(done, "[DONE]")
        for name in ("id", "created", "model"):
            self.assertEqual(len({chunk[name] for chunk in chunks}), 1)
        deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
        self.assertEqual(len([delta for delta in deltas if "role" in delta]), 1)

    async def test_the_delivered_bytes_are_the_backends_own(self) -> None:
        """Until it breaks off, a stream in the client's grammar is relayed byte for byte."""
        self.plan()
        parts = two_pieces("openai")
        self.script(parts, vectors.streamed_text("anthropic"))
        self.assertTrue((await self.streamed("openai-anthropic")).startswith(b"".join(parts)))

    async def test_another_answer_is_never_spliced_on(self) -> None:
        """An answer that begins otherwise, or ends too early, is refused in band."""
        self.plan()
        for pieces in (("Héllo, ", "World", " 🌍"), ("Héllo, ", "wör", ""), ("Oh", "", "")):
            self.script(two_pieces("openai"), other("anthropic", *pieces))
            got = await self.streamed("openai-anthropic")
            *_, last = events(got.removesuffix(b"<cut>"))
            self.assertEqual(last["error"]["code"], "stream_interrupted")
            self.assertTrue(got.endswith(b"<cut>"))
            self.assertNotIn(b"[DONE]", got)
            entry = await self.latest()
            outcomes = [attempt["outcome"] for attempt in entry["attempts"]]
            self.assertEqual(outcomes, ["stream_interrupted", "diverged"])
            self.assertEqual((entry["mid_stream"], entry["success"]), ("diverged", False))

    async def test_tool_calls_are_not_gone_on_with(self) -> None:
        """Half a tool call is told as broken; nobody else is asked."""
        self.plan()
        for first, second in PAIRS:
            calls = vectors.streamed_calls(first)
            self.script(calls[: -2 if first != "ollama" else -1], vectors.streamed_calls(second))
            got = await self.streamed(f"{first}-{second}")
            self.assertIn(b'"error"', got)
            self.assertEqual(len(self.backend.asked), 1, first)
            self.assertIsNone((await self.latest())["mid_stream"])

    async def test_a_tool_call_may_follow_the_text(self) -> None:
        """An answer that broke off within its text may go on to call tools."""
        self.plan()
        call = vectors.streamed_calls("openai")[1:]
        self.script(two_pieces("anthropic"), [*two_pieces("openai"), *call])
        seen = await self.client(lambda: self.messages_seen("anthropic-openai", True, True))
        self.assertEqual(seen[0], "".join(PIECES[:2]))
        self.assertEqual([name for name, _ in seen[1]], [name for name, _ in vectors.CALLS])

    async def test_a_second_break_is_gone_on_with_too(self) -> None:
        """Each target is asked once, until one of them has said it all."""
        third = '[profiles.three]\nclassifier = "openai"\nmid_stream = "resume"\n'
        self.plan(more=third)
        self.script(
            vectors.streamed_text("openai")[:2],
            two_pieces("anthropic"),
            vectors.streamed_text("ollama"),
            breaks=True,
        )
        seen = await self.client(lambda: self.chat_seen("three", True, False))
        self.assertEqual(seen, (SAID, [], "stop", USED))
        self.assertEqual(len((await self.latest())["attempts"]), 3)

    async def test_nobody_left_is_told_in_band(self) -> None:
        """Where all targets are used up the client sees a broken answer, never a short one."""
        self.plan()
        self.script(two_pieces("openai"), two_pieces("anthropic"), [], breaks=True)
        got = await self.streamed("openai-anthropic")
        self.assertIn(b"stream_interrupted", got)
        self.assertEqual((await self.latest())["mid_stream"], "failed")

    async def test_several_choices_are_not_compared(self) -> None:
        """With more than one choice nothing is gone on with."""
        self.plan()
        first = [two_pieces("openai")[0], two_pieces("openai")[1].replace(b'x": 0', b'x": 1')]
        self.script(first, vectors.streamed_text("anthropic"))
        self.assertIn(b"stream_interrupted", await self.streamed("openai-anthropic"))
        self.assertEqual(len(self.backend.asked), 1)

    async def test_the_words_before_an_answer_stay(self) -> None:
        """A stream that began with opening words goes on in the same way."""
        words = '[profiles.openai-anthropic.thinking_messages]\nopenai = ["Wait."]\n'
        self.plan(more=words)
        self.script(two_pieces("openai"), vectors.streamed_text("anthropic"))
        seen = await self.client(lambda: self.chat_seen("openai-anthropic", True, False))
        self.assertEqual(seen[0], "Wait. " + SAID)

    async def test_what_the_operator_hears(self) -> None:
        """Listeners are told which target goes on; no text is told."""
        self.plan()
        told: list[Any] = []
        assert self.service is not None
        self.service.resources.events.listen(told.append)
        self.script(two_pieces("openai"), vectors.streamed_text("anthropic"))
        await self.streamed("openai-anthropic")
        (event,) = [event for event in told if event.kind == "mid_stream"]
        self.assertEqual((event.facts["outcome"], event.facts["backend"]), ("resumed", "anthropic"))


class EndCases(MidStreamCase):
    """What is left when an answer is not gone on with."""

    async def half_resumed(self) -> Any:
        """Have the second target asked, and leave it silent; give the response."""
        self.plan()
        first = vectors.breaking(two_pieces("openai"))
        self.backend.script = turns(first, hang)
        body = {"model": "openai-anthropic", "stream": True, "messages": MESSAGES}
        response = await self.begin("POST", "/v1/chat/completions", body)
        await until(lambda: len(self.backend.asked) == 2)
        return response

    async def test_the_client_leaves_meanwhile(self) -> None:
        """The target that is asked is let go at once, and nothing is held any more."""
        response = await self.half_resumed()
        response.original._transport.loseConnection()
        await until(lambda: 1 in self.backend.lost)
        assert self.service is not None
        resources = self.service.resources
        await until(lambda: resources.traffic.total == 1)
        entry = await self.latest()
        outcomes = [attempt["outcome"] for attempt in entry["attempts"]]
        self.assertEqual(outcomes, ["stream_interrupted", "cancelled"])
        self.assertEqual(entry["outcome"], "client_closed")
        self.assertEqual((resources.traffic.in_flight, resources.tally.in_flight), (0, 0))
        self.assertEqual({target.in_flight for target in resources.health}, {0})

    async def test_a_budget_that_cannot_pay_for_another(self) -> None:
        """The further target is not asked, and the client is told that the answer broke."""
        price = "price = { input = 1.0, output = 1000.0 }"
        self.plan(more=PRICED.format(price=price) + BUDGET)
        self.script(two_pieces("openai"), vectors.streamed_text("anthropic"))
        got = await self.streamed("priced", max_tokens=900)
        self.assertIn(b"stream_interrupted", got)
        self.assertEqual(len(self.backend.asked), 1)
        self.assertEqual((await self.latest())["mid_stream"], "failed")

    async def test_a_judged_stream_is_gone_on_with(self) -> None:
        """In escalate mode, what breaks off after its judgement is gone on with too."""
        self.plan(more=JUDGED)
        self.script(two_pieces("openai"), vectors.streamed_text("anthropic"))
        seen = await self.client(lambda: self.chat_seen("judged", True, False))
        self.assertEqual(seen, (SAID, [], "stop", USED))
        self.assertEqual((await self.latest())["mid_stream"], "resumed")

    async def test_it_is_counted(self) -> None:
        """The metrics say what became of streams that broke off."""
        self.plan()
        self.script(two_pieces("openai"), vectors.streamed_text("anthropic"))
        await self.streamed("openai-anthropic")
        text = (await self.ask("GET", "/metrics", admin=True)).body.decode()
        self.assertRegex(text, r'lmg_mid_stream_total\{backend="anthropic",.*"resumed"\} 1')


JUDGED = """
    [profiles.judged]
    mode = "escalate"
    classifier = "openai"
    hold_tokens = 1
    gates = { length = false }
    mid_stream = "resume"
"""
BUDGET = """
    [[budgets]]
    name = "all"
    scope = "global"
    period = "total"
    limit_usd = 0.902
"""
PRICED = """
    [[tiers]]
    name = "one"
    backend = "openai"
    model = "m"
    {price}
    [[tiers]]
    name = "two"
    backend = "anthropic"
    model = "m"
    {price}
    [profiles.priced]
    classifier = "one"
    fallback = ["two"]
    mid_stream = "resume"
"""


class PrefillCases(MidStreamCase):
    """Targets that are asked to continue an answer."""

    async def continued(self, first: str, backend: str, prefill: str, rest: list[bytes]) -> Seen:
        """Have a tier of *backend* continue what *first* began."""
        parts = {"backend": backend, "prefill": prefill, "first": first}
        self.plan(more=PREFILLED.format(**parts))
        self.script(two_pieces(first), rest)
        seen: Seen = await self.client(lambda: self.chat_seen("onward", True, False))
        return seen

    async def test_the_answer_begun_is_the_last_message(self) -> None:
        """The target is given what was delivered, and the client what it says after it."""
        seen = await self.continued("ollama", "openai", "prefix", other("openai", " 🌍", "", ""))
        self.assertEqual(seen[:3], (SAID, [], "stop"))
        begun = {"role": "assistant", "content": "Héllo, wörld", "prefix": True}
        self.assertEqual(self.sent["messages"], [*MESSAGES, begun])

    async def test_continue_final_message(self) -> None:
        """Servers of open models are told not to begin a new message."""
        rest = other("openai", " 🌍", "", "")
        seen = await self.continued("anthropic", "openai", "continue_final_message", rest)
        self.assertEqual(seen[:3], (SAID, [], "stop"))
        self.assertIs(self.sent["continue_final_message"], True)
        self.assertIs(self.sent["add_generation_prompt"], False)

    async def test_a_last_message_alone(self) -> None:
        """Anthropic and Ollama need no more than the message."""
        seen = await self.continued(
            "openai", "anthropic", "message", other("anthropic", " 🌍", "", "")
        )
        self.assertEqual(seen[:3], (SAID, [], "stop"))
        last = self.sent["messages"][-1]
        self.assertEqual(last["role"], "assistant")
        self.assertIn("Héllo, wörld", json.dumps(last, ensure_ascii=False))

    async def test_structured_answers_begin_anew(self) -> None:
        """A JSON answer is not continued but repeated, and compared."""
        parts = {"backend": "ollama", "prefill": "message", "first": "openai"}
        self.plan(more=PREFILLED.format(**parts))
        self.script(two_pieces("openai"), vectors.streamed_text("ollama"))
        got = await self.streamed("onward", response_format={"type": "json_object"})
        self.assertEqual(self.sent["messages"], MESSAGES)
        said = [c["delta"].get("content") for d in events(got)[:-1] for c in d["choices"]]
        self.assertEqual("".join(text or "" for text in said), SAID)


class OtherWays(MidStreamCase):
    """``error`` and ``restart``."""

    async def told_as_broken(self, model: str) -> None:
        """See that a stream that breaks off is told as broken, and that nobody else is asked."""
        self.script(two_pieces("openai"), vectors.streamed_text("anthropic"))
        got = await self.streamed(model)
        self.assertTrue(got.startswith(b"".join(two_pieces("openai"))))
        self.assertIn(b"stream_interrupted", got)
        self.assertEqual(len(self.backend.asked), 1)

    async def test_error_is_the_default(self) -> None:
        """Nobody else is asked unless the operator said so."""
        self.plan("error")
        await self.told_as_broken("openai-anthropic")
        await self.told_as_broken("openai")

    async def test_what_was_said_is_not_begun_anew(self) -> None:
        """Once the client has seen output, nothing takes its place."""
        self.plan("restart")
        await self.told_as_broken("openai-anthropic")

    async def test_profiles_inherit(self) -> None:
        """What the gateway says holds for the profiles that say nothing."""
        more = '[profiles.own]\nclassifier = "openai"'
        self.serve(gateway='mid_stream = "resume"', more=more)
        self.script(two_pieces("openai"), vectors.streamed_text("anthropic"))
        self.assertIn(b"[DONE]", await self.streamed("own"))

    async def test_restart_while_nothing_was_said(self) -> None:
        """An answer of which the client has seen nothing yet is given by the next target."""
        self.plan("restart", openai='tool_format = "xml"')
        held = vectors.streamed_text("openai")[:1]
        held.append(vectors.streamed_text("openai")[1].replace("Héllo, ".encode(), b"<tool_call>"))
        self.script(held, vectors.streamed_text("anthropic"))
        seen = await self.client(lambda: self.chat_seen("openai-anthropic", True, True))
        self.assertEqual(seen, (SAID, [], "stop", USED))
        entry = await self.latest()
        self.assertEqual((entry["mid_stream"], entry["backend"]), ("restarted", "anthropic"))
