"""What differs between providers, and where their calls go."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.backends.quirks import OPENAI_ITSELF, QUIRKS, join, quirks_for
from lmgateway.config.providers import PROVIDERS
from lmgateway.dialects.base import Quirks

CHAT = "/v1/chat/completions"


class QuirksTests(SynchronousTestCase):
    """The table."""

    def test_all_providers_are_there(self) -> None:
        """Each provider that a config may name has its quirks."""
        self.assertEqual(set(QUIRKS), set(PROVIDERS))

    def test_quirks_fit_dialects(self) -> None:
        """A dialect can read each of them."""
        all_: list[Quirks] = [*QUIRKS.values()]
        self.assertTrue(all(quirks.tool_format == "json" for quirks in all_))

    def test_refused_stream_options_are_never_sent(self) -> None:
        """Who is not asked for usage is not sent the client's question either."""
        for name, quirks in QUIRKS.items():
            if not quirks.stream_usage:
                self.assertIn("stream_options", quirks.drop, name)

    def test_nothing_that_decides_is_dropped(self) -> None:
        """No provider loses what the answer is made of."""
        needed = {"model", "messages", "stream", "tools", "tool_choice", "response_format", "n"}
        for name, quirks in QUIRKS.items():
            self.assertEqual(quirks.drop & needed, set(), name)

    def test_paths_are_paths(self) -> None:
        """Each path begins at the root."""
        for quirks in QUIRKS.values():
            for call in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings"):
                path = quirks.place(call)
                self.assertTrue(path is None or path.startswith("/"))
            self.assertIsNotNone(quirks.place("/v1/chat/completions"))

    def test_output_bound_of_openai_itself(self) -> None:
        """Only OpenAI's own host wants the new name of the bound."""
        self.assertIs(quirks_for("openai", "https://api.openai.com/v1"), OPENAI_ITSELF)
        self.assertIs(quirks_for("openai", "http://127.0.0.1:8000"), QUIRKS["openai"])
        self.assertIs(quirks_for("groq", "https://api.groq.com/openai/v1"), QUIRKS["groq"])
        self.assertEqual(OPENAI_ITSELF.max_tokens_field, "max_completion_tokens")
        self.assertIsNone(QUIRKS["openai"].max_tokens_field)


class JoinTests(SynchronousTestCase):
    """Base URLs with any prefix, with or without ``/v1``."""

    def test_join(self) -> None:
        """No prefix is lost and no version doubled."""
        table = [
            ("http://h", CHAT, "http://h/v1/chat/completions"),
            ("http://h/", CHAT, "http://h/v1/chat/completions"),
            ("http://h:8000/v1", CHAT, "http://h:8000/v1/chat/completions"),
            ("http://h:8000/v1/", CHAT, "http://h:8000/v1/chat/completions"),
            ("http://[::1]:80/v1//", CHAT, "http://[::1]:80/v1/chat/completions"),
            ("https://h/openai", CHAT, "https://h/openai/v1/chat/completions"),
            ("https://h/openai/v1", CHAT, "https://h/openai/v1/chat/completions"),
            ("https://h/api/v1", CHAT, "https://h/api/v1/chat/completions"),
            ("https://h/api/paas/v4", CHAT, "https://h/api/paas/v4/chat/completions"),
            ("https://h/v1beta/openai/", CHAT, "https://h/v1beta/openai/chat/completions"),
            ("https://h/v1/acc/gw/openai", CHAT, "https://h/v1/acc/gw/openai/chat/completions"),
            ("https://h/v1x", CHAT, "https://h/v1x/v1/chat/completions"),
            ("https://h/v1", "/v1/models", "https://h/v1/models"),
            ("https://h", "/v1/messages", "https://h/v1/messages"),
            ("https://h/anthropic", "/v1/messages", "https://h/anthropic/v1/messages"),
            ("https://h", "/chat/completions", "https://h/chat/completions"),
            ("http://h:11434", "/api/chat", "http://h:11434/api/chat"),
            ("http://h:11434/api", "/api/chat", "http://h:11434/api/chat"),
            ("http://h:11434/v1", "/api/tags", "http://h:11434/api/tags"),
            ("http://h/ollama/", "/api/chat", "http://h/ollama/api/chat"),
        ]
        for base, path, wanted in table:
            self.assertEqual(join(base, path), wanted, base)
