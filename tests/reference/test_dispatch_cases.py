"""R-D: dispatch; the cases of windows and token estimates are with the ladder's own."""

from __future__ import annotations

from typing import Any

from tests.fakes import LONG, completion, hang, status, turns, until
from tests.harness import GatewayCase

FRIENDLY = 'error_style = "friendly"'


class DispatchCases(GatewayCase):
    """Tests for routing by the name asked for."""

    async def test_R_D01_alias(self) -> None:
        """An alias reaches its tier's model, and the answer says so."""
        self.start()
        got = await self.chat("hint:fast")
        self.assertEqual((got.code, got.text), (200, LONG))
        asked = self.backend.asked[0]
        self.assertEqual(asked.path, "/v1/chat/completions")
        self.assertEqual(asked.body["model"], "fast-model")
        self.assertFalse(asked.body.get("stream", False))
        self.assertEqual(got.headers["x-lmg-tier"], "local:fast")
        self.assertEqual(got.headers["x-lmg-model"], "fast-model")
        self.assertEqual(got.headers["x-lmg-profile"], "default")
        self.assertEqual(got.headers["x-lmg-backend"], "mock")
        self.assertEqual(got.headers["x-lmg-attempts"], "1")
        self.assertNotIn("x-lmg-class", got.headers)

    async def test_R_D02_tier_by_name(self) -> None:
        """A tier's own name works."""
        self.start()
        await self.chat("cloud:economy")
        self.assertEqual(self.backend.models, ["economy-model"])

    async def test_R_D03_unknown_model(self) -> None:
        """An unknown model goes to the profile's fallback tier."""
        self.start()
        got = await self.chat("gpt-whatever")
        self.assertEqual(got.headers["x-lmg-tier"], "local:fast")

    async def test_unknown_model_rejected(self) -> None:
        """With ``unknown_model = "reject"`` it is a 404 naming the parameter."""
        self.start(gateway='unknown_model = "reject"')
        got = await self.chat("gpt-whatever")
        self.assertEqual((got.code, got.json["error"]["param"]), (404, "model"))

    async def test_R_D04_no_model(self) -> None:
        """No model at all counts as an unknown one."""
        self.start()
        got = await self.chat(None)
        self.assertEqual(got.headers["x-lmg-tier"], "local:fast")

    async def test_R_D05_extra_members_pass(self) -> None:
        """Members that we know nothing of reach the backend unchanged."""
        self.start()
        extra: dict[str, Any] = {
            "temperature": 0.5,
            "response_format": {"type": "json_object"},
            "seed": 7,
        }
        await self.chat(**extra, vendor={"deep": [1, 2]})
        body = self.backend.asked[0].body
        for name, value in {**extra, "vendor": {"deep": [1, 2]}}.items():
            self.assertEqual(body[name], value)

    async def test_R_D07_system_prompt_inserted(self) -> None:
        """A profile's system prompt goes first."""
        self.start(profile='system_prompt = "Be brief."')
        await self.chat()
        self.assertEqual(
            self.backend.asked[0].body["messages"][0], {"role": "system", "content": "Be brief."}
        )

    async def test_R_D08_system_prompt_joined(self) -> None:
        """It is joined with the client's system text by a blank line."""
        self.start(profile='system_prompt = "Be brief."')
        await self.chat(
            messages=[{"role": "system", "content": "You are X."}, {"role": "user", "content": "a"}]
        )
        messages = self.backend.asked[0].body["messages"]
        self.assertEqual(messages[0]["content"], "Be brief.\n\nYou are X.")
        self.assertEqual(len(messages), 2)

    async def test_R_D09_empty_system_text(self) -> None:
        """An empty system text leaves the prompt alone."""
        self.start(profile='system_prompt = "Be brief."')
        await self.chat(
            messages=[{"role": "system", "content": ""}, {"role": "user", "content": "a"}]
        )
        self.assertEqual(self.backend.asked[0].body["messages"][0]["content"], "Be brief.")

    async def test_R_D10_array_system_text(self) -> None:
        """Array content of a system message keeps its parts."""
        self.start(profile='system_prompt = "Be brief."')
        part = {"type": "text", "text": "You are X.", "cache_control": {"type": "ephemeral"}}
        await self.chat(
            messages=[{"role": "system", "content": [part]}, {"role": "user", "content": "a"}]
        )
        content = self.backend.asked[0].body["messages"][0]["content"]
        self.assertEqual(content, [{"type": "text", "text": "Be brief."}, part])

    async def test_R_D11_backend_down(self) -> None:
        """With friendly errors a dead backend is a plain text answer with status 200."""
        self.start(gateway=FRIENDLY)
        await self.backend.close()
        got = await self.chat()
        self.assertEqual((got.code, got.json["object"]), (200, "chat.completion"))
        self.assertTrue(got.text)
        self.assertEqual(got.headers["x-lmg-error"], "backend_unavailable")

    async def test_backend_down_natively(self) -> None:
        """Natively it is a 502 that says who is to blame and what was tried."""
        self.start()
        await self.backend.close()
        got = await self.chat()
        error = got.json["error"]
        self.assertEqual((got.code, error["origin"]), (502, "upstream"))
        self.assertEqual(
            [(a["tier"], a["outcome"]) for a in error["attempts"]],
            [("local:fast", "backend_unavailable"), ("cloud:economy", "backend_unavailable")],
        )
        self.assertEqual(got.headers["x-lmg-error"], "backend_unavailable")

    async def test_R_D13_backend_talks_nonsense(self) -> None:
        """A non-JSON answer is a 502, not a crash."""

        def nonsense(request, asked):  # type: ignore[no-untyped-def]
            request.setHeader("content-type", "application/json")
            request.write(b"<html>")
            request.finish()

        self.start(gateway="failover = false")
        self.backend.script = nonsense
        got = await self.chat()
        self.assertEqual((got.code, got.headers["x-lmg-error"]), (502, "backend_protocol"))

    async def test_R_D14_expert_gate_shut(self) -> None:
        """Above the ceiling nothing is routed without the expert header."""
        self.start(
            BASE_EXPERT,
        )
        got = await self.chat("cloud:economy")
        self.assertEqual((got.code, self.backend.asked), (403, []))

    async def test_R_D15_expert_gate_open(self) -> None:
        """With the header it is."""
        self.start(BASE_EXPERT)
        got = await self.chat("cloud:economy", X_LMG_Expert="TRUE")
        self.assertEqual((got.code, got.headers["x-lmg-tier"]), (200, "cloud:economy"))

    async def test_R_D21_retries(self) -> None:
        """Two failures of the same target are retried, and the third try answers."""
        self.start(gateway="max_retries = 2\nretry_delay_ms = 20\nfailover = false")
        self.backend.script = turns(status(500), status(500), lambda r, a: completion())
        got = await self.chat()
        self.assertEqual((got.code, got.headers["x-lmg-attempts"]), (200, "3"))
        self.assertEqual(self.backend.models, ["fast-model"] * 3)

    async def test_R_D22_retries_exhausted(self) -> None:
        """After the last retry the client is told."""
        self.start(gateway="max_retries = 2\nretry_delay_ms = 20\nfailover = false")
        self.backend.script = status(500)
        got = await self.chat()
        self.assertEqual((got.code, len(self.backend.asked)), (502, 3))

    async def test_R_D23_client_errors_are_not_retried(self) -> None:
        """A backend's 400 is final, and its reason is passed on."""
        self.start(gateway="max_retries = 2\nretry_delay_ms = 20")
        self.backend.script = status(
            400, {"error": {"message": "max_tokens is too large", "code": "bad", "param": "x"}}
        )
        got = await self.chat()
        self.assertEqual((got.code, len(self.backend.asked)), (400, 1))
        self.assertEqual(got.json["error"]["message"], "max_tokens is too large")
        self.assertEqual(got.json["error"]["param"], "x")

    async def test_R_D24_request_timeout(self) -> None:
        """A hanging backend ends at the request's timeout, and its connection is closed."""
        self.start(gateway=f"request_timeout_ms = 300\n{FRIENDLY}")
        self.backend.script = hang
        got = await self.chat()
        self.assertIn("too long", got.text)
        await until(lambda: len(self.backend.lost) == len(self.backend.asked))

    async def test_request_timeout_natively(self) -> None:
        """Natively it is a 504."""
        self.start(gateway="request_timeout_ms = 200")
        self.backend.script = hang
        self.assertEqual((await self.chat()).code, 504)

    async def test_R_D25_no_request_timeout(self) -> None:
        """With the timeout off, the backend's own counts."""
        self.start(gateway="request_timeout_ms = 0\nfailover = false", backends="timeout_ms = 200")
        self.backend.script = hang
        self.assertEqual((await self.chat()).code, 504)

    async def test_R_D26_bad_bodies(self) -> None:
        """Malformed JSON is 400, another media type 415, too large a body 413."""
        self.start(gateway="max_body_bytes = 1000")
        path = "/v1/chat/completions"
        self.assertEqual((await self.ask("POST", path, b"{")).code, 400)
        got = await self.ask("POST", path, b"{}", content_type="text/plain")
        self.assertEqual((got.code, got.headers["x-lmg-error"]), (415, "unsupported_media_type"))
        got = await self.ask("POST", path, b"x" * 3000)
        self.assertEqual((got.code, got.json["error"]["type"]), (413, "invalid_request_error"))

    async def test_failover_climbs(self) -> None:
        """When a tier fails, the next one answers and the client sees only that."""
        self.start()
        self.backend.script = turns(status(503), lambda r, a: completion())
        got = await self.chat()
        self.assertEqual((got.code, got.headers["x-lmg-tier"]), (200, "cloud:economy"))
        (entry,) = await self.entries()
        self.assertEqual([a["outcome"] for a in entry["attempts"]], ["backend_overloaded", "ok"])

    async def test_limited_backends_give_the_shortest_wait(self) -> None:
        """If every target is rate limited, the client is told the shortest wait."""
        self.start()
        self.backend.script = turns(status(429, retry_after="40"), status(429, retry_after="7"))
        got = await self.chat()
        self.assertEqual((got.code, got.headers["retry-after"]), (429, "7"))
        self.assertEqual(got.json["error"]["origin"], "upstream")

    async def test_credential_trouble_is_ours(self) -> None:
        """A backend's 401 is a 502 without its text, and is not repeated elsewhere."""
        self.start(gateway="max_retries = 2")
        self.backend.script = status(401, {"error": {"message": "bad key sk-secret"}})
        got = await self.chat()
        self.assertEqual((got.code, len(self.backend.asked)), (502, 1))
        self.assertNotIn(b"sk-secret", got.body)

    async def test_profile_as_model(self) -> None:
        """A profile's name is a model, on this surface too."""
        self.start(more='[profiles.brief]\nclassifier = "cloud:economy"')
        got = await self.chat("brief")
        self.assertEqual(got.headers["x-lmg-profile"], "brief")
        self.assertEqual(self.backend.models, ["economy-model"])

    async def test_hidden_routing(self) -> None:
        """``expose_routing = false`` keeps the inner names to ourselves."""
        self.start(gateway="expose_routing = false")
        headers = (await self.chat()).headers
        self.assertEqual([n for n in headers if n.startswith("x-lmg")], ["x-lmg-profile"])


BASE_EXPERT = """
    [gateway]
    client_port = {client}
    admin_port = {admin}

    [backends.mock]
    base_url = "{backend}"

    [[tiers]]
    name = "local:fast"
    backend = "mock"
    model = "fast-model"

    [[tiers]]
    name = "cloud:economy"
    backend = "mock"
    model = "economy-model"

    [profiles.default]
    classifier = "local:fast"
    max_auto_tier = "local:fast"
    expert_requires_flag = true
"""
