"""R-E: escalate; answers are judged, on streams too."""

from __future__ import annotations

import json
from typing import Any

from tests.fakes import (
    DONE,
    LONG,
    STREAM,
    Asked,
    Script,
    chunk,
    completion,
    hang,
    status,
    turns,
    until,
)
from tests.harness import BASE, GatewayCase, ensureDeferred

JUDGING = """
    [backends.judge]
    base_url = "{url}"
    max_concurrent = 1

    [[tiers]]
    name = "judging"
    backend = "judge"
    model = "judge-model"

    [profiles.judged]
    classifier = "judging"
    failover = false
"""
ESCALATE = BASE.replace('mode = "dispatch"', 'mode = "escalate"')
REFUSALS = (
    "i don't know",
    "i cannot help",
    "i'm not able to",
    "as an ai",
    "i don't have enough information",
)
TOOLS = [{"type": "function", "function": {"name": "turn_on", "parameters": {"type": "object"}}}]
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "turn_on", "arguments": '{"area":"Office"}'},
}


def says(text: str | None, **message: Any) -> Script:
    """Make a script that answers with a text."""
    return lambda request, asked: completion(text, **message)


def streams(*texts: str, finish: str = "stop") -> tuple[bytes, ...]:
    """Give the events of a stream that says *texts*."""
    role = chunk({"role": "assistant", "content": ""})
    return (role, *(chunk({"content": text}) for text in texts), chunk({}, finish), DONE)


REFUSAL = streams("I'm sorry, but ", "I'm not ", "able to help with that.")
GOOD = streams("This is a perfectly ", "fine answer ", "of a decent length.")


class EscalateCases(GatewayCase):
    """Tests for whole answers."""

    def begin_with(self, *scripts: Script, **parts: str) -> None:
        """Serve, the backend following one script per request."""
        self.start(ESCALATE, **parts)
        self.backend.script = turns(*scripts)

    async def entry(self) -> dict[str, Any]:
        """Give the newest traffic entry."""
        return (await self.entries())[0]

    async def test_R_E01_good_enough(self) -> None:
        """A good answer of the cheapest tier is the answer."""
        self.begin_with(says(LONG))
        got = await self.chat()
        self.assertEqual((got.text, got.headers["x-lmg-tier"]), (LONG, "local:fast"))
        self.assertNotIn("x-lmg-insufficient", got.headers)
        entry = await self.entry()
        self.assertIs(entry["escalated"], False)
        self.assertEqual((entry["routing_mode"], entry["climbs"]), ("escalate", []))

    async def test_R_E02_too_short(self) -> None:
        """A short answer has the next tier asked; both attempts are shown."""
        self.begin_with(says("Sure."), says(LONG))
        got = await self.chat()
        self.assertEqual((got.text, got.headers["x-lmg-tier"]), (LONG, "cloud:economy"))
        self.assertEqual(got.headers["x-lmg-attempts"], "2")
        self.assertEqual(self.backend.models, ["fast-model", "economy-model"])
        entry = await self.entry()
        self.assertIs(entry["escalated"], True)
        self.assertEqual(entry["routing_mode"], "escalate")
        self.assertEqual(
            [attempt["outcome"] for attempt in entry["attempts"]], ["insufficient:length", "ok"]
        )
        self.assertEqual(
            entry["climbs"],
            [
                {
                    "from_tier": "local:fast",
                    "to_tier": "cloud:economy",
                    "reason": "insufficient:length",
                }
            ],
        )

    async def test_R_E03_refusals(self) -> None:
        """Each refusal, in any case, has the next tier asked."""
        self.begin_with(says(LONG))
        for phrase in REFUSALS:
            for text in (phrase, phrase.upper(), phrase.capitalize().replace("'", "\u2019")):
                self.backend.script = turns(says(f"Well, {text} about all of that."), says(LONG))
                got = await self.chat()
                self.assertEqual((got.text, got.headers["x-lmg-tier"]), (LONG, "cloud:economy"))

    async def test_refusals_are_whole_words(self) -> None:
        """A phrase within a longer word is no refusal."""
        self.begin_with(says("Take it as an aim, and go on from there every day."))
        self.assertEqual((await self.chat()).headers["x-lmg-tier"], "local:fast")

    async def test_R_E04_no_choices(self) -> None:
        """An answer without choices has the next tier asked."""
        self.begin_with(lambda r, a: {"object": "chat.completion"}, says(LONG))
        self.assertEqual((await self.chat()).headers["x-lmg-tier"], "cloud:economy")

    async def test_empty(self) -> None:
        """White space is no answer."""
        self.begin_with(says(" \n "), says(LONG))
        self.assertEqual((await self.chat()).text, LONG)
        outcomes = [a["outcome"] for a in (await self.entry())["attempts"]]
        self.assertEqual(outcomes, ["insufficient:empty", "ok"])

    async def test_R_E05_failure(self) -> None:
        """A failure has the next tier asked."""
        self.begin_with(status(500), says(LONG))
        got = await self.chat()
        self.assertEqual(got.headers["x-lmg-tier"], "cloud:economy")
        entry = await self.entry()
        self.assertIs(entry["escalated"], True)
        self.assertEqual(entry["climbs"][0]["reason"], "backend_failed")

    async def test_R_E06_ceiling(self) -> None:
        """Tiers above the ceiling are not asked; the best answer is marked."""
        template = ESCALATE.replace('tier = "cloud:economy"', 'tier = "local:fast"')
        self.start(template)
        self.backend.script = says("Sure.")
        got = await self.chat()
        self.assertEqual((got.code, got.text), (200, "Sure."))
        self.assertEqual(got.headers["x-lmg-insufficient"], "length")
        self.assertEqual(self.backend.models, ["fast-model"])
        self.assertEqual((await self.entry())["insufficient"], "length")

    async def test_R_E07_nothing_is_good_enough(self) -> None:
        """Where no answer is good enough the best one is sent, marked, byte for byte."""
        self.begin_with(says("Sure."), says(""))
        got = await self.chat()
        self.assertEqual((got.code, got.text), (200, "Sure."))
        self.assertEqual(got.body, json.dumps(completion("Sure.")).encode())
        self.assertEqual(got.headers["x-lmg-insufficient"], "length")
        self.assertEqual(got.headers["x-lmg-tier"], "local:fast")
        entry = await self.entry()
        self.assertIs(entry["escalated"], False)
        self.assertEqual((entry["success"], entry["tier"]), (True, "local:fast"))
        outcomes = [attempt["outcome"] for attempt in entry["attempts"]]
        self.assertEqual(outcomes, ["insufficient:length", "insufficient:empty"])

    async def test_R_E07_of_equals_the_dearer_one(self) -> None:
        """Of two answers that fail the same gate the dearer tier's is sent."""
        self.begin_with(says("Sure."), says("Yes."))
        got = await self.chat()
        self.assertEqual((got.text, got.headers["x-lmg-tier"]), ("Yes.", "cloud:economy"))
        self.assertEqual(got.headers["x-lmg-insufficient"], "length")

    async def test_R_E07_as_an_error(self) -> None:
        """With ``on_insufficient = "error"`` it is an error, in either style."""
        self.begin_with(says("Sure."), profile='on_insufficient = "error"')
        got = await self.chat()
        self.assertEqual((got.code, got.headers["x-lmg-error"]), (502, "insufficient"))
        self.assertEqual(len(got.json["error"]["attempts"]), 2)
        self.assertIs((await self.entry())["success"], False)

    async def test_best_answer_when_the_rest_fails(self) -> None:
        """An answer that is not good enough is better than the failures that follow."""
        self.begin_with(says("Sure."), status(500))
        got = await self.chat()
        self.assertEqual((got.code, got.text), (200, "Sure."))
        self.assertEqual(got.headers["x-lmg-insufficient"], "length")

    async def test_all_fail(self) -> None:
        """Where no tier answers, the last failure is told."""
        self.begin_with(status(500))
        got = await self.chat()
        self.assertEqual((got.code, got.headers["x-lmg-error"]), (502, "backend_failed"))

    async def test_rejection_ends_it(self) -> None:
        """The backend's own 400 is told at once: another tier would say the same."""
        self.begin_with(status(400))
        self.assertEqual((await self.chat()).code, 400)
        self.assertEqual(len(self.backend.asked), 1)

    async def test_R_E08_the_name_is_ignored(self) -> None:
        """Whatever model is named, the cheapest tier is asked first."""
        self.begin_with(says(LONG))
        got = await self.chat("cloud:economy")
        self.assertEqual(got.headers["x-lmg-tier"], "local:fast")

    async def test_R_E10_window(self) -> None:
        """A tier whose window is too small is skipped, not asked."""
        small = '    model = "fast-model"\n    max_context_tokens = 10\n'
        self.start(ESCALATE.replace('    model = "fast-model"\n', small))
        long = [{"role": "user", "content": "many words " * 20}]
        got = await self.chat(messages=long)
        self.assertEqual(got.headers["x-lmg-tier"], "cloud:economy")
        self.assertEqual(self.backend.models, ["economy-model"])

    async def test_failover_off_climbs_all_the_same(self) -> None:
        """Escalation is not failover: it climbs where failover is off."""
        self.begin_with(says("Sure."), says(LONG), profile="failover = false")
        self.assertEqual((await self.chat()).headers["x-lmg-tier"], "cloud:economy")

    async def test_R_E12_tool_calls(self) -> None:
        """An answer that calls a tool is good enough."""
        self.begin_with(says(None, tool_calls=[CALL]))
        self.assertEqual((await self.chat()).headers["x-lmg-tier"], "local:fast")
        got = await self.chat(tools=TOOLS)
        self.assertEqual(got.headers["x-lmg-tier"], "local:fast")

    async def test_R_E12_undeclared_tool(self) -> None:
        """A call of a tool that was not declared is not."""
        stray = {**CALL, "function": {"name": "turn_off", "arguments": "{}"}}
        self.begin_with(says(None, tool_calls=[stray]), says(LONG))
        got = await self.chat(tools=TOOLS)
        self.assertEqual(got.headers["x-lmg-tier"], "cloud:economy")

    async def test_json_was_asked_for(self) -> None:
        """Short JSON is good enough where JSON was asked for, and prose is not."""
        self.begin_with(says('{"ok":true}'))
        wanted: dict[str, Any] = {"response_format": {"type": "json_object"}}
        self.assertEqual((await self.chat(**wanted)).headers["x-lmg-tier"], "local:fast")
        self.backend.script = turns(says(f"Here it is: {LONG}"), says('{"ok":true}'))
        self.assertEqual((await self.chat(**wanted)).headers["x-lmg-tier"], "cloud:economy")

    async def test_gates_are_switched_and_tuned(self) -> None:
        """A profile's gates are its own."""
        self.begin_with(
            says("Sure."),
            profile='gates = { length = false, refusal = { phrases = ["no idea"] } }',
        )
        self.assertEqual((await self.chat()).headers["x-lmg-tier"], "local:fast")
        self.backend.script = turns(says(f"No idea. {LONG}"), says(LONG))
        self.assertEqual((await self.chat()).headers["x-lmg-tier"], "cloud:economy")

    async def test_judge(self) -> None:
        """A cheap tier's score decides; its call is an attempt of the exchange."""
        judge = 'gates = { judge = { tier = "local:fast", min_score = 7 } }'
        self.begin_with(says(LONG), says("3"), says(LONG), says("9"), profile=judge)
        got = await self.chat()
        self.assertEqual(got.headers["x-lmg-tier"], "cloud:economy")
        attempts = (await self.entry())["attempts"]
        self.assertEqual([a["purpose"] for a in attempts], ["answer", "judge", "answer", "judge"])
        self.assertEqual([a["outcome"] for a in attempts], ["insufficient:judge", "ok", "ok", "ok"])
        body = self.backend.asked[1].body
        case = json.loads(body["messages"][1]["content"])
        self.assertEqual(case, {"question": "hi", "answer": LONG})
        self.assertEqual((body["model"], body["temperature"]), ("fast-model", 0))

    async def test_judge_that_fails(self) -> None:
        """A judge that fails, or says no number, lets the answer pass; its outcome tells."""
        judge = 'gates = { judge = { tier = "local:fast" } }'
        self.begin_with(says(LONG), profile=judge)
        for script, outcome in (
            (says("I give it a 3."), "unreadable_score"),
            (status(500), "backend_failed"),
        ):
            self.backend.script = turns(says(LONG), script)
            self.assertEqual((await self.chat()).headers["x-lmg-tier"], "local:fast")
            attempts = (await self.entry())["attempts"]
            self.assertEqual([a["outcome"] for a in attempts], ["ok", outcome])

    async def test_judge_on_a_backend_with_one_place(self) -> None:
        """It needs no second place where the answer that it judges has the only one."""
        judge = 'gates = { judge = { tier = "local:fast", min_score = 7 } }'
        scripts = (says(LONG), says("3"), says(LONG), says("9"))
        self.begin_with(*scripts, profile=judge, backends="max_concurrent = 1")
        self.assertEqual((await self.chat()).headers["x-lmg-tier"], "cloud:economy")

    async def test_judge_that_finds_no_place(self) -> None:
        """A judge whose backend is full is not asked, and lets the answer pass."""
        judge = 'gates = { judge = { tier = "judging", timeout_ms = 100 } }'
        other, url = self.another(hang)
        more = JUDGING.format(url=url)
        self.start(ESCALATE, profile=judge, more=more)
        self.backend.script = says(LONG)
        waiting = ensureDeferred(self.chat("judged"))
        await until(lambda: len(other.asked) == 1)
        got = await self.chat()
        self.assertEqual((got.code, len(other.asked)), (200, 1))
        self.assertEqual([a["purpose"] for a in (await self.entry())["attempts"]], ["answer"])
        other.requests[0].finish()
        await waiting

    async def test_embeddings_are_not_judged(self) -> None:
        """Embeddings go where their name says."""
        self.begin_with(lambda r, a: {"object": "list", "data": [], "model": "m"})
        got = await self.ask("POST", "/v1/embeddings", {"model": "cloud:economy", "input": "hi"})
        self.assertEqual((got.code, self.backend.models), (200, ["economy-model"]))

    async def test_client_leaves(self) -> None:
        """When the client leaves, the tier being asked is closed, and nobody else is asked."""
        for scripts in ((hang,), (says("Sure."), hang)):
            if self.service is None:
                self.start(ESCALATE)
            before = len(self.backend.asked)
            self.backend.script = turns(*scripts)
            asking = self.http.post(
                f"http://127.0.0.1:{self.client_port}/v1/chat/completions",
                json={"model": "x", "messages": [{"role": "user", "content": "hi"}]},
            )
            number = before + len(scripts)
            await until(lambda n=number: len(self.backend.asked) == n)  # type: ignore[misc]
            asking.addErrback(lambda _: None)
            asking.cancel()
            await until(lambda n=number: n - 1 in self.backend.lost)  # type: ignore[misc]
            self.assertEqual((await self.entry())["outcome"], "client_closed")
            self.assertEqual(len(self.backend.asked), number)


class EscalateStreamCases(GatewayCase):
    """Tests for streams."""

    def begin_with(self, *scripts: Any, **parts: str) -> None:
        """Serve, the backend giving one script or stream per request."""
        self.start(ESCALATE, **parts)
        self.backend.script = turns(*map(_script, scripts))

    async def outcomes(self) -> list[str]:
        """Give the outcomes of the newest entry's attempts."""
        return [a["outcome"] for a in (await self.entries())[0]["attempts"]]

    async def test_R_E11_streams_climb_too(self) -> None:
        """A refusal in three chunks is not seen: only the next tier's answer is."""
        self.begin_with(REFUSAL, GOOD)
        got = await self.chat(stream=True)
        self.assertEqual(got.body, b"".join(GOOD))
        self.assertEqual(got.headers["x-lmg-tier"], "cloud:economy")
        self.assertEqual(await self.outcomes(), ["insufficient:refusal", "ok"])
        entry = (await self.entries())[0]
        self.assertEqual((entry["escalated"], entry["routing_mode"]), (True, "escalate"))
        self.assertEqual(len(entry["climbs"]), 1)

    async def test_good_stream(self) -> None:
        """A good stream comes byte for byte from the cheapest tier."""
        self.begin_with(GOOD)
        got = await self.chat(stream=True)
        self.assertEqual(got.body, b"".join(GOOD))
        self.assertEqual(got.headers["x-lmg-tier"], "local:fast")

    async def test_long_stream_is_let_go(self) -> None:
        """Once the hold is full and good, the client reads along."""
        self.begin_with(unfinished(*["word "] * 50))
        got = await self.reading()
        await until(lambda: b"word" in b"".join(got))
        self.backend.requests[0].write(chunk({"content": "more"}) + DONE)
        self.backend.requests[0].finish()
        await until(lambda: b"".join(got).endswith(DONE))
        self.assertEqual(b"".join(got).count(b"word"), 50)

    async def test_hold_ends_in_time(self) -> None:
        """A slow stream is held no longer than ``hold_ms``."""
        self.begin_with(unfinished("Slow"), profile="hold_ms = 100")
        got = await self.reading()
        await until(lambda: b"Slow" in b"".join(got))
        self.backend.requests[0].write(chunk({"content": " but sure"}) + DONE)
        self.backend.requests[0].finish()
        await until(lambda: b"".join(got).endswith(DONE))

    async def test_nothing_is_sent_while_held(self) -> None:
        """Not a byte is sent within the hold, so that status and headers are still true."""
        self.begin_with(unfinished("Slow"), profile="hold_ms = 400")
        answered: list[Any] = []
        asking = self.http.post(
            f"http://127.0.0.1:{self.client_port}/v1/chat/completions",
            json={"stream": True, "messages": [{"role": "user", "content": "hi"}]},
            unbuffered=True,
        )
        asking.addCallback(answered.append)
        await until(lambda: bool(self.backend.asked))
        self.assertEqual(answered, [])
        await until(lambda: bool(answered))
        answered[0].original._transport.loseConnection()
        await until(lambda: self.backend.lost == [0])

    async def test_unfinished_refusal(self) -> None:
        """A refusal that goes on and on is cut off, and the next tier asked."""
        self.begin_with(unfinished("I cannot help with that. ", *["word "] * 50), GOOD)
        got = await self.chat(stream=True)
        self.assertEqual(got.body, b"".join(GOOD))
        await until(lambda: self.backend.lost == [0])

    async def test_tiers_that_share_a_queue(self) -> None:
        """Tiers on one GPU, one request at a time: climbing does not wait for itself."""
        one = 'model = "{}"\n    queue_id = "gpu"\n    max_concurrent = 1'
        template = ESCALATE
        for model in ("fast-model", "economy-model"):
            template = template.replace(f'model = "{model}"', one.format(model))
        self.start(template)
        refusal = unfinished("I cannot help with that. ", *["word "] * 50)
        self.backend.script = turns(refusal, _script(GOOD))
        for _ in range(2):
            got = await self.chat(stream=True)
            self.assertEqual(got.body, b"".join(GOOD))

    async def test_break_within_the_hold(self) -> None:
        """A stream that breaks while it is held has the next tier asked, and is not seen."""
        self.begin_with(STREAM[:3], GOOD)
        got = await self.chat(stream=True)
        self.assertEqual(got.body, b"".join(GOOD))
        self.assertEqual(await self.outcomes(), ["backend_protocol", "ok"])

    async def test_break_after_the_hold(self) -> None:
        """A stream that breaks after it was let go is told in band."""
        self.begin_with(unfinished("Slow"), profile="hold_ms = 50")
        got = await self.reading()
        await until(lambda: b"Slow" in b"".join(got))
        self.backend.cut(0)
        await until(lambda: b"stream_interrupted" in b"".join(got))
        self.assertNotIn(b"[DONE]", b"".join(got))

    async def test_best_stream_when_the_rest_fails(self) -> None:
        """A stream that was put aside is sent after all, marked, when later tiers fail."""
        self.begin_with(REFUSAL, status(500))
        got = await self.chat(stream=True)
        self.assertEqual((got.code, got.body), (200, b"".join(REFUSAL)))
        self.assertEqual(got.headers["x-lmg-insufficient"], "refusal")
        self.assertEqual(got.headers["x-lmg-tier"], "local:fast")

    async def test_cut_off_stream_is_asked_for_again(self) -> None:
        """What was cut off cannot be sent: its tier is asked once more when the rest fails."""
        refusal = ("I cannot help with that. ", *["word "] * 50)
        self.begin_with(unfinished(*refusal), status(500), streams(*refusal))
        got = await self.chat(stream=True)
        self.assertEqual((got.code, got.body), (200, b"".join(streams(*refusal))))
        self.assertEqual(got.headers["x-lmg-insufficient"], "refusal")
        self.assertEqual(self.backend.models, ["fast-model", "economy-model", "fast-model"])

    async def test_nothing_is_good_enough(self) -> None:
        """The last tier's stream is sent, marked, where it is no worse than the others."""
        self.begin_with(REFUSAL)
        got = await self.chat(stream=True)
        self.assertEqual(got.headers["x-lmg-tier"], "cloud:economy")
        self.assertEqual(got.headers["x-lmg-insufficient"], "refusal")

    async def test_nothing_is_good_enough_as_an_error(self) -> None:
        """With ``on_insufficient = "error"`` it is an error with a status."""
        self.begin_with(REFUSAL, profile='on_insufficient = "error"')
        got = await self.chat(stream=True)
        self.assertEqual((got.code, got.headers["x-lmg-error"]), (502, "insufficient"))

    async def test_tool_calls(self) -> None:
        """A streamed call of an undeclared tool is not good enough."""
        self.begin_with(calls("turn_off"), calls("turn_on"))
        got = await self.chat(stream=True, tools=TOOLS)
        self.assertEqual(got.headers["x-lmg-tier"], "cloud:economy")
        self.assertEqual(got.body, b"".join(calls("turn_on")))

    async def test_json_prefix(self) -> None:
        """A long answer that does not begin as JSON is cut off where JSON was asked for."""
        self.begin_with(unfinished(*["Of course! "] * 50), streams('{"ok":', "true}"))
        got = await self.chat(stream=True, response_format={"type": "json_object"})
        self.assertEqual(got.headers["x-lmg-tier"], "cloud:economy")
        self.assertEqual(await self.outcomes(), ["insufficient:json_valid", "ok"])

    async def test_judge_has_the_rest_of_the_hold(self) -> None:
        """A judge that does not answer within the hold lets the stream go."""
        profile = 'hold_ms = 200\ngates = { judge = { tier = "cloud:economy" } }'
        self.begin_with(GOOD, hang, profile=profile)
        got = await self.chat(stream=True)
        self.assertIn(b"".join(GOOD[:-1]), got.body)
        self.assertEqual(await self.outcomes(), ["ok", "backend_timeout"])
        self.assertEqual((await self.entries())[0]["tier"], "local:fast")
        await until(lambda: self.backend.lost == [1])

    async def test_long_search_is_kept_alive(self) -> None:
        """Once the hold's time is over a stream is opened and kept alive, whoever answers."""
        self.begin_with(REFUSAL, hang, profile="hold_ms = 100")
        got = await self.reading()
        await until(lambda: b": keep-alive" in b"".join(got))
        request = self.backend.requests[1]
        request.setHeader("content-type", "text/event-stream")
        request.write(b"".join(GOOD))
        request.finish()
        await until(lambda: b"".join(got).endswith(DONE))
        body = b"".join(got)
        self.assertNotIn(b"sorry", body)
        self.assertIn(b"".join(GOOD[:-1]), body)
        self.assertIn(b": x-lmg-tier: cloud:economy\n", body)
        self.assertNotIn("x-lmg-tier", self.headers)
        entry = (await self.entries())[0]
        self.assertEqual((entry["tier"], entry["success"]), ("cloud:economy", True))

    async def test_long_search_that_fails(self) -> None:
        """A search that fails after the stream was opened is told in band."""
        self.begin_with(REFUSAL, hang, profile='hold_ms = 100\non_insufficient = "error"')
        got = await self.reading()
        await until(lambda: b": keep-alive" in b"".join(got))
        self.fail_second()
        await until(lambda: b'"insufficient"' in b"".join(got))
        self.assertNotIn(b"[DONE]", b"".join(got))

    async def test_long_search_falls_back(self) -> None:
        """What was put aside is sent in the stream that was opened, when the rest fails."""
        self.begin_with(REFUSAL, hang, profile="hold_ms = 100")
        got = await self.reading()
        await until(lambda: b": keep-alive" in b"".join(got))
        self.fail_second()
        await until(lambda: b"".join(got).endswith(DONE))
        self.assertIn(b"".join(REFUSAL[:-1]), b"".join(got))
        self.assertIn(b": x-lmg-insufficient: refusal\n", b"".join(got))

    async def test_client_leaves_a_long_search(self) -> None:
        """When the client leaves a stream that was opened early, the search is given up."""
        self.begin_with(REFUSAL, hang, profile="hold_ms = 100")
        got = await self.reading()
        await until(lambda: b": keep-alive" in b"".join(got))
        self.response.original._transport.loseConnection()
        await until(lambda: self.backend.lost == [1])
        self.assertEqual(await self.outcomes(), ["insufficient:refusal", "cancelled"])

    async def test_client_leaves_within_the_hold(self) -> None:
        """When the client leaves while a stream is held, the backend's connection is closed."""
        self.begin_with(unfinished("Slow"))
        asking = self.http.post(
            f"http://127.0.0.1:{self.client_port}/v1/chat/completions",
            json={"stream": True, "messages": [{"role": "user", "content": "hi"}]},
        )
        await until(lambda: bool(self.backend.asked))
        asking.addErrback(lambda _: None)
        asking.cancel()
        await until(lambda: self.backend.lost == [0])
        self.assertEqual(len(self.backend.asked), 1)
        self.assertEqual(await self.outcomes(), ["cancelled"])

    def fail_second(self) -> None:
        """Have the backend fail at the request that it left unanswered."""
        self.backend.requests[1].setResponseCode(500)
        self.backend.requests[1].finish()

    async def reading(self) -> list[bytes]:
        """Ask for a stream and give what comes of it, as it comes."""
        self.response = response = await self.begin(
            "POST",
            "/v1/chat/completions",
            {"stream": True, "messages": [{"role": "user", "content": "hi"}]},
        )
        self.headers = [name.decode().lower() for name, _ in response.headers.getAllRawHeaders()]
        got: list[bytes] = []
        response.collect(got.append).addErrback(lambda _: None)
        return got


def _script(item: Any) -> Script:
    return item if callable(item) else lambda request, asked: item


def unfinished(*texts: str) -> Script:
    """Make a script that begins a stream and leaves it open."""

    def script(request: Any, asked: Asked) -> None:
        request.setHeader("content-type", "text/event-stream")
        request.write(b"".join(chunk({"content": text}) for text in texts))

    return script


def calls(name: str) -> tuple[bytes, ...]:
    """Give a stream that calls a tool."""
    begin = {"index": 0, "id": "call_1", "type": "function", "function": {"name": name}}
    return (
        chunk({"role": "assistant", "tool_calls": [begin]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"area":'}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"Office"}'}}]}),
        chunk({}, "tool_calls"),
        DONE,
    )
