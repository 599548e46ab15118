"""R-M: liveness, discovery, status; R-Q: request ids."""

from __future__ import annotations

import uuid
from typing import Any

from tests.fakes import status, turns
from tests.harness import GatewayCase


class StatusCases(GatewayCase):
    """Tests for what anybody may ask."""

    async def test_R_M01_healthz(self) -> None:
        """The process says that it is there; HEAD works too."""
        self.start()
        got = await self.ask("GET", "/healthz")
        self.assertEqual((got.code, got.json), (200, {"status": "ok"}))
        self.assertEqual((await self.ask("HEAD", "/healthz")).body, b"")

    async def test_R_M02_models(self) -> None:
        """Both tiers are listed, in the order of the ladder."""
        self.start()
        got = await self.ask("GET", "/v1/models")
        self.assertEqual(got.json["object"], "list")
        ids = [model["id"] for model in got.json["data"]]
        self.assertEqual(ids[:2], ["local:fast", "cloud:economy"])

    async def test_R_M03_alias_tells_its_tier(self) -> None:
        """An alias is owned by ``alias`` and tells what it resolves to."""
        self.start()
        data = (await self.ask("GET", "/v1/models")).json["data"]
        (alias,) = [model for model in data if model["id"] == "hint:fast"]
        self.assertEqual(alias["owned_by"], "alias")
        self.assertEqual(alias["lm_gateway"], {"resolves_to": "local:fast"})

    async def test_one_model(self) -> None:
        """One model can be asked for; an unknown one is a 404 in OpenAI's envelope."""
        self.start()
        got = await self.ask("GET", "/v1/models/local:fast")
        self.assertEqual((got.code, got.json["id"]), (200, "local:fast"))
        got = await self.ask("GET", "/v1/models/nothing/at/all")
        self.assertEqual((got.code, got.json["error"]["code"]), (404, "model_not_found"))

    async def test_R_M05_fresh_status(self) -> None:
        """A fresh gateway is ready and has counted nothing."""
        self.start()
        got = (await self.ask("GET", "/status")).json
        self.assertEqual((got["status"], got["ready"]), ("ok", True))
        self.assertEqual(
            got["requests"],
            {
                "total": 0,
                "errors": 0,
                "error_rate": 0.0,
                "escalations": 0,
                "avg_latency_ms": 0.0,
            },
        )
        self.assertNotIn("setup_url", got)

    async def test_R_M06_error_rate(self) -> None:
        """Failures count: the error rate is errors over all."""
        self.start(gateway="failover = false")
        await self.chat()
        self.backend.script = status(500)
        await self.chat()
        requests = (await self.ask("GET", "/status")).json["requests"]
        self.assertEqual((requests["total"], requests["errors"]), (2, 1))
        self.assertEqual(requests["error_rate"], 0.5)

    async def test_R_M07_status_names_nothing(self) -> None:
        """The public status tells no tier, backend, model or URL."""
        self.start()
        await self.chat()
        body = (await self.ask("GET", "/status")).body
        for name in (b"local:fast", b"mock", b"fast-model", b"127.0.0.1"):
            self.assertNotIn(name, body)

    async def test_R_M08_missing_key_is_not_ready(self) -> None:
        """A backend whose key variable is not set makes the gateway not ready."""
        self.start(backends='api_key_env = "NOT_SET_ANYWHERE"')
        got = (await self.ask("GET", "/status")).json
        self.assertFalse(got["ready"])
        self.assertTrue(got["setup_url"])

    async def test_R_M09_file_secret(self) -> None:
        """A key file that is filled is ready, and once emptied is not."""
        path = self.write()
        secret = path.parent / "key"
        secret.write_text("sk-test\n")
        secret.chmod(0o600)
        self.start(backends='api_key_secret = { source = "file", path = "key" }')
        self.assertTrue((await self.ask("GET", "/status")).json["ready"])
        secret.write_text("")
        self.assertFalse((await self.ask("GET", "/status")).json["ready"])

    async def test_R_M10_unknown_path_and_method(self) -> None:
        """An unknown path is 404 and a wrong method 405 with ``Allow``, both as JSON."""
        self.start()
        got = await self.ask("GET", "/nothing")
        self.assertEqual((got.code, got.json["error"]["code"]), (404, "not_found"))
        got = await self.ask("GET", "/v1/chat/completions")
        self.assertEqual((got.code, got.headers["allow"]), (405, "POST"))
        self.assertEqual(got.headers["content-type"], "application/json")


class RequestIdCases(GatewayCase):
    """Tests for ``X-Request-ID``."""

    async def test_R_Q01_echoed(self) -> None:
        """A client's id is echoed, sent upstream, and names the traffic entry."""
        self.start()
        got = await self.chat(X_Request_ID="abc")
        self.assertEqual(got.headers["x-request-id"], "abc")
        self.assertEqual(self.backend.asked[0].headers["x-request-id"], "abc")
        self.assertEqual((await self.entries())[0]["id"], "abc")

    async def test_R_Q02_generated(self) -> None:
        """Without one, an UUID is made."""
        self.start()
        uuid.UUID((await self.chat()).headers["x-request-id"])

    async def test_R_Q03_on_errors_too(self) -> None:
        """Refusals carry an id as well."""
        self.environ["KEY"] = "k"
        self.start(more='[[clients]]\nkey_env = "KEY"\nprofile = "default"')
        for path in ("/v1/models", "/nothing", "/healthz"):
            self.assertIn("x-request-id", (await self.ask("GET", path)).headers)

    async def test_R_Q04_indecent_ids_are_replaced(self) -> None:
        """An id that is over-long or has odd characters is not used."""
        self.start()
        for bad in ("x" * 300, "a b", "ä"):
            got = await self.chat(X_Request_ID=bad)
            uuid.UUID(got.headers["x-request-id"])


class AccessCases(GatewayCase):
    """R-U: who may ask."""

    clients = """
        [[clients]]
        name = "ann"
        key_env = "ANN"
        profile = "default"

        [[clients]]
        name = "bob"
        key_env = "BOB"
        profile = "other"

        [profiles.other]
        classifier = "local:fast"
        max_auto_tier = "local:fast"
    """

    def setUp(self) -> None:
        """Give the two clients their keys."""
        super().setUp()
        self.environ.update(ANN="key-of-ann", BOB="key-of-bob")

    async def test_R_U01_open_without_clients(self) -> None:
        """Without clients anybody may ask, on loopback."""
        self.start()
        self.assertEqual((await self.chat()).code, 200)

    async def test_R_U02_key_binds_a_profile(self) -> None:
        """A good key routes by its profile."""
        self.start(more=self.clients)
        got = await self.chat(Authorization="Bearer key-of-bob")
        self.assertEqual((got.code, got.headers["x-lmg-profile"]), (200, "other"))
        got = await self.chat(Authorization="bearer key-of-ann")
        self.assertEqual(got.headers["x-lmg-profile"], "default")
        self.assertEqual((await self.entries())[0]["client"], "ann")

    async def test_R_U03_wrong_or_missing_key(self) -> None:
        """A wrong or a missing key is 401, told how to do better; nothing goes upstream."""
        self.start(more=self.clients)
        for headers in ({}, {"Authorization": "Bearer nope"}, {"Authorization": "Basic eA=="}):
            got = await self.chat(**headers)
            self.assertEqual(got.code, 401)
            self.assertIn("Bearer", got.headers["www-authenticate"])
            self.assertEqual(got.json["error"]["code"], "invalid_api_key")
        self.assertEqual(self.backend.asked, [])
        entries = await self.entries()
        self.assertEqual([e["outcome"] for e in entries], ["unauthenticated"] * 3)

    async def test_R_U04_public_profile(self) -> None:
        """Without a key the public profile serves; a wrong key is still 401."""
        self.start(gateway='public_profile = "other"', more=self.clients)
        got = await self.chat()
        self.assertEqual((got.code, got.headers["x-lmg-profile"]), (200, "other"))
        self.assertEqual((await self.chat(Authorization="Bearer nope")).code, 401)

    async def test_R_U06_healthz_needs_no_key(self) -> None:
        """Health and status answer without a key."""
        self.start(more=self.clients)
        for path in ("/healthz", "/readyz", "/status"):
            self.assertEqual((await self.ask("GET", path)).code, 200)

    async def test_ceiling_hides_tiers(self) -> None:
        """What is above a client's ceiling is as unknown to it as what does not exist."""
        self.start(more=self.clients)
        key: dict[str, Any] = {"Authorization": "Bearer key-of-bob"}
        got = await self.chat("cloud:economy", **key)
        self.assertEqual((got.code, got.json["error"]["code"]), (404, "model_not_found"))
        listed = await self.ask("GET", "/v1/models", **key)
        self.assertNotIn("cloud:economy", [m["id"] for m in listed.json["data"]])

    async def test_globs_say_what_may_be_named(self) -> None:
        """``allow_models`` and ``allow_profiles`` take globs; one that fits nothing is refused."""
        more = self.clients.replace('key_env = "BOB"', 'key_env = "BOB"\nallow_models = ["cl*"]')
        self.start(more=more)
        key: dict[str, Any] = {"Authorization": "Bearer key-of-bob"}
        self.assertEqual((await self.chat("cloud:economy", **key)).code, 200)
        self.assertEqual((await self.chat("local:fast", **key)).code, 404)
        self.write(more=more.replace("cl*", "nope*"))
        got = await self.ask("POST", "/admin/reload", admin=True)
        self.assertEqual(got.code, 422)

    async def test_other_profile_needs_permission(self) -> None:
        """A client may not route by a profile that it was not given."""
        self.start(gateway='unknown_model = "reject"', more=self.clients)
        got = await self.chat("other", Authorization="Bearer key-of-ann")
        self.assertEqual(got.code, 404)

    async def test_key_never_goes_upstream(self) -> None:
        """The client's key stays here; the backend's own key is sent."""
        self.environ["UP"] = "sk-upstream"
        self.start(backends='api_key_env = "UP"', more=self.clients)
        await self.chat(Authorization="Bearer key-of-ann")
        asked = self.backend.asked[0]
        self.assertEqual(asked.headers["authorization"], "Bearer sk-upstream")
        self.assertNotIn("key-of-ann", str(asked))


__all__ = ["turns"]
