"""What the admin port shows of budgets and of webhooks."""

from __future__ import annotations

from tests.fakes import completion
from tests.governance.test_accounts import PRICED
from tests.harness import GatewayCase

MORE = """
[[budgets]]
name = "day"
scope = "global"
period = "day"
limit_usd = 0.05

[[budgets]]
name = "paid"
scope = "tier"
names = ["paid"]
period = "total"
limit_usd = 1
on_exceeded = "downgrade"
downgrade_to = "dear"

[[webhooks]]
name = "ops"
url = "https://hooks.example.com/services/T000/a-secret-path?token=another"
"""


class BudgetTests(GatewayCase):
    """Tests for ``GET /admin/budgets``."""

    async def test_shares(self) -> None:
        """Each share, what went of it, and what of that nobody had reckoned with."""
        answer = completion()
        answer["usage"] = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
        self.backend.script = lambda request, asked: answer
        self.start(PRICED, more=MORE)
        await self.chat("paid", max_tokens=500)
        day, paid = (await self.ask("GET", "/admin/budgets", admin=True)).json["budgets"]
        self.assertEqual((day["owner"], day["spent_usd"]), (None, 0.06))
        self.assertAlmostEqual(day["overrun_usd"], 0.06 - 0.03, places=2)
        self.assertRegex(day["resets_at"], "T00:00:00Z$")
        del paid["overrun_usd"]
        self.assertEqual(
            paid,
            {
                "name": "paid",
                "scope": "tier",
                "owner": "paid",
                "period": "total",
                "limit_usd": 1.0,
                "spent_usd": 0.06,
                "reserved_usd": 0.0,
                "resets_at": None,
                "downgrade_to": "dear",
            },
        )
        got = await self.ask("GET", "/admin/budgets?name=day&limit=1", admin=True)
        self.assertEqual([each["name"] for each in got.json["budgets"]], ["day"])
        self.assertEqual((await self.ask("GET", "/admin/budgets?limit=0", admin=True)).code, 400)

    async def test_webhook_urls_are_hidden(self) -> None:
        """All of one may be a secret."""
        self.start(PRICED, more=MORE)
        got = await self.ask("GET", "/admin/config", admin=True)
        self.assertIn(b'"https://hooks.example.com/***"', got.body)
        for secret in (b"secret-path", b"another"):
            self.assertNotIn(secret, got.body)
