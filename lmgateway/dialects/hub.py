"""
Small makers and readers of hub documents, shared by the dialects.

The hub is OpenAI's chat grammar.  Four members that other grammars have and
OpenAI's has not are kept in it under these names:

==============  ==================================================================
member          meaning
==============  ==================================================================
``think``       whether a reasoning model is to reason at all (boolean)
``top_k``       sampling from the k likeliest tokens
``options``     Ollama's sampling and loading options that have no other name here
``keep_alive``  how long Ollama is to keep the model in memory
==============  ==================================================================

A backend that speaks OpenAI is not sent them (``EXTENSIONS``) unless it is
known to take them.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterable, Mapping, Sequence
from secrets import token_hex
from time import time
from typing import Any

import msgspec

from lmgateway.backend_errors import ProtocolError
from lmgateway.chat import ChatRequest, Chunk, Document, Usage
from lmgateway.errors import MalformedRequest, Unsupported, UnsupportedParameter

EXTENSIONS = frozenset({"think", "top_k", "options", "keep_alive"})
"""Members of hub requests that are no part of OpenAI's own grammar."""

_decode = msgspec.json.Decoder().decode


# Values --------------------------------------------------------------------
def new_id(prefix: str) -> str:
    """Give an identifier that no other answer has."""
    return f"{prefix}{token_hex(12)}"


def stamp(document: Mapping[str, Any]) -> int:
    """Give when an answer was made, in Unix seconds; now, if it does not say."""
    created: Any = document.get("created")
    return int(created) if type(created) in (int, float) and 0 < created < 1e11 else int(time())


def count(value: Any) -> int:
    """Give a token count; 0 for whatever is not one."""
    return value if type(value) is int and value > 0 else 0


def text(value: Any) -> str:
    """Give a string; empty for whatever is not one."""
    return value if isinstance(value, str) else ""


def mapping(value: Any) -> Document:
    """Give a JSON object; an empty one for whatever is not one."""
    return value if isinstance(value, dict) else {}


def objects(value: Any) -> list[Document]:
    """Give the objects of an array, leaving out what is none."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def read_object(data: bytes | str) -> Document:
    """
    Parse a backend's JSON object.

    Raises:
        ProtocolError: If it is not one.
    """
    try:
        document = _decode(data)
    except UnicodeDecodeError:
        assert isinstance(data, bytes)
        return read_object(data.decode("utf-8", "replace"))
    except (msgspec.MsgspecError, RecursionError):
        raise ProtocolError("The model backend's answer is not JSON.") from None
    if not isinstance(document, dict):
        raise ProtocolError("The model backend's answer is not a JSON object.")
    return document


def arguments_object(arguments: Any) -> Document | None:
    """Give a tool call's arguments as an object; ``None`` if they are none."""
    if isinstance(arguments, str):
        if not arguments.strip():
            return {}
        try:
            arguments = _decode(arguments)
        except (msgspec.MsgspecError, RecursionError):
            return None
    return arguments if isinstance(arguments, dict) else None


def plain_text(content: Any) -> str:
    """Give the text of a message's content, be it a string or parts."""
    if isinstance(content, str):
        return content
    return "\n".join(text(part.get("text")) for part in objects(content) if "text" in part)


# Requests ------------------------------------------------------------------
def model_of(document: Document) -> str | None:
    """
    Give the model asked for; ``None`` if none is named.

    Raises:
        MalformedRequest: If it is not a string.
    """
    return member(document, "model", str) or None


_WORDS = {
    str: "a string",
    bool: "true or false",
    list: "an array",
    dict: "an object",
    int: "a whole number",
}


def member(document: Document, name: str, kind: type, where: str = "") -> Any:
    """
    Give a member of one kind, or ``None`` if it is absent or ``null``.

    Args:
        document: Where to look.
        name: What to look for.
        kind: The type it must have.
        where: The path of *document*, with its last dot.

    Raises:
        MalformedRequest: If it is of another kind.
    """
    value = document.get(name)
    if value is None or type(value) is kind:
        return value
    raise MalformedRequest(f"The member {name!r} must be {_WORDS[kind]}.", param=where + name)


def items(document: Document, name: str, where: str = "") -> list[Document]:
    """
    Give a member that is an array of objects; empty if it is absent.

    Raises:
        MalformedRequest: If it is anything else.
    """
    values = member(document, name, list, where) or []
    for number, value in enumerate(values):
        if not isinstance(value, dict):
            raise MalformedRequest(
                f"Each of {name!r} must be an object.", param=f"{where}{name}[{number}]"
            )
    return values


def refuse_diagonal_only(request: ChatRequest, dialect: str) -> None:
    """
    Refuse a request that only its own grammar can express, before it is translated.

    Raises:
        UnsupportedParameter: If *dialect* is another one.
    """
    name = request.diagonal_only
    if name is not None and request.dialect != dialect:
        raise UnsupportedParameter(
            f"The member {name!r} is not supported by this model's backend.", param=name
        )


def refuse_old_and_audible(request: Document) -> None:
    """
    Refuse what only OpenAI's own servers do: calls of old, and answers to listen to.

    Raises:
        Unsupported: Naming the member.
    """
    if request.get("functions"):
        raise Unsupported("Use 'tools': 'functions' is not available here.", param="functions")
    modalities = request.get("modalities")
    if isinstance(modalities, list) and "audio" in modalities:
        raise Unsupported("This model's backend does not speak.", param="modalities")


def kept(document: Document, names: Iterable[str]) -> Document:
    """Give the members of these names that are there and not ``null``."""
    return {name: document[name] for name in names if document.get(name) is not None}


def with_system(messages: Sequence[Any], prompt: str) -> list[Any]:
    """Put a system prompt before messages: joined with a system message that is first."""
    first = messages[0] if messages else None
    if not isinstance(first, dict) or first.get("role") not in ("system", "developer"):
        return [{"role": "system", "content": prompt}, *messages]
    content = first.get("content")
    if isinstance(content, list):
        content = [{"type": "text", "text": prompt}, *content]
    else:
        content = f"{prompt}\n\n{content}" if content else prompt
    return [{**first, "content": content}, *messages[1:]]


def max_tokens(hub: Document) -> int | None:
    """Give the output bound of a hub request, whichever of its two names it has."""
    return hub.get("max_completion_tokens") or hub.get("max_tokens")


def tool_names(hub: Document) -> frozenset[str]:
    """Give the names of the tools that a hub request declares."""
    names = (mapping(tool.get("function")).get("name") for tool in objects(hub.get("tools")))
    return frozenset(name for name in names if isinstance(name, str) and name)


# Images --------------------------------------------------------------------
_DATA_URI = re.compile(r"data:([\w.+-]+/[\w.+-]+)((?:;[\w.+-]+=[^;,]*)*)(;base64)?,", re.I)
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


def split_data_uri(url: str) -> tuple[str, str] | None:
    """Give the media type and the base64 text of a data URI (RFC 2397); ``None`` if it is none."""
    match = _DATA_URI.match(url)
    if match is None or match[3] is None:
        return None
    return match[1].lower(), url[match.end() :]


def sniff_image(data: str) -> str | None:
    """Give the media type of a base64 image by its first bytes; ``None`` if it is not base64."""
    try:
        head = b64decode(data[:32].ljust(32, "="), validate=False) if data else b""
    except (Base64Error, ValueError):
        return None
    for magic, media_type in _MAGIC:
        if head.startswith(magic):
            return media_type
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return "image/png" if head else None


# Answers -------------------------------------------------------------------
def usage_document(usage: Usage) -> Document:
    """Give the ``usage`` member of a hub answer."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_read,
            "cache_write_tokens": usage.cached_write,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def usage_of(value: Any) -> Usage | None:
    """Give the value of a hub answer's usage; ``None`` if it is none."""
    if not isinstance(value, dict):
        return None
    read = mapping(value.get("prompt_tokens_details"))
    wrote = mapping(value.get("completion_tokens_details"))
    return Usage(
        input_tokens=count(value.get("prompt_tokens")),
        output_tokens=count(value.get("completion_tokens")),
        cached_read=count(read.get("cached_tokens")),
        cached_write=count(read.get("cache_write_tokens")),
        reasoning=count(wrote.get("reasoning_tokens")),
    )


def chunk(
    answer_id: str,
    model: str,
    created: int,
    delta: Document,
    finish_reason: str | None = None,
) -> Chunk:
    """Give a hub chunk with one choice."""
    return {
        "id": answer_id,
        "object": "chat.completion.chunk",
        "created": created,
        "model": model,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
    }


def usage_chunk(answer_id: str, model: str, created: int, usage: Usage) -> Chunk:
    """Give the hub chunk that tells nothing but the usage."""
    last = chunk(answer_id, model, created, {})
    return {**last, "choices": [], "usage": usage_document(usage)}


def completion(
    answer_id: str,
    model: str,
    created: int,
    message: Document,
    finish_reason: str | None,
    usage: Usage | None,
) -> Document:
    """Give a whole hub answer with one choice."""
    document: Document = {
        "id": answer_id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
    }
    if usage is not None:
        document["usage"] = usage_document(usage)
    return document


def tool_call(call_id: str, name: str, arguments: str) -> Document:
    """Give one whole tool call of a hub message."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


class ToolCalls:
    """Puts together the tool calls of one streamed answer."""

    def __init__(self) -> None:
        self._calls: dict[int, list[str]] = {}
        self._size = 0

    def add(self, deltas: Any) -> None:
        """
        Take the ``tool_calls`` of one delta.

        Raises:
            ProtocolError: If a backend's calls are longer than any sane one.
        """
        for delta in objects(deltas):
            call = self._calls.setdefault(call_index(delta, len(self._calls)), ["", "", ""])
            function = mapping(delta.get("function"))
            name, arguments = text(function.get("name")), text(function.get("arguments"))
            call[0] = text(delta.get("id")) or call[0]
            if name != call[1]:  # some servers repeat it with every piece
                call[1] += name
            call[2] += arguments
            self._size += 100 + len(name) + len(arguments)
        check_held(self._size)

    def whole(self) -> list[Document]:
        """Give the calls, in the order of their indices."""
        return [tool_call(*self._calls[index]) for index in sorted(self._calls)]


def call_index(delta: Document, known: int) -> int:
    """Give which call a delta belongs to; without an index, an id begins a new one."""
    index = delta.get("index")
    if type(index) is int:
        return index
    return known if delta.get("id") else max(0, known - 1)


MAX_HELD = 1 << 24
"""Characters of one streamed answer that are kept to be repeated as a whole."""


def check_held(size: int) -> None:
    """
    Keep what is held of one stream within bounds.

    Raises:
        ProtocolError: If *size* is too much.
    """
    if size > MAX_HELD:
        raise ProtocolError("The model backend's answer is too long.")


def first_choice(document: Document) -> Document:
    """Give the first choice of a hub answer or chunk; empty if there is none."""
    choices = objects(document.get("choices"))
    for choice in choices:
        if not choice.get("index"):
            return choice
    return {}


def reasoning(message: Document) -> str:
    """Give the reasoning text of a hub message or delta, under either of its names in use."""
    return text(message.get("reasoning_content")) or text(message.get("reasoning"))
