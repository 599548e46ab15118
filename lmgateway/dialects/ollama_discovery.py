"""
What Ollama clients ask before they talk: tags, show, version, ps.

Profiles are shown as models named ``<profile>:latest``, with made-up but
well-formed particulars: no file, no digest, the profile's mode where a real
server tells the parameter size.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from lmgateway.chat import Document
from lmgateway.dialects.document import encode, read
from lmgateway.dialects.hub import member
from lmgateway.dialects.ollama_answers import rfc3339
from lmgateway.errors import MalformedRequest

VERSION = "0.12.6"
"""The release of Ollama whose API this is: some clients refuse to talk to older ones."""

_TAG = ":latest"


class Shown(Struct, frozen=True, kw_only=True):
    """
    A profile as an Ollama client sees it.

    Attributes:
        name: The profile's name, without a tag.
        mode: The profile's mode.
        capabilities: In Ollama's words: ``completion``, ``tools``, ``vision``, ``thinking``.
        max_context_tokens: The largest window, if known.
    """

    name: str
    mode: str
    capabilities: Sequence[str] = ("completion", "tools")
    max_context_tokens: int | None = None


def untagged(model: str) -> str:
    """Give a model's name without a trailing ``:latest``."""
    return model.removesuffix(_TAG)


def tags(models: Sequence[Shown], when: float) -> bytes:
    """Answer ``GET /api/tags``."""
    return encode({"models": [_listed(model, when) for model in models]})


def running(models: Sequence[Shown], when: float) -> bytes:
    """Answer ``GET /api/ps``: what is loaded, for as long as a client may care."""
    return encode({"models": [_running(model, when) for model in models]})


def version() -> bytes:
    """Answer ``GET /api/version``."""
    return encode({"version": VERSION})


def show(model: Shown, when: float) -> bytes:
    """Answer ``POST /api/show``."""
    info: Document = {"general.architecture": "lm-gateway", "general.basename": model.name}
    if model.max_context_tokens is not None:
        info["lm-gateway.context_length"] = model.max_context_tokens
    return encode(
        {
            "modelfile": "",
            "parameters": "",
            "template": "",
            "license": "",
            "details": _details(model),
            "model_info": info,
            "capabilities": list(model.capabilities),
            "modified_at": rfc3339(int(when)),
        }
    )


def asked_for(raw: bytes) -> str:
    """
    Give the model that a ``POST /api/show`` body names, by either of its members.

    Raises:
        MalformedRequest: If it names none.
    """
    document = read(raw)[0]
    model = member(document, "model", str) or member(document, "name", str)
    if not model:
        raise MalformedRequest("The member 'model' is missing.", param="model")
    return str(model)


def _details(model: Shown) -> Document:
    return {
        "parent_model": "",
        "format": "gguf",
        "family": "lm-gateway",
        "families": ["lm-gateway"],
        "parameter_size": model.mode,
        "quantization_level": "auto",
    }


def _item(model: Shown) -> Document:
    return {
        "name": model.name + _TAG,
        "model": model.name + _TAG,
        "size": 0,
        "digest": "sha256:" + "0" * 64,
        "details": _details(model),
    }


def _listed(model: Shown, when: float) -> Document:
    return {**_item(model), "modified_at": rfc3339(int(when))}


def _running(model: Shown, when: float) -> Document:
    year = 366 * 86400
    item = {**_item(model), "expires_at": rfc3339(int(when) + year), "size_vram": 0}
    if model.max_context_tokens is not None:
        item["context_length"] = model.max_context_tokens
    return item
