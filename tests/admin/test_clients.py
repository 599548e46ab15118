"""Tests for the clients of the config as the admin port shows them."""

from __future__ import annotations

from typing import Any

from tests.harness import GatewayCase

CLIENT = """
    [[clients]]
    name = "ann"
    key_env = "KEY"
    profile = "default"
    rate_limit_rpm = 60
    max_concurrent = 4
"""


class ClientTests(GatewayCase):
    """Tests for ``/admin/clients``."""

    async def limits(self) -> dict[str, Any]:
        """Give how the client's limits stand."""
        (client,) = (await self.ask("GET", "/admin/clients", admin=True)).json["clients"]
        limits: dict[str, Any] = client["limits"]
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
        await self.chat(Authorization="Bearer " + "k" * 24)
        self.assertEqual((await self.limits())["requests"]["remaining"], 29)
