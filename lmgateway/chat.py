"""
The canonical form of what is asked and answered.

The hub between dialects is an open OpenAI-shaped JSON document
(https://platform.openai.com/docs/api-reference/chat) in a small typed
envelope.  A document, once received, is never changed: whatever the gateway
may alter is listed, completely, in ``Overrides``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec

Document: TypeAlias = dict[str, Any]
Chunk: TypeAlias = dict[str, Any]
"""A hub chunk: one ``chat.completion.chunk`` document."""

Endpoint = Literal["chat", "generate", "completions", "responses", "embeddings", "count_tokens"]


class ChatRequest(msgspec.Struct, kw_only=True, frozen=True):
    """
    One request, as the client wrote it and as the gateway reads it.

    Attributes:
        dialect: The grammar of ``document``: ``openai``, ``anthropic``, ...
        endpoint: Which call of that grammar this is.
        raw: The client's bytes.
        document: ``raw`` as parsed JSON; never changed.
        spans: Where the value of each top-level member lies in ``raw``.
        hub: The same request in hub form; the very ``document`` where the dialect is ``openai``.
        model: The name asked for; ``None`` if the client named none.
        stream: Whether the answer is to be streamed.
        wants_usage: Whether the client asked to be told the usage in the stream.
        diagonal_only: The member, if any, that only a backend of this very grammar can
            honour (``suffix``): any other refuses the request rather than ignore it.
        unsaid: The members of ``document`` that ``hub`` has no word for.
    """

    dialect: str
    endpoint: Endpoint
    raw: bytes
    document: Document
    spans: Mapping[str, tuple[int, int]]
    hub: Document
    model: str | None
    stream: bool
    wants_usage: bool
    diagonal_only: str | None = None
    unsaid: tuple[str, ...] = ()


class Overrides(msgspec.Struct, kw_only=True, frozen=True):
    """
    Everything that the gateway may change of a request, for one target.

    Attributes:
        model: The target's model name.
        system_prompt: Text to put before the client's system text.
        think: Sets the ``think`` flag where the client set none.
        max_tokens: An output bound where the client gave none.
    """

    model: str
    system_prompt: str | None = None
    think: bool | None = None
    max_tokens: int | None = None


class Usage(msgspec.Struct, frozen=True, gc=False):
    """
    Tokens of one answer.

    ``cached_read`` and ``cached_write`` are part of ``input_tokens``, and
    ``reasoning`` is part of ``output_tokens``, as OpenAI counts them.
    ``estimated`` is true where the backend told nothing and we counted.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_read: int = 0
    cached_write: int = 0
    reasoning: int = 0
    estimated: bool = False


class Event(msgspec.Struct, gc=False):
    """
    One framed unit of a stream.

    Attributes:
        raw: The bytes as they came, framing and terminator included.
        name: The event's name (SSE ``event:``), or empty.
        data: The payload: joined ``data:`` lines of SSE, or one NDJSON line; empty for a
            comment or keep-alive.
    """

    raw: bytes
    name: bytes
    data: bytes

    def __repr__(self) -> str:
        return f"<Event {self.name!r} {len(self.data)} bytes>"
