"""R-O: the Ollama surface, over HTTP."""

from __future__ import annotations

import base64
from typing import Any

from tests import vectors
from tests.fakes import completion
from tests.harness import BASE
from tests.reference.three import CALLS, MESSAGES, TOOLS, ScriptedCase, lines

AUTO = """
    [profiles.auto]
    mode = "dispatch"
    classifier = "cloud:economy"
"""


class OllamaCases(ScriptedCase):
    """Tests for ``/api/chat``."""

    async def test_R_O01_profile_by_name(self) -> None:
        """A profile is a model; the answer names it as the client did."""
        self.start(BASE, more=AUTO)
        self.backend.script = lambda r, a: completion(model="economy-model")
        got = await self.ollama("auto:latest")
        self.assertEqual(got.headers["x-lmg-profile"], "auto")
        self.assertEqual(self.sent["model"], "economy-model")
        body = got.json
        self.assertEqual(
            (body["model"], body["done"], body["done_reason"]), ("auto:latest", True, "stop")
        )

    async def test_R_O02_stream_absent_streams(self) -> None:
        """Without ``stream`` the answer streams, as the real server's does (decision 14)."""
        self.serve()
        self.says("openai")
        body = {"model": "openai", "messages": MESSAGES}
        got = await self.ask("POST", "/api/chat", body)
        self.assertEqual(got.headers["content-type"], "application/x-ndjson")
        self.assertGreater(len(lines(got.body)), 1)
        got = await self.ask("POST", "/api/chat", {**body, "stream": False})
        self.assertEqual(got.headers["content-type"], "application/json")
        self.assertEqual(got.json["message"]["content"], vectors.SAID)

    async def test_R_O03_usage(self) -> None:
        """The usage is counted in Ollama's words, of any backend."""
        self.serve()
        for dialect in vectors.DIALECTS:
            self.says(dialect)
            for stream in (False, True):
                last = lines((await self.ollama(dialect, stream=stream)).body)[-1]
                counts = (last["prompt_eval_count"], last["eval_count"])
                self.assertEqual(counts, (vectors.IN, vectors.OUT))

    async def test_R_O04_arguments_are_objects(self) -> None:
        """Arguments come as an object, of any backend."""
        self.serve()
        for dialect in vectors.DIALECTS:
            self.says(dialect, "calls")
            calls = (await self.ollama(dialect, tools=TOOLS)).json["message"]["tool_calls"]
            made = [call["function"]["arguments"] for call in calls]
            self.assertEqual(made, [{"city": "Paris"}, {}])

    async def test_R_O05_stream_of_another_grammar(self) -> None:
        """Deltas, then a line that is done."""
        self.serve()
        self.says("openai")
        got = await self.ollama("openai", stream=True)
        self.assertEqual(got.headers["content-type"], "application/x-ndjson")
        self.assertEqual(got.headers["cache-control"], "no-cache")
        *deltas, last = lines(got.body)
        self.assertEqual([d["message"]["content"] for d in deltas], list(vectors.PIECES))
        self.assertTrue(all(not d["done"] for d in deltas))
        self.assertTrue(last["done"])

    async def test_R_O06_calls_come_whole_and_once(self) -> None:
        """Calls in pieces are put together, and told once."""
        self.serve()
        for dialect in ("openai", "anthropic"):
            self.says(dialect, "calls")
            got = lines((await self.ollama(dialect, tools=TOOLS, stream=True)).body)
            calls = [c["function"] for line in got for c in line["message"].get("tool_calls", ())]
            self.assertEqual([call["name"] for call in calls], [name for name, _ in CALLS])
            self.assertEqual([call["arguments"] for call in calls], [{"city": "Paris"}, {}])

    async def test_R_O07_diagonal_stream(self) -> None:
        """Of an Ollama backend the bytes are the very ones, from its own path."""
        self.serve()
        self.says("ollama")
        got = await self.ollama("ollama", stream=True)
        self.assertEqual(self.backend.asked[-1].path, "/api/chat")
        self.assertEqual(got.body, b"".join(vectors.streamed_text("ollama")))

    async def test_R_O08_backend_down(self) -> None:
        """With friendly errors a dead backend is a text, else Ollama's error with its status."""
        self.serve()
        self.backend.script = vectors.refusing("ollama", 500)
        got = await self.ollama("ollama")
        self.assertEqual((got.code, next(iter(got.json))), (502, "error"))
        await self.tearDown()
        self.setUp()
        self.serve(gateway='error_style = "friendly"')
        self.backend.script = vectors.refusing("ollama", 500)
        got = await self.ollama("ollama")
        self.assertEqual((got.code, got.json["done"]), (200, True))
        self.assertTrue(got.json["message"]["content"])
        self.assertIn("x-lmg-error", got.headers)

    async def test_R_O09_tier_or_alias(self) -> None:
        """Tiers and aliases are models too, tagged or not."""
        self.start()
        for name, want in (
            ("local:fast", "fast-model"),
            ("hint:fast", "fast-model"),
            ("cloud:economy", "economy-model"),
            ("cloud:economy:latest", "economy-model"),
        ):
            self.assertEqual((await self.ollama(name)).code, 200, name)
            self.assertEqual(self.sent["model"], want)

    async def test_R_O10_last_line_repeats_nothing(self) -> None:
        """The text is told once; characters cut anywhere and CRLF framing come through."""
        self.serve()
        parts = vectors.streamed_text("openai")
        crlf = b"".join(parts).replace(b"\n", b"\r\n")
        single = [crlf[n : n + 1] for n in range(len(crlf))]

        def script(request: Any, asked: Any) -> None:
            vectors.send(request, asked, single)
            request.finish()

        self.backend.script = script
        got = lines((await self.ollama("openai", stream=True)).body)
        self.assertEqual("".join(d["message"]["content"] for d in got), vectors.SAID)
        self.assertEqual(got[-1]["message"]["content"], "")

    async def test_R_O11_keys_bind_here_too(self) -> None:
        """A client may name its own profile and no other: such a one is not there."""
        self.environ = {"KEY_A": "a-key"}
        client = '[[clients]]\nname = "a"\nkey_env = "KEY_A"\nprofile = "default"\n'
        house = AUTO.replace("auto", "house")
        self.start(BASE, more=house + client, gateway='unknown_model = "reject"')
        body = {"model": "default:latest", "messages": MESSAGES, "stream": False}
        self.assertEqual((await self.ask("POST", "/api/chat", body)).code, 401)
        self.assertEqual(
            (await self.ask("POST", "/api/chat", body, Authorization="Bearer a-key")).code, 200
        )
        body["model"] = "house:latest"
        got = await self.ask("POST", "/api/chat", body, Authorization="Bearer a-key")
        self.assertEqual((got.code, next(iter(got.json))), (404, "error"))


class OllamaCallsTests(ScriptedCase):
    """Tests for what else the surface has."""

    async def test_generate(self) -> None:
        """A prompt is completed by every backend; on the diagonal it is Ollama's own call."""
        self.serve()
        for dialect in vectors.DIALECTS:
            self.says(dialect)
            if dialect == "ollama":
                whole = {**vectors.text("ollama"), "response": vectors.SAID}
                del whole["message"]
                self.backend.script = vectors.saying(whole)
            asked = {"model": dialect, "prompt": "hi", "system": "Be.", "stream": False}
            got = (await self.ask("POST", "/api/generate", asked)).json
            self.assertEqual((got["response"], got["done"]), (vectors.SAID, True))
            path = "/api/generate" if dialect == "ollama" else vectors.PATHS[dialect]
            self.assertEqual(self.backend.asked[-1].path, path)

    async def test_generate_with_a_suffix(self) -> None:
        """What only Ollama can do is refused elsewhere."""
        self.serve()
        asked = {"model": "openai", "prompt": "a", "suffix": "b", "stream": False}
        got = await self.ask("POST", "/api/generate", asked)
        self.assertEqual(got.code, 400)
        self.assertIn("suffix", got.json["error"])

    async def test_discovery(self) -> None:
        """Profiles are listed, shown and running; an unknown one is not there."""
        self.serve()
        tags = (await self.ask("GET", "/api/tags")).json["models"]
        self.assertEqual([m["model"] for m in tags], ["default:latest"])
        self.assertEqual(tags[0]["digest"], "sha256:" + "0" * 64)
        self.assertEqual(tags[0]["details"]["family"], "lm-gateway")
        running = (await self.ask("GET", "/api/ps")).json["models"]
        self.assertEqual([m["model"] for m in running], ["default:latest"])
        for name in ("default", "default:latest", "openai"):
            got = await self.ask("POST", "/api/show", {"model": name})
            self.assertEqual(got.code, 200, name)
            self.assertIn("capabilities", got.json)
        self.assertEqual((await self.ask("POST", "/api/show", {"model": "nope"})).code, 404)
        self.assertIn("version", (await self.ask("GET", "/api/version")).json)

    async def test_embeddings(self) -> None:
        """Both calls, from Ollama and from an OpenAI backend; Anthropic has none."""
        self.serve()
        for dialect, answer in (
            ("ollama", {"model": "e", "embeddings": [[0.5, 1.0]], "prompt_eval_count": 3}),
            (
                "openai",
                {
                    "object": "list",
                    "model": "e",
                    "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 1.0]}],
                    "usage": {"prompt_tokens": 3, "total_tokens": 3},
                },
            ),
        ):
            self.backend.script = vectors.saying(answer)
            got = await self.ask("POST", "/api/embed", {"model": dialect, "input": "x"})
            self.assertEqual(got.json["embeddings"], [[0.5, 1.0]])
            got = await self.ask("POST", "/v1/embeddings", {"model": dialect, "input": "x"})
            self.assertEqual(got.json["data"][0]["embedding"], [0.5, 1.0])
            if dialect == "ollama":
                self.backend.script = lambda r, a: {"embedding": [0.5, 1.0]}
            got = await self.ask("POST", "/api/embeddings", {"model": dialect, "prompt": "x"})
            self.assertEqual(got.json["embedding"], [0.5, 1.0])
        for path in ("/v1/embeddings", "/api/embed"):
            got = await self.ask("POST", path, {"model": "anthropic", "input": "x"})
            self.assertEqual(got.code // 100, 4)

    async def test_base64_embeddings(self) -> None:
        """A client that asked for base64 gets it, of a backend that has it not too."""
        self.serve()
        self.backend.script = lambda r, a: {"model": "e", "embeddings": [[0.5, 1.0]]}
        asked = {"model": "ollama", "input": "x", "encoding_format": "base64"}
        got = await self.ask("POST", "/v1/embeddings", asked)
        told = got.json["data"][0]["embedding"]
        self.assertIsInstance(told, str)
        self.assertEqual(base64.b64decode(told), b"\x00\x00\x00?\x00\x00\x80?")
