"""Providers as data."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.backends.quirks import QUIRKS
from lmgateway.config.providers import PROVIDERS, is_local


class ProviderTests(SynchronousTestCase):
    """What a backend may name."""

    def test_every_provider_has_its_quirks(self) -> None:
        """And all quirks are those of a provider."""
        self.assertEqual({*PROVIDERS}, {*QUIRKS})

    def test_grammars_are_three(self) -> None:
        """The rest are dialects of OpenAI's."""
        self.assertEqual(
            {provider.dialect for provider in PROVIDERS.values()}, {"openai", "anthropic", "ollama"}
        )

    def test_no_preset_is_at_our_own_port(self) -> None:
        """llama.cpp's usual one is."""
        for provider in PROVIDERS.values():
            self.assertNotIn(":8080", provider.base_url or "")

    def test_near_backends_cost_nothing(self) -> None:
        """Decision 19a: the mock, Ollama, loopback and private addresses."""
        for provider, url in (
            ("mock", ""),
            ("ollama", "https://ollama.example"),
            ("openai", "http://127.0.0.1:1"),
            ("openai", "http://localhost:1"),
            ("vllm", "http://gpu.localhost"),
            ("openai", "http://192.168.1.5/v1"),
            ("openai", "http://[fd00::1]:80"),
            ("vllm", "http://10.0.0.1"),
        ):
            self.assertTrue(is_local(provider, url, None), url)

    def test_far_backends_cost_something(self) -> None:
        """Names too, since they could mean anything."""
        for url in (
            "https://api.openai.com/v1",
            "http://8.8.8.8",
            "http://gpu.internal",
            "http://[2600::1]",
        ):
            self.assertFalse(is_local("openai", url, None), url)

    def test_the_config_knows_better(self) -> None:
        """In both directions."""
        self.assertTrue(is_local("openai", "http://gpu.internal", True))
        self.assertFalse(is_local("ollama", "http://127.0.0.1:11434", False))
