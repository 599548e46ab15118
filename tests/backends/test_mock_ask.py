"""What the mock reads of a request."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.backends.mock_ask import ask_of, fixture_key, tokens_in
from lmgateway.chat import Overrides
from tests.backends.mock_calls import chat, request_of


class AskTests(SynchronousTestCase):
    """Reading requests."""

    def test_prompt_is_estimated(self) -> None:
        """The estimate covers all messages, and a system prompt that the gateway adds."""
        document = chat("x" * 40)
        plain = ask_of(request_of(document), Overrides(model="m"))
        longer = ask_of(request_of(document), Overrides(model="m", system_prompt="y" * 40))
        self.assertEqual(plain.input_tokens, 14)
        self.assertEqual(longer.input_tokens, 24)

    def test_tokens_are_four_bytes(self) -> None:
        """Bytes count, not characters."""
        self.assertEqual([tokens_in(t) for t in ("", "a", "abcde", "\u20ac\u20ac")], [0, 1, 2, 2])

    def test_key_depends_on_what_is_asked(self) -> None:
        """Who is asked, in which order of members and how it is delivered make no difference."""
        key = fixture_key(request_of(chat("a", temperature=0)))
        same = {"temperature": 0, **chat("a"), "model": "other", "stream": True}
        self.assertEqual(fixture_key(request_of(same)), key)
        self.assertNotEqual(fixture_key(request_of(chat("b", temperature=0))), key)
