"""Tool calls written as plain text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.chat import Usage
from lmgateway.dialects import hub
from lmgateway.dialects.ollama_text_calls import find_calls, with_text_calls


class FindTests(SynchronousTestCase):
    """In a text."""

    def test_R_B10_declared_calls_are_found(self) -> None:
        """A call of a declared tool is read, and nothing is left of it."""
        text = 'HassTurnOn(area="Office", domain="light")'
        self.assertEqual(
            find_calls(text, {"HassTurnOn"}),
            ([("HassTurnOn", {"area": "Office", "domain": "light"})], ""),
        )

    def test_R_B10_prose_is_not_a_call(self) -> None:
        """What is not declared, or not complete, stays text."""
        for text in (
            "use print(x)",
            "f(x)",
            'f(a="b"',
            "f(a=)",
            "my_f(a=1)",
            "f (a=1)",
            "f(a=1 b=2)",
        ):
            self.assertEqual(find_calls(text, {"f"}), ([], text))

    def test_values(self) -> None:
        """Commas, parentheses and quotes within quotes belong to the value."""
        calls, rest = find_calls(
            "“Ön” f(a=\"x, (y)\", b='it\\'s', c=3, d=true, e=[1,2], g=bare word) then f()", {"f"}
        )
        self.assertEqual(
            calls,
            [
                (
                    "f",
                    {"a": "x, (y)", "b": "it's", "c": 3, "d": True, "e": [1, 2], "g": "bare word"},
                ),
                ("f", {}),
            ],
        )
        self.assertEqual(rest, "“Ön”  then")

    @given(st.text(alphabet="f(a=\"', )[]{}1\\é“"))
    def test_never_raises(self, text: str) -> None:
        """Whatever a model writes, it is read or left alone."""
        find_calls(text, {"f", "a"})


class AnswerTests(SynchronousTestCase):
    """In a hub answer."""

    def test_calls_are_put_into_the_message(self) -> None:
        """A text that is a call becomes one; a message with calls stays as it is."""
        said = hub.completion("i", "m", 1, {"content": "f(x=1)"}, "stop", Usage(1, 2))
        called = with_text_calls(said, {"f"})
        choice = called["choices"][0]
        self.assertEqual(choice["finish_reason"], "tool_calls")
        self.assertIsNone(choice["message"]["content"])
        self.assertEqual(choice["message"]["tool_calls"][0]["function"]["arguments"], '{"x":1}')
        self.assertIs(with_text_calls(called, {"f"}), called)
        self.assertIs(with_text_calls(said, ()), said)
        self.assertIs(with_text_calls(said, {"g"}), said)
