"""A gateway in front of one scripted backend of each grammar, and the five ways to ask it."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.threads import deferToThread

from tests import vectors
from tests.fakes import FakeBackend
from tests.harness import GatewayCase, Got
from tests.vectors import CALLS

THREE = """
    [gateway]
    client_port = {client}
    admin_port = {admin}
    health_window = 0
    unknown_model = "reject"
    {gateway}

    [backends.openai]
    base_url = "{backend}"
    probe_interval_ms = 0
    api_key_env = "KEY"
    {openai}
    [backends.anthropic]
    provider = "anthropic"
    base_url = "{backend}"
    probe_interval_ms = 0
    api_key_env = "KEY"
    {anthropic}
    [backends.ollama]
    provider = "ollama"
    base_url = "{backend}"
    probe_interval_ms = 0
    {ollama}

    [[tiers]]
    name = "openai"
    backend = "openai"
    model = "gpt-5-mini"
    [[tiers]]
    name = "anthropic"
    backend = "anthropic"
    model = "claude-sonnet-4-5"
    [[tiers]]
    name = "ollama"
    backend = "ollama"
    model = "qwen3:4b"

    [profiles.default]
    classifier = "openai"
    failover = false
    {profile}
    {more}
"""

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "function": {"name": name, "description": "It.", "parameters": SCHEMA}}
    for name, _ in CALLS
]
MESSAGES: list[dict[str, Any]] = [{"role": "user", "content": "hi"}]


class ThreeCase(GatewayCase):
    """Tests with the tiers ``openai``, ``anthropic`` and ``ollama``."""

    def serve(self, **parts: str) -> None:
        """Start the gateway."""
        self.environ = {"KEY": "sk-upstream"}
        given = {"openai": "", "anthropic": "", "ollama": "", **parts}
        self.start(THREE, **given)

    @property
    def sent(self) -> Any:
        """What the backend was asked last, as parsed JSON."""
        return self.backend.asked[-1].body

    async def client(self, call: Any) -> Any:
        """Run a call of a synchronous client in a thread."""
        return await deferToThread(call)

    async def messages(self, model: str, **members: Any) -> Got:
        """Ask ``/v1/messages``; members that begin with an upper-case letter are headers."""
        headers = {name: members.pop(name) for name in list(members) if name[0].isupper()}
        body = {"model": model, "max_tokens": 99, "messages": MESSAGES, **members}
        return await self.ask("POST", "/v1/messages", body, **headers)

    async def responses(self, model: str, **members: Any) -> Got:
        """Ask ``/v1/responses``."""
        return await self.ask("POST", "/v1/responses", {"model": model, "input": "hi", **members})

    async def ollama(self, model: str, **members: Any) -> Got:
        """Ask ``/api/chat``, not streamed."""
        body = {"model": model, "messages": MESSAGES, "stream": False, **members}
        return await self.ask("POST", "/api/chat", body)

    async def completions(self, model: str, **members: Any) -> Got:
        """Ask ``/v1/completions``."""
        return await self.ask(
            "POST", "/v1/completions", {"model": model, "prompt": "hi", **members}
        )


class ScriptedCase(ThreeCase):
    """Tests whose backend answers one thing."""

    def says(self, dialect: str, what: str = "text") -> None:
        """Let the backend answer in the grammar of *dialect*."""
        whole = getattr(vectors, what)(dialect)
        parts = getattr(vectors, f"streamed_{what}")(dialect)
        self.backend.script = vectors.answering(whole, parts)


def events(body: bytes) -> list[Any]:
    """Give the documents of a client's SSE stream; ``[DONE]`` as it is."""
    blocks = [block for block in body.split(b"\n\n") if block]
    data = [line[6:] for block in blocks for line in block.split(b"\n") if line[:6] == b"data: "]
    return ["[DONE]" if item == b"[DONE]" else json.loads(item) for item in data]


def lines(body: bytes) -> list[Any]:
    """Give the documents of a client's NDJSON stream."""
    return [json.loads(line) for line in body.splitlines() if line]


__all__ = [
    "CALLS",
    "MESSAGES",
    "THREE",
    "TOOLS",
    "FakeBackend",
    "ScriptedCase",
    "ThreeCase",
    "events",
    "lines",
]
