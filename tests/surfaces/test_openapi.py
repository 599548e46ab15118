"""Tests for the client port's own description."""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped,unused-ignore]

from tests.admin.judge import Judge
from tests.fakes import STREAM, completion, status
from tests.harness import GatewayCase, Got

ASK = [{"role": "user", "content": "hi"}]
EMBEDDED = {
    "object": "list", "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1},
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
}  # fmt: skip

CALLS: tuple[tuple[str, str, Any], ...] = (
    ("POST", "/v1/chat/completions", {"model": "hint:fast", "messages": ASK}),
    ("POST", "/chat/completions", {"model": "hint:fast", "messages": ASK}),
    ("POST", "/v1/completions", {"model": "hint:fast", "prompt": "hi"}),
    ("POST", "/v1/responses", {"model": "hint:fast", "input": "hi"}),
    ("POST", "/v1/embeddings", {"model": "hint:fast", "input": "hi"}),
    ("GET", "/v1/models", None),
    ("GET", "/v1/models/hint:fast", None),
    ("POST", "/v1/messages", {"model": "hint:fast", "max_tokens": 9, "messages": ASK}),
    ("POST", "/v1/messages/count_tokens", {"model": "hint:fast", "messages": ASK}),
    ("POST", "/api/chat", {"model": "hint:fast", "messages": ASK, "stream": False}),
    ("POST", "/api/generate", {"model": "hint:fast", "prompt": "hi", "stream": False}),
    ("POST", "/api/embed", {"model": "hint:fast", "input": "hi"}),
    ("POST", "/api/show", {"model": "default"}),
    ("GET", "/api/tags", None),
    ("GET", "/api/ps", None),
    ("GET", "/api/version", None),
    ("POST", "/v1/route/explain", {"model": "hint:fast", "messages": ASK}),
    ("GET", "/v1/me", None),
    ("GET", "/healthz", None),
    ("GET", "/readyz", None),
    ("GET", "/status", None),
    ("GET", "/", None),
    ("GET", "/openapi.json", None),
    ("GET", "/docs", None),
)


def answer(request: Any, asked: Any) -> Any:
    """Answer as a backend of OpenAI's does."""
    if asked.path.endswith("embeddings"):
        return EMBEDDED
    if asked.body.get("stream"):
        return STREAM
    if asked.path.endswith("/chat/completions"):
        return completion()
    return {**completion(), "object": "text_completion", "choices": [{"index": 0, "text": "x"}]}


class DescriptionTests(GatewayCase):
    """Tests for ``/openapi.json`` and ``/docs``."""

    async def judge(self) -> Judge:
        """Give the document's judge."""
        return Judge((await self.ask("GET", "/openapi.json")).json)

    async def test_every_answer_is_as_documented(self) -> None:
        """Each call is documented, and its answer, streamed or failed too, fits the document."""
        self.start()
        self.backend.script = answer
        judge = await self.judge()
        for method, path, body in CALLS:
            got = await self.ask(method, path, body)
            self.assertEqual(got.code, 200, (path, got.body))
            judge.check(method, path, got)
            if body is not None:
                judge.check(method, path, await self.ask(method, path, b"{not json"))
            if "stream" in judge.operation(method, path).get("requestBody", {}).__repr__():
                streamed = await self.ask(method, path, {**body, "stream": True})
                self.assertEqual(streamed.code, 200, path)
                judge.check(method, path, streamed)
        self.backend.script = status(500)
        for method, path, body in CALLS[:12]:
            judge.check(method, path, await self.ask(method, path, body))

    async def test_bodies_fit_what_is_documented(self) -> None:
        """What the calls above send is what the document asks for."""
        self.start()
        judge = await self.judge()
        for method, path, body in CALLS:
            if body is None:
                continue
            told = judge.operation(method, path)["requestBody"]["content"]["application/json"]
            Draft202012Validator(told["schema"]).validate(body)

    async def test_a_strange_role_is_the_clients_fault(self) -> None:
        """A role that is an object or a list is refused with 400 on every surface."""
        self.start()
        for path, member in (
            ("/v1/chat/completions", "messages"),
            ("/v1/responses", "input"),
            ("/v1/messages", "messages"),
            ("/api/chat", "messages"),
        ):
            roles: tuple[Any, ...] = ({}, [], {"a": 1})
            for role in roles:
                message = {"role": role, "content": "hi"}
                body = {"model": "hint:fast", "max_tokens": 9, member: [message]}
                got = await self.ask("POST", path, body)
                self.assertEqual(got.code, 400, (path, role))

    async def test_keys_are_documented_where_they_are_needed(self) -> None:
        """With clients the routes say that they need a key, but for health and description."""
        self.environ["KEY"] = "k" * 24
        self.start(more='[[clients]]\nname = "ann"\nkey_env = "KEY"\nprofile = "default"')
        judge = await self.judge()
        self.assertTrue(judge.operation("POST", "/v1/chat/completions")["security"])
        for path in ("/healthz", "/openapi.json", "/docs", "/"):
            self.assertEqual(judge.operation("GET", path)["security"], [])
        got: Got = await self.ask("GET", "/docs")
        self.assertEqual(got.code, 200)

    async def test_the_page_runs_nothing_from_elsewhere(self) -> None:
        """The policy names the page's own script and style by their digests, and nothing else."""
        self.start()
        for admin in (False, True):
            got = await self.ask("GET", "/docs", admin=admin)
            policy = got.headers["content-security-policy"]
            self.assertIn("default-src 'none'", policy)
            self.assertNotIn("unsafe", policy)
            self.assertEqual(policy.count("'sha256-"), 2)
            for word in (b"http://", b"https://", b" src=", b"innerHTML", b"onclick"):
                self.assertNotIn(word, got.body)

    async def test_the_admin_port_has_it_too(self) -> None:
        """The admin port shows the same document of the client port."""
        self.start()
        here = (await self.ask("GET", "/openapi.json")).json
        there = (await self.ask("GET", "/openapi-client.json", admin=True)).json
        self.assertEqual(here, there)
