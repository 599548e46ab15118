"""What a client may not choose, as it sees it: hosts and credentials, in bodies and headers."""

from __future__ import annotations

from typing import Any

from tests.harness import GatewayCase

HEADERS = {
    "OpenAI-Organization": "org-1",
    "OpenAI-Project": "proj-1",
    "Api-Key": "azure-style",
    "X-Api-Base": "http://evil.example",
    "X-Portkey-Custom-Host": "http://evil.example",
    "Helicone-Target-Url": "http://evil.example",
    "X-Forwarded-Host": "evil.example",
    "X-Amz-Security-Token": "token",
    "Cookie": "a=b",
}


class ForeignCases(GatewayCase):
    """Nobody but the operator says where a request goes."""

    async def test_N9_body_fields_are_refused_in_the_callers_format(self) -> None:
        """Each API says 400 in its own words, names the member, and asks no backend."""
        self.start()
        messages = [{"role": "user", "content": "hi"}]
        asked: dict[str, Any] = {"model": "hint:fast", "messages": messages, "max_tokens": 5}
        for path in ("/v1/chat/completions", "/v1/messages", "/api/chat"):
            got = await self.ask("POST", path, {**asked, "API_BASE": "http://evil.example"})
            self.assertEqual((got.code, got.headers["x-lmg-error"]), (400, "malformed_request"))
            self.assertIn(b"API_BASE", got.body)
            self.assertNotIn(b"evil", got.body)
        got = await self.chat(extra_body={"extra_headers": {"a": "b"}})
        self.assertEqual(got.json["error"]["param"], "extra_body.extra_headers")
        self.assertEqual(self.backend.asked, [])

    async def test_N9_headers_are_dropped(self) -> None:
        """Client libraries send some of these by themselves: served, and not passed on."""
        self.start()
        got = await self.chat(**HEADERS)
        self.assertEqual(got.code, 200)
        sent = self.backend.asked[0].headers
        for name, value in HEADERS.items():
            self.assertNotIn(name.lower(), sent)
            self.assertNotIn(value, sent.values())
