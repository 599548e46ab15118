"""
OpenAI chat-completion chunks, both ways.

The hub's chunks *are* this grammar, so ``decode`` parses and ``encode`` frames.

==========  =============================================================
mark        event
==========  =============================================================
``QUIET``   comment, role-only delta, empty delta
``OUTPUT``  ``content``, ``reasoning_content``, ``reasoning``, ``refusal``,
            ``tool_calls``, ``function_call``, ``audio``; ``text`` of the
            legacy completions
``USAGE``   ``choices: []`` with ``usage``
``ERROR``   ``error`` member, ``finish_reason: "error"``; ``[DONE]`` after nothing at all
``END``     ``[DONE]``
==========  =============================================================

An event that is not JSON is relayed on the diagonal as it came (the client
sees what the backend said) and refused where it would have to be translated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from lmgateway.backend_errors import (
    BackendError,
    BackendFailed,
    BackendLimited,
    BackendOverloaded,
    ProtocolError,
)
from lmgateway.chat import Chunk, Event, Usage
from lmgateway.dialects.base import Mark
from lmgateway.dialects.document import encode
from lmgateway.dialects.openai_errors import error_document
from lmgateway.errors import GatewayError


class _InputDetails(msgspec.Struct, gc=False):
    cached_tokens: int | None = None


class _OutputDetails(msgspec.Struct, gc=False):
    reasoning_tokens: int | None = None


class UsageMember(msgspec.Struct, gc=False):
    """The ``usage`` member, as far as the gateway reads it."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None

    def usage(self) -> Usage:
        """Give it as a value."""
        read, wrote = self.prompt_tokens_details, self.completion_tokens_details
        return Usage(
            max(0, self.prompt_tokens or 0),
            max(0, self.completion_tokens or 0),
            cached_read=_count(read.cached_tokens) if read is not None else 0,
            reasoning=_count(wrote.reasoning_tokens) if wrote is not None else 0,
        )


def _count(value: int | None) -> int:
    return max(0, value or 0)


# ``Raw | None`` would take nothing but null.
_ABSENT = msgspec.Raw()
_EMPTY = (b"", b"null", b"[]")
FAILED = "error"
"""The ``finish_reason`` of an answer that broke off behind a router, as OpenRouter has it."""


class _Delta(msgspec.Struct, gc=False):
    content: str | list[Any] | None = None  # Mistral sends parts
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: msgspec.Raw = _ABSENT
    function_call: msgspec.Raw = _ABSENT
    audio: msgspec.Raw = _ABSENT

    def size(self) -> int:
        """UTF-8 bytes of output; 0 for a delta that bears none."""
        content = self.content or ""
        text = content if isinstance(content, str) else encode(content).decode()
        thoughts = self.reasoning_content or self.reasoning
        if thoughts or self.refusal:
            text += (thoughts or "") + (self.refusal or "")
        size = len(text) if text.isascii() else len(text.encode())
        if self.tool_calls is self.function_call is self.audio is _ABSENT:
            return size
        for raw in (self.tool_calls, self.function_call, self.audio):
            if raw is not _ABSENT:
                value = bytes(raw)
                size += 0 if value in _EMPTY else len(value)
        return size


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: UsageMember | None = None
    model: str | None = None
    error: msgspec.Raw = _ABSENT


_decode = msgspec.json.Decoder(_Chunk).decode
_decode_document = msgspec.json.Decoder(dict[str, Any]).decode


class OpenAIReader:
    """Reads one stream of chunks: see ``dialects.base.StreamReader``."""

    __slots__ = ("error", "finish_reason", "garbled", "model", "output_bytes", "usage")

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self.model: str | None = None
        self.output_bytes = 0
        self.error: BackendError | None = None
        self.garbled = 0

    def inspect(self, event: Event) -> Mark:
        """Note what one event tells, and say what it is."""
        data = event.data
        if not data:
            return Mark.QUIET
        if data[:6] == b"[DONE]":
            return self._ended()
        try:
            chunk = _decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            salvaged = _salvaged(data)
            if salvaged is None:
                self.garbled += 1
                return Mark.QUIET
            chunk = salvaged
        if chunk.error is not _ABSENT and bytes(chunk.error) not in _EMPTY:
            self.error = streamed_error(bytes(chunk.error))
            return Mark.ERROR
        return self._note(chunk)

    def _ended(self) -> Mark:
        """Take an end for one, unless it is all that came."""
        if self.output_bytes or self.finish_reason is not None or self.garbled:
            return Mark.END
        self.error = ProtocolError("The model backend's stream has no answer in it.")
        return Mark.ERROR

    def _note(self, chunk: _Chunk) -> Mark:
        if self.model is None:
            self.model = chunk.model
        if chunk.usage is not None:
            self.usage = chunk.usage.usage()
            if not chunk.choices:
                return Mark.USAGE
        size = 0
        for choice in chunk.choices or ():
            if choice.finish_reason is not None:
                self.finish_reason = choice.finish_reason
                if self.finish_reason == FAILED:
                    self.error = BackendFailed("The model backend reported an error in its stream.")
                    return Mark.ERROR
            if choice.delta is not None:
                size += choice.delta.size()
            elif choice.text:
                size += len(choice.text.encode())
        self.output_bytes += size
        return Mark.OUTPUT if size else Mark.QUIET

    def decode(self, event: Event) -> Sequence[Chunk]:
        """Give the event's chunk."""
        if not event.data or event.data.startswith(b"[DONE]"):
            return ()
        try:
            return (_decode_document(event.data),)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise ProtocolError("The model backend sent an event that is not JSON.") from None


def _salvaged(data: bytes) -> _Chunk | None:
    """Read what is JSON but for bytes that are not text."""
    try:
        return _decode(data.decode("utf-8", "replace").encode())
    except (msgspec.MsgspecError, RecursionError):
        return None


def streamed_error(raw: bytes) -> BackendError:
    """Say what an ``error`` member in a stream means; its text is not repeated."""
    try:
        error = _decode_document(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        error = {}
    code = str(error.get("code") or error.get("type") or "")
    if "rate_limit" in code or code == "429":
        return BackendLimited("The model backend is rate limited.")
    if "overloaded" in code or code == "503":
        return BackendOverloaded("The model backend is overloaded.")
    return BackendFailed("The model backend reported an error in its stream.")


class OpenAIWriter:
    """Writes one stream of chunks: see ``dialects.base.StreamWriter``."""

    __slots__ = ("_wants_usage",)

    def __init__(self, *, wants_usage: bool) -> None:
        self._wants_usage = wants_usage

    def encode(self, chunk: Chunk) -> bytes:
        """Frame a hub chunk; a usage chunk only for a client that asked."""
        if not chunk.get("choices") and chunk.get("usage") is not None and not self._wants_usage:
            return b""
        return b"data: " + encode(chunk) + b"\n\n"

    def end(self) -> bytes:
        """Give ``[DONE]``."""
        return b"data: [DONE]\n\n"

    def error(self, error: GatewayError) -> bytes:
        """Give an event with an ``error`` member, after which nothing comes."""
        return b"data: " + encode({"error": error_document(error)}) + b"\n\n"

    def keep_alive(self) -> bytes:
        """Give an SSE comment."""
        return b": keep-alive\n\n"
