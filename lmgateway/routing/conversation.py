"""What identifies a conversation, for what must stay the same throughout it."""

from __future__ import annotations

from hashlib import blake2b

from lmgateway.chat import Document
from lmgateway.dialects.document import encode
from lmgateway.exchange import Exchange
from lmgateway.routing.needs import messages_of


def conversation_of(exchange: Exchange) -> str:
    """Give the same key for every turn: who asks, and what was said first."""
    request = exchange.request
    assert request is not None, "only parsed requests are routed"
    return _digest(exchange, _opening(request.hub))


def question_of(exchange: Exchange) -> str:
    """Give the same key for the calls of one question: all that was said, up to the question."""
    request = exchange.request
    assert request is not None, "only parsed requests are routed"
    messages = messages_of(request.hub)
    while messages and messages[-1].get("role") != "user":
        messages.pop()
    return _digest(exchange, messages)


def is_tool_turn(hub: Document) -> bool:
    """Tell whether the client sends the results of tools: the question was asked before."""
    messages = messages_of(hub)
    return bool(messages) and messages[-1].get("role") in ("tool", "function")


def _opening(hub: Document) -> object:
    opening = []
    for message in messages_of(hub):
        opening.append(message)
        if message.get("role") == "user":
            break
    return opening or hub.get("prompt") or hub.get("input")


def _digest(exchange: Exchange, said: object) -> str:
    principal = exchange.principal
    who = exchange.peer if principal is None or principal.anonymous else principal.name
    return blake2b(encode([who, said]), digest_size=16).hexdigest()
