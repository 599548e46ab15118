"""What a client is told about itself."""

from __future__ import annotations

from typing import Any

from tests.harness import GatewayCase

CLIENT = """
[[clients]]
name = "ann"
key_env = "ANN"
profile = "default"
group = "team"
rate_limit_rpm = 60
rate_limit_tpm = 1000
max_concurrent = 4

[groups.team]
rate_limit_rpm = 10
"""
KEY: dict[str, Any] = {"Authorization": "Bearer key-of-ann"}
PRICED = """
    [backends.cloud]
    base_url = "https://api.example.com"

    [[tiers]]
    name = "paid"
    backend = "cloud"
    model = "big"
    price = { input = 0.15, output = 0.6 }

    [[tiers]]
    name = "unpriced"
    backend = "cloud"
    model = "bigger"
"""


class MeTests(GatewayCase):
    """Tests for ``GET /v1/me``."""

    def setUp(self) -> None:
        """Give the client its key."""
        super().setUp()
        self.environ["ANN"] = "key-of-ann"

    async def test_limits(self) -> None:
        """The tightest of each kind; asking costs nothing of a client's own."""
        self.start(more=CLIENT)
        await self.chat(**KEY)
        for _ in range(3):
            got = await self.ask("GET", "/v1/me", **KEY)
        told = got.json
        self.assertEqual(
            (told["client"], told["group"], told["profile"]), ("ann", "team", "default")
        )
        requests, tokens = told["limits"]["requests"], told["limits"]["tokens"]
        self.assertEqual((requests["limit"], requests["remaining"]), (10, 4))
        self.assertLess(requests["reset"], 6.1)
        self.assertEqual(tokens["limit"], 1000)
        self.assertIn(tokens["remaining"], range(992, 1000))  # one more comes each 60 ms
        self.assertEqual(told["limits"]["concurrency"], {"limit": 4, "remaining": 4, "reset": 0.0})
        self.assertEqual((told["budgets"], told["spend_usd"]), ([], 0.0))

    async def test_models_and_prices(self) -> None:
        """USD per million tokens; what is not known is null; what is local is free."""
        self.start(more=PRICED, profile="", gateway="")
        told = {m["id"]: m["price"] for m in (await self.ask("GET", "/v1/me")).json["models"]}
        self.assertEqual((told["paid"]["input"], told["paid"]["output"]), (0.15, 0.6))
        self.assertEqual(told["paid"]["cached_read"], 0.15)
        self.assertIsNone(told["unpriced"])
        self.assertEqual(set(told["local:fast"].values()), {0.0})
        self.assertEqual(told["hint:fast"], told["local:fast"])
        self.assertIsNone(told["default"])

    async def test_anyone(self) -> None:
        """Without keys there is no name, and without limits there are none."""
        self.start()
        told = (await self.ask("GET", "/v1/me")).json
        self.assertEqual((told["client"], told["group"]), (None, None))
        self.assertEqual(told["limits"], {"requests": None, "tokens": None, "concurrency": None})

    async def test_keys_are_needed(self) -> None:
        """As everywhere."""
        self.start(more=CLIENT)
        self.assertEqual((await self.ask("GET", "/v1/me")).code, 401)
