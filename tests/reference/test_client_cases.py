"""What a key is for, over HTTP: rows of keys that bring their own, and of what they may see."""

from __future__ import annotations

import json
from typing import Any

from lmgateway.errors import ConfigError
from tests.fakes import completion, status, turns
from tests.harness import GatewayCase

CLIENTS = """
[[clients]]
name = "ann"
key_env = "ANN"
profile = "default"

[clients.upstream_keys]
mock = { source = "env", var = "ANNS_OWN" }

[[clients]]
name = "bob"
key_env = "BOB"
profile = "default"
"""
ANN: dict[str, Any] = {"Authorization": "Bearer key-of-ann"}
BOB: dict[str, Any] = {"Authorization": "Bearer key-of-bob"}


class UpstreamKeyCases(GatewayCase):
    """Tests for E7: clients who bring their own provider keys."""

    def setUp(self) -> None:
        """Give everybody their keys."""
        super().setUp()
        self.environ |= {
            "ANN": "key-of-ann",
            "BOB": "key-of-bob",
            "ANNS_OWN": "sk-of-ann-herself",
            "OURS": "sk-of-the-gateway",
        }

    def serve(self, **parts: str) -> None:
        """Serve both."""
        self.start(backends='api_key_env = "OURS"', more=CLIENTS, **parts)

    def sent(self) -> list[str | None]:
        """Give the credentials that the backend was sent."""
        return [asked.headers.get("authorization") for asked in self.backend.asked]

    async def test_E7_sent_instead_of_ours(self) -> None:
        """To the backend, for this client and for no other."""
        self.serve()
        for key in (ANN, BOB, ANN):
            self.assertEqual((await self.chat(**key)).code, 200)
        hers, ours = "Bearer sk-of-ann-herself", "Bearer sk-of-the-gateway"
        self.assertEqual(self.sent(), [hers, ours, hers])

    async def test_E7_nothing_is_shared(self) -> None:
        """No connection carries two people's keys."""
        self.serve()
        for key in (ANN, BOB, ANN, BOB):
            await self.chat(**key)
        assert self.service is not None
        agents = self.service.resources._agents
        self.assertEqual({key[-1] for key in agents}, {"", "ann"})

    async def test_E7_what_happens_to_her_key_is_not_held_against_the_backend(self) -> None:
        """Its breaker stays closed for others, however often it refuses her."""
        self.serve(gateway="failover = false")
        refusal = status(429)
        self.backend.script = turns(*[refusal] * 12, lambda request, asked: completion())
        codes = [(await self.chat(**ANN)).code for _ in range(12)]
        self.assertEqual(codes, [429] * 12)
        self.assertEqual((await self.chat(**BOB)).code, 200)

    async def test_E7_never_shown(self) -> None:
        """Not in records, configs or errors."""
        self.serve()
        self.backend.script = lambda request, asked: completion()
        await self.chat(**ANN)
        shown = [json.dumps(await self.entries())]
        for path in ("/admin/config", "/admin/health", "/admin/backends"):
            got = await self.ask("GET", path, admin=True)
            shown.append(got.body.decode())
        assert self.service is not None
        self.service.resources.access.flush()
        shown += [line.decode() for line in self.lines]
        self.assertNotIn("of-ann-herself", "".join(shown))

    async def test_E7_a_key_that_is_not_there_stops_the_start(self) -> None:
        """It is named; so is a backend that is not there."""
        del self.environ["ANNS_OWN"]
        with self.assertRaisesRegex(ConfigError, r"upstream_keys\.mock: .*ANNS_OWN"):
            self.serve()
        self.environ["ANNS_OWN"] = "sk-of-ann-herself"
        with self.assertRaisesRegex(ConfigError, 'there is no backend "other"'):
            self.start(more=CLIENTS.replace("mock =", "other ="))

    async def test_E7_read_anew_on_reload(self) -> None:
        """As every secret is."""
        self.serve()
        self.environ["ANNS_OWN"] = "sk-newer"
        assert self.service is not None
        self.service.reload()
        await self.chat(**ANN)
        self.assertEqual(self.sent(), ["Bearer sk-newer"])


SOME = """
[[clients]]
name = "ann"
key_env = "ANN"
profile = "default"
allow_models = ["local:*", "hint:*"]
allow_profiles = ["night*"]

[[clients]]
name = "bob"
key_env = "BOB"
profile = "default"
expert = true

[profiles.nightly]
classifier = "local:fast"

[profiles.secret]
classifier = "local:fast"
"""


class VisibleCases(GatewayCase):
    """Tests for what ``/v1/models`` and ``/v1/me`` show of models: what the key may use."""

    def setUp(self) -> None:
        """Serve both."""
        super().setUp()
        self.environ |= {"ANN": "key-of-ann", "BOB": "key-of-bob"}
        self.start(more=SOME, profile="expert_requires_flag = true")

    async def test_E3_models(self) -> None:
        """What is not for this key is neither shown nor served, with the same 404."""
        listed = (await self.ask("GET", "/v1/models", **ANN)).json["data"]
        names = [each["id"] for each in listed]
        self.assertEqual(names, ["local:fast", "hint:fast", "default", "nightly", "auto"])
        told = (await self.ask("GET", "/v1/me", **ANN)).json["models"]
        self.assertEqual([each["id"] for each in told], names[:-1])
        for name in ("cloud:economy", "secret"):
            got = await self.ask("GET", f"/v1/models/{name}", **ANN)
            self.assertEqual(got.code, 404)
        self.assertEqual((await self.chat("cloud:economy", **ANN)).code, 404)
        self.assertEqual((await self.chat("nightly", **ANN)).code, 200)

    async def test_E3_other_keys_see_others(self) -> None:
        """An expert sees the whole ladder."""
        listed = (await self.ask("GET", "/v1/models", **BOB)).json["data"]
        self.assertIn("cloud:economy", [each["id"] for each in listed])
