"""Tests for what a request needs."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.dialects.document import encode
from lmgateway.dialects.openai import OPENAI
from lmgateway.routing.needs import needs_of, text_of
from tests.routing.routers import exchange_of


class NeedsTests(SynchronousTestCase):
    """Needs are read from the shape of a request."""

    def needs(self, **members: Any) -> list[str]:
        """Give the needs of a chat request."""
        request = exchange_of(members).request
        assert request is not None
        return sorted(needs_of(request))

    def test_parts(self) -> None:
        """Each kind of part needs its capability."""
        parts = ["image_url", "input_audio", "file", "video_url", "text"]
        content = [{"type": part, "text": "x"} for part in parts]
        self.assertEqual(
            self.needs(messages=[{"role": "user", "content": content}]),
            ["audio", "file", "video", "vision"],
        )

    def test_text_is_text(self) -> None:
        """Words that name a part are no part; nor is what is not a part at all."""
        text = '[{"type": "image_url"}]'
        parts: list[Any] = [[{"type": "text", "text": text}], ["image_url"], [{"type": {}}]]
        for content in (text, *parts):
            self.assertEqual(self.needs(messages=[{"role": "user", "content": content}]), [])

    def test_members(self) -> None:
        """Tools, a JSON Schema, reasoning and spoken answers are asked for by members."""
        cases: list[tuple[dict[str, Any], list[str]]] = [
            ({"tools": [{"type": "function"}]}, ["tools"]),
            ({"tools": []}, []),
            ({"functions": [{"name": "f"}]}, ["tools"]),
            ({"response_format": {"type": "json_schema"}}, ["json_schema"]),
            ({"response_format": {"type": "json_object"}}, []),
            ({"reasoning_effort": "high"}, ["reasoning"]),
            ({"reasoning_effort": "none"}, []),
            ({"think": True}, ["reasoning"]),
            ({"think": False}, []),
            ({"thinking": {"type": "enabled"}}, ["reasoning"]),
            ({"modalities": ["text", "audio"]}, ["audio"]),
        ]
        for members, expected in cases:
            self.assertEqual(self.needs(**members), expected, members)

    def test_embeddings(self) -> None:
        """An embeddings call needs just that."""
        request = OPENAI.parse(encode({"input": "hi"}), "embeddings")
        self.assertEqual(needs_of(request), {"embeddings"})

    def test_text_of_a_message(self) -> None:
        """Text parts are joined with a space; everything else is left out."""
        parts = [
            {"type": "text", "text": "a"},
            {"type": "image_url"},
            {"type": "text", "text": "b"},
        ]
        self.assertEqual(text_of({"content": parts}), "a b")
        self.assertEqual(text_of({"content": "a"}), "a")
        for content in (None, 5, [5], [{"type": "text"}], [{"type": "text", "text": 5}]):
            self.assertEqual(text_of({"content": content}), "")
