"""
Ollama's streams (lines of JSON), both ways.

===========================================  ==================================
line                                         mark
===========================================  ==================================
empty ``content``, nothing else              ``QUIET``
``content``, ``thinking`` or ``tool_calls``  ``OUTPUT``
``"done": true`` (with or without content)   ``END``
``{"error": ...}``, or not of this grammar   ``ERROR``
===========================================  ==================================

The usage comes on the last line, so nothing is ``USAGE``.  Ollama gives a tool
call whole, as one delta; a client of Ollama is given calls whole, on the last
line, whatever pieces they came in.  The last line does not repeat the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lmgateway.backend_errors import BackendError, BackendFailed, ProtocolError
from lmgateway.chat import ChatRequest, Chunk, Document, Event, Usage
from lmgateway.dialects import hub
from lmgateway.dialects.base import Mark
from lmgateway.dialects.document import encode
from lmgateway.dialects.ollama_answers import (
    calls_of,
    created_of,
    done,
    finish_reason,
    line,
    message_of,
    rfc3339,
    says_something,
    usage_of,
    write_call,
)
from lmgateway.errors import GatewayError


class OllamaReader:
    """Reads one stream of lines: see ``dialects.base.StreamReader``."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self.model: str | None = None
        self.output_bytes = 0
        self.error: BackendError | None = None
        self._id = hub.new_id("chatcmpl-")
        self._created = 0
        self._began = False
        self._called = 0
        self._told = 0

    def inspect(self, event: Event) -> Mark:
        """Note what one line tells, and say what it is."""
        if not event.data.strip():
            return Mark.QUIET
        try:
            document = hub.read_object(event.data)
        except ProtocolError as e:
            self.error = e
            return Mark.ERROR
        if document.get("error"):
            self.error = BackendFailed("The model backend reported an error in its stream.")
            return Mark.ERROR
        if not says_something(document) and document.get("done") is not True:
            self.error = ProtocolError("The model backend sent a line that is no answer.")
            return Mark.ERROR
        return self._note(document)

    def _note(self, document: Document) -> Mark:
        if self.model is None:
            self.model = hub.text(document.get("model")) or None
        message = message_of(document)
        calls = hub.objects(message.get("tool_calls"))
        self._called += len(calls)
        size = _size(message.get("content")) + _size(message.get("thinking"))
        if calls:
            size += len(encode(calls))
        self.output_bytes += size
        if document.get("done") is True:
            self.usage = usage_of(document)
            self.finish_reason = finish_reason(document, called=self._called > 0)
            return Mark.END
        return Mark.OUTPUT if size else Mark.QUIET

    def decode(self, event: Event) -> Sequence[Chunk]:
        """Give the hub chunks of an inspected line."""
        if not event.data.strip():
            return ()
        document = hub.read_object(event.data)
        self._created = self._created or created_of(document)
        message = message_of(document)
        chunks = []
        delta = self._delta(message)
        if delta:
            chunk = self._chunk(delta)
            if isinstance(document.get("logprobs"), list):
                chunk["choices"][0]["logprobs"] = {"content": document["logprobs"]}
            chunks.append(chunk)
        if document.get("done") is True:
            chunks.append(self._chunk({}, self.finish_reason))
            if self.usage is not None:
                chunks.append(
                    hub.usage_chunk(self._id, self.model or "", self._created, self.usage)
                )
        return chunks

    def _delta(self, message: Document) -> Document:
        delta: Document = {}
        for name, said in (("content", "content"), ("thinking", "reasoning_content")):
            text = hub.text(message.get(name))
            if text:
                delta[said] = text
        calls = calls_of(message)
        if calls:
            delta["tool_calls"] = [
                {"index": self._told + place, **call} for place, call in enumerate(calls)
            ]
            self._told += len(calls)
        if self._began:
            return delta
        self._began = True
        return {"role": "assistant", **delta}

    def _chunk(self, delta: Document, reason: str | None = None) -> Chunk:
        return hub.chunk(self._id, self.model or "", self._created, delta, reason)


def _size(value: Any) -> int:
    return len(value.encode()) if isinstance(value, str) else 0


class OllamaWriter:
    """Writes one stream of lines: see ``dialects.base.StreamWriter``."""

    def __init__(self, request: ChatRequest) -> None:
        self._request = request
        self._created = 0
        self._created_at = ""
        self._calls = hub.ToolCalls()
        self._usage: Usage | None = None
        self._reason: str | None = None

    def encode(self, chunk: Chunk) -> bytes:
        """Give the line of a chunk that has text; keep calls and usage for the last one."""
        if chunk.get("usage") is not None:
            self._usage = hub.usage_of(chunk["usage"])
        choice = hub.first_choice(chunk)
        if not choice:
            return b""
        if not self._created:
            self._stamp(chunk)
        self._reason = choice.get("finish_reason") or self._reason
        delta = hub.mapping(choice.get("delta"))
        if delta.get("tool_calls"):
            self._calls.add(delta["tool_calls"])
        return self._text(delta, hub.mapping(choice.get("logprobs")).get("content"))

    def _text(self, delta: Document, logprobs: Any) -> bytes:
        content = hub.plain_text(delta.get("content")) or hub.text(delta.get("refusal"))
        thinking = hub.reasoning(delta)
        if not content and not thinking:
            return b""
        piece = line(self._request, self._created_at, content, thinking=thinking)
        if isinstance(logprobs, list):
            piece["logprobs"] = logprobs
        return encode(piece) + b"\n"

    def _stamp(self, chunk: Chunk) -> None:
        self._created = hub.stamp(chunk)
        self._created_at = rfc3339(self._created)

    def end(self) -> bytes:
        """Give the last line."""
        if not self._created:
            self._stamp({})
        calls = [write_call(call) for call in self._calls.whole()]
        piece = line(self._request, self._created_at, "", calls=calls)
        return encode({**piece, **done(self._reason, self._usage)}) + b"\n"

    def error(self, error: GatewayError) -> bytes:
        """Give the error line, after which nothing comes."""
        return encode({"error": str(error)}) + b"\n"

    def keep_alive(self) -> bytes:
        """Give a line without text."""
        if not self._created:
            self._stamp({})
        return encode(line(self._request, self._created_at, "")) + b"\n"
