"""
OpenAI chat completions (https://platform.openai.com/docs/api-reference/chat): the hub's grammar.

Since the hub is an open document of this very shape, both directions are the
identity: ``parse`` checks what the gateway decides on and leaves the rest
alone, ``render`` edits the client's bytes member by member.

================================  ==================================================
member                            what may be changed on the way to a backend
================================  ==================================================
``model``                         always the target's
``stream_options.include_usage``  true on streams, where the provider takes it
``messages``                      a system prompt of the profile, put first
``think``                         the tier's, if the client set none
``max_tokens``                    the tier's bound, if a budget needs one; its name,
                                  where the provider takes only one of the two
what the provider refuses         dropped (``quirks.drop``)
everything else                   the client's bytes
================================  ==================================================

Embeddings (``/v1/embeddings``) ride along: same envelope, no stream.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Struct, convert

from lmgateway.backend_errors import BackendError, BackendFailed, ProtocolError
from lmgateway.chat import ChatRequest, Document, Endpoint, Overrides
from lmgateway.dialects import hub, openai_errors
from lmgateway.dialects.base import Answer, Quirks, StreamReader, StreamWriter
from lmgateway.dialects.document import encode, read, splice
from lmgateway.dialects.hub import objects
from lmgateway.dialects.hub_extensions import plain
from lmgateway.dialects.openai_stream import FAILED, OpenAIReader, OpenAIWriter, UsageMember
from lmgateway.errors import GatewayError, MalformedRequest

_BOUNDS: Mapping[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
}
_PATHS: Mapping[str, str | None] = {"embeddings": "/v1/embeddings", "count_tokens": None}
_OF_REQUESTS = ("keep_alive", "options", "top_k")
"""Extensions of the hub that other grammars bring along and this one has no word for."""
_COUNTS = frozenset(("max_tokens", "max_completion_tokens", "n", "top_logprobs"))
_KINDS: Mapping[str, type[Any]] = {"tools": list, "stream_options": dict, "response_format": dict}
_CHECKED = _COUNTS.union(_BOUNDS, _KINDS)
_decode = msgspec.json.Decoder().decode
# No set: what is sent may be unhashable.
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")


class _Message(msgspec.Struct, gc=False):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Any] | None = None


_FromZero = Annotated[int, msgspec.Meta(ge=0)] | None
_FromOne = Annotated[int, msgspec.Meta(ge=1)] | None
_Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)] | None


class _Chat(msgspec.Struct, gc=False):
    """What is looked at of a request; what is no such thing is told by ``_check_chat``."""

    messages: Annotated[list[_Message], msgspec.Meta(min_length=1)]
    model: str | None = None
    stream: bool | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    presence_penalty: _Penalty = None
    frequency_penalty: _Penalty = None
    max_tokens: _FromOne = None
    max_completion_tokens: _FromOne = None
    n: _FromOne = None
    top_logprobs: _FromZero = None
    tools: list[dict[str, Any]] | None = None
    stream_options: dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None


def _read_chat(document: Document) -> tuple[str | None, bool]:
    """Check a chat request; give the model asked for, and whether a stream is."""
    try:
        chat = convert(document, _Chat)
    except msgspec.ValidationError:
        _check_chat(document)
        stream = flag(document, "stream")
        return model_of(document), stream
    return chat.model or None, chat.stream is True


def model_of(document: Document) -> str | None:
    """Give the model asked for; ``None`` if none is named."""
    model = document.get("model")
    if model is None or isinstance(model, str):
        return model or None
    raise MalformedRequest("The member 'model' must be a string.", param="model")


def flag(document: Document, name: str) -> bool:
    """Give a boolean member; absent and ``null`` are false."""
    value = document.get(name)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise MalformedRequest(f"The member {name!r} must be true or false.", param=name)


def _check_chat(document: Document) -> None:
    _check_messages(document.get("messages"))
    for name in filter(_CHECKED.__contains__, document):
        if (value := document[name]) is not None:
            _check_member(name, value)


def _check_member(name: str, value: Any) -> None:
    if name in _COUNTS:
        least = 0 if name == "top_logprobs" else 1
        if type(value) is not int or value < least:
            raise MalformedRequest(f"The member {name!r} must be a whole number.", param=name)
    elif name in _BOUNDS:
        low, high = _BOUNDS[name]
        if type(value) not in (int, float) or not low <= value <= high:
            raise MalformedRequest(
                f"The member {name!r} must be a number from {low} to {high}.", param=name
            )
    elif not isinstance(value, _KINDS[name]):
        what = "an array" if _KINDS[name] is list else "an object"
        raise MalformedRequest(f"The member {name!r} must be {what}.", param=name)
    elif name == "tools":
        _check_tools(value)


def _check_tools(tools: list[Any]) -> None:
    for number, tool in enumerate(tools):
        if not isinstance(tool, dict):
            raise MalformedRequest("A tool must be an object.", param=f"tools[{number}]")


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list) or not messages:
        raise MalformedRequest("The member 'messages' must be a filled array.", param="messages")
    for number, message in enumerate(messages):
        if type(message) is not dict:
            raise MalformedRequest("A message must be an object.", param=f"messages[{number}]")
        if message.get("role") not in _ROLES:
            raise MalformedRequest(
                f"A message's role must be one of {', '.join(sorted(_ROLES))}.",
                param=f"messages[{number}].role",
            )
        content = message.get("content")
        if content is not None and type(content) is not str and type(content) is not list:
            raise MalformedRequest(
                "A message's content must be a string, an array or null.",
                param=f"messages[{number}].content",
            )


def _check_embeddings(document: Document) -> None:
    value = document.get("input")
    if not isinstance(value, (str, list)) or not value:
        raise MalformedRequest("The member 'input' must be filled.", param="input")


class OpenAI(Struct, frozen=True):
    """The dialect: see ``dialects.base.Dialect``."""

    name: str = "openai"
    framing: Literal["sse", "ndjson"] = "sse"

    def parse(self, raw: bytes, endpoint: Endpoint) -> ChatRequest:
        """Read a client's body for ``chat`` or ``embeddings``."""
        document, spans = read(raw)
        if endpoint == "embeddings":
            _check_embeddings(document)
            stream = flag(document, "stream")
            model = model_of(document)
        else:
            model, stream = _read_chat(document)
        options = (stream and document.get("stream_options")) or {}
        return ChatRequest(
            dialect=self.name,
            endpoint=endpoint,
            raw=raw,
            document=document,
            spans=spans,
            hub=document,
            model=model,
            stream=stream and endpoint != "embeddings",
            wants_usage=options.get("include_usage") is True,
        )

    def render(self, request: ChatRequest, overrides: Overrides, quirks: Quirks) -> bytes:
        """Give the body for a backend of this dialect."""
        if request.dialect == self.name:
            raw, spans, document = request.raw, request.spans, request.document
        else:
            hub.refuse_diagonal_only(request, self.name)
            kept = frozenset({"think"}) if quirks.takes_think else frozenset()
            raw = encode(plain(request.hub, kept))
            document, spans = read(raw)
        return splice(raw, spans, _changes(document, raw, spans, request.stream, overrides, quirks))

    def path(self, request: ChatRequest) -> str | None:
        """Give the path of what takes ``render``'s body."""
        return _PATHS.get(request.endpoint, "/v1/chat/completions")

    def dropped(self, request: ChatRequest, overrides: Overrides | None = None) -> tuple[str, ...]:
        """Give what a client of another grammar said and this one cannot."""
        if request.dialect == self.name:
            return ()
        return (*request.unsaid, *(name for name in _OF_REQUESTS if name in request.hub))

    def read_answer(self, body: bytes) -> Answer:
        """Read a ``chat.completion`` (or an embedding list)."""
        document = _answer(body)
        try:
            said = convert(document, _Said)
        except msgspec.ValidationError:
            return self._read_unusual(document)
        reason = said.choices[0].finish_reason
        if reason == FAILED:
            raise BackendFailed(_FAILED_ANSWER)
        usage = None if said.usage is None else said.usage.usage()
        return Answer(document=document, usage=usage, finish_reason=reason, model=said.model)

    def _read_unusual(self, document: Document) -> Answer:
        """Read an answer that is no chat's, or not quite."""
        choices = document.get("choices")
        reason = None
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            reason = choices[0].get("finish_reason")
        elif "data" not in document:
            raise ProtocolError("The model backend's answer has no choices.")
        if reason == FAILED:
            raise BackendFailed(_FAILED_ANSWER)
        model = document.get("model")
        return Answer(
            document=document,
            usage=_usage(document.get("usage")),
            finish_reason=reason if isinstance(reason, str) else None,
            model=model if isinstance(model, str) else None,
        )

    def decode_answer(self, answer: Answer) -> Document:
        """Give the answer itself: it is in hub form."""
        return answer.document

    def write_answer(self, hub: Document, request: ChatRequest) -> bytes:
        """Give the hub answer itself; vectors in base64, if the client asked for that."""
        if request.endpoint == "embeddings" and request.hub.get("encoding_format") == "base64":
            hub = {**hub, "data": [_packed(item) for item in objects(hub.get("data"))]}
        return encode(hub)

    def reader(self, quirks: Quirks) -> StreamReader:
        """Make a reader for one backend stream."""
        return OpenAIReader()

    def writer(self, request: ChatRequest) -> StreamWriter:
        """Make a writer for one client stream."""
        return OpenAIWriter(wants_usage=request.wants_usage)

    def write_error(self, error: GatewayError, request_id: str) -> bytes:
        """Give OpenAI's error envelope."""
        return openai_errors.write_error(error, request_id)

    def read_error(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> BackendError:
        """Say what a backend's refusal means."""
        return openai_errors.read_error(status, headers, body)


def _changes(
    document: Document,
    raw: bytes,
    spans: Mapping[str, tuple[int, int]],
    stream: bool,
    overrides: Overrides,
    quirks: Quirks,
) -> dict[str, bytes | None]:
    changes: dict[str, bytes | None] = {"model": encode(overrides.model)}
    if stream and quirks.stream_usage:
        options = document.get("stream_options") or {}
        if options.get("include_usage") is not True:
            changes["stream_options"] = encode({**options, "include_usage": True})
    if overrides.system_prompt and "messages" in spans:
        start, end = spans["messages"]
        changes["messages"] = prepend_system(raw[start:end], overrides.system_prompt)
    if overrides.think is not None and quirks.takes_think and "think" not in document:
        changes["think"] = encode(overrides.think)
    if overrides.max_tokens is not None or quirks.max_tokens_field is not None:
        _bound_output(document, overrides.max_tokens, quirks, changes)
    if quirks.drop:
        changes.update((name, None) for name in quirks.drop if name in document)
    return changes


def _bound_output(
    document: Document, bound: int | None, quirks: Quirks, changes: dict[str, bytes | None]
) -> None:
    field = quirks.max_tokens_field
    given = {n: document[n] for n in ("max_tokens", "max_completion_tokens") if document.get(n)}
    if not given and bound is not None:
        changes[field or "max_tokens"] = encode(bound)
    elif field is not None and given and field not in given:
        (other,) = given
        changes[field] = encode(given[other])
        changes[other] = None


def prepend_system(messages: bytes, prompt: str) -> bytes:
    """
    Put a system prompt before a messages array: joined with a system message that is first.

    All other messages keep their bytes; array content keeps its parts.
    """
    items: list[msgspec.Raw] = msgspec.json.decode(messages, type=list[msgspec.Raw])
    first = msgspec.json.decode(items[0]) if items else {}
    if first.get("role") != "system":
        return encode([{"role": "system", "content": prompt}, *items])
    content = first.get("content")
    if isinstance(content, list):
        first["content"] = [{"type": "text", "text": prompt}, *content]
    else:
        first["content"] = f"{prompt}\n\n{content}" if content else prompt
    return encode([first, *items[1:]])


class _Choice(msgspec.Struct, gc=False):
    finish_reason: str | None = None


class _Said(msgspec.Struct, gc=False):
    """What is looked at of an answer."""

    choices: Annotated[list[_Choice], msgspec.Meta(min_length=1)]
    usage: UsageMember | None = None
    model: str | None = None


_FAILED_ANSWER = "The model backend reported an error in its answer."


def _answer(body: bytes) -> Document:
    try:
        document = _decode(body)
    except UnicodeDecodeError:
        document = _answer(body.decode("utf-8", "replace").encode())
    except (msgspec.MsgspecError, RecursionError):
        raise ProtocolError("The model backend's answer is not JSON.") from None
    if not isinstance(document, dict):
        raise ProtocolError("The model backend's answer is not a JSON object.")
    return document


def _packed(item: Document) -> Document:
    vector = item.get("embedding")
    if not isinstance(vector, list):
        return item
    try:
        floats = struct.pack(f"<{len(vector)}f", *vector)
    except (struct.error, OverflowError):
        raise ProtocolError("The model backend's vectors are not of numbers.") from None
    return {**item, "embedding": b64encode(floats).decode()}


def _usage(member: Any) -> Any:
    if not isinstance(member, dict):
        return None
    try:
        return convert(member, UsageMember).usage()
    except msgspec.ValidationError:
        return None


OPENAI = OpenAI()
