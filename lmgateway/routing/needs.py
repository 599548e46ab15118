"""
What a request needs of a model, read from its structure.

Only the shape counts: a text that contains the word ``image_url`` is a text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lmgateway.chat import ChatRequest, Document

_PARTS = {
    "image": "vision",
    "image_url": "vision",
    "input_image": "vision",
    "audio": "audio",
    "input_audio": "audio",
    "file": "file",
    "input_file": "file",
    "video": "video",
    "video_url": "video",
    "input_video": "video",
}

MEDIA = frozenset({"vision", "audio", "file", "video"})

_NO_REASONING = frozenset({"none", "minimal"})


def needs_of(request: ChatRequest) -> frozenset[str]:
    """Give the capabilities that a request needs, in the words of ``tiers[].capabilities``."""
    if request.endpoint == "embeddings":
        return frozenset({"embeddings"})
    hub = request.hub
    needs = {_PARTS[part["type"]] for part in media_parts(hub)}
    if hub.get("tools") or hub.get("functions"):
        needs.add("tools")
    form = hub.get("response_format")
    if isinstance(form, dict) and form.get("type") == "json_schema":
        needs.add("json_schema")
    if _reasons(hub):
        needs.add("reasoning")
    modalities = hub.get("modalities")
    if isinstance(modalities, list) and "audio" in modalities:
        needs.add("audio")
    return frozenset(needs)


def _reasons(hub: Document) -> bool:
    effort = hub.get("reasoning_effort")
    if isinstance(effort, str):
        return effort not in _NO_REASONING
    thinking = hub.get("thinking")
    if isinstance(thinking, dict):
        return thinking.get("type") == "enabled"
    return hub.get("think") is True


def messages_of(hub: Document) -> list[Mapping[str, Any]]:
    """Give the messages, whatever else the document holds in their place."""
    messages = hub.get("messages")
    if not isinstance(messages, list):
        return []
    return [message for message in messages if isinstance(message, dict)]


def media_parts(hub: Document) -> Iterator[Mapping[str, Any]]:
    """Go through the parts of messages that are no text."""
    messages = hub.get("messages")
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list):
            for part in content:
                if isinstance(part, dict):
                    kind = part.get("type")
                    if isinstance(kind, str) and kind in _PARTS:
                        yield part


def text_of(message: Mapping[str, Any]) -> str:
    """Give a message's text: text parts are joined with a space, other parts left out."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (part for part in content if isinstance(part, dict) and part.get("type") == "text")
    return " ".join(part["text"] for part in parts if isinstance(part.get("text"), str))
