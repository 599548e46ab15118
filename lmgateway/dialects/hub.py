"""
What all dialects say alike in the hub's words.

The hub is OpenAI's chat grammar.  What another grammar can say and OpenAI's
cannot travels in these *extensions*, which a dialect takes up or leaves:

==============================  ====================================================
member                          what it carries
==============================  ====================================================
``cache_control`` (part, tool)  a prompt-cache mark, as Anthropic writes it
``thinking_blocks`` (message,   reasoning that its author signed: ``{"type": "thinking",
delta)                          "thinking", "signature"}`` or ``{"type":
                                "redacted_thinking", "data"}``; in a delta the text of
                                the former comes as ``reasoning_content``
``is_error`` (tool message)     that the tool failed
``thinking`` (request)          the reasoning wish as Anthropic writes it
``top_k`` (request)             a sampling bound
``type: "opaque"`` (part,       something that only the grammar named in ``dialect``
tool)                           has; ``name`` says what
==============================  ====================================================

``plain`` takes them off for a provider that knows OpenAI's grammar alone.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote_to_bytes

from attrs import frozen

from lmgateway.chat import Chunk, Document, Usage
from lmgateway.errors import Unsupported


def chunk(
    id: str,  # noqa: A002 - the member's name
    model: str | None,
    delta: Document | None = None,
    *,
    finish_reason: str | None = None,
    usage: Usage | None = None,
) -> Chunk:
    """Make a hub chunk: of one choice, or, where there is no *delta*, of none and the usage."""
    choices = []
    if delta is not None:
        choices.append({"index": 0, "delta": delta, "finish_reason": finish_reason})
    made: Chunk = {
        "id": id,
        "object": "chat.completion.chunk",
        "created": 0,
        "model": model or "",
        "choices": choices,
    }
    if usage is not None:
        made["usage"] = write_usage(usage)
    return made


def write_usage(usage: Usage) -> Document:
    """Give the hub's ``usage`` member."""
    written: Document = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
    if usage.cached_read or usage.cached_write:
        written["prompt_tokens_details"] = {
            "cached_tokens": usage.cached_read,
            "cache_write_tokens": usage.cached_write,
        }
    if usage.reasoning:
        written["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning}
    return written


def read_usage(written: object) -> Usage | None:
    """Read a ``usage`` member; ``None`` if it is not one."""
    if not isinstance(written, dict):
        return None
    prompt = written.get("prompt_tokens_details")
    completion = written.get("completion_tokens_details")
    return Usage(
        input_tokens=_count(written, "prompt_tokens"),
        output_tokens=_count(written, "completion_tokens"),
        cached_read=_count(prompt, "cached_tokens"),
        cached_write=_count(prompt, "cache_write_tokens"),
        reasoning=_count(completion, "reasoning_tokens"),
    )


def _count(members: object, name: str) -> int:
    value = members.get(name) if isinstance(members, dict) else None
    return value if type(value) is int and value > 0 else 0


def retry_after(headers: Mapping[bytes, bytes]) -> float | None:
    """
    Read how many seconds a backend asks to wait, from lower-case *headers*.

    There is no clock here: a date is measured against the backend's own ``date``.
    """
    told = headers.get(b"retry-after", b"").decode("latin-1").strip()
    try:
        wait = float(told)
    except ValueError:
        since = _date(headers.get(b"date", b"").decode("latin-1"))
        until = _date(told)
        if since is None or until is None:
            return None
        wait = max(until - since, 0.0)
    return wait if 0 <= wait < math.inf else None


def _date(told: str) -> float | None:
    try:
        return parsedate_to_datetime(told).timestamp()
    except (ValueError, OverflowError, TypeError):
        return None


@frozen
class DataURI:
    """
    The content of a ``data:`` address; whether it is good base64 is the backend's to say.

    Attributes:
        media_type: Without parameters, in lower case.
        data: In base64.
    """

    media_type: str
    data: str

    def text(self) -> str:
        """
        Read the content as UTF-8.

        Raises:
            ValueError: If it is not.
        """
        return base64.b64decode(self.data, validate=True).decode()


def parse_data_uri(url: str) -> DataURI | None:
    """Read a ``data:`` address; ``None`` if *url* is not a good one."""
    if url[:5].lower() != "data:":
        return None
    head, comma, data = url[5:].partition(",")
    if not comma:
        return None
    media_type, *parameters = (part.strip() for part in head.split(";"))
    if not parameters or parameters[-1].lower() != "base64":
        data = base64.b64encode(unquote_to_bytes(data)).decode()
    return DataURI(media_type.lower() or "text/plain", data)


_EXTENSIONS = ("cache_control", "thinking_blocks", "is_error")


def plain(hub: Mapping[str, Any]) -> Document:
    """
    Give a hub request in OpenAI's own words: without the extensions of this module.

    Raises:
        Unsupported: If it needs something that only another grammar has.
    """
    said = {key: value for key, value in hub.items() if key not in ("thinking", "top_k")}
    said["messages"] = [_plain_message(message) for message in hub["messages"]]
    if "tools" in hub:
        said["tools"] = [_plain_member(tool) for tool in hub["tools"]]
    return said


def _plain_message(message: Document) -> Document:
    said = _plain_member(message)
    if isinstance(said.get("content"), list):
        said["content"] = [_plain_member(part) for part in said["content"]]
    return said


def _plain_member(member: Document) -> Document:
    if member.get("type") == "opaque":
        raise Unsupported(f"{member['name']!r} is not available with this model.")
    return {key: value for key, value in member.items() if key not in _EXTENSIONS}
