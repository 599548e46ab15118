"""Estimates of what a request takes."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.dialects.anthropic import ANTHROPIC
from lmgateway.dialects.completions import COMPLETIONS
from lmgateway.dialects.document import encode
from lmgateway.dialects.ollama import OLLAMA
from lmgateway.dialects.openai import OPENAI
from lmgateway.governance.tokens import NOTHING, Ask, ask_of

TEXT = "word " * 100


def asked(**members: Any) -> Ask:
    """Estimate a chat request."""
    return ask_of(OPENAI.parse(encode({"model": "m", **members}), "chat"))


def completed(prompt: Any, **members: Any) -> Ask:
    """Estimate a completion."""
    body = encode({"model": "m", "prompt": prompt, **members})
    return ask_of(COMPLETIONS.parse(body, "completions"))


def embedded(texts: Any) -> Ask:
    """Estimate an embedding."""
    return ask_of(OPENAI.parse(encode({"model": "m", "input": texts}), "embeddings"))


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

    def test_files_by_address(self) -> None:
        """Neither are they as cheap as their address, nor is a sound as dear as its letters."""
        image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
        self.assertGreater(asked(messages=said([image])).prompt, 1000)
        sound = {"type": "input_audio", "input_audio": {"data": "A" * 10**6, "format": "wav"}}
        self.assertLess(asked(messages=said([sound])).prompt, 1100)

    def test_a_text_is_no_file(self) -> None:
        """However it begins, and whatever stands beside a file."""
        self.assertGreater(asked(messages=said("data:" + TEXT * 100)).prompt, 12_500)
        part = {"type": "image_url", "image_url": {"url": "data:,"}, "text": TEXT * 100}
        self.assertGreater(asked(messages=said([part])).prompt, 12_500)

    def test_blocks_of_one_api(self) -> None:
        """What only Anthropic's has, or only Ollama's, is read by a model too."""
        source = {"type": "text", "media_type": "text/plain", "data": TEXT * 50}
        found = {"type": "search_result", "source": "s", "title": "t", "content": [said(TEXT * 50)]}
        image = {"type": "base64", "media_type": "image/png", "data": "A" * 10**6}
        for block, least in (
            ({"type": "document", "source": source}, 6250),
            (found, 6250),
            ({"type": "image", "source": image}, 1000),
        ):
            body = encode({"model": "m", "max_tokens": 9, "messages": said([block])})
            prompt = ask_of(ANTHROPIC.parse(body, "chat")).prompt
            self.assertIn(prompt, range(least, least + 100))
        body = encode({"model": "m", "prompt": "hi", "context": [7] * 500, "template": TEXT})
        self.assertGreater(ask_of(OLLAMA.parse(body, "generate")).prompt, 620)

    def test_tokens_are_tokens(self) -> None:
        """A prompt that was encoded by the client, alone or with others."""
        self.assertEqual(embedded([7] * 500), Ask(500, 0))
        self.assertEqual(embedded([[7] * 500, [7] * 500]), Ask(1000, 0))

    def test_names_and_schemas_count(self) -> None:
        """What a model reads of tools and formats are also the names in them."""
        schema = {"type": ["object", "null"], "properties": {"name" * 1000: {"type": "string"}}}
        tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
        self.assertGreater(asked(messages=said("hi"), tools=[tool]).prompt, 1000)
        format_ = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
        self.assertGreater(asked(messages=said("hi"), response_format=format_).prompt, 1000)
        self.assertGreater(asked(messages=said("hi"), functions=[schema]).prompt, 1000)
        guess = {"type": "content", "content": TEXT * 10}
        self.assertGreater(asked(messages=said("hi"), prediction=guess).prompt, 1250)

    def test_several_answers(self) -> None:
        """Each may be as long as the bound says, for each of the prompts."""
        self.assertEqual(asked(messages=said(""), max_tokens=50, n=3).output, 150)
        self.assertEqual(completed("a", max_tokens=50, n=2, best_of=5).output, 250)
        self.assertEqual(completed(["a"] * 40, max_tokens=50, n=2), Ask(10, 4000, 80))
        self.assertEqual(completed([[7, 7], [8]], max_tokens=50), Ask(3, 100, 2))
        self.assertEqual(completed([7, 7, 8], max_tokens=50), Ask(3, 50, 1))

    def test_two_bounds(self) -> None:
        """Nobody knows which of them a backend heeds."""
        both = asked(messages=said(""), max_completion_tokens=1, max_tokens=900)
        self.assertEqual(both.output, 900)

    def test_output(self) -> None:
        """What the client sets as the most, in either name; nonsense is none."""
        self.assertEqual(asked(messages=said(""), max_tokens=50).output, 50)
        self.assertEqual(asked(messages=said(""), max_completion_tokens=70).output, 70)

    def test_counting_is_nothing(self) -> None:
        """No model is asked for a word."""
        body = encode({"model": "m", "messages": said(TEXT)})
        self.assertEqual(ask_of(ANTHROPIC.parse(body, "count_tokens")), NOTHING)
