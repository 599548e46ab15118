"""
Ollama's ``options`` against the hub's sampling members.

=====================  =====================================================
``options``            hub
=====================  =====================================================
``temperature``        ``temperature``
``top_p``              ``top_p``
``top_k``              ``top_k`` (an extension of the hub)
``seed``               ``seed``
``stop``               ``stop``; a string becomes a list for Ollama
``presence_penalty``   ``presence_penalty``
``frequency_penalty``  ``frequency_penalty``
``num_predict`` > 0    ``max_tokens`` (or ``max_completion_tokens``)
all others             ``options`` (``num_ctx``, ``repeat_penalty``, ...)
=====================  =====================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmgateway.chat import Document, Overrides
from lmgateway.dialects import hub
from lmgateway.dialects.base import Quirks
from lmgateway.dialects.document import encode, read, splice

NAMED = (
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "stop",
    "presence_penalty",
    "frequency_penalty",
)
"""Options that the hub has under the same name."""


def positive(value: Any) -> int | None:
    """Give a bound; ``None`` for Ollama's ``-1`` (endless), ``-2`` (fill) and what is none."""
    return value if type(value) is int and value > 0 else None


def to_hub(options: Document) -> Document:
    """Give the hub members that say what ``options`` says."""
    said = hub.kept(options, NAMED)
    taken = {*NAMED}
    bound = positive(options.get("num_predict"))
    if bound is not None:
        said["max_tokens"] = bound
        taken.add("num_predict")
    rest = {name: value for name, value in options.items() if name not in taken}
    if rest:
        said["options"] = rest
    return said


def from_hub(document: Document, overrides: Overrides, quirks: Quirks) -> Document:
    """Give the ``options`` for a hub request: the caller's win over the operator's defaults."""
    given = {**hub.mapping(document.get("options")), **hub.kept(document, NAMED)}
    if isinstance(given.get("stop"), str):
        given["stop"] = [given["stop"]]
    bound = hub.max_tokens(document)
    if bound is not None:
        given["num_predict"] = bound
    return {**given, **missing(given, overrides, quirks)}


def missing(given: Document, overrides: Overrides, quirks: Quirks) -> Document:
    """Give the options that the caller did not set and that are to be set."""
    defaults = default_options(quirks)
    added = {name: value for name, value in defaults.items() if given.get(name) is None}
    bound = overrides.max_tokens
    if bound is not None and positive(given.get("num_predict")) is None:
        own = positive(defaults.get("num_predict"))
        added["num_predict"] = bound if own is None else min(bound, own)
    return added


def spliced(
    raw: bytes | None, given: Document, overrides: Overrides, quirks: Quirks
) -> bytes | None:
    """
    Give the client's own ``options`` with what is missing; ``None`` if nothing is.

    Args:
        raw: The bytes of the member, if the client sent it.
        given: The same, parsed.
        overrides: What the gateway sets.
        quirks: Where the operator's defaults stand.
    """
    added = missing(given, overrides, quirks)
    if not added:
        return None
    if raw is None or not given:
        return encode(added)
    return splice(raw, read(raw)[1], {name: encode(value) for name, value in added.items()})


def default_options(quirks: Quirks) -> Mapping[str, Any]:
    """Give the backend's configured ``default_options``."""
    return quirks.default_options


def keep_alive(quirks: Quirks) -> Any:
    """Give how long a model stays loaded where the caller does not say: for ever, if unset."""
    return quirks.keep_alive
