"""What is spent less than everything at one tier would cost."""

from __future__ import annotations

from typing import Any

from tests.fakes import STREAM, completion, status, turns
from tests.governance.test_accounts import ANN, KEY, PRICED
from tests.harness import GatewayCase

# 1000 and 500 tokens cost 0.06 USD of "paid", 0.01045 of "dear", nothing of "unpriced".
BASELINE = 'baseline = "paid"'


class SavingsTests(GatewayCase):
    """Tests for ``baseline``."""

    def setUp(self) -> None:
        """Give the client its key."""
        super().setUp()
        self.environ["ANN"] = "key-of-ann"
        answer = completion()
        answer["usage"] = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
        self.backend.script = lambda request, asked: answer

    async def saved(self) -> Any:
        """Give what the newest entry says."""
        return (await self.entries())[0]["saved_usd"]

    async def test_saved(self) -> None:
        """Of each request, of the client, and in the ledger."""
        service = self.start(PRICED, gateway=BASELINE, more=ANN)
        await self.chat("dear", **KEY)
        self.assertEqual(await self.saved(), 0.04955)
        await self.chat("paid", **KEY)
        self.assertEqual(await self.saved(), 0)
        told = (await self.ask("GET", "/v1/me", **KEY)).json
        self.assertEqual(told["saved_usd"], 0.04955)
        self.assertEqual([r.saved for r in service.resources.ledger.newest], [49_550_000, 0])

    async def test_without_a_baseline(self) -> None:
        """Nobody says anything of it."""
        self.start(PRICED, more=ANN)
        await self.chat("dear", **KEY)
        self.assertIsNone(await self.saved())
        self.assertIsNone((await self.ask("GET", "/v1/me", **KEY)).json["saved_usd"])

    async def test_negative(self) -> None:
        """What is dearer than the baseline is told as it is."""
        self.start(PRICED, gateway='baseline = "dear"')
        await self.chat("paid")
        self.assertEqual(await self.saved(), -0.04955)

    async def test_profile(self) -> None:
        """A profile's own wins."""
        self.start(PRICED, gateway=BASELINE, profile='baseline = "unpriced"')
        await self.chat("dear")
        self.assertEqual(await self.saved(), -0.01045)

    async def test_classifiers_only_cost(self) -> None:
        """The baseline would have needed none."""
        profile = 'mode = "classify"\nmax_auto_tier = "paid"'
        self.start(PRICED, gateway=BASELINE, profile=profile)
        await self.chat("whatever")
        self.assertEqual(await self.saved(), -0.06)

    async def test_climbing_in_vain_only_costs(self) -> None:
        """So does an answer that was not good enough."""
        short = completion("no")
        short["usage"] = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
        self.backend.script = turns(lambda request, asked: short, self.backend.script)
        self.start(PRICED, gateway=BASELINE, profile='mode = "escalate"')
        got = await self.chat("whatever")
        self.assertEqual(got.headers["x-lmg-tier"], "dear")
        self.assertEqual(await self.saved(), round(0.06 - 0.06 - 0.01045, 9))

    async def test_failed_attempts(self) -> None:
        """They cost nothing, and save nothing."""
        self.start(PRICED, gateway=BASELINE)
        self.backend.script = turns(status(500), self.backend.script)
        await self.chat("paid")
        self.assertEqual(await self.saved(), 0.04955)

    async def test_unknown_price(self) -> None:
        """What nobody knows the cost of is compared with nothing."""
        self.start(PRICED, gateway=BASELINE, backends="local = false")
        await self.chat("unpriced")
        self.assertIsNone(await self.saved())

    async def test_streams(self) -> None:
        """As whole answers."""
        self.backend.script = lambda request, asked: STREAM
        self.start(PRICED, gateway=BASELINE)
        await self.chat("unpriced", stream=True)
        self.assertEqual(await self.saved(), 0.00039)

    async def test_metrics(self) -> None:
        """Sums of what was saved can be scraped."""
        self.start(PRICED, gateway=BASELINE)
        await self.chat("dear")
        text = (await self.ask("GET", "/metrics", admin=True)).body.decode()
        (line,) = [line for line in text.splitlines() if line.startswith("lmg_saved_usd{")]
        self.assertEqual(float(line.rpartition(" ")[2]), 0.04955)


class RestartTests(GatewayCase):
    """Tests for budgets over a restart."""

    async def test_spent_money_stays_spent(self) -> None:
        """A usage ledger on disk tells a new process what the period's budget has left."""
        answer = completion()
        answer["usage"] = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
        self.backend.script = lambda request, asked: answer
        for form in ("sqlite", "jsonl"):
            more = f'[state]\nusage = "{form}:usage.{form}"\n' + (
                '[[budgets]]\nname = "b"\nscope = "global"\nlimit_usd = 0.1\n'
                '[[budgets]]\nname = "t"\nscope = "tier"\nlimit_usd = 1\nperiod = "rolling:1d"\n'
            )
            self.start(PRICED, more=more)
            self.assertEqual((await self.chat("paid", max_tokens=500)).code, 200)
            await self.stop()
            self.start(PRICED, more=more)
            told = (await self.ask("GET", "/v1/me")).json["budgets"]
            self.assertEqual([each["spent_usd"] for each in told], [0.06])
            self.assertEqual((await self.chat("paid", max_tokens=1000)).code, 402)
            self.assertEqual((await self.chat("dear", max_tokens=500)).code, 200)
            await self.stop()

    async def stop(self) -> None:
        """End the gateway as at a shutdown."""
        assert self.service is not None
        service, self.service = self.service, None
        for port in (service.client, service.admin):
            if port.factory is not None:
                port.factory.abort()
        await service.drain()
        service.resources.keep_only(set())
        service.resources.wheel.stop()
