"""Tests for what all surfaces have in common."""

from __future__ import annotations

import gc
import json
from typing import Any

from twisted.web.client import ResponseFailed

from lmgateway.chat import ChatRequest
from tests.fakes import STREAM, Asked, Script, completion, status
from tests.harness import GatewayCase


class CorsTests(GatewayCase):
    """Tests for pages of other origins."""

    async def preflight(self, origin: str) -> Any:
        """Ask whether a page may post a chat."""
        return await self.ask(
            "OPTIONS",
            "/v1/chat/completions",
            Origin=origin,
            Access_Control_Request_Method="POST",
            Access_Control_Request_Headers="authorization,content-type",
        )

    async def test_off_by_default(self) -> None:
        """Unless asked for, no page is let in."""
        self.start()
        got = await self.preflight("http://page.example")
        self.assertEqual(got.code, 405)
        self.assertNotIn("access-control-allow-origin", (await self.chat()).headers)

    async def test_allow_list(self) -> None:
        """A listed origin passes the preflight and reads the answer; another does not."""
        self.start(gateway='cors_origins = ["http://page.example"]')
        got = await self.preflight("http://page.example")
        self.assertEqual(got.code, 204)
        self.assertEqual(got.headers["access-control-allow-origin"], "http://page.example")
        self.assertIn("authorization", got.headers["access-control-allow-headers"])
        self.assertIn("x-request-id", got.headers)
        got = await self.chat(Origin="http://page.example")
        self.assertEqual(got.headers["access-control-allow-origin"], "http://page.example")
        self.assertEqual(got.headers["vary"], "Origin")
        self.assertEqual((await self.preflight("http://other.example")).code, 405)
        got = await self.chat(Origin="http://other.example")
        self.assertNotIn("access-control-allow-origin", got.headers)


class FriendlyTests(GatewayCase):
    """Tests for failures as plain language."""

    async def test_stream(self) -> None:
        """A streamed request that fails gets a whole, proper stream with the excuse in it."""
        self.start(gateway='error_style = "friendly"\nfailover = false')
        self.backend.script = status(500)
        got = await self.chat(stream=True)
        self.assertEqual((got.code, got.headers["x-lmg-error"]), (200, "backend_failed"))
        events = got.body.split(b"\n\n")
        self.assertIn("Sorry", json.loads(events[0][6:])["choices"][0]["delta"]["content"])
        self.assertEqual(events[1], b"data: [DONE]")
        (entry,) = await self.entries()
        self.assertEqual((entry["success"], entry["outcome"]), (False, "backend_failed"))

    async def test_by_profile(self) -> None:
        """A profile may be friendly where the gateway is not."""
        self.start(more='[profiles.voice]\nclassifier = "local:fast"\nerror_style = "friendly"\n')
        self.backend.script = status(500)
        self.assertEqual((await self.chat("voice")).code, 200)
        self.assertEqual((await self.chat("hint:fast")).code, 502)

    async def test_bad_bodies_are_not_excused(self) -> None:
        """What cannot be read at all is an error with a true status."""
        self.start(gateway='error_style = "friendly"')
        self.assertEqual((await self.ask("POST", "/v1/chat/completions", b"{")).code, 400)


class MemoryTests(GatewayCase):
    """Tests for what is left of a request that was answered."""

    async def left(self, script: Script, code: int = 200, **members: Any) -> int:
        """Say how many of some requests are still in memory, before anyone looks for cycles."""
        self.start(gateway="health_window = 0")
        self.backend.script = script
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        before = _requests()
        for _ in range(3):
            self.assertEqual((await self.chat(**members)).code, code)
        return _requests() - before

    async def test_answered_requests_are_let_go(self) -> None:
        """A body of megabytes does not wait for the garbage collector."""
        self.assertEqual(await self.left(lambda request, asked: completion()), 0)

    async def test_streamed_requests_are_let_go(self) -> None:
        """Nor does that of a stream."""
        self.assertEqual(await self.left(lambda request, asked: STREAM, stream=True), 0)

    async def test_failed_requests_are_let_go(self) -> None:
        """Nor that of a request that could not be served."""
        self.assertEqual(await self.left(status(500), 502), 0)

    async def test_requests_that_went_elsewhere_are_let_go(self) -> None:
        """Nor that of a request that another target served."""

        def script(request: Any, asked: Asked) -> Any:
            return status(500)(request, asked) if asked.body["model"] == "fast-model" else STREAM

        self.assertEqual(await self.left(script, stream=True), 0)

    async def test_interrupted_requests_are_let_go(self) -> None:
        """Nor that of a stream that its backend broke off."""

        def cut(request: Any, asked: Asked) -> None:
            request.setHeader("content-type", "text/event-stream")
            request.write(STREAM[0] + STREAM[1])
            request.channel.transport.loseConnection()

        self.start(gateway="health_window = 0")
        self.backend.script = cut
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        before = _requests()
        for _ in range(3):
            body = {"stream": True, "messages": [{"role": "user", "content": "hi"}]}
            response = await self.begin("POST", "/v1/chat/completions", body)
            with self.assertRaises(ResponseFailed):
                await response.content()
        self.assertEqual(_requests() - before, 0)


def _requests() -> int:
    return sum(isinstance(one, ChatRequest) for one in gc.get_objects())


class RecordTests(GatewayCase):
    """Tests for the traffic entry and the access line of every exchange."""

    async def test_one_line_per_exchange(self) -> None:
        """Good, bad, refused and malformed requests each leave exactly one line and entry."""
        self.environ["KEY"] = "k"
        self.start(more='[[clients]]\nname = "c"\nkey_env = "KEY"\nprofile = "default"')
        key: dict[str, Any] = {"Authorization": "Bearer k"}
        await self.chat(**key)
        await self.chat(**key, temperature=9)
        await self.chat()
        await self.ask("POST", "/v1/chat/completions", b"{", **key)
        assert self.service is not None
        self.service.resources.access.flush()
        lines = [json.loads(line) for line in b"".join(self.lines).splitlines()]
        self.assertEqual([line["status"] for line in lines], [200, 400, 401, 400])
        self.assertEqual([line["client"] for line in lines], ["c", "c", None, "c"])
        self.assertEqual(self.service.resources.traffic.total, 4)

    async def test_nothing_secret_is_recorded(self) -> None:
        """Neither prompts nor answers nor keys are in any record."""
        self.environ["KEY"] = "sk-client-secret"
        self.start(more='[[clients]]\nkey_env = "KEY"\nprofile = "default"')
        prompt = [{"role": "user", "content": "my-private-prompt"}]
        await self.chat(Authorization="Bearer sk-client-secret", messages=prompt)
        await self.chat(Authorization="Bearer sk-wrong-secret", messages=prompt)
        assert self.service is not None
        self.service.resources.access.flush()
        records = b"".join(self.lines) + str(await self.entries()).encode()
        for secret in (b"private-prompt", b"sk-client", b"sk-wrong", b"perfectly fine"):
            self.assertNotIn(secret, records)

    async def test_names_cannot_forge_lines(self) -> None:
        """A model name with line ends and escapes is one line, and a bounded one."""
        self.start()
        await self.chat("evil\r\n\x1b[2J" + "x" * 1000)
        assert self.service is not None
        self.service.resources.access.flush()
        (line,) = b"".join(self.lines).splitlines()
        self.assertNotIn(b"\x1b", line)
        self.assertLess(len(line), 2000)


class HeaderTests(GatewayCase):
    """Tests for what goes upstream, and what does not."""

    async def test_only_listed_headers_go_upstream(self) -> None:
        """Trace context and beta flags go on; cookies, hosts and credentials stay here."""
        self.start()
        await self.chat(
            Traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            OpenAI_Beta="assistants=v2",
            Cookie="a=b",
            Forwarded="for=1.2.3.4",
            OpenAI_Organization="org-x",
            X_Stainless_Lang="python",
        )
        headers = self.backend.asked[0].headers
        self.assertEqual(headers["openai-beta"], "assistants=v2")
        self.assertIn("traceparent", headers)
        self.assertEqual(headers["accept-encoding"], "identity")
        for name in ("cookie", "forwarded", "openai-organization", "x-stainless-lang"):
            self.assertNotIn(name, headers)

    async def test_another_scheme_where_nobody_has_a_key(self) -> None:
        """Credentials for a proxy before us are none of our business; a client's are."""
        self.start()
        self.assertEqual((await self.chat(Authorization="Basic Zm9vOmJhcg==")).code, 200)
        self.environ["KEY"] = "k"
        assert self.service is not None
        self.write(more='[[clients]]\nkey_env = "KEY"\nprofile = "default"')
        self.service.reload()
        self.assertEqual((await self.chat(Authorization="Basic Zm9vOmJhcg==")).code, 401)

    async def test_a_compressed_body(self) -> None:
        """A body that is declared to be compressed is refused, not misread."""
        self.start()
        got = await self.chat(Content_Encoding="gzip")
        self.assertEqual((got.code, got.headers["x-lmg-error"]), (415, "unsupported_media_type"))
        self.assertEqual((await self.chat(Content_Encoding="identity")).code, 200)

    async def test_no_version_is_told(self) -> None:
        """No answer tells what serves it."""
        self.start()
        for got in (await self.chat(), await self.ask("GET", "/nothing")):
            self.assertNotIn("server", got.headers)
            self.assertNotIn(b"Twisted", got.body)


class PathTests(GatewayCase):
    """Tests for how the API can be addressed."""

    async def test_without_version(self) -> None:
        """OpenAI's calls are there without ``/v1`` too."""
        self.start()
        body = {"model": "hint:fast", "messages": [{"role": "user", "content": "hi"}]}
        self.assertEqual((await self.ask("POST", "/chat/completions", body)).code, 200)
        self.assertEqual((await self.ask("GET", "/models/local:fast")).json["id"], "local:fast")

    async def test_escaped_names(self) -> None:
        """A model's name may be escaped in the path."""
        self.start()
        self.assertEqual((await self.ask("GET", "/v1/models/hint%3Afast")).json["id"], "hint:fast")

    async def test_undeclared_json(self) -> None:
        """A body of no declared type is taken for JSON; a charset does not matter."""
        self.start()
        body = b'{"model": "auto", "messages": [{"role": "user", "content": "hi"}]}'
        for kind in ("application/json; charset=utf-8", "application/vnd.api+json"):
            got = await self.ask("POST", "/v1/chat/completions", body, content_type=kind)
            self.assertEqual(got.code, 200)

    async def test_ollama_loads(self) -> None:
        """A request that only loads a model is answered at once; an unknown model is a 404."""
        self.start(gateway='unknown_model = "reject"')
        got = await self.ask("POST", "/api/generate", {"model": "hint:fast"})
        self.assertEqual((got.code, got.json["done_reason"]), (200, "load"))
        got = await self.ask("POST", "/api/chat", {"model": "nope", "messages": []})
        self.assertEqual((got.code, list(got.json)), (404, ["error"]))
        self.assertEqual(self.backend.asked, [])
