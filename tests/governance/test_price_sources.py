"""Prices from lists: a file as LiteLLM has it, and the table of genai-prices."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.chat import Usage
from lmgateway.errors import ConfigError
from lmgateway.governance.price import Price
from lmgateway.governance.price_file import PriceFile
from lmgateway.governance.price_table import PriceTable
from lmgateway.governance.tokens import Ask
from tests.fakes import completion, hang, until
from tests.harness import GatewayCase, ensureDeferred
from tests.wire.sockets import in_thread

reactor: Any = the_reactor

NOW = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
LIST = {
    "sample_spec": {"input_cost_per_token": 0.0, "litellm_provider": "one of ..."},
    "gpt-x": {
        "input_cost_per_token": 2.5e-06,
        "output_cost_per_token": 0.00001,
        "cache_read_input_token_cost": 1.25e-06,
        "litellm_provider": "openai",
        "max_tokens": 16384,
    },
    "groq/llama": {
        "input_cost_per_token": 5.9e-07,
        "output_cost_per_token": 7.9e-07,
        "litellm_provider": "groq",
    },
    "claude-x": {
        "input_cost_per_token": 3e-06,
        "output_cost_per_token": 1.5e-05,
        "cache_creation_input_token_cost": 3.75e-06,
        "input_cost_per_token_above_200k_tokens": 6e-06,
        "output_cost_per_token_above_200k_tokens": 2.25e-05,
        "litellm_provider": "anthropic",
    },
    "picture": {"output_cost_per_image": 0.04, "litellm_provider": "openai"},
}


class PriceFileTests(SynchronousTestCase):
    """Tests for price lists."""

    def write(self, content: str | bytes) -> Path:
        """Write a list."""
        path = Path(self.mktemp())
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def find(self, provider: str, model: str, entries: Any = LIST) -> Price | None:
        """Look a model up."""
        return PriceFile.read(self.write(json.dumps(entries))).find(provider, model)

    def test_exact(self) -> None:
        """What is written per token is kept to the last digit per million."""
        price = self.find("openai", "gpt-x")
        assert price is not None
        told = (price.input, price.output, price.cached_read, price.cached_write, price.reasoning)
        self.assertEqual(told, (25 * 10**8, 10**10, 125 * 10**7, 25 * 10**8, 10**10))
        odd = '{"m": {"input_cost_per_token": 1.234567891234e-07, "output_cost_per_token": 0}}'
        found = PriceFile.read(self.write(odd)).find("openai", "m")
        assert found is not None
        self.assertEqual((found.input, found.output), (123456790, 0))

    def test_names(self) -> None:
        """With the provider's prefix, or without; never another provider's."""
        self.assertIsNotNone(self.find("groq", "llama"))
        self.assertIsNone(self.find("together", "llama"))
        self.assertIsNone(self.find("groq", "gpt-x"))
        self.assertIsNotNone(self.find("openai", "claude-x"))
        self.assertIsNone(self.find("openai", "gpt-unknown"))
        self.assertIsNone(self.find("openai", "picture"))

    def test_long_prompts(self) -> None:
        """Beyond so many input tokens all of them cost more, and a reservation knows."""
        price = self.find("anthropic", "claude-x")
        assert price is not None
        self.assertEqual(price.cost(Usage(input_tokens=200_000, output_tokens=1000)), 615_000_000)
        more = Usage(input_tokens=200_001, output_tokens=1000)
        self.assertEqual(price.cost(more), 1_222_506_000)
        self.assertEqual(price.most(Ask(200_001, 0)), 1_200_006_000)
        self.assertEqual(price.most(Ask(100_000, 0)), 375_000_000)

    def test_unusable(self) -> None:
        """Whatever is wrong is told with the file's name."""
        for content in ("", "[]", "{", b"\xff", '{"m": 1e', "[" * 100_000):
            with self.assertRaisesRegex(ConfigError, "is not a JSON object of models"):
                PriceFile.read(self.write(content))
        with self.assertRaisesRegex(ConfigError, "cannot be read"):
            PriceFile.read(Path(self.mktemp()))

    def test_malformed_entries(self) -> None:
        """An entry that is used must make sense; its model and member are named."""
        for value in ("cheap", -1e-06, True, [1], 1e9):
            with self.assertRaisesRegex(ConfigError, '"m": input_cost_per_token is not'):
                self.find("openai", "m", {"m": {"input_cost_per_token": value}})
        with self.assertRaisesRegex(ConfigError, "is not an object"):
            self.find("openai", "m", {"m": 3})


class PriceTableTests(SynchronousTestCase):
    """Tests for the table of a package."""

    def test_known_models(self) -> None:
        """By provider, or by address where the provider is any that speaks its grammar."""
        table = PriceTable.open(NOW)
        price = table.find("openai", "https://api.openai.com/v1", "gpt-4o")
        assert price is not None
        self.assertEqual((price.input, price.output), (25 * 10**8, 10**10))
        self.assertIsNotNone(table.find("groq", "", "llama-3.3-70b-versatile"))
        self.assertIsNotNone(table.find("openrouter", "", "openai/gpt-4o"))

    def test_unknown_models(self) -> None:
        """An unknown provider, address or model has no price."""
        table = PriceTable.open(NOW)
        for asked in (
            ("nvidia", "", "gpt-4o"),
            ("openai", "https://llm.example.com/v1", "gpt-4o"),
            ("groq", "", "no-such-model"),
        ):
            self.assertIsNone(table.find(*asked))

    def test_long_prompts(self) -> None:
        """Steps are the table's."""
        price = PriceTable.open(NOW).find("anthropic", "", "claude-sonnet-4-5")
        assert price is not None
        self.assertEqual([start for start, _ in price.beyond], [200_000])
        self.assertGreater(price.beyond[0][1].reasoning, price.reasoning)

    def test_prices_by_the_hour(self) -> None:
        """The dearest of the day counts, whenever the config is loaded."""
        prices = {
            PriceTable.open(NOW + hour * 3600).find("deepseek", "", "deepseek-chat")
            for hour in range(24)
        }
        self.assertEqual(len(prices), 1)

    def test_not_installed(self) -> None:
        """The message says what to install."""
        for name in ("genai_prices", "genai_prices.data_snapshot"):
            self.patch(sys, "modules", {**sys.modules, name: None})
        with self.assertRaisesRegex(ConfigError, r"pip install \"lmgateway\[prices\]\""):
            PriceTable.open(NOW)


REMOTE = """
    [gateway]
    client_port = {client}
    admin_port = {admin}
    {gateway}

    [backends.mock]
    base_url = "{backend}"
    local = false

    [backends.near]
    base_url = "{backend}"

    [[tiers]]
    name = "listed"
    backend = "mock"
    model = "gpt-x"

    [[tiers]]
    name = "own"
    backend = "mock"
    model = "gpt-x"
    price = {{ input = 1, output = 1 }}

    [[tiers]]
    name = "near"
    backend = "near"
    model = "gpt-x"

    [[tiers]]
    name = "unknown"
    backend = "mock"
    model = "other"

    [profiles.default]
    classifier = "listed"

    {more}
"""


class PricesTests(GatewayCase):
    """Tests for ``[prices]`` in a whole gateway."""

    def setUp(self) -> None:
        """Answers take 1000 and 500 tokens."""
        super().setUp()
        answer = completion()
        answer["usage"] = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
        self.backend.script = lambda request, asked: answer

    def listed(self, entries: Any = LIST) -> None:
        """Start with a price list beside the config."""
        self.write(REMOTE)
        (self.folder / "prices.json").write_text(json.dumps(entries))
        self.start(REMOTE, more='[prices]\nfile = "prices.json"')

    async def test_file(self) -> None:
        """A tier's own price wins; a local model is free; an unknown one has none."""
        self.listed()
        for tier, cost in (("listed", "0.0075"), ("own", "0.0015"), ("near", "0")):
            self.assertEqual((await self.chat(tier)).headers["x-lmg-cost"], cost)
        self.assertNotIn("x-lmg-cost", (await self.chat("unknown")).headers)
        models = (await self.ask("GET", "/v1/me")).json["models"]
        prices = {each["id"]: each["price"] for each in models}
        self.assertEqual(prices["listed"]["input"], 2.5)
        self.assertIsNone(prices["unknown"])

    async def test_explained(self) -> None:
        """What is expected to be paid is known from the list, too."""
        self.listed()
        body = {"model": "listed", "max_tokens": 1000, "messages": []}
        got = await self.ask("POST", "/v1/route/explain", body | {"messages": [USER]})
        expected = {c["tier"]: c["expected_cost_usd"] for c in got.json["candidates"]}
        self.assertGreater(expected["listed"], 0.01)
        self.assertIsNone(expected["unknown"])

    async def test_a_slow_list_holds_nobody_up(self) -> None:
        """While a reload reads a list, requests are answered; then it holds."""
        service = self.start(REMOTE)
        self.write(REMOTE, more='[prices]\nfile = "prices.json"')
        pipe = self.folder / "prices.json"
        os.mkfifo(pipe)
        self.addCleanup(lambda: os.close(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)))
        reading: Deferred[None] = Deferred()
        served = Event()

        def write() -> bool:
            with pipe.open("w") as end:  # not before somebody reads
                reactor.callFromThread(reading.callback, None)
                in_time = served.wait(10)  # were it the reactor that reads, it would stand still
                end.write(json.dumps(LIST))
            return in_time

        written = in_thread(write)
        reloaded = ensureDeferred(service.reload_aside())
        await reading
        self.assertNotIn("x-lmg-cost", (await self.chat("listed")).headers)
        served.set()
        self.assertTrue(await written)
        await reloaded
        self.assertEqual((await self.chat("listed")).headers["x-lmg-cost"], "0.0075")

    async def test_history_does_not_change(self) -> None:
        """What is under way is charged what it began with, what is over stays as it was."""
        self.listed()
        service = self.service
        assert service is not None
        await self.chat("listed")
        answer, self.backend.script = self.backend.script, hang
        waiting = ensureDeferred(self.chat("listed"))
        await until(lambda: len(self.backend.asked) == 2)
        dearer = {**LIST, "gpt-x": {"input_cost_per_token": 1, "output_cost_per_token": 1}}
        (self.folder / "prices.json").write_text(json.dumps(dearer))
        service.reload()
        request = self.backend.requests[1]
        request.setHeader("content-type", "application/json")
        request.write(json.dumps(answer(request, self.backend.asked[1])).encode())
        request.finish()
        self.assertEqual((await waiting).headers["x-lmg-cost"], "0.0075")
        self.backend.script = answer
        self.assertEqual((await self.chat("listed")).headers["x-lmg-cost"], "1500")
        costs = [entry["cost_usd"] for entry in await self.entries()]
        self.assertEqual(costs, [1500, 0.0075, 0.0075])
        recorded = [record.cost for record in service.resources.ledger.newest]
        self.assertEqual(recorded, [7_500_000, 7_500_000, 1500 * 10**9])

    async def test_a_broken_file(self) -> None:
        """It stops a start; at a reload the old prices go on."""
        self.listed()
        assert self.service is not None
        (self.folder / "prices.json").write_text('{"gpt-x": ')
        with self.assertRaisesRegex(ConfigError, "prices.file"):
            self.service.reload()
        self.assertEqual((await self.chat("listed")).headers["x-lmg-cost"], "0.0075")

    async def test_table(self) -> None:
        """What neither the config nor the file knows is looked up there."""
        groq = '[backends.groq]\nbase_url = "{backend}"\nprovider = "groq"\nlocal = false\n'
        tier = '[[tiers]]\nname = "fast"\nbackend = "groq"\nmodel = "llama-3.3-70b-versatile"\n'
        template = REMOTE.replace("    {more}", groq + tier + "    {more}")
        self.start(template, more='[prices]\ntable = "genai-prices"')
        got = await self.chat("fast")
        self.assertEqual(got.headers["x-lmg-cost"], "0.000985")


USER = {"role": "user", "content": "hi"}
