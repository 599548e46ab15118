"""Ollama's answers and errors, whole, both ways; discovery."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.backend_errors import (
    BackendFailed,
    BackendLimited,
    BackendOverloaded,
    BackendTimeout,
    ContextExceeded,
    CredentialRefused,
    ProtocolError,
    Rejected,
)
from lmgateway.chat import Document, Usage
from lmgateway.dialects import hub, ollama_discovery
from lmgateway.dialects.ollama import OLLAMA
from lmgateway.errors import MalformedRequest, UnknownModel
from tests.dialects.recorded import load

CHAT = OLLAMA.parse(b'{"model":"auto:latest","messages":[],"stream":false}', "chat")
GENERATE = OLLAMA.parse(b'{"model":"m","prompt":"x","stream":false}', "generate")


def decoded(**document: Any) -> Document:
    """Give the hub form of a backend's answer."""
    return OLLAMA.decode_answer(OLLAMA.read_answer(msgspec.json.encode(document)))


def written(message: Document, reason: str = "stop", usage: Usage | None = None) -> Document:
    """Give what a chat client is told."""
    whole = hub.completion("id", "backend-model", 1700000000, message, reason, usage)
    return load(OLLAMA.write_answer(whole, CHAT))


class ReadTests(SynchronousTestCase):
    """From a backend."""

    def test_text_reasoning_and_usage(self) -> None:
        """Everything that an answer says is told in the hub's words."""
        answer = decoded(
            model="qwen3",
            created_at="2023-11-14T22:13:20.5Z",
            message={"role": "assistant", "content": "hi", "thinking": "hm"},
            done=True,
            done_reason="length",
            prompt_eval_count=3,
            eval_count=4,
            logprobs=[{"token": "hi", "logprob": -1.0}],
        )
        choice = answer["choices"][0]
        self.assertEqual((answer["created"], answer["model"]), (1700000000, "qwen3"))
        self.assertEqual(choice["finish_reason"], "length")
        self.assertEqual(
            choice["message"], {"role": "assistant", "content": "hi", "reasoning_content": "hm"}
        )
        self.assertEqual(answer["usage"]["total_tokens"], 7)
        self.assertEqual(choice["logprobs"]["content"][0]["token"], "hi")

    def test_R_B08_calls_have_string_arguments(self) -> None:
        """Calls come with ids that no other call has, and with arguments as text."""
        calls = [{"function": {"name": "f", "arguments": {"x": "ü"}}}] * 2
        answer = decoded(
            message={"content": "", "tool_calls": calls}, done=True, done_reason="stop"
        )
        choice = answer["choices"][0]
        self.assertEqual(choice["finish_reason"], "tool_calls")
        self.assertIsNone(choice["message"]["content"])
        first, second = choice["message"]["tool_calls"]
        self.assertEqual(first["function"], {"name": "f", "arguments": '{"x":"ü"}'})
        self.assertNotEqual(first["id"], second["id"])

    def test_no_usage_is_none(self) -> None:
        """An answer that tells no counts has no usage, rather than one of zero."""
        answer = OLLAMA.read_answer(b'{"message":{"content":"x"},"done":true}')
        self.assertIsNone(answer.usage)
        self.assertEqual(answer.finish_reason, "stop")

    def test_generate(self) -> None:
        """``/api/generate`` says the same in other members."""
        answer = decoded(model="m", response="hi", thinking="hm", done=True)
        self.assertEqual(answer["choices"][0]["message"]["content"], "hi")
        self.assertEqual(answer["choices"][0]["message"]["reasoning_content"], "hm")

    def test_embeddings(self) -> None:
        """Both kinds of vectors become an embedding list."""
        answer = decoded(model="m", embeddings=[[1.0], [2.0]], prompt_eval_count=5)
        self.assertEqual([item["embedding"] for item in answer["data"]], [[1.0], [2.0]])
        self.assertEqual(answer["usage"], {"prompt_tokens": 5, "total_tokens": 5})
        self.assertEqual(decoded(embedding=[3.0])["data"][0]["embedding"], [3.0])

    def test_no_answer_is_refused(self) -> None:
        """What is no answer is a protocol error, and an error stays one."""
        for body in (b"", b"[]", b"<html>", b"{}", b'{"message":3}', b'{"a":' * 5000):
            self.assertRaises(ProtocolError, OLLAMA.read_answer, body)
        self.assertRaises(BackendFailed, OLLAMA.read_answer, b'{"error":"secret"}')

    @given(
        st.dictionaries(
            st.sampled_from(["message", "response", "done", "created_at", "model", "embeddings"]),
            st.none() | st.integers() | st.text() | st.lists(st.integers()) | st.just({}),
        )
    )
    def test_hostile_answers(self, document: Document) -> None:
        """Whatever a backend sends is read or refused as a protocol error."""
        with contextlib.suppress(ProtocolError):
            decoded(**document)


class WriteTests(SynchronousTestCase):
    """To a client."""

    def test_R_O01_model_is_told_as_sent(self) -> None:
        """A client is told the model that it asked for, tag included, and that it is done."""
        answer = written({"role": "assistant", "content": "hi"})
        self.assertEqual(answer["model"], "auto:latest")
        self.assertEqual((answer["done"], answer["done_reason"]), (True, "stop"))
        self.assertEqual(answer["created_at"], "2023-11-14T22:13:20Z")
        self.assertEqual(answer["message"], {"role": "assistant", "content": "hi"})

    def test_R_O03_usage(self) -> None:
        """The usage is told as evaluation counts; durations are there and 0."""
        answer = written({"content": "hi"}, "length", Usage(input_tokens=3, output_tokens=4))
        self.assertEqual((answer["prompt_eval_count"], answer["eval_count"]), (3, 4))
        self.assertEqual(answer["done_reason"], "length")
        self.assertEqual((answer["total_duration"], answer["load_duration"]), (0, 0))

    def test_R_O04_arguments_become_objects(self) -> None:
        """Arguments are objects for the client; what is no object is left as it came."""
        calls = [hub.tool_call("c1", "f", '{"x":1}'), hub.tool_call("c2", "g", "oops")]
        message = written({"content": None, "tool_calls": calls}, "tool_calls")["message"]
        self.assertEqual(
            [call["function"]["arguments"] for call in message["tool_calls"]], [{"x": 1}, "oops"]
        )
        self.assertEqual(message["content"], "")

    def test_reasoning_and_refusals(self) -> None:
        """Reasoning is thinking; a refusal is text."""
        message = written({"content": "a", "reasoning_content": "hm"})["message"]
        self.assertEqual(message["thinking"], "hm")
        self.assertEqual(written({"content": None, "refusal": "no"})["message"]["content"], "no")

    def test_generate(self) -> None:
        """``/api/generate`` is answered in its own members, without a context."""
        whole = hub.completion("i", "b", 1, {"content": "a", "reasoning": "hm"}, "stop", None)
        answer = load(OLLAMA.write_answer(whole, GENERATE))
        self.assertEqual((answer["response"], answer["thinking"]), ("a", "hm"))
        self.assertNotIn("context", answer)

    def test_embeddings(self) -> None:
        """Each of the two endpoints is answered in its own way."""
        data = {"data": [{"embedding": [1.5], "index": 0}], "usage": {"prompt_tokens": 2}}
        new = OLLAMA.parse(b'{"model":"m","input":"x"}', "embeddings")
        answer = load(OLLAMA.write_answer(data, new))
        self.assertEqual((answer["embeddings"], answer["prompt_eval_count"]), ([[1.5]], 2))
        old = OLLAMA.parse(b'{"model":"m","prompt":"x"}', "embeddings")
        self.assertEqual(load(OLLAMA.write_answer(data, old)), {"embedding": [1.5]})

    @given(
        st.text(),
        st.text(min_size=1),
        st.lists(st.dictionaries(st.text(), st.integers(-99, 99), max_size=2), max_size=3),
        st.booleans(),
    )
    def test_round_trip(
        self, content: str, thinking: str, arguments: list[Document], cut: bool
    ) -> None:
        """What both grammars can say comes back as it was."""
        calls = [
            hub.tool_call(f"call_{i}", "f", msgspec.json.encode(args).decode())
            for i, args in enumerate(arguments)
        ]
        message: Document = {"role": "assistant", "content": content or None}
        message["reasoning_content"] = thinking
        if calls:
            message["tool_calls"] = calls
        else:
            message["content"] = content
        reason = "tool_calls" if calls else "length" if cut else "stop"
        whole = hub.completion("i", "auto:latest", 7, message, reason, Usage(1, 2))
        back = OLLAMA.decode_answer(OLLAMA.read_answer(OLLAMA.write_answer(whole, CHAT)))
        self.assertEqual({**back, "id": "i"}, whole)


class ErrorTests(SynchronousTestCase):
    """Errors, both ways."""

    def test_written_as_one_string(self) -> None:
        """A client finds a string, as Ollama's own clients expect."""
        raw = OLLAMA.write_error(UnknownModel("model 'x' not found"), "id")
        self.assertEqual(load(raw), {"error": "model 'x' not found"})

    def test_read(self) -> None:
        """Each status is what it means, and a server's own failures are not repeated."""
        for status, kind in (
            (400, Rejected),
            (404, Rejected),
            (401, CredentialRefused),
            (429, BackendLimited),
            (500, BackendFailed),
            (502, BackendFailed),
            (503, BackendOverloaded),
            (504, BackendTimeout),
        ):
            error = OLLAMA.read_error(status, {b"retry-after": b"7"}, b'{"error":"words"}')
            self.assertIs(type(error), kind)
            self.assertEqual("words" in str(error), kind is Rejected)
        self.assertEqual(OLLAMA.read_error(404, {}, b'{"error":"no"}').status, 404)
        self.assertEqual(OLLAMA.read_error(429, {b"retry-after": b"7"}, b"").retry_after, 7)

    def test_context_exceeded(self) -> None:
        """Ollama has no codes: that the input is too long is told by its words."""
        body = b'{"error":"the input length exceeds the context length"}'
        self.assertIsInstance(OLLAMA.read_error(400, {}, body), ContextExceeded)

    @given(st.integers(400, 599), st.binary())
    def test_never_raises(self, status: int, body: bytes) -> None:
        """Whatever a refusal's body is, it is read."""
        self.assertTrue(str(OLLAMA.read_error(status, {}, body)))


class DiscoveryTests(SynchronousTestCase):
    """What clients ask before they talk."""

    shown = ollama_discovery.Shown(name="auto", mode="classify", max_context_tokens=8192)

    def test_tags(self) -> None:
        """Each profile is a model with a tag, its mode in place of a size."""
        (item,) = load(ollama_discovery.tags([self.shown], 1700000000))["models"]
        self.assertEqual((item["name"], item["model"]), ("auto:latest", "auto:latest"))
        self.assertEqual(item["details"]["parameter_size"], "classify")
        self.assertEqual(item["details"]["families"], ["lm-gateway"])
        self.assertEqual((item["size"], item["digest"]), (0, "sha256:" + "0" * 64))
        self.assertEqual(item["modified_at"], "2023-11-14T22:13:20Z")

    def test_show_ps_and_version(self) -> None:
        """The other three tell capabilities, what is loaded, and a release."""
        shown = load(ollama_discovery.show(self.shown, 1))
        self.assertEqual(shown["capabilities"], ["completion", "tools"])
        self.assertEqual(shown["model_info"]["lm-gateway.context_length"], 8192)
        (item,) = load(ollama_discovery.running([self.shown], 1))["models"]
        self.assertEqual(item["context_length"], 8192)
        self.assertIn("version", load(ollama_discovery.version()))

    def test_asked_for(self) -> None:
        """Either member names the model; none is an error."""
        self.assertEqual(ollama_discovery.asked_for(b'{"name":"a:latest"}'), "a:latest")
        self.assertRaises(MalformedRequest, ollama_discovery.asked_for, b"{}")
        self.assertEqual(ollama_discovery.untagged("a:latest"), "a")
        self.assertEqual(ollama_discovery.untagged("a:7b"), "a:7b")
