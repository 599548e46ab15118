"""
A backend's stream in Anthropic's grammar, read event by event.

========================================  ==========  =============================================
event                                     mark        hub
========================================  ==========  =============================================
``message_start``                         ``QUIET``   chunk with ``role``; id, model
``content_block_start`` ``text``          ``QUIET``   nothing, unless it has text
``content_block_start`` ``thinking``      ``QUIET``   nothing, unless it has text
``content_block_start`` ``tool_use``      ``OUTPUT``  ``tool_calls`` delta: next index, id, name
its type ``redacted_thinking``            ``OUTPUT``  ``thinking_blocks``
``content_block_start`` of a server tool  ``OUTPUT``  nothing
``text_delta``                            ``OUTPUT``  ``content``
``thinking_delta``                        ``OUTPUT``  ``reasoning_content``
``input_json_delta``                      ``OUTPUT``  ``tool_calls`` delta, arguments as they come
``signature_delta``                       ``QUIET``   ``thinking_blocks``
``citations_delta``                       ``QUIET``   nothing
``content_block_stop``, ``ping``          ``QUIET``   nothing
``message_delta``                         ``QUIET``   chunk with ``finish_reason``, then the usage
                                                      chunk
``message_stop``                          ``END``     nothing
``error``                                 ``ERROR``   nothing
any other type                            ``QUIET``   nothing: the grammar may grow
========================================  ==========  =============================================

A delta with nothing in it is ``QUIET``.  Usage is told twice, input in
``message_start`` and the whole, cumulatively, in ``message_delta``; what is told
last counts, and nothing that was told before is taken back.  The end is
``message_stop`` and nothing else: a stream that stops short of it was cut.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lmgateway.backend_errors import BackendError, ProtocolError
from lmgateway.chat import Chunk, Document, Event, Usage
from lmgateway.dialects.anthropic_answer import finish_of
from lmgateway.dialects.anthropic_errors import stream_error
from lmgateway.dialects.base import Mark
from lmgateway.dialects.hub import chunk, stamp, usage_chunk


class _Details(msgspec.Struct):
    thinking_tokens: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens_details: _Details | None = None


class _Message(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    usage: _Usage | None = None


class _Block(msgspec.Struct):
    type: str
    id: str | None = None
    name: str | None = None
    text: str | None = None
    thinking: str | None = None
    data: str | None = None
    input: msgspec.Raw = msgspec.Raw(b"{}")


class _Delta(msgspec.Struct):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    signature: str | None = None
    stop_reason: str | None = None


class _Fault(msgspec.Struct):
    type: str | None = None
    message: str | None = None


class _Told(msgspec.Struct):
    type: str
    index: int = 0
    delta: _Delta | None = None
    content_block: _Block | None = None
    message: _Message | None = None
    usage: _Usage | None = None
    error: _Fault | None = None


_read = msgspec.json.Decoder(_Told).decode
_SILENT_BLOCKS = frozenset({"text", "thinking"})


class AnthropicReader:
    """
    Reads one stream.

    ``usage`` before ``message_delta`` holds the input and a first guess of the output only.
    """

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.finish_reason: str | None = None
        self.model: str | None = None
        self.output_bytes = 0
        self.error: BackendError | None = None
        self._id, self._created = "", 0
        self._calls: dict[int, int] = {}
        self._bare: set[int] = set()
        self._started = False

    def inspect(self, event: Event) -> Mark:
        """Look at one event, note what it tells, and say what it is.  Never raises."""
        if not event.data:
            return Mark.QUIET
        try:
            told = _read(event.data)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return self._fail(ProtocolError("The model backend's stream is not readable."))
        if told.type == "content_block_delta":
            return self._inspect_delta(told.delta)
        if told.type == "content_block_start":
            return self._inspect_start(told.content_block)
        if told.type == "message_stop" and self._started:
            return Mark.END
        return self._inspect_frame(told)

    def _inspect_delta(self, delta: _Delta | None) -> Mark:
        if delta is None:
            return Mark.QUIET
        output = delta.text or delta.partial_json or delta.thinking
        if not output:
            return Mark.QUIET
        self.output_bytes += len(output) if output.isascii() else len(output.encode())
        return Mark.OUTPUT

    def _inspect_start(self, block: _Block | None) -> Mark:
        if block is None:
            return Mark.QUIET
        output = block.text or block.thinking or block.name or ""
        self.output_bytes += len(output.encode())
        return Mark.QUIET if block.type in _SILENT_BLOCKS and not output else Mark.OUTPUT

    def _inspect_frame(self, told: _Told) -> Mark:
        if told.type == "message_start" and told.message is not None:
            self._started = True
            self.model = told.message.model
            self._note_usage(told.message.usage)
        elif told.type == "message_delta":
            if told.delta is not None and told.delta.stop_reason is not None:
                self.finish_reason = finish_of(told.delta.stop_reason)
            self._note_usage(told.usage)
        elif told.type == "error":
            fault = told.error or _Fault()
            return self._fail(stream_error(fault.type, fault.message))
        elif told.type == "message_stop":
            return self._fail(ProtocolError("The model backend's stream ended before it began."))
        return Mark.QUIET

    def _fail(self, error: BackendError) -> Mark:
        self.error = error
        return Mark.ERROR

    def _note_usage(self, told: _Usage | None) -> None:
        if told is None:
            return
        known = self.usage or Usage()
        read = max(told.cache_read_input_tokens or 0, known.cached_read)
        write = max(told.cache_creation_input_tokens or 0, known.cached_write)
        bare = max(
            told.input_tokens or 0, known.input_tokens - known.cached_read - known.cached_write
        )
        details = told.output_tokens_details or _Details()
        self.usage = Usage(
            input_tokens=bare + read + write,
            output_tokens=max(told.output_tokens or 0, known.output_tokens),
            cached_read=read,
            cached_write=write,
            reasoning=max(details.thinking_tokens or 0, known.reasoning),
        )

    # To the hub ------------------------------------------------------------
    def decode(self, event: Event) -> Sequence[Chunk]:
        """Give the hub chunks of an event that was inspected; none for framing."""
        if not event.data:
            return ()
        told = _read(event.data)
        if told.type == "content_block_delta" and told.delta is not None:
            delta = self._decode_delta(told.index, told.delta)
        elif told.type == "content_block_start" and told.content_block is not None:
            delta = self._decode_start(told.index, told.content_block)
        elif told.type == "content_block_stop" and told.index in self._bare:
            delta = self._arguments(told.index, "{}")
        elif told.type == "message_start" and told.message is not None:
            self._id, self._created = told.message.id or "", stamp({})
            delta = {"role": "assistant", "content": ""}
        elif told.type == "message_delta" and told.delta is not None:
            return self._decode_end(told.delta)
        else:
            return ()
        return (self._chunk(delta),) if delta else ()

    def _decode_delta(self, index: int, delta: _Delta) -> Document:
        if delta.text:
            return {"content": delta.text}
        if delta.thinking:
            return {"reasoning_content": delta.thinking}
        if delta.partial_json and index in self._calls:
            return self._arguments(index, delta.partial_json)
        if delta.signature:
            return {"thinking_blocks": [{"type": "thinking", "signature": delta.signature}]}
        return {}

    def _decode_start(self, index: int, block: _Block) -> Document:
        if block.type == "tool_use":
            return {"tool_calls": [self._decode_call(index, block)]}
        if block.type == "redacted_thinking":
            redacted = {"type": "redacted_thinking", "data": block.data or ""}
            return {"thinking_blocks": [redacted]}
        if block.type == "thinking" and block.thinking:
            return {"reasoning_content": block.thinking}
        return {"content": block.text} if block.type == "text" and block.text else {}

    def _decode_call(self, index: int, block: _Block) -> Document:
        number = self._calls[index] = len(self._calls)
        given = bytes(block.input).decode()
        # Some compatible servers give the whole input here and no delta after it.
        arguments = "" if given.strip() in ("{}", "null", "") else given
        if not arguments:
            self._bare.add(index)
        function = {"name": block.name or "", "arguments": arguments}
        return {"index": number, "id": block.id or "", "type": "function", "function": function}

    def _arguments(self, index: int, piece: str) -> Document:
        self._bare.discard(index)
        return {"tool_calls": [{"index": self._calls[index], "function": {"arguments": piece}}]}

    def _decode_end(self, delta: _Delta) -> Sequence[Chunk]:
        if delta.stop_reason is None:
            return ()
        finish = self._chunk({}, finish_of(delta.stop_reason))
        if self.usage is None:
            return (finish,)
        return (finish, usage_chunk(self._id, self.model or "", self._created, self.usage))

    def _chunk(self, delta: Document, finish: str | None = None) -> Chunk:
        return chunk(self._id, self.model or "", self._created, delta, finish)
