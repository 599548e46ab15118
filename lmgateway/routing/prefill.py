"""
Requests that ask a model to go on with an answer that another one began.

The answer so far becomes a last message of the assistant's.  What else a server wants to be told
differs (a tier's key ``prefill``):

==========================  ==================================================================
``message``                 nothing: Anthropic's older models, Ollama, llama.cpp, OpenRouter
``prefix``                  ``"prefix": true`` in that message: Mistral, DeepSeek (beta)
``continue_final_message``  that member, and ``"add_generation_prompt": false``: vLLM, SGLang
==========================  ==================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from lmgateway.chat import ChatRequest, Document
from lmgateway.dialects import hub
from lmgateway.dialects.base import Dialect
from lmgateway.dialects.document import encode, splice
from lmgateway.dialects.openai import OPENAI
from lmgateway.errors import GatewayError

Prefill: TypeAlias = Literal["message", "prefix", "continue_final_message"]

_ENDPOINTS = ("chat", "responses")


def prefilled(
    request: ChatRequest, begun: str, way: Prefill, dialects: Mapping[str, Dialect]
) -> ChatRequest | None:
    """
    Give *request* with the answer begun; ``None`` where that cannot be said.

    A structured answer is not asked for in this way: a server would hold its continuation
    against the whole of the grammar.
    """
    form = hub.mapping(request.hub.get("response_format")).get("type", "text")
    messages = hub.objects(request.hub.get("messages"))
    if not begun or form != "text" or request.endpoint not in _ENDPOINTS or not messages:
        return None
    if messages[-1].get("role") == "assistant":
        return None  # the client began the answer already
    own = dialects.get(request.dialect)
    try:
        if way != "message" or own is None:
            return OPENAI.parse(encode(_document(request.hub, begun, way)), "chat")
        last = {"role": "assistant", "content": begun}
        changed = {"messages": encode([*request.document["messages"], last])}
        return own.parse(splice(request.raw, request.spans, changed), request.endpoint)
    except GatewayError:
        return None


def _document(asked: Document, begun: str, way: Prefill) -> Document:
    last: Document = {"role": "assistant", "content": begun}
    if way == "prefix":
        last["prefix"] = True
    document = {**asked, "messages": [*asked["messages"], last]}
    if way == "continue_final_message":
        document |= {"continue_final_message": True, "add_generation_prompt": False}
    return document
