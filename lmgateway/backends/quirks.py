"""
What differs between providers that speak the same dialect, as values.

Facts only, each from the provider's own reference or from a report of what it
refuses.  A provider that refuses ``stream_options`` (Mistral answers 422) is not
sent it, and tells the usage in its last chunk anyway.  Members that a provider
answers with a 400 are dropped, as long as the answer means the same without
them or could not be had with them at all.

Paths are joined to a base URL with ``join``, which minds that one may be
written with or without ``/v1``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace

_BOOKKEEPING = frozenset({"metadata", "prompt_cache_key", "service_tier", "store"})
"""What strict servers refuse of OpenAI's own bookkeeping; no answer depends on it."""


class ProviderQuirks(msgspec.Struct, frozen=True, kw_only=True):
    """
    One provider: see ``dialects.base.Quirks``, and where its calls go.

    A path is ``None`` where the provider has no such call.

    Attributes:
        stream_usage: Whether the usage can be asked for in streams.
        max_tokens_field: The only name of the output bound that is taken; ``None``: either.
        drop: Top-level members that are refused.
        tool_format: ``xml`` where the model writes tool calls as tagged text.
        takes_think: Whether a ``think`` member is understood.
        probe_path: What is asked for, at no cost, to see whether the provider is well.
        auth_header: The header that carries the key.
        auth_prefix: What stands before the key in it.
        headers: Sent with every request that brings none of its own.
        default_options: Model options where the request has none (Ollama).
        keep_alive: How long a model stays loaded where the request does not say (Ollama).
    """

    stream_usage: bool = True
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] | None = None
    drop: frozenset[str] = frozenset()
    tool_format: Literal["json", "xml"] = "json"
    takes_think: bool = False
    chat_path: str = "/v1/chat/completions"
    completions_path: str | None = "/v1/completions"
    embeddings_path: str | None = "/v1/embeddings"
    probe_path: str | None = "/v1/models"
    auth_header: bytes = b"authorization"
    auth_prefix: bytes = b"Bearer "
    headers: tuple[tuple[bytes, bytes], ...] = ()
    default_options: Mapping[str, object] = msgspec.field(default_factory=dict)
    keep_alive: str | int = -1

    def place(self, path: str) -> str | None:
        """Give where this provider has a call that its grammar knows by *path*."""
        match path:
            case "/v1/chat/completions":
                return self.chat_path
            case "/v1/completions":
                return self.completions_path
            case "/v1/embeddings":
                return self.embeddings_path
            case _:
                return path


_COMPATIBLE = ProviderQuirks()

OPENAI_ITSELF = replace(
    _COMPATIBLE, max_tokens_field="max_completion_tokens", completions_path=None
)
"""``api.openai.com``: its reasoning models refuse ``max_tokens``, its chat models completions."""

QUIRKS: Mapping[str, ProviderQuirks] = MappingProxyType(
    {
        "openai": _COMPATIBLE,
        "openrouter": _COMPATIBLE,
        "anthropic": ProviderQuirks(
            chat_path="/v1/messages",
            completions_path=None,
            embeddings_path=None,
            auth_header=b"x-api-key",
            auth_prefix=b"",
            headers=((b"anthropic-version", b"2023-06-01"),),
        ),
        "ollama": ProviderQuirks(
            takes_think=True,
            chat_path="/api/chat",
            completions_path="/api/generate",
            embeddings_path="/api/embed",
            probe_path="/api/tags",
        ),
        "mock": replace(_COMPATIBLE, takes_think=True),
        # https://console.groq.com/docs/openai: these are a 400.
        "groq": replace(
            _COMPATIBLE,
            drop=frozenset({"logit_bias", "logprobs", "top_logprobs"}),
            completions_path=None,
            embeddings_path=None,
        ),
        # https://docs.mistral.ai/api: extra members are a 422; the seed is ``random_seed`` here.
        "mistral": replace(
            _COMPATIBLE,
            stream_usage=False,
            max_tokens_field="max_tokens",
            drop=_BOOKKEEPING
            | {"logit_bias", "logprobs", "seed", "stream_options", "top_logprobs", "user"},
            completions_path=None,
        ),
        "deepseek": replace(
            _COMPATIBLE,
            max_tokens_field="max_tokens",
            completions_path=None,
            embeddings_path=None,
        ),
        "together": replace(_COMPATIBLE, max_tokens_field="max_tokens"),
        # Extra members are a 400; ``stream_options`` is taken, newer models need it.
        "fireworks": replace(_COMPATIBLE, max_tokens_field="max_tokens", drop=_BOOKKEEPING),
        "xai": replace(_COMPATIBLE, drop=frozenset({"logit_bias"}), embeddings_path=None),
        "vllm": _COMPATIBLE,
        "llamacpp": replace(_COMPATIBLE, max_tokens_field="max_tokens"),
        "lmstudio": replace(_COMPATIBLE, max_tokens_field="max_tokens"),
        # No listing, and no ``/v1``; the usage is in every chunk.
        "perplexity": replace(
            _COMPATIBLE,
            stream_usage=False,
            max_tokens_field="max_tokens",
            drop=_BOOKKEEPING
            | {
                "logit_bias",
                "logprobs",
                "parallel_tool_calls",
                "seed",
                "stream_options",
                "top_logprobs",
            },
            chat_path="/chat/completions",
            completions_path=None,
            embeddings_path=None,
            probe_path=None,
        ),
        # https://inference-docs.cerebras.ai/resources/openai: unknown properties are a 400.
        "cerebras": replace(
            _COMPATIBLE,
            drop=(_BOOKKEEPING - {"service_tier"}) | {"logit_bias"},
            embeddings_path=None,
        ),
        # The request schema allows no further members.
        "nvidia": replace(
            _COMPATIBLE, max_tokens_field="max_tokens", drop=_BOOKKEEPING | {"logit_bias", "user"}
        ),
        "sambanova": replace(
            _COMPATIBLE, max_tokens_field="max_tokens", drop=_BOOKKEEPING, completions_path=None
        ),
    }
)


def quirks_for(provider: str, base_url: str) -> ProviderQuirks:
    """
    Give the quirks of a configured backend.

    ``openai`` is both a provider and the name of its grammar, which a great many servers speak:
    only its own host has its own quirks.
    """
    if provider == "openai" and urlsplit(base_url).hostname == "api.openai.com":
        return OPENAI_ITSELF
    return QUIRKS[provider]


_VERSION = re.compile(r"v\d+(?:(?:alpha|beta)\d*)?")


def join(base_url: str, path: str) -> str:
    """
    Give the URL of a call.

    A base URL that names a version anywhere in its path (``/v1``, ``/openai/v1``,
    ``/v1beta/openai``, ``/v1/accounts/x``) is taken as complete: the ``/v1`` of *path* is left
    out.  So is a first segment of *path* that the base URL ends with (``/api``); and the ``/v1``
    of an OpenAI-style base URL before a path that has none of it (Ollama's ``/api``).

    Args:
        base_url: Scheme, host and any prefix, with or without a trailing slash.
        path: One of ``ProviderQuirks``.
    """
    scheme, host, prefix, _, _ = urlsplit(base_url)
    segments = [segment for segment in prefix.split("/") if segment]
    first, _, rest = path.lstrip("/").partition("/")
    if first == "v1" and any(_VERSION.fullmatch(segment) for segment in segments):
        path = rest
    elif first == "api":
        if segments[-1:] == ["v1"]:
            del segments[-1]
        if segments[-1:] == ["api"]:
            path = rest
    return "/".join([f"{scheme}://{host}", *segments, path.lstrip("/")])
