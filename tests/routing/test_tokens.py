"""Tests for the token estimate."""

from __future__ import annotations

import lzma
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest import SkipTest

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.chat import ChatRequest
from lmgateway.dialects.document import encode
from lmgateway.dialects.openai import OPENAI
from lmgateway.routing import tokens
from lmgateway.routing.tokens import (
    IMAGE,
    LOW_IMAGE,
    THREAD_BYTES,
    Counter,
    Tokenizer,
    offline_encode,
    output_budget,
    ranks,
    rough,
)
from tests.routing.routers import exchange_of


def chat(**members: Any) -> ChatRequest:
    """Give a chat request."""
    request = exchange_of(members).request
    assert request is not None
    return request


VOCABULARY = Path(tokens.__file__).parent / "vocabulary"
O200K = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"


class CounterTests(SynchronousTestCase):
    """Counting whole requests."""

    def test_two_short_messages(self) -> None:
        """Two short messages are about twenty tokens, as in the reference."""
        messages = [
            {"role": "user", "content": "Hello there"},
            {"role": "assistant", "content": "Hi, how are you?"},
        ]
        self.assertIn(Counter().count(chat(messages=messages)), range(15, 36))

    def test_tokenizer_is_used(self) -> None:
        """With a tokenizer each text, role and tool is counted by it."""
        seen: list[str] = []

        def count(text: str) -> int:
            seen.append(text)
            return 10

        tools = [{"type": "function"}]
        message = {"role": "assistant", "content": "x", "tool_calls": [{"id": "c"}]}
        total = Counter(encode=count).count(chat(messages=[message], tools=tools))
        self.assertEqual(seen, ["assistant", "x", '[{"id":"c"}]', '[{"type":"function"}]'])
        self.assertEqual(total, 51)  # a tenth more than 4 * 10 + 4 + 2

    def test_pictures(self) -> None:
        """A picture costs what it costs, whatever its data."""

        def cost(**image: Any) -> int:
            part = {"type": "image_url", "image_url": {"url": "x" * 10_000, **image}}
            return Counter().count(chat(messages=[{"role": "user", "content": [part]}]))

        self.assertIn(cost() - int(IMAGE * 1.1), range(5, 12))
        self.assertIn(cost(detail="low") - int(LOW_IMAGE * 1.1), range(5, 12))

    def test_other_media(self) -> None:
        """Sound counts by its length."""
        part = {"type": "input_audio", "input_audio": {"data": "A" * 40_000, "format": "mp3"}}
        total = Counter().count(chat(messages=[{"role": "user", "content": [part]}]))
        self.assertIn(total, range(80, 100))

    def test_embeddings(self) -> None:
        """What is to be embedded counts; token numbers do not break it."""
        for value in ("word " * 100, ["word " * 50] * 2):
            request = OPENAI.parse(encode({"input": value}), "embeddings")
            self.assertIn(Counter().count(request), range(100, 200))
        request = OPENAI.parse(encode({"input": [1, 2, 3]}), "embeddings")
        self.assertEqual(Counter().count(request), 0)

    def test_output_budget(self) -> None:
        """The bound on the answer, by either name."""
        self.assertEqual(output_budget(chat()), 0)
        self.assertEqual(output_budget(chat(max_tokens=5)), 5)
        self.assertEqual(output_budget(chat(max_tokens=5, max_completion_tokens=7)), 7)


class EstimateTests(SynchronousTestCase):
    """Counting no more exactly than is needed."""

    def counter(self) -> tuple[Counter, list[str]]:
        """Give a counter and the texts that it tokenized."""
        seen: list[str] = []

        def count(text: str) -> int:
            seen.append(text)
            return len(text) // 4

        return Counter(encode=count), seen

    def near(self, counter: Counter, request: ChatRequest, limit: int) -> int:
        """Estimate at once."""
        return int(
            self.successResultOf(Deferred.fromCoroutine(counter.estimate(request).near(limit)))
        )

    def test_far_below_nothing_is_tokenized(self) -> None:
        """A small body is certainly below a large limit."""
        counter, seen = self.counter()
        self.assertLess(self.near(counter, chat(), 1000), 1000)
        self.assertEqual(seen, [])

    def test_near_a_limit_it_is(self) -> None:
        """Near a limit the texts are tokenized."""
        counter, seen = self.counter()
        request = chat(messages=[{"role": "user", "content": "word " * 100}])
        self.assertEqual(self.near(counter, request, 200), counter.count(request))
        self.assertIn("word " * 100, seen)

    @given(st.text(max_size=200), st.integers(1, 300))
    def test_compares_as_the_true_count(self, text: str, limit: int) -> None:
        """Whatever the way, the answer is on the same side of the limit."""
        request = chat(messages=[{"role": "user", "content": text}])
        counter = Counter()
        got = self.near(counter, request, limit)
        self.assertEqual(got < limit, counter.count(request) < limit)

    def test_large_texts_go_to_a_thread(self) -> None:
        """Large texts are not tokenized on the reactor."""
        waiting: list[tuple[Callable[[], int], Deferred[int]]] = []

        def in_thread(function: Callable[[], int]) -> Deferred[int]:
            waiting.append((function, Deferred()))
            return waiting[-1][1]

        counter = Counter(encode=len, in_thread=in_thread)
        request = chat(messages=[{"role": "user", "content": "x" * THREAD_BYTES}])
        estimate = Deferred.fromCoroutine(counter.estimate(request).near(100))
        self.assertNoResult(estimate)
        ((function, deferred),) = waiting
        deferred.callback(function())
        self.assertGreater(self.successResultOf(estimate), THREAD_BYTES)


class TokenizerTests(SynchronousTestCase):
    """The vocabulary is read when it is first needed."""

    def test_the_first_count_goes_to_a_thread(self) -> None:
        """Whoever comes first waits for the vocabulary, and nobody else does."""
        asked: list[Callable[[], int]] = []

        def in_thread(function: Callable[[], int]) -> Deferred[int]:
            asked.append(function)
            return succeed(function())

        tokenizer = Tokenizer()
        self.patch(tokens, "_read_vocabulary", lambda: len)
        counter = Counter(encode=tokenizer, in_thread=in_thread)
        request = chat(messages=[{"role": "user", "content": "hello"}])
        counts = [
            self.successResultOf(Deferred.fromCoroutine(counter.estimate(request).near(1)))
            for _ in range(2)
        ]
        self.assertEqual((counts[0], len(asked)), (counts[1], 1))
        self.assertTrue(tokenizer.is_read)


class OfflineTests(SynchronousTestCase):
    """The tokenizer needs no network."""

    def test_the_vocabulary_is_whole(self) -> None:
        """What is shipped is OpenAI's o200k, to the byte."""
        packed = (VOCABULARY / "o200k_base.tiktoken.xz").read_bytes()
        self.assertEqual(sha256(lzma.decompress(packed)).hexdigest(), O200K)
        self.assertEqual(len(ranks(packed)), 199_998)

    def test_known_counts(self) -> None:
        """Texts have the tokens that OpenAI's own tokenizer gives them."""
        count = offline_encode()
        if count is None:
            raise SkipTest("the 'tokens' extra is not installed")
        self.assertEqual([count(""), count("hello world"), count("<|endoftext|>")], [0, 2, 7])

    def test_rough(self) -> None:
        """Texts are guessed by length, other scripts by their bytes."""
        self.assertEqual([rough(""), rough("a"), rough("a" * 35)], [0, 1, 10])
        self.assertGreaterEqual(rough("漢字" * 10), 15)
