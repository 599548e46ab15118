"""
A client's stream in Anthropic's grammar, written from hub chunks.

====================================  ============================================================
hub                                   events
====================================  ============================================================
first chunk                           ``message_start``, with the input tokens if the chunk knows
                                      them
``reasoning_content`` (or             block ``thinking`` with an empty signature,
``reasoning``)                        ``thinking_delta``
``thinking_blocks`` with a signature  ``signature_delta`` in it
``thinking_blocks``, redacted         block ``redacted_thinking``
``content``, ``refusal``              block ``text``, ``text_delta``
``tool_calls[i]``                     a block ``tool_use`` for each ``i``, begun when its name is
                                      known; ``input_json_delta`` as the arguments come
``finish_reason``                     ``content_block_stop``
usage                                 ``message_delta`` with stop reason and usage, once the
                                      finish was seen: it comes in a chunk of its own, after it
the end                               ``message_delta`` if not yet written, ``message_stop``
====================================  ============================================================

Blocks have consecutive indices and are written one after the other: a new kind
of content, or a new tool call, stops the block before it.  An empty piece begins
no block, so an answer that only calls tools has no text block.  Where a backend
returns to a call whose block was stopped, its delta still carries that block's
index, which clients go by.  There is never a ``[DONE]``.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from lmgateway.chat import ChatRequest, Chunk, Document, Usage
from lmgateway.dialects import hub
from lmgateway.dialects.anthropic_answer import call_id, message_id, stop_of, usage_member
from lmgateway.dialects.anthropic_errors import error_document
from lmgateway.dialects.document import encode
from lmgateway.errors import GatewayError

_PING = b'event: ping\ndata: {"type":"ping"}\n\n'
_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


def _event(document: Document) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (document["type"].encode(), encode(document))


class _Call(Struct, eq=False):
    """One tool call: held back until its name is known."""

    id: str = ""
    name: str = ""
    held: str = ""
    block: int | None = None


class AnthropicWriter:
    """Writes one stream."""

    def __init__(self, request: ChatRequest) -> None:
        self._request = request
        self._started = False
        self._told = False
        self._blocks = 0
        self._open: object = None
        """What the open block holds: ``text``, ``thinking``, a ``_Call``; ``None`` if none is."""
        self._calls: dict[int, _Call] = {}
        self._finish: dict[str, Any] | None = None
        self._usage: Usage | None = None

    def encode(self, chunk: Chunk) -> bytes:
        """Give the events of one hub chunk; empty if there is nothing to say yet."""
        if chunk.get("usage"):
            self._usage = hub.usage_of(chunk["usage"])
        out = [] if self._started else [self._start(chunk)]
        for choice in hub.objects(chunk.get("choices")):
            if choice.get("index"):
                continue
            self._write_delta(hub.mapping(choice.get("delta")), out)
            if choice.get("finish_reason") and self._finish is None:
                self._finish = choice
                self._close(out)
        if self._finish is not None and self._usage is not None and not self._told:
            out.append(self._tell())
        return b"".join(out)

    def end(self) -> bytes:
        """Give what is still to be told, and ``message_stop``."""
        out = [] if self._started else [self._start({})]
        self._close(out)
        if not self._told:
            out.append(self._tell())
        out.append(_STOP)
        return b"".join(out)

    def error(self, error: GatewayError) -> bytes:
        """Give the ``error`` event after which the connection is cut."""
        return _event(error_document(error))

    def keep_alive(self) -> bytes:
        """Give a ``ping``."""
        return _PING

    # Frame -----------------------------------------------------------------
    def _start(self, chunk: Chunk) -> bytes:
        self._started = True
        message: Document = {
            "id": message_id(chunk.get("id")),
            "type": "message",
            "role": "assistant",
            "model": chunk.get("model") or self._request.model or "",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_member(self._usage),
        }
        return _event({"type": "message_start", "message": message})

    def _tell(self) -> bytes:
        self._told = True
        begun = [call for call in self._calls.values() if call.block is not None]
        stop = stop_of(self._finish or {}, begun, self._request)
        usage = usage_member(self._usage)
        return _event({"type": "message_delta", "delta": stop, "usage": usage})

    # Blocks ----------------------------------------------------------------
    def _write_delta(self, delta: Document, out: list[bytes]) -> None:
        reasoning = hub.reasoning(delta)
        if reasoning:
            self._write_thinking({"type": "thinking_delta", "thinking": reasoning}, out)
        for thought in hub.objects(delta.get("thinking_blocks")):
            self._write_thought(thought, out)
        for text in (delta.get("content"), delta.get("refusal")):
            if isinstance(text, str) and text:
                self._switch("text", {"type": "text", "text": ""}, out)
                self._add({"type": "text_delta", "text": text}, out)
        for call in hub.objects(delta.get("tool_calls")):
            self._write_call(call, out)

    def _write_thinking(self, delta: Document, out: list[bytes]) -> None:
        empty = {"type": "thinking", "thinking": "", "signature": ""}
        self._switch("thinking", empty, out)
        self._add(delta, out)

    def _write_thought(self, thought: Document, out: list[bytes]) -> None:
        if thought.get("signature"):
            signature = {"type": "signature_delta", "signature": thought["signature"]}
            self._write_thinking(signature, out)
            self._close(out)
        elif thought.get("data"):
            redacted = {"type": "redacted_thinking", "data": thought["data"]}
            self._switch(None, redacted, out)
            self._close(out)

    def _write_call(self, delta: Document, out: list[bytes]) -> None:
        function = hub.mapping(delta.get("function"))
        call = self._calls.setdefault(hub.call_index(delta, len(self._calls)), _Call())
        call.id = call.id or hub.text(delta.get("id"))
        call.name = call.name or hub.text(function.get("name"))
        call.held += hub.text(function.get("arguments"))
        if call.block is None and call.name:
            self._begin(call, out)
        if call.block is not None and call.held:
            piece = {"type": "input_json_delta", "partial_json": call.held}
            self._add(piece, out, call.block)
            call.held = ""

    def _begin(self, call: _Call, out: list[bytes]) -> None:
        block = {"type": "tool_use", "id": call_id(call.id), "name": call.name, "input": {}}
        self._switch(call, block, out)
        call.block = self._blocks - 1

    def _switch(self, kind: object, block: Document, out: list[bytes]) -> None:
        if kind is not None and kind == self._open:
            return
        self._close(out)
        start = {"type": "content_block_start", "index": self._blocks, "content_block": block}
        out.append(_event(start))
        self._blocks += 1
        self._open = kind or "whole"

    def _add(self, delta: Document, out: list[bytes], block: int | None = None) -> None:
        index = self._blocks - 1 if block is None else block
        out.append(_event({"type": "content_block_delta", "index": index, "delta": delta}))

    def _close(self, out: list[bytes]) -> None:
        if self._open is not None:
            out.append(_event({"type": "content_block_stop", "index": self._blocks - 1}))
            self._open = None
