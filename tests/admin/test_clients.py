"""Tests for the clients of the config as the admin port shows them."""

from __future__ import annotations

from typing import Any

from tests.fakes import completion
from tests.governance.test_accounts import PRICED
from tests.harness import GatewayCase

CLIENT = """
    [[clients]]
    name = "ann"
    key_env = "KEY"
    profile = "default"
    rate_limit_rpm = 60
    max_concurrent = 4
"""
KEY: dict[str, Any] = {"Authorization": "Bearer " + "k" * 24}


class ClientTests(GatewayCase):
    """Tests for ``/admin/clients``."""

    async def client(self) -> dict[str, Any]:
        """Give how the client stands."""
        (client,) = (await self.ask("GET", "/admin/clients", admin=True)).json["clients"]
        told: dict[str, Any] = client
        return told

    async def limits(self) -> dict[str, Any]:
        """Give how the client's limits stand."""
        limits: dict[str, Any] = (await self.client())["limits"]
        return limits

    async def test_who_is_idle_has_all_of_its_limits(self) -> None:
        """What is left is told beside what can be left: a bucket holds half a minute's worth."""
        self.environ["KEY"] = "k" * 24
        self.start(more=CLIENT)
        limits = await self.limits()
        self.assertEqual(
            limits["requests"], {"limit": 60, "remaining": 30, "reset": 0.0, "most": 30}
        )
        self.assertEqual(
            limits["concurrency"], {"limit": 4, "remaining": 4, "reset": 0.0, "most": 4}
        )
        await self.chat(**KEY)
        self.assertEqual((await self.limits())["requests"]["remaining"], 29)

    async def test_money(self) -> None:
        """What a minute may cost, what is left of it, what was spent and saved: all in USD."""
        self.environ["KEY"] = "k" * 24
        answer = completion()
        answer["usage"] = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
        self.backend.script = lambda request, asked: answer
        more = CLIENT + "rate_limit_usd_per_minute = 0.5"
        self.start(PRICED, gateway='baseline = "paid"', more=more)
        idle = (await self.client())["limits"]["cost"]
        self.assertEqual(idle, {"limit": 0.5, "remaining": 0.5, "reset": 0.0, "most": 0.5})
        await self.chat("dear", **KEY)
        told = await self.client()
        self.assertEqual((told["spend_usd"], told["saved_usd"]), (0.01045, 0.04955))
        cost = told["limits"]["cost"]
        self.assertEqual(cost["limit"], 0.5)
        self.assertTrue(0.48955 <= cost["remaining"] < 0.5, cost)
        mine = (await self.ask("GET", "/v1/me", **KEY)).json
        self.assertEqual({"limit", "remaining", "reset"}, set(mine["limits"]["cost"]))
        self.assertEqual((mine["spend_usd"], mine["saved_usd"]), (0.01045, 0.04955))

    async def test_without_a_baseline(self) -> None:
        """Nothing is said of what was saved, nor of limits that are not there."""
        self.environ["KEY"] = "k" * 24
        self.start(more=CLIENT)
        await self.chat(**KEY)
        told = await self.client()
        self.assertIsNone(told["saved_usd"])
        self.assertIsNone(told["limits"]["cost"])
        mine = (await self.ask("GET", "/v1/me", **KEY)).json["limits"]
        self.assertEqual({"requests", "tokens", "concurrency"}, set(mine))
