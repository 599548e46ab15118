"""Estimates of what a request takes."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.dialects.anthropic import ANTHROPIC
from lmgateway.dialects.document import encode
from lmgateway.dialects.openai import OPENAI
from lmgateway.governance.tokens import NOTHING, Ask, ask_of

TEXT = "word " * 100


def asked(**members: Any) -> Ask:
    """Estimate a chat request."""
    return ask_of(OPENAI.parse(encode({"model": "m", **members}), "chat"))


def said(content: Any) -> list[dict[str, Any]]:
    """Give one user message."""
    return [{"role": "user", "content": content}]


class AskTests(SynchronousTestCase):
    """About four bytes a token."""

    def test_text(self) -> None:
        """Role and text; parts as well as plain."""
        self.assertEqual(asked(messages=said(TEXT)), Ask(126, 0))
        parts = [{"type": "text", "text": TEXT}]
        self.assertEqual(asked(messages=said(parts)), Ask(127, 0))

    def test_tools_count(self) -> None:
        """They are part of every prompt."""
        tool = {"type": "function", "function": {"name": "f", "description": TEXT}}
        self.assertGreater(asked(messages=said("hi"), tools=[tool]).prompt, 125)

    def test_files_are_a_flat_sum(self) -> None:
        """An image is not the text of its bytes."""
        image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 10**6}}
        self.assertLess(asked(messages=said([image])).prompt, 1100)

    def test_output(self) -> None:
        """What the client sets as the most, in either name; nonsense is none."""
        self.assertEqual(asked(messages=said(""), max_tokens=50).output, 50)
        self.assertEqual(asked(messages=said(""), max_completion_tokens=70).output, 70)

    def test_counting_is_nothing(self) -> None:
        """No model is asked for a word."""
        body = encode({"model": "m", "messages": said(TEXT)})
        self.assertEqual(ask_of(ANTHROPIC.parse(body, "count_tokens")), NOTHING)
