"""
What the hub carries that OpenAI's own grammar has no word for.

Beside the request members of ``hub.EXTENSIONS``, within messages and tools:

==============================  ====================================================
member                          what it carries
==============================  ====================================================
``cache_control`` (part, tool)  a prompt-cache mark, as Anthropic writes it
``thinking_blocks`` (message,   reasoning that its author signed: of the type ``thinking``
or delta)                       with ``thinking`` and ``signature``, or of the type
                                ``redacted_thinking`` with ``data``; in a delta the text
                                of the former comes as ``reasoning_content``
``is_error`` (tool message)     that the tool failed
``thinking`` (request)          the reasoning wish as Anthropic writes it
``type: "opaque"`` (part,       something that only the client's own grammar has: the
tool)                           request is ``diagonal_only``
==============================  ====================================================

OpenAI and many of its kind refuse members that they do not know: ``plain``
takes these off.
"""

from __future__ import annotations

from typing import Any

from lmgateway.chat import Document
from lmgateway.dialects.hub import EXTENSIONS, objects

_OF_REQUESTS = EXTENSIONS | {"thinking"}
_WITHIN = frozenset({"cache_control", "thinking_blocks", "is_error"})


def plain(hub: Document, keep: frozenset[str] = frozenset()) -> Document:
    """
    Give a hub request in OpenAI's own words.

    Args:
        hub: Never changed.
        keep: Extensions that the provider is known to take (``think``, ``cache_control``).
    """
    said = _without(hub, _OF_REQUESTS - keep)
    for name in ("messages", "tools"):
        if isinstance(hub.get(name), list):
            said[name] = [_plain(member, keep) for member in objects(hub[name])]
    return said


def _plain(member: Document, keep: frozenset[str]) -> Document:
    said = _without(member, _WITHIN - keep)
    content = said.get("content")
    if isinstance(content, list):
        said["content"] = [_without(part, _WITHIN - keep) for part in objects(content)]
    return said


def _without(member: Document, names: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in member.items() if name not in names}
