"""Tests of reading an Anthropic client's request."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.chat import Document
from lmgateway.dialects.anthropic import ANTHROPIC, unsaid
from lmgateway.errors import MalformedRequest
from tests.dialects.anthropic_vectors import asked, parsed, vectors

USER = {"role": "user", "content": "Hi"}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}


class VectorTests(SynchronousTestCase):
    """The vectors, from Anthropic into the hub."""

    def test_requests(self) -> None:
        """Each request of the vectors means what its hub form says."""
        for name, vector in vectors("requests"):
            if vector.get("only", "parse") != "parse":
                continue
            with self.subTest(name):
                self.assertEqual(parsed(vector["anthropic"]).hub, vector["hub"])


class ParseTests(SynchronousTestCase):
    """The envelope, and what the vectors do not show."""

    def refused(self, param: str | None, **members: Any) -> None:
        """Check that a request with these members is refused, and where."""
        error = self.assertRaises(MalformedRequest, asked, **members)
        self.assertEqual(error.param, param)

    def content_refused(self, path: str, *blocks: Any, role: str = "user") -> None:
        """Check that a message with these blocks is refused, and where in it."""
        self.refused(f"messages[0].{path}", messages=[{"role": role, "content": list(blocks)}])

    def test_envelope(self) -> None:
        """The request says what it is."""
        request = asked(stream=True)
        self.assertEqual(request.dialect, "anthropic")
        self.assertEqual(request.endpoint, "chat")
        self.assertEqual(request.model, "claude-test")
        self.assertTrue(request.stream)
        self.assertTrue(request.wants_usage)
        self.assertIsNone(request.diagonal_only)

    def test_missing_model(self) -> None:
        """A request without a model is well formed: routing decides."""
        request = parsed({"max_tokens": 1, "messages": [USER]})
        self.assertIsNone(request.model)
        self.assertNotIn("model", request.hub)

    def test_document_is_not_changed(self) -> None:
        """Reading leaves the client's document as it was."""
        for name, vector in vectors("requests"):
            with self.subTest(name):
                self.assertEqual(parsed(vector["anthropic"]).document, vector["anthropic"])

    def test_count_tokens(self) -> None:
        """Counting needs no output bound, but takes none that is wrong."""
        body: Document = {"model": "m", "messages": [USER]}
        request = parsed(body, "count_tokens")
        self.assertEqual(request.endpoint, "count_tokens")
        self.assertNotIn("max_tokens", request.hub)
        self.assertEqual(parsed({**body, "max_tokens": 5}, "count_tokens").hub["max_tokens"], 5)
        self.assertRaises(MalformedRequest, parsed, {**body, "max_tokens": "x"}, "count_tokens")

    def test_wrong_members(self) -> None:
        """Each member of the wrong type is refused by name."""
        cases: list[tuple[str, Any]] = [
            ("model", 5),
            ("max_tokens", None),
            ("max_tokens", "10"),
            ("max_tokens", True),
            ("max_tokens", 1.5),
            ("max_tokens", -1),
            ("messages", None),
            ("messages", {}),
            ("messages", []),
            ("system", 5),
            ("tools", {}),
            ("tool_choice", "auto"),
            ("temperature", "hot"),
            ("temperature", True),
            ("top_p", []),
            ("top_k", 1.5),
            ("stop_sequences", "END"),
            ("metadata", []),
            ("stream", "yes"),
            ("thinking", True),
            ("output_config", "low"),
        ]
        for name, value in cases:
            with self.subTest(name, value=value):
                self.refused(name, **{name: value})

    def test_wrong_depths(self) -> None:
        """A fault further down is told by its path."""
        cases: list[tuple[str, dict[str, Any]]] = [
            ("messages[0]", {"messages": ["Hi"]}),
            ("messages[1].role", {"messages": [USER, {"role": "tool", "content": "x"}]}),
            ("messages[0].content", {"messages": [{"role": "user"}]}),
            ("messages[0].content", {"messages": [{"role": "assistant", "content": 5}]}),
            ("system[0].type", {"system": [IMAGE]}),
            ("system[0].text", {"system": [{"type": "text"}]}),
            ("tools[0]", {"tools": ["f"]}),
            ("tools[0].name", {"tools": [{"input_schema": {}}]}),
            ("tools[0].input_schema", {"tools": [{"name": "f"}]}),
            ("tools[0].description", {"tools": [_tool(description=1)]}),
            ("tool_choice.type", {"tool_choice": {"type": "force"}}),
            ("tool_choice.type", {"tool_choice": {"type": []}}),
            ("tool_choice.name", {"tool_choice": {"type": "tool"}}),
            ("stop_sequences[1]", {"stop_sequences": ["a", 1]}),
            ("metadata.user_id", {"metadata": {"user_id": 7}}),
            ("thinking.type", {"thinking": {}}),
            ("thinking.budget_tokens", {"thinking": {"type": "enabled"}}),
            ("output_config.effort", {"output_config": {"effort": 3}}),
            ("output_config.format", {"output_config": {"format": "json"}}),
            ("output_format.type", {"output_format": {"type": "json_object"}}),
            ("output_format.schema", {"output_format": {"type": "json_schema"}}),
        ]
        for param, members in cases:
            with self.subTest(param):
                self.refused(param, **members)

    def test_wrong_blocks(self) -> None:
        """A block that lacks what its type needs is told by its path."""
        self.content_refused("content[0]", "text")
        self.content_refused("content[0].type", {})
        self.content_refused("content[1].text", {"type": "text", "text": "a"}, {"type": "text"})
        self.content_refused("content[0].source", {"type": "image"})
        self.content_refused("content[0].source.media_type", _source(type="base64"))
        self.content_refused("content[0].source.data", _source(type="base64", media_type="a/b"))
        self.content_refused("content[0].source.url", _source(type="url"))
        document = {"type": "document", "source": {"type": "content", "content": []}}
        self.content_refused("content[0].source.content", document)
        titled = {"type": "document", "source": {"type": "url", "url": "x"}, "title": 5}
        self.content_refused("content[0].title", titled)
        self.content_refused("content[0].tool_use_id", {"type": "tool_result"})
        wrong = {"type": "tool_result", "tool_use_id": "t", "content": [5]}
        self.content_refused("content[0].content[0]", wrong)

    def test_wrong_assistant_blocks(self) -> None:
        """So is one in the assistant's turn."""
        use = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
        for name in ("id", "name", "input"):
            lacking = {key: value for key, value in use.items() if key != name}
            self.content_refused(f"content[0].{name}", lacking, role="assistant")
        texts = {**use, "input": "{}"}
        self.content_refused("content[0].input", texts, role="assistant")
        self.content_refused("content[0].thinking", {"type": "thinking"}, role="assistant")
        unsigned = {"type": "thinking", "thinking": "", "signature": 1}
        self.content_refused("content[0].signature", unsigned, role="assistant")
        self.content_refused("content[0].data", {"type": "redacted_thinking"}, role="assistant")

    def test_not_json(self) -> None:
        """A body that is no JSON object, or has a member twice, is refused."""
        for raw in (b"", b"[]", b'{"model":"a","model":"b"}', b'{"Model":"a"}'):
            self.assertRaises(MalformedRequest, ANTHROPIC.parse, raw, "chat")

    def test_zero_max_tokens(self) -> None:
        """An output bound of 0 is Anthropic's way to fill the prompt cache."""
        self.assertEqual(asked(max_tokens=0).hub["max_tokens"], 0)

    def test_null_members(self) -> None:
        """A member that is null is one that is not there."""
        nulls = dict.fromkeys(
            ("system", "tools", "tool_choice", "temperature", "top_p", "top_k", "thinking")
        )
        request = asked(**nulls, stop_sequences=None, metadata={"user_id": None}, stream=None)
        self.assertEqual(set(request.hub), {"model", "max_tokens", "messages"})

    def test_no_stop_sequences(self) -> None:
        """An empty list asks for nothing, and OpenAI refuses one."""
        self.assertNotIn("stop", asked(stop_sequences=[]).hub)

    def test_tool_choices(self) -> None:
        """Every form of a tool choice has its counterpart."""
        for kind, said in (("auto", "auto"), ("any", "required"), ("none", "none")):
            self.assertEqual(asked(tool_choice={"type": kind}).hub["tool_choice"], said)

    def test_efforts(self) -> None:
        """A thinking budget is told as an effort."""
        for budget, effort in ((1024, "low"), (2048, "low"), (8192, "medium"), (8193, "high")):
            thinking = {"type": "enabled", "budget_tokens": budget}
            hub = asked(thinking=thinking).hub
            self.assertEqual(hub["reasoning_effort"], effort)
            self.assertEqual(hub["thinking"], thinking)
        self.assertNotIn("reasoning_effort", asked(thinking={"type": "disabled"}).hub)

    def test_old_output_format(self) -> None:
        """The former name of the output schema still works."""
        wanted = {"type": "json_schema", "schema": {"type": "object"}}
        told = asked(output_format=wanted).hub["response_format"]["json_schema"]
        self.assertEqual(told["schema"], {"type": "object"})

    def test_only_anthropic_has_it(self) -> None:
        """What no other grammar has keeps the request on the diagonal, and says where it is."""
        search = {"type": "web_search_20250305", "name": "web_search"}
        self.assertEqual(asked(tools=[_tool(), search]).diagonal_only, "tools[1]")
        self.assertEqual(asked(mcp_servers=[{"name": "x"}]).diagonal_only, "mcp_servers")
        for block in (
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            {"type": "image", "source": {"type": "file", "file_id": "f"}},
            {"type": "document", "source": {"type": "file", "file_id": "f"}},
            {"type": "container_upload", "file_id": "f"},
        ):
            messages = [USER, {"role": "user", "content": [{"type": "text", "text": "a"}, block]}]
            self.assertEqual(asked(messages=messages).diagonal_only, "messages[1].content[1]")

    def test_document_of_blocks(self) -> None:
        """A document that is made of blocks is those blocks."""
        source = {"type": "content", "content": [{"type": "text", "text": "a"}, IMAGE]}
        content = [{"type": "document", "source": source}]
        hub = asked(messages=[{"role": "user", "content": content}]).hub
        self.assertEqual(
            [part["type"] for part in hub["messages"][0]["content"]], ["text", "image_url"]
        )

    def test_assistant_text_is_joined(self) -> None:
        """Blocks of one answer are one text, unless one is marked for the cache."""
        blocks: list[Document] = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
        turn = {"role": "assistant", "content": blocks}
        self.assertEqual(asked(messages=[USER, turn]).hub["messages"][1]["content"], "ab")
        blocks[1]["cache_control"] = {"type": "ephemeral"}
        self.assertEqual(asked(messages=[USER, turn]).hub["messages"][1]["content"], blocks)

    def test_unsigned_thinking(self) -> None:
        """Thinking without a signature is reasoning, but nothing to send back."""
        turn = {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm."}]}
        message = asked(messages=[USER, turn]).hub["messages"][1]
        self.assertEqual(message, {"role": "assistant", "content": "", "reasoning_content": "Hm."})

    def test_empty_turns(self) -> None:
        """Empty content stays a turn."""
        hub = asked(system=[], messages=[{"role": "user", "content": []}]).hub
        self.assertEqual(hub["messages"], [{"role": "user", "content": ""}])

    def test_trap_16_every_tool_result_is_kept(self) -> None:
        """Of several results of one turn not only the first is kept."""
        blocks = [
            {"type": "tool_result", "tool_use_id": f"t{number}", "content": str(number)}
            for number in range(3)
        ]
        messages = asked(messages=[{"role": "user", "content": blocks}]).hub["messages"]
        self.assertEqual([message["tool_call_id"] for message in messages], ["t0", "t1", "t2"])

    def test_trap_23_sampling_members_do_not_replace_each_other(self) -> None:
        """Temperature, output bound and the others are all there together."""
        hub = asked(temperature=0, top_p=1, top_k=0, stop_sequences=["x"]).hub
        self.assertEqual(
            [hub[name] for name in ("temperature", "max_tokens", "top_p", "top_k", "stop")],
            [0, 10, 1, 0, ["x"]],
        )

    def test_unsaid(self) -> None:
        """Members that have no hub form are named."""
        body = asked(container="c", service_tier="auto", speed=None, top_k=1).document
        self.assertEqual(unsaid(body), ("container", "service_tier"))

    def test_bytes_are_kept(self) -> None:
        """The client's bytes are there for the diagonal."""
        raw = b' {"max_tokens" : 1e0, "messages":[{"role":"user","content":"a"}] } '
        self.assertRaises(MalformedRequest, ANTHROPIC.parse, raw, "chat")
        raw = raw.replace(b"1e0", b"1")
        self.assertEqual(ANTHROPIC.parse(raw, "chat").raw, raw)
        self.assertEqual(json.loads(raw), ANTHROPIC.parse(raw, "chat").document)


def _tool(**members: Any) -> Document:
    return {"name": "f", "input_schema": {"type": "object"}, **members}


def _source(**members: Any) -> Document:
    return {"type": "image", "source": members}
