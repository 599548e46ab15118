"""
Members of a request that would choose a host, a route, another model or a credential.

Where a request goes, and with which key, is for the operator's config alone.  Client libraries
and other gateways have members for it, and a backend behind this one may well read them: so they
are refused by name, never passed on and never quietly dropped.  Names are compared without
regard to case, ``_`` and ``-`` (``apiBase``, ``API-BASE``), for readers differ in that too.

They are looked for at the top of a body and anywhere in those of its members that some servers
read as if they stood at the top (``NESTS``).  Elsewhere a name is data: a tool may well have a
parameter that is called ``endpoint``.  What the gateway itself decides on (``POLICY``) is not to
be said in such a member either: it would hold in place of what was looked at and paid for.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Literal

from lmgateway.errors import MalformedRequest

POLICY = frozenset(
    {
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "model",
        "n",
        "options",
        "stream",
        "stream_options",
        "tools",
    }
)
"""Members that the gateway decides on: no other spelling of them is let through."""

FOREIGN = frozenset(
    {
        "api_base",
        "api_key",
        "api_keys",
        "api_type",
        "api_url",
        "api_version",
        "auth_token",
        "base_url",
        "content_policy_fallbacks",
        "context_window_fallback_dict",
        "context_window_fallbacks",
        "custom_api_base",
        "custom_host",
        "custom_llm_provider",
        "default_headers",
        "default_query",
        "deployment",
        "deployment_id",
        "endpoint",
        "endpoint_url",
        "extra_headers",
        "extra_query",
        "fallback_models",
        "fallbacks",
        "headers",
        "host",
        "http_proxy",
        "https_proxy",
        "litellm_credential_name",
        "model_list",
        "models",
        "organization",
        "organization_id",
        "proxies",
        "proxy",
        "region_name",
        "s3_endpoint_url",
        "sagemaker_base_url",
        "ssl_verify",
        "target_url",
        "upstream_url",
        "user_config",
    }
)
"""Members that are refused, as they are mostly spelt."""

FAMILIES = ("aws", "azure", "langfuse", "vertex", "watsonx")
"""How further ones begin: a provider's own words for its hosts and credentials."""

NESTS = frozenset({"extra_body", "litellm_params", "model_kwargs", "optional_params"})
"""Members whose own members some servers read as if they stood at the top."""

MAX_CACHED = 64
"""Characters of a name whose verdict is remembered."""

Verdict = Literal["fine", "refused", "nest", "variant"]


def _plain(name: str) -> str:
    return name.strip().casefold().replace("-", "").replace("_", "")


_FOREIGN = frozenset(map(_plain, FOREIGN))
_NESTS = frozenset(map(_plain, NESTS))
_POLICY = frozenset(map(_plain, POLICY))


def _judge(name: str) -> Verdict:
    if name.strip().casefold() in POLICY:
        return "variant"
    plain = _plain(name)
    if plain in _FOREIGN or plain.startswith(FAMILIES):
        return "refused"
    return "nest" if plain in _NESTS else "fine"


_remembered = lru_cache(maxsize=1024)(_judge)


def is_fine(name: str) -> bool:
    """Say whether a member of that name is never refused, whatever it holds."""
    return name in POLICY or _judge(name) == "fine"


def refuse_member(name: str, value: Any) -> None:
    """
    Refuse a top-level member that would choose where a request goes, or one within it.

    So is one that is what the gateway decides on in another spelling (``Model``).  Within a
    member, that is looked for at its top only, as it would hold there.

    Raises:
        MalformedRequest: Naming it.
    """
    verdict = _remembered(name) if len(name) <= MAX_CACHED else _judge(name)
    if verdict == "fine":
        return
    if verdict == "variant":
        spelt = name.strip().casefold()
        raise MalformedRequest(f"The member {name!r} must be spelt {spelt!r}.", param=name)
    if verdict == "refused":
        raise _refusal(name)
    for path, inner in _names(value, name):
        at_its_top = path == f"{name}.{inner}"
        if _judge(inner) == "refused" or (at_its_top and _plain(inner) in _POLICY):
            raise _refusal(path)


def _refusal(path: str) -> MalformedRequest:
    shown = path[:256]
    return MalformedRequest(f"The member {shown!r} is not accepted by this gateway.", param=shown)


def _names(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Give every member within *value*, with its path; depth is bounded by who read the body."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield f"{path}.{name}", name
            yield from _names(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _names(inner, f"{path}[{number}]")
