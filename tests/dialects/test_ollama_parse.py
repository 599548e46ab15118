"""Bodies of Ollama clients, read into the hub."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.chat import ChatRequest, Endpoint, Overrides
from lmgateway.dialects.base import Dialect
from lmgateway.dialects.ollama import OLLAMA
from lmgateway.dialects.ollama_answers import is_load, load_answer
from lmgateway.errors import MalformedRequest, UnsupportedParameter
from tests.dialects.recorded import QUIRKS, load

PNG = b64encode(b"\x89PNG\r\n\x1a\n" + b"x" * 40).decode()
JPEG = b64encode(b"\xff\xd8\xff\xe0" + b"x" * 40).decode()
WEBP = b64encode(b"RIFF\0\0\0\0WEBPVP8 " + b"x" * 40).decode()
GIF = b64encode(b"GIF89a" + b"x" * 40).decode()


def parse(endpoint: Endpoint = "chat", **document: Any) -> ChatRequest:
    """Parse a document as a client would send it."""
    return OLLAMA.parse(msgspec.json.encode(document), endpoint)


def say(content: str = "hi") -> list[dict[str, Any]]:
    """Give the messages of a one-line conversation."""
    return [{"role": "user", "content": content}]


class ChatTests(SynchronousTestCase):
    """``/api/chat``."""

    def test_is_a_dialect(self) -> None:
        """Ollama has everything that a dialect must have."""
        dialect: Dialect = OLLAMA
        self.assertEqual((dialect.name, dialect.framing), ("ollama", "ndjson"))

    def test_absent_stream_streams(self) -> None:
        """A body without ``stream`` is answered with a stream, as the real server does."""
        self.assertTrue(parse(model="m", messages=say()).stream)
        self.assertTrue(parse(model="m", messages=say(), stream=True).stream)
        self.assertFalse(parse(model="m", messages=say(), stream=False).stream)

    def test_model_is_kept_as_sent(self) -> None:
        """The tag stays; a body without a model has none."""
        self.assertEqual(parse(model="auto:latest", messages=say()).model, "auto:latest")
        self.assertIsNone(parse(messages=say()).model)

    def test_options_become_members(self) -> None:
        """Options with a hub name get it; the others are kept together."""
        hub = parse(
            model="m",
            messages=say(),
            options={
                "temperature": 0.5,
                "top_p": 0.9,
                "top_k": 4,
                "num_predict": 12,
                "stop": ["x"],
                "seed": 3,
                "num_ctx": 4096,
                "repeat_penalty": 1.1,
            },
        ).hub
        self.assertEqual(
            {name: hub[name] for name in ("temperature", "top_p", "top_k", "stop", "seed")},
            {"temperature": 0.5, "top_p": 0.9, "top_k": 4, "stop": ["x"], "seed": 3},
        )
        self.assertEqual(hub["max_tokens"], 12)
        self.assertEqual(hub["options"], {"num_ctx": 4096, "repeat_penalty": 1.1})

    def test_endless_num_predict_is_no_bound(self) -> None:
        """``num_predict: -1`` means no bound, not a bound of -1."""
        hub = parse(model="m", messages=say(), options={"num_predict": -1}).hub
        self.assertNotIn("max_tokens", hub)

    def test_format(self) -> None:
        """JSON mode and schemas become response formats."""
        self.assertEqual(
            parse(model="m", messages=say(), format="json").hub["response_format"],
            {"type": "json_object"},
        )
        schema = {"type": "object"}
        self.assertEqual(
            parse(model="m", messages=say(), format=schema).hub["response_format"],
            {"type": "json_schema", "json_schema": {"name": "response", "schema": schema}},
        )
        self.assertNotIn("response_format", parse(model="m", messages=say(), format="").hub)

    def test_think(self) -> None:
        """A boolean is a flag, a level is an effort."""
        self.assertIs(parse(model="m", messages=say(), think=False).hub["think"], False)
        self.assertEqual(
            parse(model="m", messages=say(), think="low").hub["reasoning_effort"], "low"
        )

    def test_images_become_data_uris(self) -> None:
        """Each image is a part whose type is told by its first bytes."""
        message = {"role": "user", "content": "look", "images": [PNG, JPEG, WEBP, GIF]}
        content = parse(model="m", messages=[message]).hub["messages"][0]["content"]
        self.assertEqual(content[0], {"type": "text", "text": "look"})
        kinds = [part["image_url"]["url"].partition(";")[0] for part in content[1:]]
        self.assertEqual(
            kinds, ["data:image/png", "data:image/jpeg", "data:image/webp", "data:image/gif"]
        )
        self.assertTrue(content[1]["image_url"]["url"].endswith(PNG))

    def test_tool_history_is_matched(self) -> None:
        """Calls get ids that stay the same, and each result finds its call by name."""

        def call(name: str, **arguments: int) -> dict[str, Any]:
            return {"function": {"name": name, "arguments": arguments}}

        messages = [
            *say(),
            {"role": "assistant", "content": "", "tool_calls": [call("a", x=1), call("b")]},
            {"role": "tool", "content": "B", "tool_name": "b"},
            {"role": "tool", "content": "A", "tool_name": "a"},
            {"role": "assistant", "content": "", "tool_calls": [call("a", x=2)]},
            {"role": "tool", "content": "AA"},
        ]
        read = parse(model="m", messages=messages).hub["messages"]
        first, second = read[1]["tool_calls"]
        self.assertEqual(load(first["function"]["arguments"].encode()), {"x": 1})
        self.assertEqual(read[2]["tool_call_id"], second["id"])
        self.assertEqual(read[3]["tool_call_id"], first["id"])
        self.assertEqual(read[5]["tool_call_id"], read[4]["tool_calls"][0]["id"])
        self.assertEqual(len({first["id"], second["id"], read[4]["tool_calls"][0]["id"]}), 3)
        longer = parse(model="m", messages=[*messages, *say()]).hub["messages"]
        self.assertEqual(longer[: len(read)], read)

    def test_ids_and_data_uris_of_clients_are_kept(self) -> None:
        """Ids that a client has made itself are used; a result without a call keeps its own."""
        messages = [
            {"role": "user", "content": "", "images": ["data:image/png;base64,AA=="]},
            {"role": "assistant", "tool_calls": [{"id": "x1", "function": {"name": "f"}}]},
            {"role": "tool", "content": "A", "tool_call_id": "x1"},
            {"role": "tool", "content": "B", "tool_call_id": "x2"},
            {"role": "tool", "content": "C"},
        ]
        hub = parse(model="m", messages=messages, tools=[{"type": "function"}], top_logprobs=2).hub
        read = hub["messages"]
        self.assertEqual(
            read[0]["content"],
            [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}],
        )
        self.assertEqual([m["tool_call_id"] for m in read[2:]], ["x1", "x2", "call_4"])
        self.assertEqual((hub["tools"], hub["top_logprobs"]), ([{"type": "function"}], 2))

    def test_arguments_must_be_an_object(self) -> None:
        """Calls whose arguments are a list are refused."""
        call = {"function": {"name": "f", "arguments": [1]}}
        message = {"role": "assistant", "tool_calls": [call]}
        error = self.assertRaises(MalformedRequest, parse, messages=[message])
        self.assertEqual(error.param, "messages[0].tool_calls[0].function.arguments")

    def test_thinking_of_earlier_turns(self) -> None:
        """What the assistant thought is kept as reasoning."""
        message = {"role": "assistant", "content": "x", "thinking": "hm"}
        read = parse(model="m", messages=[message]).hub["messages"][0]
        self.assertEqual(read["reasoning_content"], "hm")

    def test_what_is_wrong_is_named(self) -> None:
        """A malformed body is refused with the path of the member at fault."""
        for param, document in (
            ("messages", {"messages": "hi"}),
            ("messages[0]", {"messages": ["hi"]}),
            ("messages[0].role", {"messages": [{"role": "robot"}]}),
            ("messages[0].content", {"messages": [{"role": "user", "content": 3}]}),
            ("messages[0].images[0]", {"messages": [{"role": "user", "images": ["%"]}]}),
            ("messages[0].images[0]", {"messages": [{"role": "user", "images": [7]}]}),
            ("options", {"options": 4}),
            ("format", {"format": 4}),
            ("think", {"think": 4}),
            ("stream", {"stream": "yes"}),
            ("model", {"model": 4}),
            ("tools", {"tools": {}}),
            (
                "messages[0].tool_calls[0].function",
                {"messages": [{"role": "assistant", "tool_calls": [{}]}]},
            ),
        ):
            error = self.assertRaises(MalformedRequest, parse, **document)
            self.assertEqual(error.param, param)

    def test_what_the_hub_cannot_say_is_named(self) -> None:
        """Members for Ollama alone are named, for a backend that will not get them."""
        self.assertEqual(parse(model="m", messages=say(), truncate=True).unsaid, ("truncate",))
        self.assertEqual(parse("generate", model="m", prompt="p", raw=True, x=None).unsaid, ())

    def test_load_request(self) -> None:
        """Without messages nothing is asked but that the model be loaded, or unloaded."""
        request = parse(model="m:latest")
        self.assertTrue(is_load(request))
        answer = load(load_answer(request))
        self.assertEqual((answer["model"], answer["done_reason"]), ("m:latest", "load"))
        self.assertEqual(load(load_answer(parse(model="m", keep_alive=0)))["done_reason"], "unload")
        self.assertFalse(is_load(parse(model="m", messages=say())))


class GenerateTests(SynchronousTestCase):
    """``/api/generate``."""

    def test_prompt_and_system(self) -> None:
        """The two texts become two messages, images go with the prompt."""
        hub = parse("generate", model="m", prompt="hi", system="be", images=[PNG]).hub
        self.assertEqual([m["role"] for m in hub["messages"]], ["system", "user"])
        self.assertEqual(hub["messages"][1]["content"][0]["text"], "hi")

    def test_load_request(self) -> None:
        """Without a prompt the model is to be loaded."""
        request = parse("generate", model="m")
        self.assertTrue(is_load(request))
        self.assertEqual(load(load_answer(request))["response"], "")

    def test_what_only_ollama_can_do_is_refused_elsewhere(self) -> None:
        """Raw prompts, templates, contexts and suffixes are refused by name, not ignored."""
        for name, value in (("raw", True), ("template", "t"), ("context", [1]), ("suffix", "s")):
            request = parse("generate", model="m", prompt="p", **{name: value})
            self.assertEqual(request.diagonal_only, name)
        self.assertIsNone(parse("generate", model="m", prompt="p", raw=False).diagonal_only)
        self.assertIsNone(parse("generate", model="m", prompt="p", context=[]).diagonal_only)
        foreign = ChatRequest(
            dialect="completions",
            endpoint="completions",
            raw=b"{}",
            document={},
            spans={},
            hub={"messages": say()},
            model="m",
            stream=False,
            wants_usage=False,
            diagonal_only="suffix",
        )
        error = self.assertRaises(
            UnsupportedParameter, OLLAMA.render, foreign, Overrides(model="m"), QUIRKS
        )
        self.assertEqual((error.status, error.param), (400, "suffix"))


class EmbeddingsTests(SynchronousTestCase):
    """``/api/embed`` and ``/api/embeddings``."""

    def test_both_forms(self) -> None:
        """``input`` and the older ``prompt`` say the same, and are never streamed."""
        new = parse("embeddings", model="m", input=["a", "b"], dimensions=3)
        self.assertEqual((new.hub["input"], new.hub["dimensions"]), (["a", "b"], 3))
        old = parse("embeddings", model="m", prompt="a")
        self.assertEqual((old.hub["input"], old.stream), ("a", False))
        self.assertEqual(OLLAMA.path(new), "/api/embed")
        self.assertEqual(OLLAMA.path(old), "/api/embeddings")

    def test_what_is_wrong_is_named(self) -> None:
        """Tokens and absent texts are refused."""
        for document, param in (
            ({"input": [1]}, "input"),
            ({}, "input"),
            ({"prompt": 1}, "prompt"),
        ):
            error = self.assertRaises(MalformedRequest, parse, "embeddings", **document)
            self.assertEqual(error.param, param)
