"""Tests for explanations, over HTTP."""

from __future__ import annotations

import json
from typing import Any

from tests.fakes import STREAM, completion, status, until
from tests.harness import Got, ensureDeferred
from tests.reference.test_classify_cases import ClassifyCase, is_classifying

RULES = """
    [[profiles.default.rules]]
    when = { intent = "greeting" }
    route_to = "cloud:pro"
    [[profiles.default.rules]]
    when = { "@model" = "auto" }
    route_to = "local:fast"
"""


class ExplainTests(ClassifyCase):
    """``POST /v1/route/explain`` and ``X-LMG-Explain``."""

    async def explain(self, **members: Any) -> Got:
        """Ask for an explanation."""
        body = {"model": "x", "messages": [{"role": "user", "content": "hi"}], **members}
        return await self.ask("POST", "/v1/route/explain", body)

    async def test_asks_nobody(self) -> None:
        """Without leave the classifier is not asked, and the choice stays open."""
        self.serve(more=RULES)
        got = await self.explain()
        self.assertEqual((got.code, self.backend.asked), (200, []))
        document = got.json
        self.assertEqual(document["profile_chain"], ["default"])
        self.assertEqual(document["mode"], "classify")
        self.assertEqual((document["label"], document["choice"]), (None, None))
        self.assertIs(document["undecided"], True)

    async def test_asks_the_classifier(self) -> None:
        """With leave the classifier is asked, and nobody else; it is an attempt like any other."""
        self.serve(more=RULES)
        self.says("tier=fast intent=greeting")
        document = (await self.explain(classify=True)).json
        self.assertEqual(self.backend.models, ["instant-model"])
        self.assertEqual(document["label"], "fast")
        self.assertEqual(document["tags"], {"tier": "fast", "intent": "greeting"})
        self.assertEqual(
            document["choice"], {"tier": "cloud:pro", "backend": "mock", "model": "pro-model"}
        )
        self.assertEqual([r["matched"] for r in document["rules"]], [True, False])
        self.assertEqual(document["rules"][1]["why_not"], "@model is not 'auto'")
        (entry,) = await self.entries()
        self.assertEqual((entry["routing_mode"], len(entry["attempts"])), ("explain", 1))

    async def test_supposes_a_label(self) -> None:
        """What the classifier says can be supposed; every candidate has its reason."""
        self.serve(more=RULES, first="max_context_tokens = 5")
        document = (await self.explain(label="instant")).json
        self.assertEqual(document["choice"]["tier"], "local:fast")
        candidates = {c["tier"]: c for c in document["candidates"]}
        self.assertFalse(candidates["local:instant"]["accepted"])
        self.assertIn("too small", candidates["local:instant"]["reasons"][0])
        self.assertTrue(candidates["local:fast"]["accepted"])
        self.assertEqual(document["plan"], ["local:fast", "cloud:pro"])
        self.assertEqual(candidates["local:fast"]["expected_cost_usd"], 0)

    async def test_cost(self) -> None:
        """A priced tier's cost is that of the prompt and of the longest answer asked for."""
        self.serve(first="price = { input = 1, output = 2, request = 0.5 }")
        document = (await self.explain(label="instant", max_tokens=100)).json
        cost = (document["tokens"] + 2 * 100) / 1e6 + 0.5
        self.assertAlmostEqual(document["candidates"][0]["expected_cost_usd"], cost)

    async def test_refusal_is_explained(self) -> None:
        """What would be refused is told with the reasons of every tier."""
        self.serve(
            first="capabilities = []",
            profile='max_auto_tier = "local:instant"',
        )
        tools = [{"type": "function", "function": {"name": "f"}}]
        document = (await self.explain(label="instant", tools=tools)).json
        self.assertEqual(document["error"]["kind"], "capability_unavailable")
        self.assertIsNone(document["choice"])
        self.assertEqual(document["candidates"][0]["reasons"], ["lacks tools"])
        self.assertEqual(document["candidates"][1]["reasons"], ["over the ceiling"])

    async def test_hidden_routing_is_not_explained(self) -> None:
        """A profile that hides its routing hides it here too."""
        self.serve(gateway="expose_routing = false")
        self.says("fast")
        self.assertEqual((await self.explain()).code, 403)
        self.assertNotIn("lmg", (await self.chat(X_LMG_Explain="true")).json)

    async def test_live_answer(self) -> None:
        """A live answer carries its explanation when asked to, and its own bytes untouched."""
        self.serve()
        self.says("fast")
        got = await self.chat(X_LMG_Explain="true")
        self.assertEqual(got.json["lmg"]["choice"]["tier"], got.headers["x-lmg-tier"])
        plain = json.dumps(completion()).encode()
        self.assertTrue(got.body.startswith(plain[:-1]))
        self.assertNotIn("lmg", (await self.chat()).json)

    async def test_targets_of_a_tier(self) -> None:
        """The target that is told is the one that a live request asks next."""
        _, url = self.another()
        both = """
            [[tiers]]
            name = "both"
            strategy = "priority"
            targets = [{ backend = "mock", model = "a" }, { backend = "other", model = "b" }]
        """
        parts = {"backends": f'[backends.other]\nbase_url = "{url}"'}
        service = self.start(more=both, **parts)
        for strategy in ("priority", "round_robin", "weighted"):
            self.write(more=both.replace("priority", strategy), **parts)
            service.reload()
            for _ in range(8):
                told = [(await self.explain(model="both")).json["choice"] for _ in range(2)]
                got = await self.chat("both", X_LMG_Explain="true")
                live = {key: got.headers[f"x-lmg-{key}"] for key in ("tier", "backend")}
                live["model"] = {"mock": "a", "other": "b"}[live["backend"]]
                self.assertEqual([*told, got.json["lmg"]["choice"]], [live] * 3, strategy)

    async def test_live_stream(self) -> None:
        """A stream carries it in one comment, before everything else."""
        self.serve()
        self.says("fast")
        got = await self.chat(stream=True, X_LMG_Explain="true")
        comment, _, rest = got.body.partition(b"\n\n")
        self.assertTrue(comment.startswith(b": lmg {"))
        self.assertEqual(json.loads(comment[6:])["label"], "fast")
        self.assertIn(STREAM[1], rest)

    async def test_open_breaker(self) -> None:
        """A tier whose backend failed too often is passed over, and that is told."""
        _, url = self.another(status(500))
        self.serve(
            gateway="health_window = 3",
            backends=f'[backends.bad]\nbase_url = "{url}"',
            more='[[tiers]]\nname = "bad"\nbackend = "bad"\nmodel = "m"\n'
            '[profiles.p]\nclassifier = "bad"',
        )
        for _ in range(4):
            await self.chat("p")
        document = (await self.explain(model="p")).json
        candidates = {c["tier"]: c for c in document["candidates"]}
        self.assertEqual(candidates["bad"]["reasons"], ["breaker open"])
        self.assertIsNone(document["choice"])

    async def test_escalation(self) -> None:
        """Escalation climbs from the cheapest, whatever is named, as its plan says."""
        self.serve(
            more='[profiles.up]\nmode = "escalate"\nclassifier = "cloud:pro"\n'
            'max_auto_tier = "local:fast"'
        )
        document = (await self.explain(model="up")).json
        self.assertEqual(document["plan"], ["local:instant", "local:fast"])
        self.assertEqual(document["mode"], "escalate")
        self.backend.script = lambda request, asked: completion("Short.")
        got = await self.chat("up")
        self.assertEqual(got.code, 200)
        self.assertEqual(self.backend.models, ["instant-model", "fast-model"])

    async def test_overflow(self) -> None:
        """A tier whose queue is too long is left for the one that it overflows to."""
        self.serve(
            first='max_concurrent = 1\noverflow_tier = "cloud:pro"\noverflow_depth = 0',
            profile='rules = [{ when = { "@model" = "x" }, route_to = "local:instant" }]',
        )
        body = {"model": "local:instant", "messages": [{"role": "user", "content": "hi"}]}
        self.backend.script = lambda r, a: completion("instant") if is_classifying(a) else None
        pending = ensureDeferred(self.begin("POST", "/v1/chat/completions", body))
        pending.addErrback(lambda failure: None)
        await until(lambda: len(self.answering) == 1)
        document = (await self.explain(label="fast")).json
        self.assertEqual(document["choice"]["tier"], "cloud:pro")
        self.assertEqual(document["candidates"][0]["reasons"], ["its queue is too long"])
        pending.cancel()
        await until(lambda: bool(self.backend.lost))

    async def test_over_budget(self) -> None:
        """What a budget cannot pay for ends the plan there, in the explanation as live."""
        self.serve(
            first="price = { input = 1, output = 1 }",
            more='[[budgets]]\nname = "small"\nscope = "global"\nperiod = "day"\nlimit_usd = 1',
        )
        document = (await self.explain(label="instant", max_tokens=1000)).json
        self.assertEqual(document["choice"]["tier"], "local:instant")
        self.assertEqual(document["plan"][1:], ["local:fast", "cloud:pro"])

        document = (await self.explain(label="instant", max_tokens=1_000_000)).json
        self.assertEqual((document["plan"], document["choice"]), ([], None))
        self.assertEqual(document["error"]["kind"], "budget_exhausted")
        self.assertEqual(
            [candidate["reasons"] for candidate in document["candidates"]],
            [["over budget"], *[["not reached: local:instant refuses"]] * 2],
        )
        self.says("instant")
        got = await self.chat(max_tokens=1_000_000)
        self.assertEqual(got.code, document["error"]["status"])
