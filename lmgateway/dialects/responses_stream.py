"""
The events of a streamed response.

====================================  =========================================
hub                                   events (``response.`` before each name)
====================================  =========================================
first chunk                           ``created``, ``in_progress``
first text of a kind                  ``output_item.added``,
                                      ``content_part.added``
``content``                           ``output_text.delta``
``refusal``                           ``refusal.delta``
``reasoning_content``                 ``reasoning_text.delta``; with
                                      ``reasoning.summary`` asked for,
                                      ``reasoning_summary_part.added`` and
                                      ``reasoning_summary_text.delta``
``tool_calls``: a new index           ``output_item.added`` of a function call
``tool_calls``: arguments             ``function_call_arguments.delta``
another kind, or the end              the ``.done`` of the text, of its part and
                                      of its item
the end                               ``completed``, or ``incomplete``
an error                              ``error`` (without the prefix), ``failed``
====================================  =========================================

Each event tells its ``sequence_number``; ``[DONE]`` is not of this grammar.
Calls stay open until the end, since their pieces may come interleaved.  The
``error`` event has its members twice, at the top as the reference says and in
``error`` as the real server does: OpenAI's clients raise only on the latter.
"""

from __future__ import annotations

from typing import Any

from lmgateway.chat import ChatRequest, Chunk, Document, Usage
from lmgateway.dialects import hub, responses_answer
from lmgateway.dialects.document import encode
from lmgateway.dialects.openai_errors import error_document
from lmgateway.errors import GatewayError


class _Out:
    """Numbers and frames events."""

    def __init__(self) -> None:
        self._number = 0
        self._frames: list[bytes] = []

    def send(self, name: str, /, **members: Any) -> None:
        """Add one event."""
        document = {"type": name, "sequence_number": self._number, **members}
        self._number += 1
        self._frames.append(b"event: %b\ndata: %b\n\n" % (name.encode(), encode(document)))

    def take(self) -> bytes:
        """Give what was added since."""
        frames = b"".join(self._frames)
        self._frames.clear()
        return frames


class _Reasoning:
    def __init__(self, out: _Out, index: int, *, summary: bool) -> None:
        self._out = out
        self._id = hub.new_id("rs_")
        self._text: list[str] = []
        self._summary = summary
        self._kind = "reasoning_summary_text" if summary else "reasoning_text"
        self._part = "reasoning_summary_part" if summary else "content_part"
        self._where = {
            "item_id": self._id,
            "output_index": index,
            "summary_index" if summary else "content_index": 0,
        }
        out.send(
            "response.output_item.added",
            output_index=index,
            item=responses_answer.reasoning_item(self._id, None, "in_progress", summary=summary),
        )
        part = responses_answer.reasoning_part("", summary=summary)
        out.send(f"response.{self._part}.added", **self._where, part=part)

    def add(self, text: str) -> None:
        self._text.append(text)
        self._out.send(f"response.{self._kind}.delta", **self._where, delta=text)

    def close(self, state: str) -> Document:
        text = "".join(self._text)
        part = responses_answer.reasoning_part(text, summary=self._summary)
        self._out.send(f"response.{self._kind}.done", **self._where, text=text)
        self._out.send(f"response.{self._part}.done", **self._where, part=part)
        item = responses_answer.reasoning_item(self._id, text, state, summary=self._summary)
        index = self._where["output_index"]
        self._out.send("response.output_item.done", output_index=index, item=item)
        return item


class _Message:
    """A message item: text and refusal are parts of it, one after the other."""

    def __init__(self, out: _Out, index: int) -> None:
        self._out = out
        self._index = index
        self._id = hub.new_id("msg_")
        self._parts: list[Document] = []
        self._kind = ""
        self._text: list[str] = []
        self._logprobs: list[Any] = []
        out.send(
            "response.output_item.added",
            output_index=index,
            item=responses_answer.message_item(self._id, [], "in_progress"),
        )

    def _where(self) -> Document:
        return {
            "item_id": self._id,
            "output_index": self._index,
            "content_index": len(self._parts),
        }

    def add(self, kind: str, text: str, logprobs: list[Any]) -> None:
        """Tell a piece of text (``output_text``) or of a ``refusal``."""
        if kind != self._kind:
            self._close_part()
            self._kind = kind
            self._out.send("response.content_part.added", **self._where(), part=self._part())
        self._text.append(text)
        self._logprobs += logprobs
        said: Document = {**self._where(), "delta": text}
        if kind == "output_text":
            said["logprobs"] = logprobs
        self._out.send(f"response.{kind}.delta", **said)

    def _part(self) -> Document:
        text = "".join(self._text)
        if self._kind == "refusal":
            return responses_answer.refusal_part(text)
        return responses_answer.text_part(text, self._logprobs)

    def _close_part(self) -> None:
        if not self._kind:
            return
        part = self._part()
        said = {"refusal": part["refusal"]} if self._kind == "refusal" else {"text": part["text"]}
        if self._kind == "output_text":
            said["logprobs"] = self._logprobs
        self._out.send(f"response.{self._kind}.done", **self._where(), **said)
        self._out.send("response.content_part.done", **self._where(), part=part)
        self._parts.append(part)
        self._text, self._logprobs = [], []

    def close(self, state: str) -> Document:
        self._close_part()
        item = responses_answer.message_item(self._id, self._parts, state)
        self._out.send("response.output_item.done", output_index=self._index, item=item)
        return item


class _Call:
    """A function call item; nothing is told of it before it has a name."""

    def __init__(self, out: _Out, index: int) -> None:
        self._out = out
        self._index = index
        self._id = hub.new_id("fc_")
        self._call_id = ""
        self._name = ""
        self._told = False
        self._arguments: list[str] = []

    def add(self, delta: Document) -> None:
        function = hub.mapping(delta.get("function"))
        self._call_id = self._call_id or hub.text(delta.get("id"))
        self._name = self._name or hub.text(function.get("name"))
        piece = hub.text(function.get("arguments"))
        if self._name and not self._told:
            self._begin()
            piece = "".join(self._arguments) + piece
            self._arguments.clear()
        if piece:
            self._arguments.append(piece)
            if self._told:
                self._say("delta", delta=piece)

    def _begin(self) -> None:
        self._told = True
        self._call_id = self._call_id or hub.new_id("call_")
        item = self._item("", "in_progress")
        self._out.send("response.output_item.added", output_index=self._index, item=item)

    def _say(self, what: str, **members: str) -> None:
        self._out.send(
            f"response.function_call_arguments.{what}",
            item_id=self._id,
            output_index=self._index,
            **members,
        )

    def _item(self, arguments: str, state: str) -> Document:
        return responses_answer.call_item(self._id, self._call_id, self._name, arguments, state)

    def close(self, state: str) -> Document:
        if not self._told:
            self._begin()
        if not self._arguments and state == "completed":
            self.add({"function": {"arguments": "{}"}})
        arguments = "".join(self._arguments)
        self._say("done", arguments=arguments, name=self._name)
        item = self._item(arguments, state)
        self._out.send("response.output_item.done", output_index=self._index, item=item)
        return item


class ResponsesWriter:
    """Writes one stream of events: see ``dialects.base.StreamWriter``."""

    def __init__(self, request: ChatRequest) -> None:
        self._request = request
        self._summary = responses_answer.wants_summary(request)
        self._out = _Out()
        self._began: Document | None = None
        self._output: dict[int, Document] = {}
        self._items = 0
        self._open: _Reasoning | _Message | None = None
        self._calls: dict[int, tuple[int, _Call]] = {}
        self._usage: Usage | None = None
        self._reason: str | None = None
        self._held = 0

    def encode(self, chunk: Chunk) -> bytes:
        """Give the events of one hub chunk."""
        if self._began is None:
            self._begin(hub.text(chunk.get("model")), hub.stamp(chunk))
        if chunk.get("usage") is not None:
            self._usage = hub.usage_of(chunk["usage"])
        choice = hub.first_choice(chunk)
        self._reason = choice.get("finish_reason") or self._reason
        delta = hub.mapping(choice.get("delta"))
        if delta:
            self._say(delta, hub.mapping(choice.get("logprobs")).get("content"))
        return self._out.take()

    def _begin(self, model: str, created: int) -> Document:
        began = responses_answer.response(self._request, hub.new_id("resp_"), model, created)
        self._began = began
        self._out.send("response.created", response=began)
        self._out.send("response.in_progress", response=began)
        return began

    def _say(self, delta: Document, logprobs: Any) -> None:
        reasoning = hub.reasoning(delta)
        content, refusal = hub.plain_text(delta.get("content")), hub.text(delta.get("refusal"))
        self._hold(len(reasoning) + len(content) + len(refusal))
        if reasoning:
            self._thinking().add(reasoning)
        if content:
            told = logprobs if isinstance(logprobs, list) else []
            self._message().add("output_text", content, told)
        if refusal:
            self._message().add("refusal", refusal, [])
        for call in hub.objects(delta.get("tool_calls")):
            self._call(call)

    def _hold(self, size: int) -> None:
        """Count what is kept to be told as a whole at the end."""
        self._held += size
        hub.check_held(self._held)

    def _thinking(self) -> _Reasoning:
        if not isinstance(self._open, _Reasoning):
            self._close_open("completed")
            self._open = _Reasoning(self._out, self._next(), summary=self._summary)
        return self._open

    def _message(self) -> _Message:
        if not isinstance(self._open, _Message):
            self._close_open("completed")
            self._open = _Message(self._out, self._next())
        return self._open

    def _call(self, delta: Document) -> None:
        self._hold(100 + len(hub.text(hub.mapping(delta.get("function")).get("arguments"))))
        index = hub.call_index(delta, len(self._calls))
        if index not in self._calls:
            self._close_open("completed")
            place = self._next()
            self._calls[index] = (place, _Call(self._out, place))
        self._calls[index][1].add(delta)

    def _next(self) -> int:
        self._items += 1
        return self._items - 1

    def _close_open(self, state: str) -> None:
        if self._open is not None:
            place = self._items - 1
            self._output[place] = self._open.close(state)
            self._open = None

    def _close_all(self, state: str) -> list[Document]:
        """Close every item, in order, and give them all."""
        self._close_open(state)
        for place, call in self._calls.values():
            self._output[place] = call.close(state)
        self._calls.clear()
        return [self._output[place] for place in sorted(self._output)]

    def end(self) -> bytes:
        """Tell the end of every item, and of the response."""
        began = self._began or self._begin(self._request.model or "", hub.stamp({}))
        state = responses_answer.status(self._reason)
        output = self._close_all(state)
        whole = responses_answer.closed(began, output, self._reason, self._usage)
        self._out.send(f"response.{state}", response=whole)
        return self._out.take()

    def error(self, error: GatewayError) -> bytes:
        """Tell that it failed, after which nothing comes."""
        began = self._began or self._begin(self._request.model or "", hub.stamp({}))
        said = error_document(error)
        flat = {name: said[name] for name in ("code", "message", "param")}
        self._out.send("error", **flat, error=said)
        failed = {"code": _failure(error), "message": said["message"]}
        done = [self._output[place] for place in sorted(self._output)]
        self._out.send(
            "response.failed",
            response={**began, "status": "failed", "error": failed, "output": done},
        )
        return self._out.take()

    def keep_alive(self) -> bytes:
        """Give an SSE comment."""
        return b": keep-alive\n\n"


def _failure(error: GatewayError) -> str:
    """Give one of the codes that the response object may have."""
    return "rate_limit_exceeded" if error.status == 429 else "server_error"
