"""Rows L4, M2 and H1 of what is asked of keys and limits, by their ids."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater

from tests.governance.test_accounts import ANN, KEY, PRICED
from tests.harness import GatewayCase

CHAT = "/v1/chat/completions"
HI = [{"role": "user", "content": "hi"}]
BODIES: dict[str, Any] = {
    CHAT: {"model": "hint:fast", "messages": HI},
    "/v1/messages": {"model": "hint:fast", "max_tokens": 9, "messages": HI},
    "/api/chat": {"model": "hint:fast", "stream": False, "messages": HI},
    "/v1/responses": {"model": "hint:fast", "input": "hi"},
    "/v1/route/explain": {"model": "hint:fast", "messages": HI},
}
BUDGET = '[[budgets]]\nname = "b"\nscope = "global"\nlimit_usd = {limit}\n'


class LimitRows(GatewayCase):
    """Tests over HTTP."""

    def setUp(self) -> None:
        """Give the client its key."""
        super().setUp()
        self.environ["ANN"] = "key-of-ann"

    async def test_L4_4_told_on_every_surface(self) -> None:
        """Limit, rest and reset of requests and tokens, in the names of each API."""
        self.start(more=ANN + "rate_limit_rpm = 600\nrate_limit_tpm = 9000\n")
        for path, body in BODIES.items():
            got = await self.ask("POST", path, body, **KEY)
            self.assertEqual(got.code, 200, path)
            for what in ("requests", "tokens"):
                for key in ("limit", "remaining", "reset"):
                    name = f"x-ratelimit-{key}-{what}"
                    if path == "/v1/messages":
                        name = f"anthropic-ratelimit-{what}-{key}"
                    self.assertIn(name, got.headers, path)

    async def test_L4_4_retry_after_is_true(self) -> None:
        """After the whole seconds that a refusal tells there is room."""
        self.start(more=ANN + "rate_limit_rpm = 60\nburst = 1\n")
        for path in (CHAT, "/v1/messages"):
            got = await self.ask("POST", path, BODIES[path], **KEY)
            while got.code == 200:
                got = await self.ask("POST", path, BODIES[path], **KEY)
            self.assertEqual((got.code, got.headers["retry-after"]), (429, "1"))
            await deferLater(reactor, int(got.headers["retry-after"]))
        self.assertEqual((await self.ask("POST", CHAT, BODIES[CHAT], **KEY)).code, 200)

    async def test_M2_3_hot_reload(self) -> None:
        """Limits, keys and budgets change without a restart; what was counted is not forgotten."""
        service = self.start(PRICED, more=ANN + "rate_limit_rpm = 6\n" + BUDGET.format(limit=1))
        self.assertEqual((await self.chat("paid", max_tokens=9, **KEY)).code, 200)
        self.environ["CY"] = "key-of-cy"
        more = ANN.replace("ann", "cy").replace("ANN", "CY")
        more += ANN + "rate_limit_rpm = 4\n" + BUDGET.format(limit=0.0001)
        self.write(PRICED, more=more)
        service.reload()
        told = (await self.ask("GET", "/v1/me", **KEY)).json
        self.assertEqual((told["limits"]["requests"]["remaining"], told["spend_usd"]), (1, 0.00039))
        other: dict[str, Any] = {"Authorization": "Bearer key-of-cy"}
        self.assertEqual((await self.chat("paid", max_tokens=9, **other)).code, 402)
        self.write(PRICED, more=more.replace("ANN", "CY2").replace('"ann"', '"cy2"'))
        self.environ["CY2"] = "key-of-cy-two"
        service.reload()
        self.assertEqual((await self.chat("paid", **KEY)).code, 401)

    async def test_H1_3a1_keys(self) -> None:
        """A wrong one is 401 and told how to show one; both headers are taken."""
        self.start(more=ANN)
        for path in (CHAT, "/v1/messages"):
            for header in ("Authorization", "x-api-key"):
                right, wrong = ("key-of-ann", "no-key")
                if header == "Authorization":
                    right, wrong = (f"Bearer {right}", f"Bearer {wrong}")
                good: dict[str, Any] = {header: right}
                bad: dict[str, Any] = {header: wrong}
                self.assertEqual((await self.ask("POST", path, BODIES[path], **good)).code, 200)
                got = await self.ask("POST", path, BODIES[path], **bad)
                self.assertEqual(got.code, 401)
                self.assertIn("www-authenticate", got.headers)
                if path == CHAT:
                    self.assertEqual(got.json["error"]["code"], "invalid_api_key")
