"""The mock behind a whole gateway, on real sockets."""

from __future__ import annotations

import json

from treq.content import collect

from tests.fakes import until
from tests.harness import GatewayCase

SERVED = """
    [gateway]
    client_port = {client}
    admin_port = {admin}

    [backends.builtin]
    provider = "mock"
    [backends.builtin.mock]
    allow_model_faults = true
    {backends}

    [[tiers]]
    name = "cut"
    backend = "builtin"
    model = "mock-small-d1-x3"

    [[tiers]]
    name = "broken"
    backend = "builtin"
    model = "mock-small-e503"

    [[tiers]]
    name = "small"
    backend = "builtin"
    model = "mock-small"

    [profiles.default]
    mode = "dispatch"
    classifier = "small"
    max_auto_tier = "small"
"""


class ServedTests(GatewayCase):
    """What a client sees of the mock."""

    async def test_L15_1_whole(self) -> None:
        """A newcomer's first request is answered, routed and counted."""
        self.start(SERVED)
        got = await self.chat("small")
        self.assertEqual((got.code, got.headers["x-lmg-backend"]), (200, "builtin"))
        self.assertIn("mock", got.text)
        (entry,) = await self.entries()
        self.assertEqual(entry["output_tokens"], got.json["usage"]["completion_tokens"])
        self.assertFalse(entry["usage_estimated"])

    async def test_L15_1_streamed(self) -> None:
        """A stream says the same, ends properly, and hides the usage from who did not ask."""
        self.start(SERVED)
        whole = await self.chat("small")
        got = await self.chat("small", stream=True)
        *events, end = got.body.split(b"\n\n")[:-1]
        self.assertEqual(end, b"data: [DONE]")
        chunks = [json.loads(event.removeprefix(b"data: ")) for event in events]
        text = "".join([chunk["choices"][0]["delta"].get("content", "") for chunk in chunks])
        self.assertEqual(text, whole.text)
        got = await self.chat("small", stream=True, stream_options={"include_usage": True})
        self.assertIn(b'"completion_tokens"', got.body)

    async def test_failover_from_a_fault(self) -> None:
        """A mock that is full, on purpose, is passed over as a real backend would be."""
        self.start(SERVED)
        got = await self.chat("broken")
        self.assertEqual((got.code, got.headers["x-lmg-tier"]), (200, "small"))
        (entry,) = await self.entries()
        tried = [(attempt["outcome"], attempt["status"]) for attempt in entry["attempts"]]
        self.assertEqual(tried, [("backend_overloaded", 503), ("ok", 200)])

    async def test_cut_is_told_in_band(self) -> None:
        """A stream that breaks off ends with an error and without an end."""
        self.start(SERVED)
        response = await self.begin(
            "POST",
            "/v1/chat/completions",
            {"model": "cut", "stream": True, "messages": [{"role": "user", "content": "hi"}]},
        )
        got: list[bytes] = []
        await collect(response, got.append).addErrback(lambda _: None)
        body = b"".join(got)
        self.assertIn(b'"code":"stream_interrupted"', body)
        self.assertNotIn(b"[DONE]", body)

    async def test_client_that_leaves(self) -> None:
        """A client that leaves in the middle ends the mock's work and is recorded."""
        self.start(SERVED, backends="tokens_per_second = 20")
        response = await self.begin(
            "POST",
            "/v1/chat/completions",
            {"model": "small", "stream": True, "messages": [{"role": "user", "content": "hi"}]},
        )
        response.original._transport.loseConnection()
        service = self.service
        assert service is not None
        await until(lambda: service.resources.traffic.total == 1)
        (entry,) = await self.entries()
        self.assertEqual(entry["outcome"], "client_closed")
