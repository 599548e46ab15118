"""
The response object, and its output items, as both the whole answer and the stream tell them.

The client's parameters are repeated in it as the real API does, with that
API's defaults where the client gave none.
"""

from __future__ import annotations

from typing import Any

from lmgateway.chat import ChatRequest, Document, Usage
from lmgateway.dialects import hub

_ECHOED: dict[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "service_tier": "auto",
    "store": False,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


def response(request: ChatRequest, answer_id: str, model: str, created: int) -> Document:
    """Give the response object as it is when nothing has been said yet."""
    asked = request.document
    echoed = {
        name: default if asked.get(name) is None else asked[name]
        for name, default in _ECHOED.items()
    }
    reasoning = hub.mapping(asked.get("reasoning"))
    return {
        "id": answer_id,
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "text": {"format": {"type": "text"}, **hub.mapping(asked.get("text"))},
        "usage": None,
        **echoed,
    }


def closed(
    unfinished: Document, output: list[Document], reason: str | None, usage: Usage | None
) -> Document:
    """Give the response object as it is at the end."""
    why = _INCOMPLETE.get(reason or "")
    return {
        **unfinished,
        "status": status(reason),
        "incomplete_details": None if why is None else {"reason": why},
        "output": output,
        "usage": None if usage is None else usage_member(usage),
    }


def status(reason: str | None) -> str:
    """Give the status of an answer that ended for a reason of the hub."""
    return "incomplete" if reason in _INCOMPLETE else "completed"


def usage_member(usage: Usage) -> Document:
    """Give the usage in this API's words."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_read,
            "cache_write_tokens": usage.cached_write,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


# Items ---------------------------------------------------------------------
def wants_summary(request: ChatRequest) -> bool:
    """Whether reasoning is to be told as a summary, rather than as its text."""
    return bool(hub.mapping(request.document.get("reasoning")).get("summary"))


def reasoning_part(text: str, *, summary: bool) -> Document:
    """Give the one part of a reasoning item."""
    return {"type": "summary_text" if summary else "reasoning_text", "text": text}


def reasoning_item(item_id: str, text: str | None, state: str, *, summary: bool) -> Document:
    """Give a reasoning item; with no part yet, if *text* is ``None``."""
    parts = [] if text is None else [reasoning_part(text, summary=summary)]
    item: Document = {"id": item_id, "type": "reasoning", "summary": parts if summary else []}
    if not summary:
        item["content"] = parts
    return {**item, "status": state}


def text_part(text: str, logprobs: list[Any] | None = None) -> Document:
    """Give a part with what the model said."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs or []}


def refusal_part(text: str) -> Document:
    """Give a part with what the model said instead."""
    return {"type": "refusal", "refusal": text}


def message_item(item_id: str, parts: list[Document], state: str) -> Document:
    """Give a message item."""
    return {
        "id": item_id,
        "type": "message",
        "role": "assistant",
        "status": state,
        "content": parts,
    }


def call_item(item_id: str, call_id: str, name: str, arguments: str, state: str) -> Document:
    """Give a function call item."""
    return {
        "id": item_id,
        "type": "function_call",
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        "status": state,
    }


def whole(answer: Document, request: ChatRequest) -> Document:
    """Give the response object of a whole hub answer."""
    choice = hub.first_choice(answer)
    reason = choice.get("finish_reason")
    began = response(request, hub.new_id("resp_"), hub.text(answer.get("model")), hub.stamp(answer))
    usage = hub.usage_of(answer.get("usage"))
    return closed(began, _output(choice, request), reason, usage)


def _output(choice: Document, request: ChatRequest) -> list[Document]:
    message = hub.mapping(choice.get("message"))
    state = status(choice.get("finish_reason"))
    output = []
    reasoning = hub.reasoning(message)
    if reasoning:
        item_id, summary = hub.new_id("rs_"), wants_summary(request)
        output.append(reasoning_item(item_id, reasoning, "completed", summary=summary))
    parts = _parts(message, choice)
    if parts:
        output.append(message_item(hub.new_id("msg_"), parts, state))
    for call in hub.objects(message.get("tool_calls")):
        function = hub.mapping(call.get("function"))
        name, arguments = hub.text(function.get("name")), hub.text(function.get("arguments"))
        if not arguments and state == "completed":
            arguments = "{}"
        call_id = hub.text(call.get("id")) or hub.new_id("call_")
        output.append(call_item(hub.new_id("fc_"), call_id, name, arguments, state))
    return output


def _parts(message: Document, choice: Document) -> list[Document]:
    parts = []
    content = hub.plain_text(message.get("content"))
    if content:
        logprobs = hub.mapping(choice.get("logprobs")).get("content")
        parts.append(text_part(content, logprobs if isinstance(logprobs, list) else None))
    refusal = hub.text(message.get("refusal"))
    if refusal:
        parts.append(refusal_part(refusal))
    return parts
