"""
Whole answers and their measures, between Ollama and the hub.

=================================  ============================================================
Ollama                             hub
=================================  ============================================================
``created_at``                     ``created`` (RFC 3339 against Unix seconds)
``message.content``, ``response``  ``message.content``
``message.thinking``               ``message.reasoning_content``
``tool_calls``: objects            ``tool_calls``: JSON text, with ids
``done_reason``                    ``finish_reason``: ``length`` stays, ``load`` and ``unload``
                                   are ``stop``; ``tool_calls`` where there are calls, which
                                   Ollama calls ``stop`` too
``prompt_eval_count``              ``usage.prompt_tokens``
``eval_count``                     ``usage.completion_tokens``
``logprobs``                       ``logprobs.content``
durations                          none; written as 0
=================================  ============================================================

``model`` is told as the client wrote it, tag included: Ollama clients compare it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from lmgateway.backend_errors import BackendFailed, ProtocolError
from lmgateway.chat import ChatRequest, Document, Usage
from lmgateway.dialects import hub
from lmgateway.dialects.base import Answer
from lmgateway.dialects.document import encode


# Times ---------------------------------------------------------------------
def rfc3339(created: int) -> str:
    """Give a time as Ollama writes it."""
    return datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def created_of(document: Document) -> int:
    """Give when Ollama made an answer; now, if it does not say."""
    try:
        created = datetime.fromisoformat(hub.text(document.get("created_at"))).timestamp()
    except (ValueError, OverflowError):
        return hub.stamp({})
    return hub.stamp({"created": created})


# Reading -------------------------------------------------------------------
def read_answer(body: bytes) -> Answer:
    """
    Read an answer of ``/api/chat``, ``/api/generate``, ``/api/embed`` or ``/api/embeddings``.

    Raises:
        ProtocolError: If it is none.
        BackendFailed: If it is an error after all.
    """
    document = hub.read_object(body)
    if document.get("error"):
        raise BackendFailed("The model backend reported an error.")
    embeds = "embeddings" in document or "embedding" in document
    if not embeds and not says_something(document):
        raise ProtocolError("The model backend's answer has no message.")
    model = document.get("model")
    return Answer(
        document=document,
        usage=usage_of(document),
        finish_reason=None if embeds else finish_reason(document),
        model=model if isinstance(model, str) else None,
    )


def says_something(document: Document) -> bool:
    """Whether this is an answer, or a piece of one."""
    return isinstance(document.get("message"), dict) or isinstance(document.get("response"), str)


def message_of(document: Document) -> Document:
    """Give an answer's message, whichever endpoint it is from."""
    message = document.get("message")
    if isinstance(message, dict):
        return message
    return {"content": document.get("response"), "thinking": document.get("thinking")}


def usage_of(document: Document) -> Usage | None:
    """Give the usage; ``None`` if none is told."""
    if document.get("prompt_eval_count") is None and document.get("eval_count") is None:
        return None
    return Usage(
        input_tokens=hub.count(document.get("prompt_eval_count")),
        output_tokens=hub.count(document.get("eval_count")),
    )


def finish_reason(document: Document, *, called: bool = False) -> str:
    """Give the hub's reason; *called* if tools were called earlier in the stream."""
    if called or hub.objects(message_of(document).get("tool_calls")):
        return "tool_calls"
    return "length" if document.get("done_reason") == "length" else "stop"


def calls_of(message: Document) -> list[Document]:
    """Give the tool calls of an Ollama message in hub form, each with an id."""
    calls = []
    for call in hub.objects(message.get("tool_calls")):
        function = hub.mapping(call.get("function"))
        arguments = function.get("arguments")
        if not isinstance(arguments, str):
            arguments = encode(arguments or {}).decode()
        call_id = hub.text(call.get("id")) or hub.new_id("call_")
        calls.append(hub.tool_call(call_id, hub.text(function.get("name")), arguments))
    return calls


def decode_answer(answer: Answer) -> Document:
    """Give the hub form of an answer."""
    document = answer.document
    if "embeddings" in document or "embedding" in document:
        return _decode_embeddings(document)
    message = message_of(document)
    said: Document = {"role": "assistant", "content": hub.text(message.get("content"))}
    thinking = hub.text(message.get("thinking"))
    if thinking:
        said["reasoning_content"] = thinking
    calls = calls_of(message)
    if calls:
        said["content"] = said["content"] or None
        said["tool_calls"] = calls
    whole = hub.completion(
        hub.new_id("chatcmpl-"),
        answer.model or "",
        created_of(document),
        said,
        finish_reason(document),
        answer.usage,
    )
    if isinstance(document.get("logprobs"), list):
        whole["choices"][0]["logprobs"] = {"content": document["logprobs"]}
    return whole


def _decode_embeddings(document: Document) -> Document:
    vectors = document.get("embeddings")
    if vectors is None:
        vectors = [document.get("embedding") or []]
    if not isinstance(vectors, list):
        raise ProtocolError("The model backend's embeddings are none.")
    tokens = hub.count(document.get("prompt_eval_count"))
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in enumerate(vectors)
        ],
        "model": hub.text(document.get("model")),
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


# Writing -------------------------------------------------------------------
def write_answer(answer: Document, request: ChatRequest) -> bytes:
    """Give a hub answer as the client's endpoint tells it."""
    if request.endpoint == "embeddings":
        return encode(_write_embeddings(answer, request))
    choice = hub.first_choice(answer)
    message = hub.mapping(choice.get("message"))
    content = hub.plain_text(message.get("content")) or hub.text(message.get("refusal"))
    logprobs = hub.mapping(choice.get("logprobs")).get("content")
    piece = line(
        request,
        rfc3339(hub.stamp(answer)),
        content,
        thinking=hub.reasoning(message),
        calls=[write_call(call) for call in hub.objects(message.get("tool_calls"))],
    )
    if isinstance(logprobs, list):
        piece["logprobs"] = logprobs
    usage = hub.usage_of(answer.get("usage"))
    return encode({**piece, **done(choice.get("finish_reason"), usage)})


def line(
    request: ChatRequest,
    created_at: str,
    content: str,
    *,
    thinking: str = "",
    calls: list[Document] | None = None,
) -> Document:
    """Give one object of an answer, not done yet."""
    piece: Document = {"model": request.model or "", "created_at": created_at}
    if request.endpoint == "generate":
        piece["response"] = content
        if thinking:
            piece["thinking"] = thinking
    else:
        message: Document = {"role": "assistant", "content": content}
        if thinking:
            message["thinking"] = thinking
        if calls:
            message["tool_calls"] = calls
        piece["message"] = message
    piece["done"] = False
    return piece


def done(reason: Any, usage: Usage | None) -> Document:
    """Give the members that make an object the last one."""
    usage = usage or Usage()
    return {
        "done": True,
        "done_reason": reason if reason in ("length", "load", "unload") else "stop",
        "total_duration": 0,
        "load_duration": 0,
        "prompt_eval_count": usage.input_tokens,
        "prompt_eval_duration": 0,
        "eval_count": usage.output_tokens,
        "eval_duration": 0,
    }


def write_call(call: Document) -> Document:
    """Give one whole hub tool call; arguments that are no object stay as they came."""
    function = hub.mapping(call.get("function"))
    given = function.get("arguments")
    arguments = hub.arguments_object(given)
    written: Document = {
        "function": {
            "name": hub.text(function.get("name")),
            "arguments": given if arguments is None else arguments,
        }
    }
    if call.get("id"):
        written["id"] = call["id"]
    return written


def _write_embeddings(answer: Document, request: ChatRequest) -> Document:
    vectors = [item.get("embedding") for item in hub.objects(answer.get("data"))]
    if "input" not in request.document:
        return {"embedding": vectors[0] if vectors else []}
    tokens = hub.count(hub.mapping(answer.get("usage")).get("prompt_tokens"))
    return {
        "model": request.model or "",
        "embeddings": vectors,
        "total_duration": 0,
        "load_duration": 0,
        "prompt_eval_count": tokens,
    }


def is_load(request: ChatRequest) -> bool:
    """Whether a request asks for nothing but that a model be loaded (or unloaded)."""
    if request.endpoint == "generate":
        return not (request.document.get("prompt") or request.document.get("images"))
    return request.endpoint == "chat" and not request.document.get("messages")


def load_answer(request: ChatRequest) -> bytes:
    """Answer such a request: one line, streamed or not."""
    unload = request.document.get("keep_alive") in (0, "0", "0s")
    piece = line(request, rfc3339(hub.stamp({})), "")
    reason = "unload" if unload else "load"
    return encode({**piece, "done": True, "done_reason": reason}) + b"\n"
