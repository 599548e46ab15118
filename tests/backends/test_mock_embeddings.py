"""Embeddings of the mock."""

from __future__ import annotations

import math
from array import array
from base64 import b64decode
from typing import Any

from lmgateway.backend_errors import BackendTimeout, Rejected
from lmgateway.chat import Document
from tests.backends.mock_calls import MockTestCase, call_of


class EmbeddingsTests(MockTestCase):
    """Vectors."""

    def embed(self, value: Any, **members: Any) -> Document:
        """Give the answer to an input."""
        call = call_of({"input": value, **members}, "embeddings", model="embedder")
        return self.ask(self.backend(), call).document

    def vectors(self, value: Any, **members: Any) -> list[list[float]]:
        """Give the vectors of an input."""
        return [one["embedding"] for one in self.embed(value, **members)["data"]]

    def test_L15_1_unit_vectors(self) -> None:
        """Each input has a vector of length one."""
        answer = self.embed(["one", "two"])
        self.assertEqual(answer["object"], "list")
        self.assertEqual(answer["model"], "embedder")
        self.assertEqual([one["index"] for one in answer["data"]], [0, 1])
        self.assertEqual(answer["usage"], {"prompt_tokens": 2, "total_tokens": 2})
        for one in answer["data"]:
            self.assertEqual(len(one["embedding"]), 256)
            self.assertLess(abs(math.hypot(*one["embedding"]) - 1), 1e-5)

    def test_same_text_same_vector(self) -> None:
        """The text alone decides."""
        first, second, third = self.vectors(["one", "one", "two"])
        self.assertEqual(first, second)
        self.assertNotEqual(first, third)
        self.assertEqual([first], self.vectors("one"))

    def test_tokens(self) -> None:
        """Token lists are inputs too."""
        self.assertEqual(len(self.vectors([1, 2, 3])), 1)
        self.assertEqual(len(self.vectors([[1, 2], [3]])), 2)

    def test_dimensions(self) -> None:
        """Vectors are as long as asked."""
        for dimensions in (1, 7, 4096):
            [vector] = self.vectors("one", dimensions=dimensions)
            self.assertEqual(len(vector), dimensions)

    def test_base64(self) -> None:
        """Packed vectors hold the same numbers, as little-endian floats."""
        [packed] = [one["embedding"] for one in self.embed("a", encoding_format="base64")["data"]]
        self.assertEqual([array("f", b64decode(packed)).tolist()], self.vectors("a"))

    def test_refused(self) -> None:
        """What cannot be given is refused, with the member's name."""
        wrong: list[tuple[str, Any]] = [
            ("input", []),
            ("input", [[]]),
            ("input", {"a": 1}),
            ("input", ["x", 5]),
            ("input", ["x"] * 2049),
            ("dimensions", 0),
            ("dimensions", 5000),
            ("dimensions", "x"),
            ("encoding_format", "hex"),
        ]
        for member, value in wrong:
            call = call_of({"input": "x", member: value}, "embeddings")
            _, done = self.start(self.backend(), call)
            self.assertEqual(self.failureResultOf(done, Rejected).value.param, member)

    def test_faults_hold_here_too(self) -> None:
        """Embeddings fail on purpose as answers do."""
        backend = self.backend(allow_model_faults=True)
        call = call_of({"input": "x"}, "embeddings", model="m-h")
        _, done = self.start(backend, call)
        self.clock.advance(30)
        self.failureResultOf(done, BackendTimeout)
