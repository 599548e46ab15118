"""Budgets: never more than there is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.errors import BudgetExhausted
from lmgateway.governance.budgets import Budget, Terms, reserve
from lmgateway.governance.periods import Period
from lmgateway.governance.purses import Purse
from tests.fakes import STREAM, completion, hang, until
from tests.governance.test_accounts import ANN, KEY, PRICED
from tests.harness import GatewayCase, ensureDeferred

NOON = datetime(2026, 2, 18, 12, tzinfo=UTC).timestamp()  # a Wednesday
DAY = 86400.0


def budget(limit: int, period: str = "day", *, deny: bool = False) -> Budget:
    """Give a budget of so many nano-dollars."""
    terms = Terms(
        name="b", scope="client", period=Period.of(period), limit=limit, denies_unpriced=deny
    )
    return Budget(terms, "ann", Purse())


class BudgetTests(SynchronousTestCase):
    """Reserve, settle, let go."""

    def test_reserved_money_is_gone_for_others(self) -> None:
        """Until it is settled."""
        day = budget(100)
        self.assertEqual(reserve([day], 60, NOON), 60)
        with self.assertRaises(BudgetExhausted) as caught:
            reserve([day], 60, NOON)
        self.assertEqual(caught.exception.resets_at, "2026-02-19T00:00:00Z")
        self.assertEqual(caught.exception.retry_after, DAY / 2)
        day.settle(60, 10, NOON)
        self.assertEqual(reserve([day], 90, NOON), 90)

    def test_all_or_nothing(self) -> None:
        """What one budget refuses is taken from none; the longest wait is told."""
        day, total = budget(100), budget(10, "total")
        with self.assertRaises(BudgetExhausted) as caught:
            reserve([day, total], 200, NOON)
        self.assertIsNone(caught.exception.retry_after)
        self.assertEqual((day.purse.reserved, total.purse.reserved), (0, 0))

    def test_a_new_period(self) -> None:
        """What was spent is forgotten; what is still reserved is not."""
        day = budget(100)
        reserve([day], 40, NOON)
        day.settle(0, 60, NOON)
        stand = day.stand(NOON + DAY)
        self.assertEqual((stand.spent, stand.reserved), (0, 40))

    def test_what_is_free_is_always_allowed(self) -> None:
        """A spent budget does not stop a local model."""
        day = budget(0)
        self.assertEqual(reserve([day], 0, NOON), 0)

    def test_unpriced(self) -> None:
        """Allowed, unless the budget says otherwise."""
        self.assertEqual(reserve([budget(0)], None, NOON), 0)
        with self.assertRaisesRegex(BudgetExhausted, "without a price"):
            reserve([budget(100, deny=True)], None, NOON)

    def test_overrun(self) -> None:
        """More than was reserved is spent all the same, and counted."""
        day = budget(100)
        reserve([day], 50, NOON)
        day.settle(50, 130, NOON)
        self.assertEqual((day.purse.spent, day.purse.overrun), (130, 80))

    @given(
        limit=st.integers(0, 1000),
        steps=st.lists(
            st.tuples(st.integers(0, 400), st.integers(0, 100), st.integers(0, 9)), max_size=80
        ),
    )
    def test_never_more_than_the_limit(self, limit: int, steps: list[tuple[int, int, int]]) -> None:
        """Whatever is reserved, settled and let go, in whatever order."""
        day = budget(limit)
        open_: list[int] = []
        spent = 0
        for amount, percent, which in steps:
            if open_ and which > 4:
                held = open_.pop(which % len(open_))
                spent += held * percent // 100
                day.settle(held, held * percent // 100, NOON)
            else:
                try:
                    open_.append(reserve([day], amount, NOON))
                except BudgetExhausted:
                    self.assertGreater(spent + sum(open_) + amount, limit)
            self.assertLessEqual(day.purse.spent + day.purse.reserved, limit)
            self.assertEqual((day.purse.spent, day.purse.reserved), (spent, sum(open_)))


BUDGET = """
[[budgets]]
name = "month"
limit_usd = {limit}
{more}
"""


class BudgetCases(GatewayCase):
    """Tests for budgets in a whole gateway; "paid" costs 30 and 60 USD per million tokens."""

    def setUp(self) -> None:
        """Give the client its key."""
        super().setUp()
        self.environ["ANN"] = "key-of-ann"
        answer = completion()
        answer["usage"] = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
        self.backend.script = lambda request, asked: answer

    def budgeted(self, limit: float, more: str = "", client: str = "") -> Any:
        """Start with one budget, which the client lists."""
        text = ANN + 'budgets = ["month"]\n' + client + BUDGET.format(limit=limit, more=more)
        return self.start(PRICED, more=text)

    async def test_L6_3_spent(self) -> None:
        """402 with the time of the reset; no backend is asked."""
        self.budgeted(0.07)
        self.assertEqual((await self.chat("paid", max_tokens=500, **KEY)).code, 200)
        got = await self.chat("paid", max_tokens=500, **KEY)
        self.assertEqual((got.code, got.headers["x-lmg-error"]), (402, "budget_exhausted"))
        error = got.json["error"]
        self.assertEqual(error["type"], "insufficient_quota")
        self.assertRegex(error["resets_at"], r"^\d{4}-\d\d-01T00:00:00Z$")
        self.assertEqual(len(self.backend.asked), 1)
        body = {"model": "paid", "max_tokens": 500, "messages": []}
        got = await self.ask("POST", "/v1/messages", body | {"messages": [USER]}, **KEY)
        self.assertEqual((got.code, got.json["error"]["type"]), (402, "billing_error"))
        self.assertIn("resets_at", got.json["error"])

    async def test_local_models_go_on(self) -> None:
        """What costs nothing needs no money."""
        self.budgeted(0)
        self.assertEqual((await self.chat("paid", **KEY)).code, 402)
        self.assertEqual((await self.chat("unpriced", **KEY)).code, 200)

    async def test_the_bound_that_was_reckoned_with_is_sent(self) -> None:
        """Else an answer could cost more than was reserved."""
        self.budgeted(1)
        await self.chat("paid", **KEY)
        self.assertEqual(self.backend.asked[0].body["max_tokens"], 4096)
        await self.chat("paid", max_tokens=7, **KEY)
        self.assertEqual(self.backend.asked[1].body["max_tokens"], 7)

    async def test_nothing_is_sent_without_a_budget(self) -> None:
        """The request is the client's own."""
        self.start(PRICED)
        await self.chat("paid")
        self.assertNotIn("max_tokens", self.backend.asked[0].body)

    async def test_me(self) -> None:
        """Spent, reserved, and the reset."""
        self.budgeted(1)
        await self.chat("paid", **KEY)
        (told,) = (await self.ask("GET", "/v1/me", **KEY)).json["budgets"]
        self.assertRegex(told.pop("resets_at"), r"-01T00:00:00Z$")
        self.assertEqual(
            told, {"name": "month", "limit_usd": 1.0, "spent_usd": 0.06, "reserved_usd": 0.0}
        )

    async def test_a_cancelled_request_lets_go(self) -> None:
        """Nothing stays reserved for who has left."""
        self.budgeted(1)
        self.backend.script = hang
        waiting = ensureDeferred(self.chat("paid", **KEY))
        await until(lambda: len(self.backend.asked) == 1)
        (told,) = (await self.ask("GET", "/v1/me", **KEY)).json["budgets"]
        self.assertGreater(told["reserved_usd"], 0.2)
        waiting.addErrback(lambda failure: None)
        waiting.cancel()
        await until(lambda: len(self.backend.lost) == 1)
        (told,) = (await self.ask("GET", "/v1/me", **KEY)).json["budgets"]
        self.assertEqual((told["reserved_usd"], told["spent_usd"]), (0.0, 0.0))

    async def test_streams_are_charged(self) -> None:
        """By what they used."""
        self.budgeted(1)
        self.backend.script = lambda request, asked: STREAM
        await self.chat("paid", stream=True, **KEY)
        (told,) = (await self.ask("GET", "/v1/me", **KEY)).json["budgets"]
        self.assertEqual((told["reserved_usd"], told["spent_usd"]), (0.0, 0.00039))

    async def test_reload_keeps_what_was_spent(self) -> None:
        """By the budget's name; a new limit holds at once."""
        service = self.budgeted(1)
        await self.chat("paid", **KEY)
        text = ANN + 'budgets = ["month"]\n' + BUDGET.format(limit=0.06, more="")
        self.write(PRICED, more=text)
        service.reload()
        self.assertEqual((await self.chat("paid", **KEY)).code, 402)

    async def test_global(self) -> None:
        """Everyone's, listed or not."""
        self.start(PRICED, more=BUDGET.format(limit=0, more='scope = "global"'))
        self.assertEqual((await self.chat("paid")).code, 402)

    async def test_group(self) -> None:
        """A group's clients share it."""
        text = ANN + 'group = "team"\n[groups.team]\nbudgets = ["month"]\n'
        self.start(PRICED, more=text + BUDGET.format(limit=0, more='scope = "group"'))
        self.assertEqual((await self.chat("paid", **KEY)).code, 402)

    async def test_embeddings_have_no_output(self) -> None:
        """Nothing is reserved for it, and no bound is sent."""
        self.budgeted(0.01)
        self.backend.script = lambda request, asked: {
            "object": "list",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.0]}],
            "usage": {"prompt_tokens": 2, "total_tokens": 2},
        }
        got = await self.ask("POST", "/v1/embeddings", {"model": "paid", "input": "hi"}, **KEY)
        self.assertEqual(got.code, 200)
        self.assertNotIn("max_tokens", self.backend.asked[0].body)

    async def test_prompts_of_tokens_are_paid(self) -> None:
        """A prompt that the client encoded is not for nothing."""
        self.budgeted(0.01)
        for prompt in ([7] * 200, [[7] * 200], [[7] * 200, "hi"]):
            body = {"model": "paid", "input": prompt}
            got = await self.ask("POST", "/v1/embeddings", body, **KEY)
            self.assertEqual((got.code, got.headers["x-lmg-error"]), (402, "budget_exhausted"))

    async def test_injected_prompts_are_reserved(self) -> None:
        """What a profile adds is paid like what the client says."""
        text = ANN + 'budgets = ["month"]\n' + BUDGET.format(limit=0.05, more="")
        prompt = 'system_prompt = "' + "word " * 1000 + '"'
        self.start(PRICED, more=text, profile=prompt)
        for _ in range(2):  # the second is decided from memory
            got = await self.chat("paid", max_tokens=9, **KEY)
            self.assertEqual((got.code, got.headers["x-lmg-error"]), (402, "budget_exhausted"))

    async def test_several_answers_are_reserved(self) -> None:
        """Each as long as the bound that is sent."""
        self.budgeted(0.5)  # one answer of 4096 tokens may cost 0.25
        self.assertEqual((await self.chat("paid", n=3, **KEY)).code, 402)
        body: dict[str, Any] = {"model": "paid", "prompt": ["a", "b", "c"]}
        self.assertEqual((await self.ask("POST", "/v1/completions", body, **KEY)).code, 402)
        body = {"model": "paid", "prompt": "a", "best_of": 3}
        self.assertEqual((await self.ask("POST", "/v1/completions", body, **KEY)).code, 402)
        self.assertEqual(self.backend.asked, [])


USER = {"role": "user", "content": "hi"}
