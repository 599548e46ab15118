"""
A whole answer, in Anthropic's grammar and in the hub's.

=============================================  ====================================================
Anthropic                                      hub
=============================================  ====================================================
``id`` (``msg_...``)                           ``id``; another's gets the prefix ``msg_``
``model``                                      ``model``
``text`` blocks                                ``message.content``, joined; ``null`` where there
                                               are none
``tool_use`` blocks                            ``message.tool_calls``; ``input`` as JSON text, and
                                               back. Text that is no JSON object (a model's slip)
                                               is written as ``{"raw_arguments": text}``
``thinking`` blocks                            ``reasoning_content``, and, signed,
                                               ``thinking_blocks``. Reasoning that nobody signed is
                                               written with an empty signature
``redacted_thinking``                          ``thinking_blocks``
``stop_details.explanation``                   ``message.refusal``, where there is no text
server tools' blocks                           nothing: a hub request cannot have asked for them
``end_turn`` ``stop_sequence`` ``pause_turn``  ``stop``
``max_tokens``                                 ``length``
``model_context_window_exceeded``              ``length``
``tool_use``                                   ``tool_calls``
``refusal``                                    ``content_filter``
=============================================  ====================================================

The other way, ``stop`` is ``tool_use`` where there are calls (some servers say
``stop`` then), and ``stop_sequence`` where the choice names one of the client's
(vLLM's ``stop_reason``).  Anthropic counts cached input apart, the hub within
``prompt_tokens``: ``prompt_tokens`` = ``input_tokens`` + ``cache_read_input_tokens``
+ ``cache_creation_input_tokens``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from lmgateway.backend_errors import ProtocolError
from lmgateway.chat import ChatRequest, Document, Usage
from lmgateway.dialects import hub as hubs
from lmgateway.dialects.anthropic_errors import stream_error
from lmgateway.dialects.base import Answer
from lmgateway.dialects.document import encode

STOPS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_FINISHES = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_FOREIGN_ID = re.compile(r"^(?:chatcmpl-|cmpl-)|[^a-zA-Z0-9_-]")
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def finish_of(stop_reason: str | None) -> str | None:
    """Give the hub's word for a stop reason; an unknown one is an ordinary end."""
    return None if stop_reason is None else STOPS.get(stop_reason, "stop")


def read_answer(body: bytes) -> Answer:
    """
    Read a backend's whole answer: a message, or a count of tokens.

    Raises:
        ProtocolError: If it is not one.
        BackendError: If it is an error, although the status said 200.
    """
    document = hubs.read_object(body)
    fault = document.get("error")
    if document.get("type") == "error" and isinstance(fault, dict):
        raise stream_error(_text(fault.get("type")), _text(fault.get("message")))
    if isinstance(document.get("input_tokens"), int):  # of count_tokens: nothing was used
        return Answer(document=document, usage=Usage(), finish_reason=None, model=None)
    content = document.get("content")
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise ProtocolError("The model backend's answer has no content blocks.")
    return Answer(
        document=document,
        usage=_read_usage(document.get("usage")),
        finish_reason=finish_of(_text(document.get("stop_reason"))),
        model=_text(document.get("model")),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _read_usage(told: object) -> Usage | None:
    if not isinstance(told, dict):
        return None
    read = hubs.count(told.get("cache_read_input_tokens"))
    write = hubs.count(told.get("cache_creation_input_tokens"))
    details = hubs.mapping(told.get("output_tokens_details"))
    return Usage(
        input_tokens=hubs.count(told.get("input_tokens")) + read + write,
        output_tokens=hubs.count(told.get("output_tokens")),
        cached_read=read,
        cached_write=write,
        reasoning=hubs.count(details.get("thinking_tokens")),
    )


def decode_answer(answer: Answer) -> Document:
    """Give the hub form of an answer."""
    document = answer.document
    return hubs.completion(
        hubs.text(document.get("id")),
        answer.model or "",
        hubs.stamp(document),
        _read_message(document),
        answer.finish_reason,
        answer.usage,
    )


def _read_message(document: Document) -> Document:
    texts: list[str] = []
    thoughts: list[Document] = []
    calls: list[Document] = []
    for block in document["content"]:
        kind = block.get("type")
        if kind == "text":
            texts.append(hubs.text(block.get("text")))
        elif kind == "tool_use":
            calls.append(_read_call(block))
        elif kind in ("thinking", "redacted_thinking"):
            thoughts.append(block)
    message: Document = {"role": "assistant", "content": "".join(texts) if texts else None}
    if reasoning := "".join(hubs.text(thought.get("thinking")) for thought in thoughts):
        message["reasoning_content"] = reasoning
    if signed := [each for each in thoughts if each.get("signature") or each.get("data")]:
        message["thinking_blocks"] = signed
    if calls:
        message["tool_calls"] = calls
    details = document.get("stop_details")
    if not texts and isinstance(details, dict) and _text(details.get("explanation")):
        message["refusal"] = details["explanation"]
    return message


def _read_call(block: Document) -> Document:
    arguments = encode(block.get("input") or {}).decode()
    return hubs.tool_call(hubs.text(block.get("id")), hubs.text(block.get("name")), arguments)


# To the client -------------------------------------------------------------
def message_id(given: object) -> str:
    """Give an id as Anthropic's clients know them, made from the backend's."""
    if isinstance(given, str) and given.startswith("msg_"):
        return given
    plain = _FOREIGN_ID.sub("", given) if isinstance(given, str) else ""
    return f"msg_{plain}" if plain else hubs.new_id("msg_")


def call_id(given: object) -> str:
    """Give the id of a tool call: the backend's own, or a new one."""
    return given if isinstance(given, str) and given else hubs.new_id("toolu_")


def usage_member(usage: Usage | None) -> Document:
    """Give Anthropic's ``usage``; zeros where nothing is known."""
    usage = usage or Usage()
    told: Document = {
        "input_tokens": max(usage.input_tokens - usage.cached_read - usage.cached_write, 0),
        "cache_creation_input_tokens": usage.cached_write,
        "cache_read_input_tokens": usage.cached_read,
        "output_tokens": usage.output_tokens,
    }
    if usage.reasoning:
        told["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return told


def stop_of(
    choice: Mapping[str, Any], calls: Collection[object], request: ChatRequest
) -> dict[str, str | None]:
    """
    Give the members that say why an answer ended.

    Args:
        choice: The hub choice that has a ``finish_reason``.
        calls: The tool calls of the answer.
        request: What was asked, for its stop sequences.
    """
    finish, told = choice.get("finish_reason"), choice.get("stop_reason")
    reason = _FINISHES.get(finish, "end_turn") if isinstance(finish, str) else "end_turn"
    if reason == "end_turn" and calls:
        reason = "tool_use"
    elif reason == "end_turn" and isinstance(told, str) and told in _stops(request):
        return {"stop_reason": "stop_sequence", "stop_sequence": told}
    return {"stop_reason": reason, "stop_sequence": None}


def _stops(request: ChatRequest) -> list[str]:
    stops = request.hub.get("stop")
    return stops if isinstance(stops, list) else []


def write_answer(hub: Document, request: ChatRequest) -> bytes:
    """Give a hub answer as an Anthropic client expects it."""
    choice = hubs.first_choice(hub)
    message = hubs.mapping(choice.get("message"))
    calls = hubs.objects(message.get("tool_calls"))
    answer: Document = {
        "id": message_id(hub.get("id")),
        "type": "message",
        "role": "assistant",
        "model": hub.get("model") or "",
        "content": _write_content(message, calls),
        **stop_of(choice, calls, request),
        "usage": usage_member(hubs.usage_of(hub.get("usage"))),
    }
    return encode(answer)


def _write_content(message: Document, calls: list[Document]) -> list[Document]:
    blocks = _write_thoughts(message)
    for text in (message.get("content"), message.get("refusal")):
        if isinstance(text, str) and text:
            blocks.append({"type": "text", "text": text})
    for call in calls:
        function = hubs.mapping(call.get("function"))
        blocks.append(
            {
                "type": "tool_use",
                "id": call_id(call.get("id")),
                "name": function.get("name") or "",
                "input": _input_of(function.get("arguments")),
            }
        )
    return blocks


def _write_thoughts(message: Document) -> list[Document]:
    blocks: list[Document] = list(message.get("thinking_blocks") or ())
    reasoning = hubs.reasoning(message)
    if reasoning and not any(block.get("thinking") for block in blocks):
        blocks.insert(0, {"type": "thinking", "thinking": reasoning, "signature": ""})
    return blocks


def _input_of(arguments: object) -> object:
    if not isinstance(arguments, str):
        return arguments or {}
    try:
        _decode_object(arguments.strip() or "{}")
    except (msgspec.MsgspecError, UnicodeError):
        return {"raw_arguments": arguments}
    return msgspec.Raw(arguments.strip().encode() or b"{}")
