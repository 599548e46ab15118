"""Bodies for Ollama backends: translated, and edited on the diagonal."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.chat import ChatRequest, Document, Overrides
from lmgateway.dialects.document import read
from lmgateway.dialects.ollama import OLLAMA
from lmgateway.errors import Unsupported
from tests.dialects.recorded import QUIRKS, PlainQuirks, load


def asked(**hub: Any) -> ChatRequest:
    """Give a request of an OpenAI client."""
    raw = msgspec.json.encode({"model": "alias", **hub})
    document, spans = read(raw)
    return ChatRequest(
        dialect="openai",
        endpoint="embeddings" if "input" in hub else "chat",
        raw=raw,
        document=document,
        spans=spans,
        hub=document,
        model="alias",
        stream=hub.get("stream", False),
        wants_usage=False,
    )


def rendered(request: ChatRequest, quirks: PlainQuirks = QUIRKS, **overrides: Any) -> Document:
    """Give the body that a backend gets."""
    return load(OLLAMA.render(request, Overrides(model="llama3", **overrides), quirks))


USER = [{"role": "user", "content": "hi"}]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


class TranslatedTests(SynchronousTestCase):
    """From the hub."""

    def test_R_B07_keep_alive_is_for_ever_unless_given(self) -> None:
        """The model stays loaded, unless the caller or the operator says otherwise."""
        self.assertEqual(rendered(asked(messages=USER))["keep_alive"], -1)
        self.assertEqual(rendered(asked(messages=USER, keep_alive="5m"))["keep_alive"], "5m")
        self.assertEqual(
            rendered(asked(messages=USER), PlainQuirks(keep_alive=60))["keep_alive"], 60
        )
        self.assertNotIn("keep_alive", rendered(asked(messages=USER), PlainQuirks(keep_alive=None)))

    def test_R_B07_keep_alive_on_the_diagonal(self) -> None:
        """An Ollama client that says nothing gets the default too, and what it says stays."""
        request = OLLAMA.parse(b'{"model":"m","messages":[]}', "chat")
        self.assertEqual(rendered(request)["keep_alive"], -1)
        request = OLLAMA.parse(b'{"model":"m","messages":[],"keep_alive":0}', "chat")
        self.assertEqual(rendered(request)["keep_alive"], 0)

    def test_R_B08_history_arguments_are_objects(self) -> None:
        """Calls lose their ids and have objects for arguments; results name their tool."""
        messages = [
            *USER,
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "f", "arguments": '{"x": 1}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "ok"},
        ]
        body = rendered(asked(messages=messages, tools=TOOLS))
        self.assertEqual(
            body["messages"][1:],
            [
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}],
                },
                {"role": "tool", "content": "ok", "tool_name": "f"},
            ],
        )
        self.assertEqual(OLLAMA.path(asked(messages=USER)), "/api/chat")

    def test_R_C21_default_options_yield_to_the_caller(self) -> None:
        """The operator's options are sent, and the caller's win."""
        quirks = PlainQuirks(default_options={"num_ctx": 16384, "temperature": 0.1})
        body = rendered(asked(messages=USER, temperature=0.7), quirks)
        self.assertEqual(body["options"], {"num_ctx": 16384, "temperature": 0.7})
        body = rendered(asked(messages=USER, options={"num_ctx": 2048}), quirks)
        self.assertEqual(body["options"], {"num_ctx": 2048, "temperature": 0.1})

    def test_sampling_members(self) -> None:
        """Sampling members become options, a lone stop sequence a list."""
        body = rendered(
            asked(messages=USER, max_completion_tokens=9, stop="x", seed=1, top_p=0.2, top_k=3)
        )
        self.assertEqual(
            body["options"], {"num_predict": 9, "stop": ["x"], "seed": 1, "top_p": 0.2, "top_k": 3}
        )

    def test_a_budget_bounds_the_output(self) -> None:
        """A bound is set where the caller set none, or an endless one."""
        self.assertEqual(rendered(asked(messages=USER), max_tokens=7)["options"]["num_predict"], 7)
        body = rendered(asked(messages=USER, max_tokens=3), max_tokens=7)
        self.assertEqual(body["options"]["num_predict"], 3)
        endless = OLLAMA.parse(b'{"model":"m","options":{"num_predict":-1}}', "chat")
        self.assertEqual(rendered(endless, max_tokens=7)["options"]["num_predict"], 7)

    def test_formats(self) -> None:
        """JSON mode and schemas become ``format``."""
        schema = {"type": "object", "properties": {}}
        wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
        self.assertEqual(rendered(asked(messages=USER, response_format=wanted))["format"], schema)
        body = rendered(asked(messages=USER, response_format={"type": "json_object"}))
        self.assertEqual(body["format"], "json")
        self.assertNotIn("format", rendered(asked(messages=USER, response_format={"type": "text"})))

    def test_reasoning(self) -> None:
        """Flags win over efforts, both over the tier's own."""
        self.assertEqual(rendered(asked(messages=USER, reasoning_effort="high"))["think"], "high")
        self.assertIs(rendered(asked(messages=USER, reasoning_effort="none"))["think"], False)
        self.assertIs(rendered(asked(messages=USER, think=True), think=False)["think"], True)
        self.assertIs(rendered(asked(messages=USER), think=False)["think"], False)

    def test_parts(self) -> None:
        """Text parts are joined and images given as base64."""
        content = [
            {"type": "text", "text": "a"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            {"type": "text", "text": "b"},
        ]
        body = rendered(asked(messages=[{"role": "user", "content": content}]))
        self.assertEqual(
            body["messages"], [{"role": "user", "content": "a\nb", "images": ["AAAA"]}]
        )

    def test_history(self) -> None:
        """Reasoning is thinking, a refusal is text, and a result may name its tool itself."""
        messages = [
            {"role": "assistant", "content": None, "refusal": "no", "reasoning_content": "hm"},
            {
                "role": "tool",
                "tool_call_id": "?",
                "name": "f",
                "content": [{"type": "text", "text": "ok"}],
            },
            {"role": "tool", "tool_call_id": "?", "content": "ok"},
        ]
        self.assertEqual(
            rendered(asked(messages=messages))["messages"],
            [
                {"role": "assistant", "content": "no", "thinking": "hm"},
                {"role": "tool", "content": "ok", "tool_name": "f"},
                {"role": "tool", "content": "ok"},
            ],
        )
        self.assertEqual(OLLAMA.dropped(OLLAMA.parse(b'{"messages":[],"x":1}', "chat")), ())

    def test_system_prompt(self) -> None:
        """The profile's prompt comes first, in one system message, and loses nothing."""
        body = rendered(asked(messages=USER), system_prompt="P")
        self.assertEqual(body["messages"][0], {"role": "system", "content": "P"})
        parts = [{"type": "text", "text": "own"}]
        messages = [{"role": "developer", "content": parts}, *USER]
        body = rendered(asked(messages=messages), system_prompt="P")
        self.assertEqual(body["messages"][0], {"role": "system", "content": "P\nown"})

    def test_what_cannot_be_said_is_refused(self) -> None:
        """What Ollama has no form for, and may not be left out, is refused with its path."""
        url = {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}}
        call = {"id": "1", "function": {"name": "f", "arguments": "[1]"}}
        for param, hub in (
            (
                "messages[0].content[0].image_url",
                {"messages": [{"role": "user", "content": [url]}]},
            ),
            (
                "messages[0].content[0].type",
                {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            ),
            ("messages[0].role", {"messages": [{"role": "function", "content": "x"}]}),
            (
                "messages[0].tool_calls[0].function",
                {"messages": [{"role": "assistant", "tool_calls": [call]}]},
            ),
            ("n", {"messages": USER, "n": 2}),
            ("tools[0].type", {"messages": USER, "tools": [{"type": "custom"}]}),
            ("input", {"input": [[1, 2]]}),
        ):
            error = self.assertRaises(Unsupported, rendered, asked(**hub))
            self.assertEqual(error.param, param)

    def test_what_is_left_out_is_named(self) -> None:
        """Members without a counterpart are named, for the header that says so."""
        request = asked(messages=USER, user="u", logit_bias={"1": 2}, tool_choice="required")
        self.assertEqual(OLLAMA.dropped(request), ("logit_bias", "tool_choice", "user"))
        self.assertEqual(OLLAMA.dropped(asked(messages=USER, tool_choice="auto")), ())
        self.assertNotIn("tools", rendered(asked(messages=USER, tools=TOOLS, tool_choice="none")))

    def test_embeddings(self) -> None:
        """Texts to embed are asked of ``/api/embed``."""
        request = asked(input=["a"], dimensions=2, encoding_format="base64")
        self.assertEqual(rendered(request), {"model": "llama3", "input": ["a"], "dimensions": 2})
        self.assertEqual(OLLAMA.path(request), "/api/embed")

    def test_refused_members_are_dropped(self) -> None:
        """What a provider refuses is not sent, translated or not."""
        quirks = PlainQuirks(drop=frozenset({"keep_alive", "think"}))
        self.assertNotIn("keep_alive", rendered(asked(messages=USER), quirks))
        request = OLLAMA.parse(b'{"model":"m","messages":[],"think":true}', "chat")
        self.assertNotIn("think", rendered(request, quirks))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3)
    ),
    max_leaves=8,
)
messages_of_clients = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant"]), "content": st.text()}
    ),
    max_size=4,
)
extra_members = st.dictionaries(
    st.text(min_size=1, max_size=8).map(lambda name: "x_" + name), json_values, max_size=3
)


class DiagonalTests(SynchronousTestCase):
    """Between two that speak Ollama."""

    @given(
        messages_of_clients,
        extra_members,
        st.fixed_dictionaries(
            {},
            optional={
                "stream": st.booleans(),
                "format": st.just("json"),
                "think": st.sampled_from([True, "high"]),
                "options": st.fixed_dictionaries({}, optional={"temperature": st.floats(0, 2)}),
            },
        ),
    )
    def test_nothing_is_lost(
        self, messages: list[Document], extra: Document, members: Document
    ) -> None:
        """The backend's body is the client's, but for the model and an absent keep_alive."""
        document = {"model": "m", "messages": messages, **extra, **members}
        raw = msgspec.json.encode(document)
        out = rendered(OLLAMA.parse(raw, "chat"))
        self.assertEqual(out, {**load(raw), "model": "llama3", "keep_alive": -1})

    def test_spelling_of_numbers_is_kept(self) -> None:
        """Numbers go through as written, in options that are added to as well."""
        raw = (
            b'{"model":"m","messages":[],"keep_alive":-1,"options":{"temperature":0.70},"x":1.0e2}'
        )
        request = OLLAMA.parse(raw, "chat")
        quirks = PlainQuirks(default_options={"num_ctx": 8})
        out = OLLAMA.render(request, Overrides(model="a"), quirks)
        self.assertIn(b'"x":1.0e2', out)
        self.assertIn(b'"options":{"temperature":0.70,"num_ctx":8}', out)
        kept = OLLAMA.render(request, Overrides(model="a"), QUIRKS)
        self.assertEqual(kept, raw.replace(b'"model":"m"', b'"model":"a"'))

    def test_overrides(self) -> None:
        """A system prompt and a think flag are put in where they belong."""
        request = OLLAMA.parse(b'{"model":"m","prompt":"p","system":"own","raw":true}', "generate")
        body = rendered(request, system_prompt="P", think=False)
        self.assertEqual((body["system"], body["think"], body["raw"]), ("P\n\nown", False, True))
        self.assertEqual(OLLAMA.path(request), "/api/generate")
        chat = OLLAMA.parse(b'{"model":"m","messages":[{"role":"user","content":"x"}]}', "chat")
        body = rendered(chat, system_prompt="P", max_tokens=5)
        self.assertEqual(body["messages"][0], {"role": "system", "content": "P"})
        self.assertEqual(body["options"], {"num_predict": 5})

    def test_embeddings_are_not_pinned(self) -> None:
        """A body for embeddings changes in nothing but the model."""
        request = OLLAMA.parse(b'{"model":"m","prompt":"x"}', "embeddings")
        self.assertEqual(rendered(request), {"model": "llama3", "prompt": "x"})
