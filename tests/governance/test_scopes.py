"""Whose a budget is, what is told of it, and what a request may cost by its own word."""

from __future__ import annotations

from typing import Any

from lmgateway.telemetry.events import Event
from tests.fakes import STREAM, completion, status, turns
from tests.governance.test_accounts import ANN, KEY, PRICED
from tests.harness import GatewayCase, ensureDeferred

BUDGET = """
[[budgets]]
name = "b"
limit_usd = {limit}
{more}
"""
TWO = """
    [[tiers]]
    name = "two"
    targets = [
        {{ backend = "mock", model = "dear", price = {{ input = 1000, output = 1000 }} }},
        {{ backend = "mock", model = "cheap", price = {{ input = 1, output = 1 }} }},
    ]

    [profiles.default]
"""
MANY = PRICED.replace("\n    [profiles.default]", TWO, 1)


class ScopeCases(GatewayCase):
    """Runs a gateway whose answers take 1000 and 500 tokens: 0.06 USD of "paid"."""

    def setUp(self) -> None:
        """Give the client its key."""
        super().setUp()
        self.environ["ANN"] = "key-of-ann"
        answer = completion()
        answer["usage"] = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
        self.backend.script = lambda request, asked: answer

    def budgeted(self, limit: float, more: str, **parts: str) -> Any:
        """Start with one budget."""
        text = BUDGET.format(limit=limit, more=more) + parts.pop("rest", "")
        return self.start(MANY, more=text, **parts)

    async def codes(self, *models: str, **members: Any) -> list[int]:
        """Ask these models in turn."""
        return [(await self.chat(m, max_tokens=500, **members)).code for m in models]


class ScopeTests(ScopeCases):
    """Tests for the scopes."""

    async def test_tier(self) -> None:
        """Each that is named by itself; the others have none."""
        self.budgeted(0.07, 'scope = "tier"\nnames = ["pa*"]')
        self.assertEqual(await self.codes("paid", "paid", "dear", "dear"), [200, 402, 200, 200])

    async def test_each_tier_by_itself(self) -> None:
        """What one has spent is not missed by another."""
        self.budgeted(0.07, 'scope = "tier"')
        self.assertEqual(await self.codes("paid", "paid", "dear"), [200, 402, 200])

    async def test_model(self) -> None:
        """Whatever the tier: "paid" and "dear" ask for the same model."""
        self.budgeted(0.065, 'scope = "model"\nnames = ["m"]')
        self.assertEqual(await self.codes("paid", "dear", "two"), [200, 402, 200])

    async def test_profile(self) -> None:
        """All requests that go through it, and no others."""
        rest = '[profiles.other]\nclassifier = "paid"\n'
        self.budgeted(0.07, 'scope = "profile"\nnames = ["other"]', rest=rest)
        self.assertEqual(await self.codes("other", "other", "paid"), [200, 402, 200])

    async def test_me_tells_of_the_profile(self) -> None:
        """Whoever asks spends from its budget, too."""
        self.budgeted(0.07, 'scope = "profile"')
        (told,) = (await self.ask("GET", "/v1/me")).json["budgets"]
        self.assertEqual((told["name"], told["limit_usd"]), ("b", 0.07))

    async def test_each_target_at_its_own_price(self) -> None:
        """What the first target of a tier would cost too much, the next may do."""
        self.budgeted(0.05, 'scope = "global"')
        self.assertEqual(await self.codes("two"), [200])
        self.assertEqual(self.backend.models, ["cheap"])

    async def test_fallbacks_are_checked_too(self) -> None:
        """One that cannot be paid for is passed over."""
        self.budgeted(0.02, 'scope = "global"', profile='fallback = ["paid", "unpriced"]')
        self.backend.script = turns(status(500), self.backend.script)
        got = await self.chat("dear", max_tokens=500)
        self.assertEqual((got.code, got.headers["x-lmg-tier"]), (200, "unpriced"))
        self.assertEqual(got.headers["x-lmg-attempts"], "2")

    async def test_classifier_is_charged(self) -> None:
        """Its call is an attempt like any other, from the same budgets."""
        profile = 'mode = "classify"\nmax_auto_tier = "paid"'
        self.budgeted(1, 'scope = "global"', profile=profile)
        await self.chat("whatever", max_tokens=500)
        (told,) = (await self.ask("GET", "/v1/me")).json["budgets"]
        (entry,) = await self.entries()
        self.assertEqual([a["purpose"] for a in entry["attempts"]], ["classify", "answer"])
        self.assertEqual((told["spent_usd"], entry["cost_usd"]), (0.12, 0.12))

    async def test_classifier_without_budget(self) -> None:
        """It is not asked; the cheapest tier is to serve, which is over budget, too."""
        profile = 'mode = "classify"\nmax_auto_tier = "two"'
        self.budgeted(0, 'scope = "model"\nnames = ["m"]', profile=profile)
        got = await self.chat("whatever", max_tokens=5)
        self.assertEqual((got.code, len(self.backend.asked)), (402, 0))
        (entry,) = await self.entries()
        self.assertEqual([a["outcome"] for a in entry["attempts"]], ["budget_exhausted"])
        self.assertEqual(entry["cost_usd"], 0)


class EventTests(ScopeCases):
    """Tests for what is told of a budget."""

    def listen(self) -> list[Event]:
        """Collect the events from now on."""
        events: list[Event] = []
        assert self.service is not None
        self.service.resources.events.listen(events.append)
        return events

    async def test_L6_4_thresholds(self) -> None:
        """Each once in a period, in their order, whatever a reload does."""
        service = self.budgeted(0.2, 'scope = "global"\nthresholds = [0.8, 0.25, 0.5]')
        events = self.listen()
        await self.codes("paid", "paid")
        service.reload()
        await self.codes("paid", "paid", "paid")
        told = [
            (event.kind, event.facts["what"], event.facts["threshold"])
            for event in events
            if event.kind == "budget"
        ]
        self.assertEqual(
            told,
            [
                ("budget", "threshold", 0.25),
                ("budget", "threshold", 0.5),
                ("budget", "threshold", 0.8),
                ("budget", "exceeded", None),
            ],
        )
        facts = dict(events[-1].facts)
        self.assertRegex(facts.pop("resets_at"), "-01T00:00:00Z$")
        self.assertEqual(
            facts,
            {
                "budget": "b",
                "scope": "global",
                "owner": None,
                "what": "exceeded",
                "threshold": None,
                "limit_usd": 0.2,
                "spent_usd": 0.18,
                "reserved_usd": 0.0,
            },
        )

    async def test_owner(self) -> None:
        """Whose share it was."""
        self.budgeted(0.02, "", rest=ANN + 'budgets = ["b"]\n')
        events = self.listen()
        self.assertEqual(await self.codes("paid", **KEY), [402])
        self.assertEqual([event.facts["owner"] for event in events], ["ann"])

    async def test_explaining_tells_nothing(self) -> None:
        """Nobody was refused anything."""
        self.budgeted(0, 'scope = "global"')
        events = self.listen()
        body = {"model": "paid", "messages": [{"role": "user", "content": "hi"}]}
        await self.ask("POST", "/v1/route/explain", body)
        self.assertEqual(events, [])


class MaxCostTests(ScopeCases):
    """Tests for ``X-LMG-Max-Cost``."""

    def bound(self, usd: str) -> dict[str, Any]:
        """Give the header."""
        return {"X_LMG_Max_Cost": usd}

    async def test_dearer_targets_are_passed_over(self) -> None:
        """Up the ladder to the first that cannot cost more."""
        self.start(MANY)
        got = await self.chat("paid", max_tokens=500, **self.bound("0.02"))
        self.assertEqual((got.code, got.headers["x-lmg-tier"]), (200, "dear"))

    async def test_none_is_left(self) -> None:
        """402 of a kind of its own; no backend is asked."""
        self.start(MANY, profile="failover = false")
        got = await self.chat("paid", max_tokens=500, **self.bound("0.02"))
        self.assertEqual((got.code, got.headers["x-lmg-error"]), (402, "max_cost_exceeded"))
        error = got.json["error"]
        self.assertEqual(error["type"], "insufficient_quota")
        self.assertIn("the request allows 0.02 USD", error["message"])
        self.assertEqual(self.backend.asked, [])

    async def test_enough(self) -> None:
        """The bound on the output that was reckoned with is sent, else it would be none."""
        self.start(MANY)
        got = await self.chat("paid", **self.bound(" 0.3 "))
        self.assertEqual((got.code, got.headers["x-lmg-tier"]), (200, "paid"))
        self.assertEqual(self.backend.asked[0].body["max_tokens"], 4096)

    async def test_free_models_fit_any_bound(self) -> None:
        """Nothing is not more than nothing."""
        self.start(MANY)
        self.assertEqual((await self.chat("unpriced", **self.bound("0"))).code, 200)

    async def test_unknown_prices_fit_none(self) -> None:
        """Nobody could promise."""
        self.start(MANY, backends="local = false", profile="failover = false")
        got = await self.chat("unpriced", **self.bound("100"))
        self.assertEqual((got.code, got.headers["x-lmg-error"]), (402, "max_cost_exceeded"))

    async def test_all_attempts_together(self) -> None:
        """What a classifier cost is gone for the answer."""
        self.start(MANY, profile='mode = "classify"\nmax_auto_tier = "paid"')
        got = await self.chat("whatever", max_tokens=500, **self.bound("0.08"))
        self.assertEqual((got.code, got.headers["x-lmg-error"]), (402, "max_cost_exceeded"))
        self.assertEqual(len(self.backend.asked), 1)

    async def test_malformed(self) -> None:
        """400, naming the header."""
        self.start(MANY)
        for text in ("cheap", "-1", "nan", "inf", "1e99999", "0.0" * 20, ""):
            got = await self.chat("paid", **self.bound(text))
            self.assertEqual((got.code, got.json["error"]["param"]), (400, "X-LMG-Max-Cost"))

    async def test_explained(self) -> None:
        """As a reason of its own."""
        self.start(MANY)
        body = {
            "model": "paid",
            "max_tokens": 500,
            "messages": [{"role": "user", "content": "hi"}],
        }
        got = await self.ask("POST", "/v1/route/explain", body, **self.bound("0.02"))
        reasons = {each["tier"]: each["reasons"] for each in got.json["candidates"]}
        self.assertEqual(reasons["paid"], ["over the request's own bound"])
        self.assertEqual((reasons["dear"], got.json["choice"]["tier"]), ([], "dear"))


class DowngradeTests(ScopeCases):
    """Tests for ``on_exceeded = "downgrade"``."""

    MORE = 'scope = "global"\non_exceeded = "downgrade"\ndowngrade_to = "{to}"'

    def downgrading(self, limit: float, to: str = "unpriced", **parts: str) -> Any:
        """Start with a budget that leaves to another tier what it cannot pay for."""
        return self.budgeted(limit, self.MORE.format(to=to), **parts)

    async def test_MB4_downgraded(self) -> None:
        """Instead of 402: another tier, a header that says so, an entry, and one event."""
        self.downgrading(0.07)
        events: list[Event] = []
        assert self.service is not None
        self.service.resources.events.listen(events.append)
        first, *rest = [await self.chat("paid", max_tokens=500) for _ in range(3)]
        self.assertEqual(first.headers["x-lmg-tier"], "paid")
        self.assertNotIn("x-lmg-downgraded", first.headers)
        for got in rest:
            self.assertEqual(got.code, 200)
            self.assertEqual(got.headers["x-lmg-tier"], "unpriced")
            self.assertEqual(got.headers["x-lmg-downgraded"], "b")
        told = [(e["tier"], e["downgraded"]) for e in await self.entries()]
        self.assertEqual(told, [("unpriced", "b"), ("unpriced", "b"), ("paid", None)])
        self.assertEqual([e.facts["what"] for e in events].count("exceeded"), 1)

    async def test_streams(self) -> None:
        """Told before the first byte, as any header."""
        self.downgrading(0)
        self.backend.script = lambda request, asked: STREAM
        got = await self.chat("paid", max_tokens=500, stream=True)
        self.assertEqual((got.code, got.headers["x-lmg-downgraded"]), (200, "b"))

    async def test_MB4_explained(self) -> None:
        """The explanation goes the same way."""
        self.downgrading(0)
        body = {"model": "paid", "messages": [{"role": "user", "content": "hi"}]}
        told = (await self.ask("POST", "/v1/route/explain", body)).json
        self.assertEqual(told["choice"]["tier"], "unpriced")
        self.assertEqual(told["downgraded"], {"budget": "b", "to": "unpriced"})
        reasons = {each["tier"]: each["reasons"] for each in told["candidates"]}
        self.assertEqual((reasons["paid"], reasons["unpriced"]), (["over budget"], []))
        self.assertNotIn("error", told)

    async def test_no_money_for_that_either(self) -> None:
        """402, as without it."""
        self.downgrading(0.0001, to="dear")
        self.assertEqual(await self.codes("paid", "dear"), [402, 402])

    async def test_money_spent_while_waiting(self) -> None:
        """Whoever finds the budget spent when its turn comes is downgraded, too."""
        more = self.MORE.format(to="unpriced")
        self.budgeted(0.07, more, profile="failover = false")
        assert self.service is not None
        first = ensureDeferred(self.chat("paid", max_tokens=1000))
        second = ensureDeferred(self.chat("paid", max_tokens=1000))
        tiers = sorted([(await got).headers["x-lmg-tier"] for got in (first, second)])
        self.assertEqual(tiers, ["paid", "unpriced"])

    async def test_escalation(self) -> None:
        """The tier that cannot be paid for is never asked."""
        self.downgrading(0, profile='mode = "escalate"')
        got = await self.chat("whatever", max_tokens=500)
        self.assertEqual(got.headers["x-lmg-tier"], "unpriced")

    async def test_fails_too(self) -> None:
        """The failure is told; nothing above it is tried."""
        self.downgrading(0)
        self.backend.script = status(500)
        got = await self.chat("paid", max_tokens=500)
        self.assertEqual((got.code, len(self.backend.asked)), (502, 1))
