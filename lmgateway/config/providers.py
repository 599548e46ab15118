"""
The providers that a backend may name, as data.

A provider here is a grammar and, where it is always at the same place, a base
URL.  What else differs between providers of one grammar is told by
``lmgateway.backends.quirks``.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from types import MappingProxyType
from urllib.parse import urlsplit

from msgspec import Struct


class Provider(Struct, frozen=True):
    """
    One allowed value of ``provider``.

    Attributes:
        name: As written in the config.
        dialect: The grammar that it speaks.
        base_url: Where it is, if a backend does not say.
        local: Whether it costs nothing; ``None`` where the address decides.
    """

    name: str
    dialect: str
    base_url: str | None = None
    local: bool | None = None


PROVIDERS: Mapping[str, Provider] = MappingProxyType(
    {
        provider.name: provider
        for provider in (
            Provider("openai", "openai", "https://api.openai.com/v1"),
            Provider("openrouter", "openai", "https://openrouter.ai/api/v1"),
            Provider("ollama", "ollama", "http://127.0.0.1:11434", local=True),
            Provider("anthropic", "anthropic", "https://api.anthropic.com"),
            Provider("mock", "openai", None, local=True),
            Provider("cerebras", "openai", "https://api.cerebras.ai/v1"),
            Provider("deepseek", "openai", "https://api.deepseek.com/v1"),
            Provider("fireworks", "openai", "https://api.fireworks.ai/inference/v1"),
            Provider("groq", "openai", "https://api.groq.com/openai/v1"),
            Provider("mistral", "openai", "https://api.mistral.ai/v1"),
            Provider("nvidia", "openai", "https://integrate.api.nvidia.com/v1"),
            Provider("perplexity", "openai", "https://api.perplexity.ai"),
            Provider("perplexity", "openai", "https://api.perplexity.ai"),
            Provider("sambanova", "openai", "https://api.sambanova.ai/v1"),
            Provider("together", "openai", "https://api.together.xyz/v1"),
            Provider("xai", "openai", "https://api.x.ai/v1"),
            # llama.cpp listens on 8080 by default, and so does this gateway: no default here.
            Provider("llamacpp", "openai"),
            Provider("lmstudio", "openai", "http://127.0.0.1:1234/v1"),
            Provider("vllm", "openai", "http://127.0.0.1:8000/v1"),
        )
    }
)


def is_local_address(base_url: str) -> bool:
    """Tell whether *base_url* names a loopback or private address."""
    host = (urlsplit(base_url).hostname or "").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or (address.is_private and not address.is_unspecified)


def is_local(provider: str, base_url: str, configured: bool | None) -> bool:
    """
    Tell whether a backend costs nothing unless a price says otherwise.

    Args:
        provider: The backend's provider name.
        base_url: The backend's address.
        configured: The backend's own ``local`` key.
    """
    for known in (configured, PROVIDERS[provider].local):
        if known is not None:
            return known
    return is_local_address(base_url)
