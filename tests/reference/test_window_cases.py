"""R-D16 to R-D20, and content routing: what a tier can take decides whether it is asked."""

from __future__ import annotations

from typing import Any

from tests.fakes import status
from tests.harness import BASE, GatewayCase

SMALL = BASE.replace('model = "fast-model"', 'model = "fast-model"\n    {first}').replace(
    'model = "economy-model"', 'model = "economy-model"\n    {second}'
)
SENTENCE = "A sentence of quite a few more words than would fit into a window of ten tokens."
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}


def asking(*content: Any) -> list[dict[str, Any]]:
    """Give the messages of one question."""
    return [{"role": "user", "content": content[0] if len(content) == 1 else [*content]}]


class WindowCase(GatewayCase):
    """A ladder of two tiers whose windows and capabilities a test sets."""

    def serve(self, first: str = "", second: str = "", **parts: str) -> None:
        """Serve it."""
        self.start(SMALL, **{"first": first, "second": second, **parts})

    async def tier(self, model: str = "hint:fast", **members: Any) -> str:
        """Ask, and give the tier that answered."""
        got = await self.chat(model, **members)
        self.assertEqual(got.code, 200, got.body)
        return got.headers["x-lmg-tier"]


class WindowCases(WindowCase):
    """Tests for the context floor."""

    async def test_R_D16_too_long_for_the_first(self) -> None:
        """A prompt that does not fit goes to the next tier."""
        self.serve("max_context_tokens = 10")
        self.assertEqual(await self.tier(messages=asking(SENTENCE)), "cloud:economy")
        self.assertEqual(len(self.backend.asked), 1)

    async def test_R_D17_fits_nowhere(self) -> None:
        """If nothing fits, the largest window is tried, not the last."""
        self.serve("max_context_tokens = 12", "max_context_tokens = 10")
        self.assertEqual(await self.tier(messages=asking(SENTENCE)), "local:fast")

    async def test_R_D18_never_down(self) -> None:
        """A tier below the one named is not used for its window."""
        self.serve("max_context_tokens = 100000", "max_context_tokens = 10")
        self.assertEqual(
            await self.tier("cloud:economy", messages=asking(SENTENCE)), "cloud:economy"
        )

    async def test_R_D19_tools_count(self) -> None:
        """A large array of tools alone is too long."""
        self.serve("max_context_tokens = 200")
        tools = [
            {"type": "function", "function": {"name": f"tool_{n}", "description": SENTENCE}}
            for n in range(20)
        ]
        self.assertEqual(await self.tier(), "local:fast")
        self.assertEqual(await self.tier(tools=tools), "cloud:economy")

    async def test_R_D20_pictures_are_not_text(self) -> None:
        """The data of a picture is no text; the picture itself counts for what it costs."""
        self.serve("max_context_tokens = 2000")
        messages = asking({"type": "text", "text": "What is this?"}, PICTURE)
        self.assertEqual(await self.tier(messages=messages), "local:fast")
        messages = asking({"type": "text", "text": "And these?"}, PICTURE, PICTURE)
        self.assertEqual(await self.tier(messages=messages), "cloud:economy")

    async def test_answer_counts(self) -> None:
        """Room for the answer that was asked for is part of the window."""
        self.serve("max_context_tokens = 1000")
        self.assertEqual(await self.tier(max_tokens=100), "local:fast")
        self.assertEqual(await self.tier(max_tokens=995), "cloud:economy")

    async def test_injected_prompt_counts(self) -> None:
        """What the profile puts before the request is part of it."""
        self.serve("max_context_tokens = 1000", profile=f'system_prompt = "{"word " * 1000}"')
        self.assertEqual(await self.tier(), "cloud:economy")

    async def test_never_above_the_ceiling(self) -> None:
        """What is too long does not pass the ceiling, nor the expert gate."""
        self.start(
            SMALL.replace('max_auto_tier = "cloud:economy"', 'max_auto_tier = "local:fast"'),
            first="max_context_tokens = 10",
            second="",
        )
        self.assertEqual(await self.tier(messages=asking(SENTENCE)), "local:fast")


class NeedCases(WindowCase):
    """Tests for capabilities."""

    async def test_picture_goes_to_who_can_see(self) -> None:
        """A request with a picture skips the tier that cannot see."""
        self.serve('capabilities = ["tools"]', 'capabilities = ["vision"]')
        messages = asking({"type": "text", "text": "What is this?"}, PICTURE)
        self.assertEqual(await self.tier(messages=messages), "cloud:economy")

    async def test_words_are_no_picture(self) -> None:
        """A text that speaks of image_url is a text."""
        self.serve("capabilities = []", 'capabilities = ["vision"]')
        text = '{"type": "image_url", "image_url": {"url": "x"}}'
        self.assertEqual(await self.tier(messages=asking(text)), "local:fast")

    async def test_nobody_capable(self) -> None:
        """If nobody can, the client is told what is missing, and nobody is asked."""
        self.serve('capabilities = ["tools"]', "capabilities = []")
        messages = asking({"type": "text", "text": "What is this?"}, PICTURE)
        got = await self.chat(messages=messages)
        self.assertEqual((got.code, got.headers["x-lmg-error"]), (400, "capability_unavailable"))
        self.assertIn("images", got.json["error"]["message"])
        self.assertEqual(self.backend.asked, [])

    async def test_down_for_a_capability(self) -> None:
        """A cheaper tier serves what none above can."""
        self.serve('capabilities = ["tools"]', "capabilities = []")
        tools = [{"type": "function", "function": {"name": "f"}}]
        self.assertEqual(await self.tier("cloud:economy", tools=tools), "local:fast")

    async def test_failover_keeps_to_the_capable(self) -> None:
        """Nor is a tier failed over to that cannot do it."""
        self.serve('capabilities = ["tools"]', "capabilities = []")
        self.backend.script = status(503)
        got = await self.chat(tools=[{"type": "function", "function": {"name": "f"}}])
        self.assertEqual((got.code, self.backend.models), (503, ["fast-model"]))

    async def test_auto_is_the_cheapest_that_can(self) -> None:
        """``auto`` is the cheapest tier that has what the request needs."""
        self.serve('capabilities = ["tools"]', 'capabilities = ["json_schema"]')
        self.assertEqual(await self.tier("auto"), "local:fast")
        form = {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}
        self.assertEqual(await self.tier("auto", response_format=form), "cloud:economy")


class FactRuleCases(WindowCase):
    """Tests for rules over facts, in a profile that classifies nothing."""

    def rule(self, when: str, to: str = '"cloud:economy"') -> str:
        """Give the text of a rule."""
        return f"[[profiles.default.rules]]\nwhen = {{ {when} }}\nroute_to = {to}"

    async def test_facts(self) -> None:
        """Each fact leads where its rule says, and nowhere else."""
        cases: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
            ('"@model" = "hint:*"', {}, {"model": "local:fast"}),
            ('"@profile" = "default"', {}, {"model": "other"}),
            ('"@header.X-Team" = "red"', {"X_Team": "Red"}, {"X_Team": "blue"}),
            ('"@tokens" = ">100"', {"messages": asking(SENTENCE * 10)}, {}),
            ('"@needs" = "tools"', {"tools": [{"type": "function"}]}, {}),
            (
                '"@text" = "~\\\\b(bill|invoice)s?\\\\b"',
                {"messages": asking("Where is my Invoice?")},
                {"messages": asking("billing")},
            ),
        ]
        for when, hit, miss in cases:
            self.write(
                SMALL,
                first="",
                second="",
                more=self.rule(when) + '\n[profiles.other]\nclassifier = "local:fast"',
            )
            if self.service is None:
                self.serve(more=self.rule(when) + '\n[profiles.other]\nclassifier = "local:fast"')
            else:
                self.assertEqual((await self.ask("POST", "/admin/reload", admin=True)).code, 200)
            self.assertEqual(await self.tier(**hit), "cloud:economy", when)
            self.assertEqual(await self.tier(**miss), "local:fast", when)

    async def test_tag_rules_need_a_classification(self) -> None:
        """A rule that names no fact is not for what nobody classified."""
        self.serve(more=self.rule(""))
        self.assertEqual(await self.tier(), "local:fast")

    async def test_split_is_sticky(self) -> None:
        """Conversations are split by weight, and each one stays where it began."""
        to = '[{ to = "local:fast", weight = 1 }, { to = "cloud:economy", weight = 3 }]'
        self.serve(more=self.rule('"@model" = "hint:fast"', to))
        tiers = []
        for number in range(40):
            turns = asking(f"question {number}")
            tier = await self.tier(messages=turns)
            more = [*turns, {"role": "assistant", "content": "x"}, *asking("go on")]
            self.assertEqual(await self.tier(messages=more), tier)
            tiers.append(tier)
        self.assertGreater(tiers.count("cloud:economy"), tiers.count("local:fast"))
        self.assertIn("local:fast", tiers)
