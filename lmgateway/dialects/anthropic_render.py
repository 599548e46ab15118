"""
A body for a backend that speaks Anthropic's Messages.

On the diagonal (an Anthropic client) the client's bytes are kept but for

- ``model``;
- ``system``, where the gateway has a prompt to put before it: text stays text, an array stays
  an array, its blocks and their cache marks untouched;
- thinking blocks with an empty signature: they are this gateway's own (another model's
  reasoning, shown to the client as thinking), and Anthropic refuses them;
- members that the backend's quirks say it refuses.

``max_tokens`` is always the client's: Anthropic's grammar requires it.

From the hub:

=========================================  ========================================================
hub                                        Anthropic
=========================================  ========================================================
messages                                   see ``anthropic_turns``; roles ``system`` and
                                           ``developer`` go to ``system``, joined by a blank line
                                           (or as blocks, if one of them is an array)
``max_completion_tokens``, ``max_tokens``  ``max_tokens``; else the gateway's bound; else 8192
``stop``                                   ``stop_sequences``, as a list, without blank ones
``temperature``                            the same, at most 1
``top_p``                                  the same, but dropped beside ``temperature``: newer
                                           models refuse the two together
``top_k``, ``stream``                      the same
``user``, ``safety_identifier``            ``metadata.user_id``
``tools[].function``                       ``name``, ``description``, ``input_schema``, ``strict``
``tool_choice``                            ``none``, ``auto``, ``required`` -> ``any``, function ->
                                           ``tool``
``parallel_tool_calls: false``             ``disable_parallel_tool_use``
``response_format``                        ``json_schema`` -> ``output_config.format``;
                                           ``json_object`` -> a sentence at the end of ``system``
``reasoning_effort`` (or                   models from Claude 4.6 on: ``thinking`` ``adaptive`` and
Ollama's ``think``)                        ``output_config.effort``; others: ``thinking``
                                           ``enabled`` with a budget of 1024 (minimal), 2048 (low),
                                           8192 (medium), 24576 (high), 32768 (more), always below
                                           ``max_tokens``
=========================================  ========================================================

With thinking on, ``temperature``, ``top_p`` and ``top_k`` are dropped, and where a tool is
forced thinking is: Anthropic refuses either pair.  So it does thinking with a budget where an
assistant's turn without signed thinking is to go on (tool results, a prefill): thinking is
dropped there.  ``dropped`` names whatever of a hub request is left out; audio, several answers
(``n``), custom tools and other grammars' own things are refused.
``Overrides.think`` says nothing here: thinking costs a budget that the client must name.
"""

from __future__ import annotations

import re
from typing import Any

from lmgateway.chat import ChatRequest, Document, Overrides
from lmgateway.dialects import document as documents
from lmgateway.dialects.anthropic_checks import (
    integer_at,
    is_number,
    list_at,
    object_at,
    objects_at,
    refuse,
    text_at,
)
from lmgateway.dialects.anthropic_turns import read_turns
from lmgateway.dialects.base import Quirks
from lmgateway.dialects.hub import refuse_diagonal_only, refuse_old_and_audible
from lmgateway.errors import Unsupported

MAX_TOKENS = 8192
"""The output bound where neither the client nor the gateway set one."""

_JSON = "Answer with one JSON object and nothing else: no prose, no code fence."
_EFFORTS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 24576}
_MOST, _LEAST = 32768, 1024
_ADAPTIVE = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh"}
_VERSION = re.compile(r"claude-[a-z]+-(\d{1,2})(?:[.-](\d{1,2}))?(?!\d)")
_CHOICES = {"auto": "auto", "required": "any", "none": "none"}

_SAID = frozenset(
    {
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "model",
        "n",
        "parallel_tool_calls",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "stop",
        "stream",
        "stream_options",
        "temperature",
        "think",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
        "user",
    }
)
_MEANS_NOTHING: tuple[tuple[str, object], ...] = (
    ("logprobs", False),
    ("store", False),
    ("frequency_penalty", 0),
    ("presence_penalty", 0),
    ("logit_bias", {}),
    ("metadata", {}),
    ("modalities", ["text"]),
    ("service_tier", "auto"),
)


def render(request: ChatRequest, overrides: Overrides, quirks: Quirks) -> bytes:
    """
    Give the body for a backend.

    Raises:
        MalformedRequest: If the hub request is not well formed where it must be read.
        Unsupported: If it says what this grammar cannot.
    """
    if request.dialect == "anthropic":
        return _spliced(request, overrides, quirks)
    refuse_diagonal_only(request, "anthropic")
    body = _rendered(request.hub, overrides)
    for name in quirks.drop:
        body.pop(name, None)
    return documents.encode(body)


def dropped(hub: Document, overrides: Overrides | None = None) -> tuple[str, ...]:
    """Name the members of a hub request that Anthropic's grammar cannot say, to one model."""
    out = {
        name
        for name, value in hub.items()
        if name not in _SAID and value is not None and (name, value) not in _MEANS_NOTHING
    }
    overrides = overrides or Overrides(model="")
    thinks = bool(_reasoning(hub, overrides.model, _max_tokens(hub, overrides)))
    if not thinks and _effort(hub) is not None:
        out |= {name for name in ("reasoning_effort", "think") if hub.get(name) is not None}
    for name in ("temperature", "top_p", "top_k"):
        if thinks and hub.get(name) is not None:
            out.add(name)
    if hub.get("top_p") is not None and hub.get("temperature") is not None:
        out.add("top_p")
    if isinstance(hub.get("stop"), str | list) and len(_stops(hub)) < len(_listed(hub["stop"])):
        out.add("stop")
    return tuple(sorted(out))


# The diagonal --------------------------------------------------------------
def _spliced(request: ChatRequest, overrides: Overrides, quirks: Quirks) -> bytes:
    changes: dict[str, bytes | None] = {"model": documents.encode(overrides.model)}
    if overrides.system_prompt:
        changes["system"] = _prepended(request, overrides.system_prompt)
    if b'"thinking"' in request.raw and any(map(_has_unsigned, request.document["messages"])):
        signed = [_without_unsigned(message) for message in request.document["messages"]]
        changes["messages"] = documents.encode([message for message in signed if message])
    changes.update({name: None for name in quirks.drop if name in request.spans})
    return documents.splice(request.raw, request.spans, changes)


def _prepended(request: ChatRequest, prompt: str) -> bytes:
    system = request.document.get("system")
    if not system:
        return documents.encode(prompt)
    if isinstance(system, str):
        return documents.encode(f"{prompt}\n\n{system}")
    start, end = request.spans["system"]
    block = documents.encode({"type": "text", "text": prompt})
    return b"[" + block + b"," + request.raw[start + 1 : end]


def _is_unsigned(block: Document) -> bool:
    return block.get("type") == "thinking" and not block.get("signature")


def _has_unsigned(message: Document) -> bool:
    content = message["content"]
    return isinstance(content, list) and any(map(_is_unsigned, content))


def _without_unsigned(message: Document) -> Document | None:
    if not _has_unsigned(message):
        return message
    content = [block for block in message["content"] if not _is_unsigned(block)]
    return {**message, "content": content} if content else None


# From the hub --------------------------------------------------------------
def _rendered(hub: Document, overrides: Overrides) -> Document:
    if not isinstance(hub.get("messages"), list):
        raise Unsupported("This backend holds conversations only.", param="messages")
    if (hub.get("n") or 1) != 1:
        raise Unsupported("This model's backend gives one answer only.", param="n")
    refuse_old_and_audible(hub)
    system, turns = read_turns(hub["messages"])
    if not turns:
        raise Unsupported("This backend needs a message that is not a system prompt.")
    body: Document = {
        "model": overrides.model,
        "max_tokens": _max_tokens(hub, overrides),
        "messages": turns,
    }
    if hub.get("stream"):
        body["stream"] = True
    _add_sampling(hub, body)
    _add_tools(hub, body)
    _add_format(hub, body, system)
    _add_reasoning(hub, body)
    if overrides.system_prompt:
        system.insert(0, {"type": "text", "text": overrides.system_prompt})
    if system:
        body["system"] = _system(hub, system)
    return body


def _system(hub: Document, blocks: list[Document]) -> str | list[Document]:
    was_array = any(
        isinstance(message.get("content"), list)
        for message in hub["messages"]
        if message.get("role") in ("system", "developer")
    )
    return blocks if was_array else "\n\n".join(block["text"] for block in blocks)


def _max_tokens(hub: Document, overrides: Overrides) -> int:
    for name in ("max_completion_tokens", "max_tokens"):
        if hub.get(name) is not None:
            return integer_at(hub[name], name)
    return overrides.max_tokens or MAX_TOKENS


def _add_sampling(hub: Document, body: Document) -> None:
    temperature, top_p = hub.get("temperature"), hub.get("top_p")
    if temperature is not None:
        if not is_number(temperature):
            refuse("temperature", "must be a number")
        body["temperature"] = min(max(temperature, 0), 1)
    elif top_p is not None:
        body["top_p"] = top_p if is_number(top_p) else refuse("top_p", "must be a number")
    if hub.get("top_k") is not None:
        body["top_k"] = hub["top_k"]
    if hub.get("stop") is not None and (stops := _stops(hub)):
        body["stop_sequences"] = stops
    user = hub.get("user") or hub.get("safety_identifier")
    if user:
        body["metadata"] = {"user_id": text_at(user, "user")}


def _listed(stop: object) -> list[Any]:
    return [stop] if isinstance(stop, str) else list_at(stop, "stop")


def _stops(hub: Document) -> list[str]:
    return [stop for stop in _listed(hub["stop"]) if text_at(stop, "stop").strip()]


def _add_tools(hub: Document, body: Document) -> None:
    if not hub.get("tools"):
        return
    body["tools"] = [_tool(tool, where) for tool, where in objects_at(hub["tools"], "tools")]
    choice = _choice(hub.get("tool_choice"))
    if hub.get("parallel_tool_calls") is False and choice != {"type": "none"}:
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    if choice:
        body["tool_choice"] = choice


def _tool(tool: Document, where: str) -> Document:
    if tool.get("type", "function") != "function":
        raise Unsupported(f"{where}: only function tools.", param=f"{where}.type")
    function = object_at(tool.get("function"), f"{where}.function")
    made: Document = {"name": text_at(function.get("name"), f"{where}.function.name")}
    if function.get("description"):
        made["description"] = text_at(function["description"], f"{where}.function.description")
    schema = function.get("parameters") or {"properties": {}}
    made["input_schema"] = {"type": "object", **object_at(schema, f"{where}.function.parameters")}
    if function.get("strict") is True:
        made["strict"] = True
    if "cache_control" in tool:
        made["cache_control"] = tool["cache_control"]
    return made


def _choice(choice: object) -> Document | None:
    if choice is None:
        return None
    if isinstance(choice, str):
        return {"type": _CHOICES.get(choice) or refuse("tool_choice", "is not known")}
    wanted = object_at(choice, "tool_choice")
    if wanted.get("type") != "function":
        raise Unsupported("Only a function can be chosen.", param="tool_choice.type")
    function = object_at(wanted.get("function"), "tool_choice.function")
    return {"type": "tool", "name": text_at(function.get("name"), "tool_choice.function.name")}


def _add_format(hub: Document, body: Document, system: list[Document]) -> None:
    wanted = hub.get("response_format")
    if wanted is None:
        return
    kind = object_at(wanted, "response_format").get("type")
    if kind == "json_object":
        system.append({"type": "text", "text": _JSON})
    elif kind == "json_schema":
        where = "response_format.json_schema"
        schema = object_at(wanted.get("json_schema"), where).get("schema")
        schema = object_at(schema, f"{where}.schema")
        body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    elif kind != "text":
        refuse("response_format.type", "must be 'text', 'json_object' or 'json_schema'")


def _effort(hub: Document) -> str | None:
    effort = hub.get("reasoning_effort")
    if effort is None:
        think = hub.get("think")
        effort = "medium" if think is True else think or None
    return None if effort in (None, "none") else text_at(effort, "reasoning_effort")


def _forces_tool(hub: Document) -> bool:
    choice = hub.get("tool_choice")
    return bool(hub.get("tools")) and (isinstance(choice, dict) or choice == "required")


def _goes_on_unthought(messages: list[Any]) -> bool:
    """Whether the last turn is an assistant's, or tools' for one, that shows no signed thinking."""
    if not messages or messages[-1].get("role") not in ("assistant", "tool"):
        return False
    turns = [message for message in messages if message.get("role") == "assistant"]
    blocks = turns[-1].get("thinking_blocks") or () if turns else ()
    return not any(b.get("signature") or b.get("type") == "redacted_thinking" for b in blocks)


def _reasoning(hub: Document, model: str, bound: int) -> Document:
    """Give the members that ask for thinking; none where it is not wanted or has no place."""
    effort = _effort(hub)
    if effort is None or _forces_tool(hub):
        return {}
    version = _VERSION.search(model)
    if version and (int(version[1]), int(version[2] or 0)) >= (4, 6):
        effort = _ADAPTIVE.get(effort, "max")
        return {"thinking": {"type": "adaptive"}, "output_config": {"effort": effort}}
    budget = min(_EFFORTS.get(effort, _MOST), bound - 1)
    if budget < _LEAST or _goes_on_unthought(hub.get("messages") or []):
        return {}
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}


def _add_reasoning(hub: Document, body: Document) -> None:
    asked = _reasoning(hub, body["model"], body["max_tokens"])
    if not asked:
        return
    body["thinking"] = asked["thinking"]
    if "output_config" in asked:
        body["output_config"] = {**body.get("output_config", {}), **asked["output_config"]}
    for name in ("temperature", "top_p", "top_k"):
        body.pop(name, None)
