"""Costs and keys, in a whole gateway."""

from __future__ import annotations

import json
from typing import Any

from tests.fakes import STREAM, completion, status, turns
from tests.harness import GatewayCase

PRICED = """
    [gateway]
    client_port = {client}
    admin_port = {admin}
    {gateway}

    [backends.mock]
    base_url = "{backend}"
    {backends}

    [[tiers]]
    name = "paid"
    backend = "mock"
    model = "m"
    price = {{ input = 30, output = 60 }}

    [[tiers]]
    name = "dear"
    backend = "mock"
    model = "m"
    price = {{ input = 0.15, output = 0.6, request = 0.01 }}

    [[tiers]]
    name = "unpriced"
    backend = "mock"
    model = "m"

    [profiles.default]
    classifier = "paid"
    {profile}

    {more}
"""
ANN = """
[[clients]]
name = "ann"
key_env = "ANN"
profile = "default"
"""
KEY: dict[str, Any] = {"Authorization": "Bearer key-of-ann"}


class CostCases(GatewayCase):
    """Tests for what answers cost."""

    def setUp(self) -> None:
        """Give the client its key."""
        super().setUp()
        self.environ["ANN"] = "key-of-ann"
        answer = completion()
        answer["usage"] = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
        self.backend.script = lambda request, asked: answer

    async def test_L6_1_cost_of_an_answer(self) -> None:
        """In a header, in the traffic log and in the access line: exactly."""
        self.start(PRICED)
        got = await self.chat("paid")
        self.assertEqual(got.headers["x-lmg-cost"], "0.06")
        (entry,) = await self.entries()
        self.assertEqual(entry["cost_usd"], 0.06)
        assert self.service is not None
        self.service.resources.access.flush()
        self.assertIn(b'"cost_usd":0.06', b"".join(self.lines))

    async def test_prices_per_request(self) -> None:
        """On top of the tokens."""
        self.start(PRICED)
        self.assertEqual((await self.chat("dear")).headers["x-lmg-cost"], "0.01045")

    async def test_local_is_free(self) -> None:
        """Unless it has a price."""
        self.start(PRICED)
        self.assertEqual((await self.chat("unpriced")).headers["x-lmg-cost"], "0")

    async def test_remote_without_price(self) -> None:
        """Nobody knows: no header, and null in the log."""
        self.start(PRICED, backends="local = false")
        self.assertNotIn("x-lmg-cost", (await self.chat("unpriced")).headers)
        (entry,) = await self.entries()
        self.assertIsNone(entry["cost_usd"])

    async def test_hidden_with_the_routing(self) -> None:
        """A cost tells which tier it was."""
        self.start(PRICED, gateway="expose_routing = false")
        self.assertNotIn("x-lmg-cost", (await self.chat("paid")).headers)

    async def test_streams_are_charged(self) -> None:
        """By the usage that the backend told at their end."""
        self.backend.script = lambda request, asked: STREAM
        self.start(PRICED)
        got = await self.chat("paid", stream=True)
        self.assertNotIn("x-lmg-cost", got.headers)
        (entry,) = await self.entries()
        self.assertEqual(entry["cost_usd"], (3 * 30 + 5 * 60) / 10**6)

    async def test_estimated_usage_is_charged(self) -> None:
        """A backend that tells nothing is not free; header and log agree."""
        silent = completion()
        del silent["usage"]
        self.backend.script = lambda request, asked: silent
        self.start(PRICED)
        got = await self.chat("paid")
        (entry,) = await self.entries()
        self.assertGreater(entry["cost_usd"], 0)
        self.assertEqual(float(got.headers["x-lmg-cost"]), entry["cost_usd"])

    async def test_failed_attempts_cost_nothing(self) -> None:
        """The one that answered does, at its own price."""
        script = self.backend.script
        self.backend.script = turns(status(500), script)
        self.start(PRICED)
        self.assertEqual((await self.chat("paid")).headers["x-lmg-cost"], "0.01045")

    async def test_counting_tokens_is_free(self) -> None:
        """No model is asked for a word."""
        self.backend.script = lambda request, asked: {"input_tokens": 7}
        self.start(PRICED, backends='provider = "anthropic"')
        body = {"model": "paid", "messages": [{"role": "user", "content": "hi"}]}
        got = await self.ask("POST", "/v1/messages/count_tokens", body)
        self.assertEqual((got.code, got.headers["x-lmg-cost"]), (200, "0"))

    async def test_L6_2_spend_adds_up(self) -> None:
        """For each client, across reloads."""
        service = self.start(PRICED, more=ANN)
        await self.chat("paid", **KEY)
        service.reload()
        await self.chat("paid", stream=False, **KEY)
        told = await self.ask("GET", "/v1/me", **KEY)
        self.assertEqual(json.loads(told.body)["spend_usd"], 0.12)


class ClientCases(GatewayCase):
    """Tests for what a key may be used for."""

    def setUp(self) -> None:
        """Give the client its key."""
        super().setUp()
        self.environ["ANN"] = "key-of-ann"

    async def test_expired(self) -> None:
        """401, and the client is told why."""
        self.start(more=ANN + 'expires = "2020-01-31"')
        got = await self.chat(**KEY)
        self.assertEqual((got.code, got.json["error"]["message"]), (401, "The key has expired."))

    async def test_not_yet_expired(self) -> None:
        """Good until then."""
        self.start(more=ANN + 'expires = "2999-01-31T00:00:00+02:00"')
        self.assertEqual((await self.chat(**KEY)).code, 200)

    async def test_endpoints(self) -> None:
        """Other paths are 403, whatever they are."""
        self.start(more=ANN + 'allow_endpoints = ["/v1/chat/*"]')
        self.assertEqual((await self.chat(**KEY)).code, 200)
        for path in ("/v1/models", "/v1/me", "/nothing"):
            self.assertEqual((await self.ask("GET", path, **KEY)).code, 403)
        self.assertEqual((await self.ask("GET", "/healthz")).code, 200)

    async def test_tags_and_group_are_recorded(self) -> None:
        """In the traffic log."""
        self.start(more=ANN + 'group = "team"\ntags = ["blue", "eu"]\n[groups.team]')
        await self.chat(**KEY)
        (entry,) = await self.entries()
        told = entry["client"], entry["group"], entry["tags"]
        self.assertEqual(told, ("ann", "team", ["blue", "eu"]))
