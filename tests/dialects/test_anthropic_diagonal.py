"""Tests of the lossless diagonal: an Anthropic client of an Anthropic backend."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.chat import Document, Overrides
from lmgateway.dialects.anthropic import ANTHROPIC
from lmgateway.dialects.foreign import is_fine
from tests.dialects.anthropic_vectors import (
    QUIRKS,
    Ordinary,
    parsed,
    vectors,
)

USER = {"role": "user", "content": "Hi"}

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
        and is_fine(name)  # what chooses a host is refused, however it is spelt
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
        self.assertEqual(out, raw.replace(b'"asked"', b'"m"'))

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
