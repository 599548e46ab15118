"""
OpenAI's legacy completions (https://platform.openai.com/docs/api-reference/completions).

As a surface, a prompt becomes a conversation of one user message.  As a
backend it exists for its own clients only: a provider that has
``/v1/completions`` is sent their very bytes.

============================  =================================================
completions                   hub
============================  =================================================
``prompt``: one text          a user message
``prompt``: several, tokens   none: such providers only
``suffix``, ``echo``          none: such providers only
``best_of`` above 1           none: such providers only
``logprobs``: a number        ``logprobs``, ``top_logprobs``
``max_tokens``                the same; without it a chat model says all that it
                              has to say, where a legacy one stops after 16
``n``, ``stop``, ``seed``     the same
``temperature``, ``top_p``    the same
``presence_penalty``          the same
``frequency_penalty``         the same
``logit_bias``, ``user``      the same
``stream_options``            the same
``choices[].text``            ``content``; a refusal is text too; reasoning is
                              left out
``choices[].logprobs``        ``logprobs.content``, with offsets counted
``finish_reason``             the same; ``tool_calls`` is ``stop``
============================  =================================================

On the diagonal the client's bytes are kept, but for the model, the usage asked
for in streams, an output bound where there was none, the profile's system
prompt put before the text, and what the provider refuses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct

from lmgateway.backend_errors import BackendError, ProtocolError
from lmgateway.chat import ChatRequest, Chunk, Document, Endpoint, Event, Overrides
from lmgateway.dialects import hub, openai_errors
from lmgateway.dialects.base import Answer, Quirks, StreamReader, StreamWriter
from lmgateway.dialects.document import encode, read, splice
from lmgateway.dialects.openai_stream import OpenAIReader
from lmgateway.errors import GatewayError, MalformedRequest, Unsupported

_PASSED = (
    "frequency_penalty",
    "logit_bias",
    "max_tokens",
    "n",
    "presence_penalty",
    "seed",
    "stop",
    "stream_options",
    "temperature",
    "top_p",
    "user",
)
_SAID = frozenset({*_PASSED, "best_of", "echo", "logprobs", "model", "prompt", "stream", "suffix"})
_COUNTS = ("max_tokens", "n", "best_of", "logprobs")


# Requests ------------------------------------------------------------------
def _to_hub(document: Document) -> Document:
    for name in _COUNTS:
        value = hub.member(document, name, int)
        if value is not None and value < 0:
            raise MalformedRequest(f"The member {name!r} must not be negative.", param=name)
    hub.member(document, "stream_options", dict)
    request: Document = {
        "model": hub.model_of(document),
        "messages": [{"role": "user", "content": _texts(document)[0]}],
        "stream": bool(hub.member(document, "stream", bool)),
        **hub.kept(document, _PASSED),
    }
    if document.get("logprobs") is not None:
        request["logprobs"] = True
        request["top_logprobs"] = document["logprobs"]
    return request


def _texts(document: Document) -> list[str]:
    """Give the prompts that are text; one empty one, if they are tokens."""
    prompt = document.get("prompt")
    if isinstance(prompt, str):
        return [prompt]
    if not isinstance(prompt, list) or not prompt:
        raise MalformedRequest("The member 'prompt' must be text.", param="prompt")
    if all(isinstance(item, str) for item in prompt):
        return prompt
    if all(type(item) is int or isinstance(item, list) for item in prompt):
        return [""]
    raise MalformedRequest("The member 'prompt' must be text or tokens.", param="prompt")


def _diagonal_only(document: Document) -> str | None:
    prompt = document["prompt"]
    if isinstance(prompt, list) and (len(prompt) > 1 or not isinstance(prompt[0], str)):
        return "prompt"
    if hub.member(document, "suffix", str):
        return "suffix"
    if hub.member(document, "echo", bool):
        return "echo"
    return "best_of" if (document.get("best_of") or 1) > 1 else None


def _changes(request: ChatRequest, overrides: Overrides, quirks: Quirks) -> dict[str, bytes | None]:
    document = request.document
    changes: dict[str, bytes | None] = {"model": encode(overrides.model)}
    options = document.get("stream_options") or {}
    if request.stream and quirks.stream_usage and options.get("include_usage") is not True:
        changes["stream_options"] = encode({**options, "include_usage": True})
    if overrides.max_tokens is not None and document.get("max_tokens") is None:
        changes["max_tokens"] = encode(overrides.max_tokens)
    if overrides.system_prompt:
        changes["prompt"] = encode(_with_prompt(document["prompt"], overrides.system_prompt))
    changes.update((name, None) for name in quirks.drop if name in document)
    return changes


def _with_prompt(prompt: Any, system: str) -> Any:
    if isinstance(prompt, str):
        return f"{system}\n\n{prompt}"
    if not all(isinstance(item, str) for item in prompt):
        raise Unsupported("This profile's prompt cannot precede tokens.", param="prompt")
    return [f"{system}\n\n{item}" for item in prompt]


# Answers -------------------------------------------------------------------
def _to_hub_choice(choice: Document, member: str) -> Document:
    said: Document = {"content": hub.text(choice.get("text"))}
    if member == "message":
        said["role"] = "assistant"
    return {
        "index": choice.get("index", 0),
        member: said,
        "finish_reason": choice.get("finish_reason"),
    }


def _from_hub_choice(choice: Document, member: str, offset: int) -> Document:
    said = hub.mapping(choice.get(member))
    reason = choice.get("finish_reason")
    return {
        "text": hub.plain_text(said.get("content")) or hub.text(said.get("refusal")),
        "index": choice.get("index", 0),
        "logprobs": _logprobs(hub.mapping(choice.get("logprobs")).get("content"), offset),
        "finish_reason": "stop" if reason == "tool_calls" else reason,
    }


def _logprobs(content: Any, offset: int) -> Document | None:
    """Give log probabilities in columns, each token with its place in the text."""
    tokens = hub.objects(content)
    if not tokens:
        return None
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(hub.text(token.get("token")))
    return {
        "tokens": [hub.text(token.get("token")) for token in tokens],
        "token_logprobs": [token.get("logprob") for token in tokens],
        "top_logprobs": [
            {
                hub.text(one.get("token")): one.get("logprob")
                for one in hub.objects(token.get("top_logprobs"))
            }
            for token in tokens
        ],
        "text_offset": offsets,
    }


def _envelope(document: Document, choices: list[Document]) -> Document:
    return {
        "id": "cmpl-" + hub.text(document.get("id")).removeprefix("chatcmpl-"),
        "object": "text_completion",
        "created": hub.stamp(document),
        "model": hub.text(document.get("model")),
        "choices": choices,
    }


class CompletionsReader(OpenAIReader):
    """Reads one stream of text chunks: see ``dialects.base.StreamReader``."""

    def decode(self, event: Event) -> Sequence[Chunk]:
        """Give the hub chunk of an inspected event."""
        return [_to_hub_chunk(chunk) for chunk in super().decode(event)]


def _to_hub_chunk(chunk: Chunk) -> Chunk:
    choices = [_to_hub_choice(choice, "delta") for choice in hub.objects(chunk.get("choices"))]
    return {**chunk, "object": "chat.completion.chunk", "choices": choices}


class CompletionsWriter:
    """Writes one stream of text chunks: see ``dialects.base.StreamWriter``."""

    def __init__(self, *, wants_usage: bool) -> None:
        self._wants_usage = wants_usage
        self._offsets: dict[int, int] = {}

    def encode(self, chunk: Chunk) -> bytes:
        """Give the event of a chunk that has text, a reason, or a usage that was asked for."""
        choices = [self._choice(choice) for choice in hub.objects(chunk.get("choices"))]
        told = [choice for choice in choices if choice["text"] or choice["finish_reason"]]
        usage = chunk.get("usage") if self._wants_usage else None
        if not told and usage is None:
            return b""
        document = _envelope(chunk, told)
        if usage is not None:
            document["usage"] = usage
        return b"data: " + encode(document) + b"\n\n"

    def _choice(self, choice: Document) -> Document:
        index = choice.get("index", 0)
        offset = self._offsets.get(index, 0)
        written = _from_hub_choice(choice, "delta", offset)
        self._offsets[index] = offset + len(written["text"])
        return written

    def end(self) -> bytes:
        """Give ``[DONE]``."""
        return b"data: [DONE]\n\n"

    def error(self, error: GatewayError) -> bytes:
        """Give an event with an ``error`` member, after which nothing comes."""
        return b"data: " + encode({"error": openai_errors.error_document(error)}) + b"\n\n"

    def keep_alive(self) -> bytes:
        """Give an SSE comment."""
        return b": keep-alive\n\n"


class Completions(Struct, frozen=True):
    """The dialect: see ``dialects.base.Dialect``."""

    name: str = "completions"
    framing: Literal["sse", "ndjson"] = "sse"

    def parse(self, raw: bytes, endpoint: Endpoint = "completions") -> ChatRequest:
        """Read a client's body."""
        document, spans = read(raw)
        asked = _to_hub(document)
        options = document.get("stream_options") or {}
        return ChatRequest(
            dialect=self.name,
            endpoint="completions",
            raw=raw,
            document=document,
            spans=spans,
            hub=asked,
            model=asked["model"],
            stream=asked["stream"],
            wants_usage=asked["stream"] and options.get("include_usage") is True,
            diagonal_only=_diagonal_only(document),
            unsaid=tuple(sorted(document.keys() - _SAID)),
        )

    def render(self, request: ChatRequest, overrides: Overrides, quirks: Quirks) -> bytes:
        """Give the client's bytes for a provider with ``/v1/completions``."""
        if request.dialect != self.name:
            raise Unsupported("This model's backend completes text only.")
        return splice(request.raw, request.spans, _changes(request, overrides, quirks))

    def path(self, request: ChatRequest) -> str | None:
        """Give the path, which takes none but requests of this grammar."""
        return "/v1/completions" if request.dialect == self.name else None

    def dropped(self, request: ChatRequest, overrides: Overrides | None = None) -> tuple[str, ...]:
        """Give nothing: all that is rendered is said as it came."""
        return ()

    def read_answer(self, body: bytes) -> Answer:
        """Read a ``text_completion``."""
        document = hub.read_object(body)
        choices = hub.objects(document.get("choices"))
        if not choices:
            raise ProtocolError("The model backend's answer has no choices.")
        return Answer(
            document=document,
            usage=hub.usage_of(document.get("usage")),
            finish_reason=hub.text(choices[0].get("finish_reason")) or None,
            model=hub.text(document.get("model")) or None,
        )

    def decode_answer(self, answer: Answer) -> Document:
        """Give the hub form of an answer."""
        document = answer.document
        choices = [_to_hub_choice(one, "message") for one in hub.objects(document["choices"])]
        return {**document, "object": "chat.completion", "choices": choices}

    def write_answer(self, answer: Document, request: ChatRequest) -> bytes:
        """Give a hub answer as a ``text_completion``."""
        choices = [
            _from_hub_choice(choice, "message", 0) for choice in hub.objects(answer.get("choices"))
        ]
        document = _envelope(answer, choices)
        if answer.get("usage") is not None:
            document["usage"] = answer["usage"]
        return encode(document)

    def reader(self, quirks: Quirks) -> StreamReader:
        """Make a reader for one backend stream."""
        return CompletionsReader()

    def writer(self, request: ChatRequest) -> StreamWriter:
        """Make a writer for one client stream."""
        return CompletionsWriter(wants_usage=request.wants_usage)

    def write_error(self, error: GatewayError, request_id: str) -> bytes:
        """Give OpenAI's error envelope."""
        return openai_errors.write_error(error, request_id)

    def read_error(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> BackendError:
        """Say what a backend's refusal means."""
        return openai_errors.read_error(status, headers, body)


COMPLETIONS = Completions()
