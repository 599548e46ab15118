"""Tests of the bodies for backends that speak Anthropic's grammar."""

from __future__ import annotations

import json
from typing import Any

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.chat import Document, Overrides
from lmgateway.dialects.anthropic import ANTHROPIC, Anthropic, dropped
from lmgateway.dialects.hub_extensions import plain
from lmgateway.errors import MalformedRequest, Unsupported, UnsupportedParameter
from tests.dialects.anthropic_vectors import (
    MODEL,
    QUIRKS,
    Ordinary,
    asked,
    foreign,
    parsed,
    rendered,
    said,
    vectors,
)

USER = {"role": "user", "content": "Hi"}
FUNCTION = {"type": "function", "function": {"name": "f"}}
SYSTEM = {"role": "system", "content": "S"}


class VectorTests(SynchronousTestCase):
    """The vectors, from the hub to Anthropic."""

    def test_requests(self) -> None:
        """Each hub request of the vectors is said as its Anthropic form says."""
        for name, vector in vectors("requests"):
            if vector.get("only", "render") != "render":
                continue
            with self.subTest(name):
                self.assertEqual(rendered(vector["hub"]), vector["anthropic"])

    def test_dropped(self) -> None:
        """What was left out of each is named."""
        for name, vector in vectors("requests"):
            if vector.get("only", "render") == "render":
                with self.subTest(name):
                    self.assertEqual(dropped(vector["hub"]), tuple(vector.get("dropped", ())))


class HubTests(SynchronousTestCase):
    """What the vectors do not show."""

    def test_R_B02_system_and_defaults(self) -> None:
        """System texts move to the top, joined by a blank line; 8192 unless the caller says."""
        two = said(SYSTEM, {"role": "system", "content": "T"}, USER, temperature=0.3)
        self.assertEqual(
            rendered(two),
            {
                "model": MODEL,
                "max_tokens": 8192,
                "temperature": 0.3,
                "system": "S\n\nT",
                "messages": [USER],
            },
        )
        self.assertEqual(rendered(said(max_tokens=5))["max_tokens"], 5)
        self.assertEqual(rendered(said(max_tokens=None), max_tokens=7)["max_tokens"], 7)

    def test_R_B06_stop_string_is_a_list(self) -> None:
        """A stop string becomes a list, null none, and blank ones are left out."""
        self.assertEqual(rendered(said(stop="x"))["stop_sequences"], ["x"])
        for nothing in (None, [], "\n", [" "]):
            self.assertNotIn("stop_sequences", rendered(said(stop=nothing)))
        self.assertEqual(rendered(said(stop=["\n", "x"]))["stop_sequences"], ["x"])
        self.assertEqual(dropped(said(stop=["\n", "x"])), ("stop",))

    def test_section_8_item_11_array_system_is_kept(self) -> None:
        """A system message in parts is not lost, nor are the texts beside it."""
        parts = [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]
        body = rendered(said({"role": "system", "content": parts}, SYSTEM, USER))
        self.assertEqual(body["system"], [*parts, {"type": "text", "text": "S"}])

    def test_section_8_item_12_tools_and_images(self) -> None:
        """Tools, calls, results and images are all said."""
        part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
        call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
        body = rendered(
            said(
                {"role": "user", "content": [part]},
                {"role": "assistant", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c1", "content": "r"},
                tools=[FUNCTION],
            )
        )
        blocks = [block["type"] for turn in body["messages"] for block in turn["content"]]
        self.assertEqual(blocks, ["image", "tool_use", "tool_result"])
        self.assertEqual(body["messages"][1]["content"][0]["input"], {"a": 1})
        self.assertEqual(body["tools"][0]["input_schema"], {"type": "object", "properties": {}})

    def test_system_prompt_of_the_gateway(self) -> None:
        """It comes first, as text or as a block."""
        self.assertEqual(rendered(said(), system_prompt="P")["system"], "P")
        self.assertEqual(rendered(said(SYSTEM, USER), system_prompt="P")["system"], "P\n\nS")
        parts = [{"type": "text", "text": "A"}]
        body = rendered(said({"role": "system", "content": parts}, USER), system_prompt="P")
        self.assertEqual(body["system"], [{"type": "text", "text": "P"}, *parts])

    def test_spelling_of_arguments_is_kept(self) -> None:
        """The numbers in a call's arguments stay as the model wrote them."""
        function = {"name": "f", "arguments": '{"a": 1.0, "b": 12345678901234567890123}'}
        call = {"id": "c", "type": "function", "function": function}
        hub = said(USER, {"role": "assistant", "tool_calls": [call]})
        body = ANTHROPIC.render(foreign(hub), Overrides(model=MODEL), QUIRKS)
        self.assertIn(b'"input":{"a": 1.0, "b": 12345678901234567890123}', body)

    def test_temperature_is_clamped(self) -> None:
        """Anthropic's scale ends at 1."""
        self.assertEqual(rendered(said(temperature=1.9))["temperature"], 1)
        self.assertEqual(rendered(said(temperature=0))["temperature"], 0)

    def test_trap_23_temperature_and_max_tokens_together(self) -> None:
        """One does not replace the other; only the pair that Anthropic refuses is thinned."""
        body = rendered(said(temperature=0.1, max_tokens=3, top_p=0.2, top_k=4, stop="x"))
        self.assertEqual(body["temperature"], 0.1)
        self.assertEqual(body["max_tokens"], 3)
        self.assertEqual(body["top_k"], 4)
        self.assertNotIn("top_p", body)
        self.assertEqual(rendered(said(top_p=0.2))["top_p"], 0.2)

    def test_tool_choices(self) -> None:
        """Every form of a tool choice has its counterpart, with tools only."""
        named = {"type": "function", "function": {"name": "f"}}
        for choice, wanted in (
            ("auto", {"type": "auto"}),
            ("required", {"type": "any"}),
            ("none", {"type": "none"}),
            (named, {"type": "tool", "name": "f"}),
        ):
            hub = said(tools=[FUNCTION], tool_choice=choice)
            self.assertEqual(rendered(hub)["tool_choice"], wanted)
            self.assertNotIn("tool_choice", rendered(said(tool_choice=choice)))
        self.assertNotIn("tool_choice", rendered(said(tools=[FUNCTION])))

    def test_one_call_at_a_time(self) -> None:
        """Calls one after the other are asked for beside any choice but none."""
        alone = {"type": "auto", "disable_parallel_tool_use": True}
        self.assertEqual(
            rendered(said(tools=[FUNCTION], parallel_tool_calls=False))["tool_choice"], alone
        )
        hub = said(tools=[FUNCTION], parallel_tool_calls=False, tool_choice="none")
        self.assertEqual(rendered(hub)["tool_choice"], {"type": "none"})

    def test_json_mode(self) -> None:
        """JSON mode is asked for in words, after all other system text."""
        body = rendered(said(SYSTEM, USER, response_format={"type": "json_object"}))
        self.assertTrue(body["system"].startswith("S\n\nAnswer with one JSON object"))
        self.assertNotIn("system", rendered(said(response_format={"type": "text"})))

    def test_thinking_by_budget(self) -> None:
        """Models before 4.6 are given a budget, always below the output bound."""
        for model, bound, effort, budget in (
            ("claude-3-7-sonnet-20250219", 64000, "low", 2048),
            ("claude-sonnet-4-20250514", 64000, "medium", 8192),
            ("claude-opus-4-5-20251101", 64000, "high", 24576),
            ("claude-opus-4-5", 64000, "xhigh", 32768),
            ("some-name", 64000, "minimal", 1024),
            ("some-name", 2000, "high", 1999),
        ):
            body = rendered(said(reasoning_effort=effort, max_tokens=bound), model=model)
            self.assertEqual(body["thinking"], {"type": "enabled", "budget_tokens": budget}, model)

    def test_thinking_adaptive(self) -> None:
        """Models from 4.6 on take an effort, beside an output schema too."""
        schema = {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}
        for model, effort, told in (
            ("claude-opus-4-6", "medium", "medium"),
            ("claude-opus-4.7-fast", "minimal", "low"),
            ("anthropic/claude-sonnet-5", "xhigh", "xhigh"),
            ("claude-fable-5-1", "max", "max"),
        ):
            hub = said(reasoning_effort=effort, response_format=schema)
            body = rendered(hub, model=model)
            self.assertEqual(body["thinking"], {"type": "adaptive"})
            self.assertEqual(body["output_config"]["effort"], told)
            self.assertIn("format", body["output_config"])

    def test_thinking_has_no_place(self) -> None:
        """No thinking where none is asked for, where the bound is small, or a tool is forced."""
        for members in (
            {"reasoning_effort": "none"},
            {"think": False},
            {"reasoning_effort": "high", "max_tokens": 1024},
            {"reasoning_effort": "high", "tools": [FUNCTION], "tool_choice": "required"},
        ):
            self.assertNotIn("thinking", rendered(said(**members)))

    def test_thinking_excludes_sampling(self) -> None:
        """Sampling members that Anthropic refuses beside thinking are dropped, and named."""
        hub = said(think=True, temperature=0.5, top_k=3)
        body = rendered(hub)
        self.assertEqual(body["thinking"]["budget_tokens"], 8191)
        self.assertNotIn("temperature", body)
        self.assertNotIn("top_k", body)
        self.assertEqual(dropped(hub), ("temperature", "top_k"))

    def test_dropped_means_something(self) -> None:
        """Defaults and nulls are no loss; what has no word is."""
        hub = said(n=1, logprobs=False, logit_bias={}, seed=None, modalities=["text"])
        self.assertEqual(dropped(hub), ())
        hub = said(n=2, logprobs=True, top_logprobs=2, seed=1, verbosity="low", metadata={"a": "b"})
        self.assertEqual(dropped(hub), tuple(sorted(hub.keys() - {"messages"})))
        self.assertEqual(Anthropic().dropped(foreign(hub)), dropped(hub))
        self.assertEqual(Anthropic().dropped(asked(container="c")), ())

    def test_quirks_drop(self) -> None:
        """What a provider refuses is left out."""
        quirks = Ordinary(drop=frozenset({"top_k", "metadata"}))
        body = rendered(said(top_k=1, user="u"), quirks)
        self.assertEqual(set(body), {"model", "max_tokens", "messages"})

    def test_path(self) -> None:
        """Each call has its path."""
        self.assertEqual(Anthropic().path(asked()), "/v1/messages")
        counted = parsed({"messages": [USER]}, "count_tokens")
        self.assertEqual(Anthropic().path(counted), "/v1/messages/count_tokens")

    def test_stream(self) -> None:
        """Streaming is asked for, usage is not: Anthropic always tells it."""
        body = rendered(said(stream=True, stream_options={"include_usage": True}))
        self.assertIs(body["stream"], True)
        self.assertNotIn("stream_options", body)
        self.assertNotIn("stream", rendered(said(stream=False)))

    def test_a_pdf_as_an_image_is_a_document(self) -> None:
        """Some clients send a PDF where an image goes."""
        part = {"type": "image_url", "image_url": "data:application/pdf;base64,JVBERi0="}
        body = rendered(said({"role": "user", "content": [part]}))
        self.assertEqual(body["messages"][0]["content"][0]["type"], "document")

    def test_a_file_without_a_name(self) -> None:
        """A document need not have a title."""
        part = {"type": "file", "file": {"file_data": "data:text/plain;base64,YQ=="}}
        body = rendered(said({"role": "user", "content": [part]}))
        self.assertNotIn("title", body["messages"][0]["content"][0])

    def test_turns_that_say_nothing(self) -> None:
        """Empty messages make no turn, and their neighbours one."""
        silence: list[Any] = ["", None, [], " \n"]
        for nothing in silence:
            hub = said(USER, {"role": "assistant", "content": nothing}, USER)
            text = {"type": "text", "text": "Hi"}
            turn = {"role": "user", "content": [text, text]}
            self.assertEqual(rendered(hub)["messages"], [turn])
        hub = said(USER, {"role": "assistant", "content": [{"type": "text", "text": "a"}]})
        self.assertEqual(rendered(hub)["messages"][1]["content"], "a")

    def test_tool_result_without_content(self) -> None:
        """A tool that returned nothing still returned."""
        body = rendered(said(USER, {"role": "tool", "tool_call_id": "c", "content": ""}))
        self.assertEqual(
            body["messages"][0]["content"][0], {"type": "tool_result", "tool_use_id": "c"}
        )


class RefusalTests(SynchronousTestCase):
    """What cannot be said is refused, by its path."""

    def refused(self, kind: type[Exception], param: str | None, hub: Document) -> None:
        """Check that a hub request is refused, how and where."""
        error: Any = self.assertRaises(kind, rendered, hub)
        self.assertEqual(error.param, param)

    def part(self, kind: type[Exception], path: str, part: Any) -> None:
        """Check that a part of a message is refused."""
        hub = said({"role": "user", "content": [part]})
        self.refused(kind, f"messages[0].content[0]{path}", hub)

    def test_unsupported_parts(self) -> None:
        """Audio, files that are elsewhere, and what nobody knows."""
        self.part(Unsupported, ".type", {"type": "input_audio", "input_audio": {}})
        self.part(Unsupported, ".type", {"type": "video_url"})
        self.part(Unsupported, ".file", {"type": "file", "file": {"file_id": "f"}})
        zipped = {"type": "file", "file": {"file_data": "data:application/zip;base64,AA=="}}
        self.part(Unsupported, ".file.file_data", zipped)

    def test_malformed_parts(self) -> None:
        """Parts that are not what they say they are."""
        self.part(MalformedRequest, "", "text")
        self.part(MalformedRequest, ".text", {"type": "text"})
        self.part(MalformedRequest, ".image_url", {"type": "image_url"})
        self.part(MalformedRequest, ".image_url.url", {"type": "image_url", "image_url": {}})
        for url in ("ftp://x", "data:image/png,AA", "file:///etc/passwd"):
            part = {"type": "image_url", "image_url": {"url": url}}
            self.part(MalformedRequest, ".image_url.url", part)
        self.part(MalformedRequest, ".file", {"type": "file"})
        for data in (5, "AA==", "data:text/plain;base64,/w==", "data:text/plain;base64,!"):
            part = {"type": "file", "file": {"file_data": data}}
            self.part(MalformedRequest, ".file.file_data", part)
        self.part(MalformedRequest, ".file.file_url", {"type": "file", "file": {"file_url": 1}})
        named = {"file_data": "data:text/plain;base64,AA==", "filename": 7}
        self.part(MalformedRequest, ".file.filename", {"type": "file", "file": named})

    def test_messages(self) -> None:
        """Messages that are none, or of a role that is gone."""
        cases: list[tuple[Any, type[Exception], str]] = [
            ("Hi", MalformedRequest, ""),
            ({"content": "x"}, MalformedRequest, ".role"),
            ({"role": "function", "name": "f", "content": "x"}, Unsupported, ".role"),
            ({"role": "user", "content": 5}, MalformedRequest, ".content"),
            ({"role": "tool", "content": "x"}, MalformedRequest, ".tool_call_id"),
            (
                {"role": "tool", "tool_call_id": "", "content": "x"},
                MalformedRequest,
                ".tool_call_id",
            ),
            (
                {"role": "assistant", "function_call": {"name": "f"}},
                Unsupported,
                ".function_call",
            ),
            ({"role": "assistant", "refusal": 5}, MalformedRequest, ".refusal"),
            ({"role": "assistant", "thinking_blocks": 5}, MalformedRequest, ".thinking_blocks"),
            ({"role": "assistant", "tool_calls": ["f"]}, MalformedRequest, ".tool_calls[0]"),
        ]
        for message, kind, path in cases:
            with self.subTest(path):
                self.refused(kind, f"messages[0]{path}", {"messages": [message]})

    def test_system_is_text(self) -> None:
        """A system prompt with an image cannot be said."""
        image = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
        hub = said({"role": "system", "content": [image]}, USER)
        self.refused(Unsupported, "messages[0].content", hub)

    def test_conversations_only(self) -> None:
        """A prompt without messages, or a system prompt alone, is no conversation."""
        self.refused(Unsupported, "messages", {"prompt": "Once"})
        self.refused(Unsupported, None, said(SYSTEM))
        self.refused(Unsupported, None, said({"role": "assistant", "content": " "}))

    def test_calls(self) -> None:
        """Calls that are no calls of functions with an object."""
        odd: list[Any] = [None, {}, "{", "[]", "5", '{"a":1}}']
        cases: list[tuple[Document, type[Exception], str]] = [
            ({"type": "custom", "id": "c", "custom": {}}, Unsupported, ".type"),
            ({"id": "c"}, MalformedRequest, ".function"),
            ({"function": {"name": "f", "arguments": "{}"}}, MalformedRequest, ".id"),
            ({"id": "c", "function": {}}, MalformedRequest, ".function.name"),
            *(
                (
                    {"id": "c", "function": {"name": "f", "arguments": arguments}},
                    MalformedRequest,
                    ".function.arguments",
                )
                for arguments in odd
            ),
        ]
        for call, kind, path in cases:
            hub = said(USER, {"role": "assistant", "tool_calls": [call]})
            with self.subTest(path):
                self.refused(kind, f"messages[1].tool_calls[0]{path}", hub)

    def test_members(self) -> None:
        """Members of the wrong type, or that must not be silently ignored."""
        custom = {"type": "custom", "custom": {"name": "g"}}
        cases: list[tuple[type[Exception], str, dict[str, Any]]] = [
            (MalformedRequest, "temperature", {"temperature": "hot"}),
            (MalformedRequest, "top_p", {"top_p": "x"}),
            (MalformedRequest, "max_tokens", {"max_tokens": "x"}),
            (MalformedRequest, "stop", {"stop": 5}),
            (MalformedRequest, "stop", {"stop": [5]}),
            (MalformedRequest, "user", {"user": 5}),
            (MalformedRequest, "tools", {"tools": "f"}),
            (Unsupported, "tools[1].type", {"tools": [FUNCTION, custom]}),
            (MalformedRequest, "tools[0].function", {"tools": [{}]}),
            (MalformedRequest, "tools[0].function.name", {"tools": [{"function": {}}]}),
            (Unsupported, "functions", {"functions": [{"name": "f"}]}),
            (MalformedRequest, "tool_choice", {"tools": [FUNCTION], "tool_choice": "maybe"}),
            (
                Unsupported,
                "tool_choice.type",
                {"tools": [FUNCTION], "tool_choice": {"type": "allowed_tools"}},
            ),
            (MalformedRequest, "response_format", {"response_format": "json"}),
            (MalformedRequest, "response_format.type", {"response_format": {"type": "xml"}}),
            (
                MalformedRequest,
                "response_format.json_schema",
                {"response_format": {"type": "json_schema"}},
            ),
            (MalformedRequest, "reasoning_effort", {"reasoning_effort": 5}),
        ]
        for kind, param, members in cases:
            with self.subTest(param):
                self.refused(kind, param, said(**members))

    def test_another_grammars_own(self) -> None:
        """A request that only its own grammar can express is refused."""
        hub = said()
        request = evolve(foreign(hub), diagonal_only="suffix")
        self.assertRaises(
            UnsupportedParameter, ANTHROPIC.render, request, Overrides(model="m"), QUIRKS
        )


class ExtensionTests(SynchronousTestCase):
    """What goes from an Anthropic client to a backend that knows OpenAI's words alone."""

    def test_plain(self) -> None:
        """No extension is left in what a strict provider is sent, and the hub is not changed."""
        for name, vector in vectors("requests"):
            request = parsed(vector["anthropic"]) if "only" not in vector else None
            if request is None:
                continue
            with self.subTest(name):
                text = json.dumps(plain(request.hub))
                for extension in ("cache_control", "thinking_blocks", "is_error", "top_k"):
                    self.assertNotIn(extension, text)
                self.assertEqual(request.hub, vector["hub"])

    def test_kept(self) -> None:
        """A provider that takes an extension is sent it."""
        hub = parsed(dict(vectors("requests"))["system_blocks"]["anthropic"]).hub
        self.assertEqual(plain(hub, frozenset({"cache_control"})), hub)


# The diagonal --------------------------------------------------------------
_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_names = st.text(min_size=1).filter(
    lambda name: (
        name.strip().casefold()
        not in {
            "max_completion_tokens",
            "max_tokens",
            "mcp_servers",
            "messages",
            "metadata",
            "model",
            "n",
            "options",
            "output_config",
            "output_format",
            "stop_sequences",
            "stream",
            "stream_options",
            "system",
            "temperature",
            "thinking",
            "tool_choice",
            "tools",
            "top_k",
            "top_p",
        }
    )
)
_blocks = st.builds(
    lambda text, more: {**more, "type": "text", "text": text},
    st.text(),
    st.dictionaries(st.text(), _values, max_size=2),
)
_contents = st.text() | st.lists(_blocks, max_size=3)
_messages = st.lists(
    st.builds(
        lambda role, content: {"role": role, "content": content},
        st.sampled_from(["user", "assistant", "system"]),
        _contents,
    ),
    min_size=1,
    max_size=4,
)
_bodies = st.builds(
    lambda more, messages, bound, system: {
        "model": "asked",
        "max_tokens": bound,
        "messages": messages,
        **({} if system is None else {"system": system}),
        **more,
    },
    st.dictionaries(_names, _values, max_size=4),
    _messages,
    st.integers(0, 2**40),
    st.none() | _contents,
)


class DiagonalTests(SynchronousTestCase):
    """An Anthropic client of an Anthropic backend."""

    def render(self, body: Document, quirks: Ordinary = QUIRKS, **overrides: Any) -> Document:
        """Give what the backend is sent."""
        out = ANTHROPIC.render(parsed(body), Overrides(**{"model": "m", **overrides}), quirks)
        sent: Document = json.loads(out)
        return sent

    @given(_bodies, st.sampled_from([None, 1]))
    @settings(max_examples=150, deadline=None)
    def test_body_is_the_clients(self, body: Document, indent: int | None) -> None:
        """Whatever the body, nothing is changed but the model; spelling and order stay."""
        raw = json.dumps(body, indent=indent).encode()
        request = ANTHROPIC.parse(raw, "chat")
        out = ANTHROPIC.render(request, Overrides(model="target", max_tokens=5), QUIRKS)
        self.assertEqual(json.loads(out), {**body, "model": "target"})
        self.assertEqual(list(json.loads(out)), list(body))
        for name, (start, end) in request.spans.items():
            if name != "model":
                self.assertIn(raw[start:end], out)

    def test_spelling_is_kept(self) -> None:
        """Numbers, escapes, white space and unknown members keep their bytes."""
        raw = (
            b'{"max_tokens": 10, "temperature": 1.0, "vendor": {"x": 1e2, "y": "\\u00fc"},'
            b' "messages": [ {"role": "user", "content": "a"} ], "model": "asked"}'
        )
        request = ANTHROPIC.parse(raw, "chat")
        out = ANTHROPIC.render(request, Overrides(model="m"), QUIRKS)
        self.assertEqual(
            out,
            b'{"max_tokens":10,"temperature":1.0,"vendor":{"x": 1e2, "y": "\\u00fc"},'
            b'"messages":[ {"role": "user", "content": "a"} ],"model":"m"}',
        )

    def test_vectors(self) -> None:
        """Every Anthropic request of the vectors goes through as it is."""
        for name, vector in vectors("requests"):
            with self.subTest(name):
                body = vector["anthropic"]
                self.assertEqual(self.render(body), {**body, "model": "m"})

    def test_server_tools_pass(self) -> None:
        """What only Anthropic has goes to Anthropic."""
        body: Document = {
            "max_tokens": 1,
            "messages": [USER],
            "tools": [{"type": "web_search_20250305", "name": "web_search"}],
            "mcp_servers": [{"type": "url", "url": "https://example.org", "name": "x"}],
        }
        self.assertEqual(self.render(body), {**body, "model": "m"})

    def test_system_prompt(self) -> None:
        """The gateway's prompt comes first; an array stays one, with its cache marks."""
        body: Document = {"max_tokens": 1, "messages": [USER]}
        blocks = [{"type": "text", "text": "A", "cache_control": {"type": "ephemeral"}}]
        block = {"type": "text", "text": "P"}
        for system, wanted in (
            (None, "P"),
            ("", "P"),
            ([], "P"),
            ("S", "P\n\nS"),
            (blocks, [block, *blocks]),
        ):
            sent = self.render({**body, "system": system}, system_prompt="P")
            self.assertEqual(sent["system"], wanted)
        self.assertEqual(self.render(body, system_prompt="P")["system"], "P")

    def test_max_tokens_is_the_clients(self) -> None:
        """The gateway's bound is for who gave none, and counting takes none."""
        body: Document = {"max_tokens": 3, "messages": [USER]}
        self.assertEqual(self.render(body, max_tokens=9)["max_tokens"], 3)
        counted = parsed({"messages": [USER]}, "count_tokens")
        out = ANTHROPIC.render(counted, Overrides(model="m", max_tokens=9), QUIRKS)
        self.assertEqual(json.loads(out), {"messages": [USER], "model": "m"})

    def test_quirks_drop(self) -> None:
        """What the provider refuses is left out here too."""
        body: Document = {"max_tokens": 3, "messages": [USER], "temperature": 1}
        quirks = Ordinary(drop=frozenset({"temperature", "top_k"}))
        self.assertEqual(set(self.render(body, quirks)), {"max_tokens", "messages", "model"})

    def test_our_own_thinking_is_not_sent_back(self) -> None:
        """Reasoning of another model, shown as thinking, would be refused by Anthropic."""
        ours = {"type": "thinking", "thinking": "Hm.", "signature": ""}
        theirs = {"type": "thinking", "thinking": "So.", "signature": "c2ln"}
        text = {"type": "text", "text": "a"}
        turns: list[Document] = [
            USER,
            {"role": "assistant", "content": [ours, text]},
            USER,
            {"role": "assistant", "content": [theirs, text]},
            {"role": "assistant", "content": [ours]},
        ]
        sent = self.render({"max_tokens": 1, "messages": turns})["messages"]
        self.assertEqual(sent, [USER, {"role": "assistant", "content": [text]}, USER, turns[3]])
