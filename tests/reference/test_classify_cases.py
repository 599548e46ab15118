"""R-K: classify mode, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.fakes import LONG, STREAM, Asked, completion, hang, status, until
from tests.harness import GatewayCase, ensureDeferred

LADDER = """
    [gateway]
    client_port = {client}
    admin_port = {admin}
    {gateway}

    [backends.mock]
    base_url = "{backend}"
    {backends}

    [[tiers]]
    name = "local:instant"
    backend = "mock"
    model = "instant-model"
    {first}

    [[tiers]]
    name = "local:fast"
    backend = "mock"
    model = "fast-model"

    [[tiers]]
    name = "cloud:pro"
    backend = "mock"
    model = "pro-model"

    [profiles.default]
    mode = "classify"
    classifier = "local:instant"
    {profile}

    {more}
"""


def is_classifying(asked: Asked) -> bool:
    """Tell a classifier's call from a main one."""
    return bool(asked.body.get("max_tokens") == 10)


class ClassifyCase(GatewayCase):
    """A gateway whose default profile classifies."""

    def says(self, *labels: str, main: Any = None) -> None:
        """Have the classifier say *labels* in turn, the last one for ever."""
        rest = list(labels)

        def script(request: Any, asked: Asked) -> Any:
            if is_classifying(asked):
                return completion(rest.pop(0) if len(rest) > 1 else rest[0])
            if callable(main):
                return main(request, asked)
            return STREAM if asked.body.get("stream") else completion(LONG)

        self.backend.script = script

    def serve(self, **parts: str) -> None:
        """Serve the ladder of three."""
        self.start(LADDER, **{"first": "", **parts})

    async def tier(self, **members: Any) -> str:
        """Ask, and give the tier that answered."""
        got = await self.chat(**members)
        self.assertEqual(got.code, 200, got.body)
        return got.headers["x-lmg-tier"]

    @property
    def classifying(self) -> list[Any]:
        """The bodies of the classifier's calls."""
        return [asked.body for asked in self.backend.asked if is_classifying(asked)]

    @property
    def answering(self) -> list[Any]:
        """The bodies of the main calls."""
        return [asked.body for asked in self.backend.asked if not is_classifying(asked)]


class LabelCases(ClassifyCase):
    """Tests for what the classifier's word means."""

    async def test_R_K01_label_names_a_tier(self) -> None:
        """The label names a tier by what follows its colon, and is shown."""
        self.serve()
        self.says("fast")
        got = await self.chat()
        self.assertEqual(got.headers["x-lmg-tier"], "local:fast")
        self.assertEqual(got.headers["x-lmg-class"], "fast")
        self.assertEqual(got.headers["x-lmg-attempts"], "2")

    async def test_R_K02_punctuation_and_case(self) -> None:
        """Neither punctuation nor case matters."""
        self.serve()
        for said, tier in (("PRO.", "cloud:pro"), ("[fast]", "local:fast"), ('"Pro"', "cloud:pro")):
            self.says(said)
            self.assertEqual(await self.tier(), tier, said)

    async def test_R_K03_tier_tag_wins(self) -> None:
        """A ``tier`` tag beats a bare word."""
        self.serve()
        self.says("deep tier=fast")
        self.assertEqual(await self.tier(), "local:fast")

    async def test_R_K04_think_suffix(self) -> None:
        """A ``-think`` label sets the flag of the main call, where the backend takes it."""
        other, url = self.another()
        self.serve(
            more=f"""
            [backends.olla]
            provider = "ollama"
            base_url = "{url}"
            [[tiers]]
            name = "local:deep"
            backend = "olla"
            model = "deep-model"
            """
        )
        other.script = lambda request, asked: {
            "model": "deep-model",
            "message": {"role": "assistant", "content": LONG},
            "done": True,
            "done_reason": "stop",
        }
        self.says("tier=deep-think")
        self.assertEqual(await self.tier(), "local:deep")
        self.assertIs(other.asked[0].body["think"], True)
        self.says("tier=pro-think")
        self.assertEqual(await self.tier(), "cloud:pro")
        self.assertNotIn("think", self.answering[-1])

    async def test_R_K05_unknown_label(self) -> None:
        """A label that names nothing means the middle tier, or the only one."""
        self.serve()
        self.says("elephant")
        self.assertEqual(await self.tier(), "local:fast")

    async def test_R_K05_unknown_label_single_tier(self) -> None:
        """With one candidate there is no other."""
        self.serve(profile='max_auto_tier = "local:instant"')
        self.says("elephant")
        self.assertEqual(await self.tier(), "local:instant")

    async def test_R_K06_empty_answer(self) -> None:
        """A classifier that says nothing means the instant tier."""
        self.serve()
        self.says("")
        self.assertEqual(await self.tier(), "local:instant")

    async def test_R_K07_exact_name_beats_suffix(self) -> None:
        """A tier named just like the label wins over one that ends so."""
        self.serve(more='[[tiers]]\nname = "fast"\nbackend = "mock"\nmodel = "exact"')
        self.says("fast")
        self.assertEqual(await self.tier(), "fast")

    async def test_label_above_the_ceiling(self) -> None:
        """A label never leads above the ceiling, whatever the client talked the classifier into."""
        self.serve(profile='max_auto_tier = "local:fast"')
        self.says("pro")
        self.assertEqual(await self.tier(), "local:fast")
        self.assertNotIn("pro-model", self.backend.models)

    async def test_thoughts_are_no_label(self) -> None:
        """What a small model thinks aloud before its label is left out."""
        self.serve()
        self.says("<think>\nhm, pro?\n</think>\n\nfast")
        self.assertEqual(await self.tier(), "local:fast")


INTENT = """
    [[profiles.default.rules]]
    when = { intent = "Greeting" }
    route_to = "local:instant"
    [[profiles.default.rules]]
    when = { intent = "greeting", lang = "de" }
    route_to = "cloud:pro"
    priority = 5
"""


class RuleCases(ClassifyCase):
    """Tests for rules over tags."""

    async def test_R_K08_rule_on_a_tag(self) -> None:
        """A rule leads where its tag is said."""
        self.serve(more=INTENT)
        self.says("tier=fast intent=greeting")
        self.assertEqual(await self.tier(), "local:instant")

    async def test_R_K09_all_pairs_and_case(self) -> None:
        """A rule of several pairs needs all of them; case does not matter."""
        self.serve(more=INTENT)
        self.says("tier=fast intent=GREETING lang=DE")
        self.assertEqual(await self.tier(), "cloud:pro")
        self.says("tier=fast intent=other lang=de")
        self.assertEqual(await self.tier(), "local:fast")

    async def test_R_K10_priority_wins(self) -> None:
        """The higher priority is looked at first, whatever the order in the file."""
        self.serve(more=INTENT)
        self.says("intent=greeting lang=de")
        self.assertEqual(await self.tier(), "cloud:pro")

    async def test_R_K11_rule_above_the_ceiling(self) -> None:
        """The operator's rule leads even above the ceiling."""
        self.serve(profile='max_auto_tier = "local:fast"', more=INTENT)
        self.says("intent=greeting lang=de")
        self.assertEqual(await self.tier(), "cloud:pro")

    async def test_R_K12_no_rule_matches(self) -> None:
        """Without a match the label decides."""
        self.serve(more=INTENT)
        self.says("tier=pro intent=other")
        self.assertEqual(await self.tier(), "cloud:pro")

    async def test_R_K13_class_is_shown(self) -> None:
        """The class is a tag of its own."""
        self.serve()
        self.says("class=greeting tier=fast")
        self.assertEqual((await self.chat()).headers["x-lmg-class"], "greeting")

    async def test_R_K14_order_of_system_texts(self) -> None:
        """The class prompt precedes the profile's, which precedes the client's."""
        self.serve(
            profile='system_prompt = "PROFILE"',
            more='[profiles.default.class_prompts]\nGreeting = "CLASS"',
        )
        self.says("class=greeting tier=fast")
        messages = [{"role": "system", "content": "CLIENT"}, {"role": "user", "content": "hi"}]
        await self.chat(messages=messages)
        self.assertEqual(
            self.answering[0]["messages"][0],
            {"role": "system", "content": "CLASS\n\nPROFILE\n\nCLIENT"},
        )

    async def test_R_K15_tag_with_a_prompt_is_the_class(self) -> None:
        """Any tag whose value has a prompt is the class."""
        self.serve(more='[profiles.default.class_prompts]\ngreeting = "CLASS"')
        self.says("intent=greeting tier=fast")
        got = await self.chat()
        self.assertEqual(got.headers["x-lmg-class"], "greeting")
        self.assertEqual(self.answering[0]["messages"][0]["content"], "CLASS")


CASCADE = """
    [[profiles.default.rules]]
    when = {{ class = "code" }}
    route_to = "next"

    [profiles.next]
    mode = "{mode}"
    {extra}
"""


class CascadeCases(ClassifyCase):
    """Tests for rules that lead to profiles."""

    def cascade(self, mode: str, extra: str = "") -> None:
        """Serve a default profile that leads to one of *mode*."""
        self.serve(more=CASCADE.format(mode=mode, extra=extra))

    async def test_R_K16_cascade(self) -> None:
        """The profiles gone through are shown, and the last one's prompt is used."""
        self.cascade(
            "classify",
            'classifier = "local:fast"\nsystem_prompt = "NEXT"\n'
            '[profiles.next.class_prompts]\nhard = "HARD"',
        )
        self.says("class=code tier=fast", "class=hard tier=pro")
        got = await self.chat()
        self.assertEqual(got.headers["x-lmg-profile"], "default -> next")
        self.assertEqual(got.headers["x-lmg-tier"], "cloud:pro")
        self.assertEqual(got.headers["x-lmg-class"], "hard")
        self.assertEqual(self.answering[0]["messages"][0]["content"], "HARD\n\nNEXT")
        self.assertEqual(self.backend.models, ["instant-model", "fast-model", "pro-model"])
        (entry,) = await self.entries()
        self.assertEqual(entry["profile_chain"], ["default", "next"])
        self.assertEqual([a["outcome"] for a in entry["attempts"]], ["ok"] * 3)

    async def test_R_K18_cascade_into_a_reply(self) -> None:
        """A reply profile answers, and only the classifier was asked."""
        self.cascade("reply", 'reply_message = "closed"')
        self.says("class=code")
        got = await self.chat()
        self.assertEqual((got.text, got.headers["x-lmg-tier"]), ("closed", "reply"))
        self.assertEqual(len(self.backend.asked), 1)

    async def test_R_K18_cascade_into_a_dispatch(self) -> None:
        """A dispatch profile dispatches, with its own prompt; the wish to think goes along."""
        self.cascade("dispatch", 'classifier = "cloud:pro"\nsystem_prompt = "NEXT"')
        self.says("class=code tier=fast-think")
        got = await self.chat("nothing known")
        self.assertEqual(got.headers["x-lmg-tier"], "cloud:pro")
        self.assertEqual(self.answering[0]["messages"][0]["content"], "NEXT")
        self.assertEqual(len(self.classifying), 1)


class InputCases(ClassifyCase):
    """Tests for what the classifier is asked."""

    async def test_R_K19_the_call(self) -> None:
        """A system prompt and the user's text, not streamed, cold, short; nothing non-standard."""
        self.serve(profile='classifier_prompt = "SORT"')
        self.says("fast")
        await self.chat()
        (body,) = self.classifying
        self.assertEqual(
            body,
            {
                "model": "instant-model",
                "messages": [
                    {"role": "system", "content": "SORT"},
                    {"role": "user", "content": "hi"},
                ],
                "stream": False,
                "temperature": 0,
                "max_tokens": 10,
            },
        )

    async def test_R_K19_the_call_to_ollama(self) -> None:
        """Ollama is told in its own words, and not to think."""
        other, url = self.another()
        other.script = lambda request, asked: {
            "model": "tiny",
            "message": {"role": "assistant", "content": "fast"},
            "done": True,
            "done_reason": "stop",
        }
        self.start(
            LADDER.replace('classifier = "local:instant"', 'classifier = "tiny"'),
            first="",
            more=f"""
            [backends.olla]
            provider = "ollama"
            base_url = "{url}"
            [[tiers]]
            name = "tiny"
            backend = "olla"
            model = "tiny"
            """,
        )
        self.assertEqual(await self.tier(), "local:fast")
        (asked,) = other.asked
        self.assertEqual(asked.path, "/api/chat")
        self.assertIs(asked.body["think"], False)
        self.assertEqual(asked.body["options"]["temperature"], 0)
        self.assertEqual(asked.body["options"]["num_predict"], 10)

    async def test_R_K20_several_messages(self) -> None:
        """Several messages are counted and listed; system and tool messages are not."""
        self.serve()
        self.says("fast")
        await self.chat(messages=TALK)
        self.assertEqual(
            self.classifying[0]["messages"][1]["content"],
            "[3 messages in conversation]\nUser: one\nAssistant: two\nUser: three",
        )

    async def test_R_K21_only_the_last(self) -> None:
        """``classifier_context = 1`` shows the last text alone."""
        self.serve(profile="classifier_context = 1")
        self.says("fast")
        await self.chat(messages=TALK)
        self.assertEqual(self.classifying[0]["messages"][1]["content"], "three")

    async def test_R_K22_last_is_the_assistant(self) -> None:
        """Where nothing of the user's would be shown, nobody is asked."""
        self.serve(profile="classifier_context = 1")
        self.says("fast")
        await self.chat(messages=[*TALK, {"role": "assistant", "content": "four"}])
        self.assertEqual(self.classifying, [])

    async def test_R_K23_switched_off(self) -> None:
        """``classifier_context = 0`` asks nobody; the classifier's tier answers."""
        self.serve(profile="classifier_context = 0")
        got = await self.chat()
        self.assertEqual(got.headers["x-lmg-tier"], "local:instant")
        self.assertNotIn("x-lmg-class", got.headers)
        self.assertEqual(len(self.backend.asked), 1)

    async def test_R_K28_streamed(self) -> None:
        """Streams are classified too."""
        self.serve()
        self.says("fast")
        got = await self.chat(stream=True)
        self.assertEqual(got.headers["content-type"], "text/event-stream")
        self.assertEqual(got.headers["x-lmg-tier"], "local:fast")
        self.assertEqual(got.headers["x-lmg-class"], "fast")
        (entry,) = await self.entries()
        self.assertEqual(entry["routing_mode"], "classify+stream")


TALK = [
    {"role": "system", "content": "zero"},
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": "two"},
    {"role": "user", "content": [{"type": "text", "text": "three"}]},
]


def failing(script: Callable[[Any, Asked], Any]) -> Callable[[Any, Asked], Any]:
    """Make a script in which only the classifier's calls follow *script*."""
    return lambda r, asked: script(r, asked) if is_classifying(asked) else completion(LONG)


class FailureCases(ClassifyCase):
    """Tests for classifiers that fail, or are slow."""

    at_once = 0

    async def test_R_K24_classifier_fails(self) -> None:
        """The request is answered all the same, by the cheapest tier."""
        self.serve()
        self.backend.script = failing(status(500))
        got = await self.chat()
        self.assertEqual((got.code, got.headers["x-lmg-tier"]), (200, "local:instant"))
        self.assertNotIn("x-lmg-class", got.headers)

    async def test_R_K24_classifier_is_slow(self) -> None:
        """The classifier's timeout is its own."""
        self.serve(profile="classifier_timeout_ms = 150")
        self.backend.script = failing(hang)
        self.assertEqual(await self.tier(), "local:instant")
        await until(lambda: 0 in self.backend.lost)
        (entry,) = await self.entries()
        self.assertEqual([a["outcome"] for a in entry["attempts"]], ["backend_timeout", "ok"])

    def answer(self, number: int) -> None:
        """Have the backend answer a request that hangs, and note how many it works at."""
        self.at_once = max(self.at_once, len(self.backend.asked) - number)
        request = self.backend.requests[number]
        request.setHeader("content-type", "application/json")
        request.write(json.dumps(completion(f"fast {LONG}")).encode())
        request.finish()

    async def test_classifier_takes_all_the_time(self) -> None:
        """No attempt is made in no time, and held against a target that was never asked."""
        self.serve(gateway="request_timeout_ms = 150")
        self.backend.script = failing(hang)
        for _ in range(3):
            got = await self.chat()
            self.assertEqual((got.code, got.headers["x-lmg-error"]), (504, "backend_timeout"))
            attempts = (await self.entries())[0]["attempts"]
            self.assertEqual([a["purpose"] for a in attempts], ["classify"])
        self.says("instant")
        self.assertEqual(await self.tier(), "local:instant")

    async def test_classifier_needs_a_place(self) -> None:
        """``max_concurrent`` of a backend bounds what it classifies, too; each has its turn."""
        self.serve(backends="max_concurrent = 1")
        self.backend.script = hang
        both = [ensureDeferred(self.chat()) for _ in "ab"]
        for number in range(4):
            await until(lambda: len(self.backend.asked) == number + 1)  # noqa: B023  # awaited here
            self.answer(number)
        self.assertEqual([(await one).code for one in both], [200, 200])
        self.assertEqual(self.at_once, 1)

    async def test_classifier_finds_no_place(self) -> None:
        """One that cannot be asked in its time is one that failed."""
        self.serve(
            backends="max_concurrent = 1",
            profile="classifier_timeout_ms = 100",
            more='[profiles.direct]\n    classifier = "cloud:pro"',
        )
        self.backend.script = hang
        first = ensureDeferred(self.chat("direct"))
        await until(lambda: len(self.backend.asked) == 1)
        second = ensureDeferred(self.chat())
        assert self.service is not None
        (gate,) = self.service.resources.bulkheads
        await until(lambda: (gate.late, gate.pending) == (1, 1))
        self.answer(0)
        await until(lambda: len(self.backend.asked) == 2)
        self.answer(1)
        self.assertEqual([(await one).code for one in (first, second)], [200, 200])
        entry = (await self.entries())[0]
        self.assertEqual([a["purpose"] for a in entry["attempts"]], ["answer"])

    async def test_R_K24_cheapest_has_another_name(self) -> None:
        """It is the cheapest tier, not the middle one, whatever it is called."""
        self.start(LADDER.replace("local:instant", "bottom"), first="")
        self.backend.script = failing(status(500))
        self.assertEqual(await self.tier(), "bottom")

    async def test_R_K25_fallback_classifier(self) -> None:
        """The second classifier is asked once when the first one fails."""
        self.serve(profile='classifier_fallback = "cloud:pro"')

        def script(request: Any, asked: Asked) -> Any:
            if asked.body["model"] == "instant-model" and is_classifying(asked):
                return completion("...")
            return completion("fast") if is_classifying(asked) else completion(LONG)

        self.backend.script = script
        self.assertEqual(await self.tier(), "local:fast")
        self.assertEqual(self.backend.models, ["instant-model", "pro-model", "fast-model"])

    async def test_R_K26_tool_results(self) -> None:
        """With tools in play the cheapest label means the next tier."""
        self.serve()
        self.says("instant")
        self.assertEqual(await self.tier(messages=TOOL_TURN), "local:fast")

    async def test_label_is_kept_for_tool_results(self) -> None:
        """The results of tools go where the question went; nobody classifies them."""
        self.serve()
        self.says("pro", "instant")
        tools = [{"type": "function", "function": {"name": "f"}}]
        self.assertEqual(await self.tier(messages=TOOL_TURN[:1], tools=tools), "cloud:pro")
        got = await self.chat(messages=TOOL_TURN, tools=tools)
        self.assertEqual(got.headers["x-lmg-tier"], "cloud:pro")
        self.assertEqual(got.headers["x-lmg-class"], "pro")
        self.assertEqual(len(self.classifying), 1)

    async def test_R_K27_too_large_for_the_label(self) -> None:
        """What is too large for the tier goes up, after a label and after a rule."""
        self.serve(first="max_context_tokens = 50", more=INTENT)
        large = [{"role": "user", "content": "long words " * 100}]
        self.says("instant")
        self.assertEqual(await self.tier(messages=large), "local:fast")
        self.says("intent=greeting")
        self.assertEqual(await self.tier(messages=large), "local:fast")


TOOL_TURN = [
    {"role": "user", "content": "What is f?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        ],
    },
    {"role": "tool", "tool_call_id": "c", "content": "42"},
]


class LeavingCases(ClassifyCase):
    """Tests for clients that leave while the classifier is asked."""

    async def test_client_leaves(self) -> None:
        """The classifier's connection is closed, and nobody else is asked."""
        self.serve()
        self.backend.script = hang
        asking = self.begin(
            "POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}
        )
        pending = ensureDeferred(asking)
        pending.addErrback(lambda failure: None)
        await until(lambda: len(self.backend.asked) == 1)
        pending.cancel()
        await until(lambda: self.backend.lost == [0])
        (entry,) = await self.entries()
        self.assertEqual(entry["outcome"], "client_closed")
        self.assertEqual([a["outcome"] for a in entry["attempts"]], ["cancelled"])
