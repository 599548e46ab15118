"""
Anthropic's Messages request, read into the hub.

==============================  =====================================================
Anthropic                       hub
==============================  =====================================================
``model``                       ``model``; absent is left absent
``max_tokens``                  ``max_tokens``; required, but for ``count_tokens``
``system``: text or blocks      first message, role ``system``
message, role ``system``        the same, in its place
``text``                        text part; a lone bare one becomes plain text, and an
                                assistant's are joined
``image`` base64, url           ``image_url`` part, as data URI or as it is
``document`` base64, url, text  ``file`` part: ``file_data`` as data URI, or ``file_url``;
                                ``title`` is ``filename``
``document`` of blocks          its blocks, in its place
``tool_use``                    ``tool_calls[]``, arguments as JSON text
``tool_result``                 message of role ``tool``, before the rest of its turn;
                                what is not text follows in the user's message, since
                                OpenAI's tool messages hold text alone
``is_error``                    extension ``is_error``
``thinking``                    ``reasoning_content`` and, signed, ``thinking_blocks``
``redacted_thinking``           ``thinking_blocks``
``cache_control``               extension on the part or tool
tool with ``input_schema``      ``function`` tool; ``strict`` kept
other (server) tools            ``opaque``, as are their blocks, ``mcp_servers``, files
                                by id and search results: the request is
                                ``diagonal_only``
``tool_choice``                 ``auto``, ``any`` -> ``required``, ``none``, ``tool`` ->
                                ``{"type": "function"}``
``disable_parallel_tool_use``   ``parallel_tool_calls``: false
``stop_sequences``              ``stop``
``temperature`` ``top_p``       the same
``top_k``                       extension ``top_k``
``metadata.user_id``            ``user``
``thinking``                    extension ``thinking``; a budget up to 2048 is
                                ``reasoning_effort`` ``low``, up to 8192 ``medium``, more
                                is ``high``; ``disabled`` is the extension ``think``: false
``output_config.effort``        ``reasoning_effort``; wins over the budget
``output_config.format``        ``response_format`` ``json_schema``; ``output_format``
                                was its first name
``stream``                      ``stream``
==============================  =====================================================

Any other member is for Anthropic alone: ``unsaid`` names it.
"""

from __future__ import annotations

from typing import Any

from lmgateway.chat import ChatRequest, Document, Endpoint
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
from lmgateway.dialects.anthropic_content import (
    assistant_message,
    opaque,
    system_message,
    user_messages,
)
from lmgateway.dialects.hub import objects

_SAID = frozenset(
    {
        "max_tokens",
        "mcp_servers",
        "messages",
        "metadata",
        "model",
        "output_config",
        "output_format",
        "stop_sequences",
        "stream",
        "system",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
    }
)
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_LOW, _MEDIUM = 2048, 8192


def parse(raw: bytes, endpoint: Endpoint) -> ChatRequest:
    """
    Read a client's body.

    Raises:
        MalformedRequest: With ``param``, whatever is wrong with it.
    """
    body, spans = documents.read(raw)
    hub: Document = {}
    model = body.get("model")
    if model is not None:
        hub["model"] = text_at(model, "model")
    if endpoint != "count_tokens" or "max_tokens" in body:
        hub["max_tokens"] = integer_at(body.get("max_tokens"), "max_tokens")
    hub["messages"] = _messages(body)
    _read_tools(body, hub)
    _read_sampling(body, hub)
    _read_reasoning(body, hub)
    _read_format(body, hub)
    stream = body.get("stream")
    if stream is not None and type(stream) is not bool:
        refuse("stream", "must be true or false")
    if stream:
        hub["stream"] = True
    return ChatRequest(
        dialect="anthropic",
        endpoint=endpoint,
        raw=raw,
        document=body,
        spans=spans,
        hub=hub,
        model=model,
        stream=bool(stream),
        wants_usage=True,
        diagonal_only=_diagonal_only(hub),
        unsaid=unsaid(body),
    )


def unsaid(body: Document) -> tuple[str, ...]:
    """Name the members of an Anthropic body that its hub form leaves out."""
    return tuple(sorted(key for key in body if key not in _SAID and body[key] is not None))


def _diagonal_only(hub: Document) -> str | None:
    for tool in hub.get("tools") or ():
        if tool["type"] == "opaque":
            return str(tool["name"])
    for message in hub["messages"]:
        for part in objects(message.get("content")):
            if part["type"] == "opaque":
                return str(part["name"])
    return None


def _messages(body: Document) -> list[Document]:
    messages = []
    if body.get("system") is not None:
        messages += system_message(body["system"], "system")
    if not list_at(body.get("messages"), "messages"):
        refuse("messages", "must hold at least one message")
    for message, where in objects_at(body["messages"], "messages"):
        role, content = message.get("role"), message.get("content")
        if role == "user":
            messages += user_messages(content, where)
        elif role == "assistant":
            messages.append(assistant_message(content, where))
        elif role == "system":
            messages += system_message(content, f"{where}.content")
        else:
            refuse(f"{where}.role", "must be 'user', 'assistant' or 'system'")
    return messages


def _read_tools(body: Document, hub: Document) -> None:
    tools = []
    if body.get("tools") is not None:
        tools = [_tool(tool, where) for tool, where in objects_at(body["tools"], "tools")]
    if body.get("mcp_servers"):
        tools.append(opaque("mcp_servers"))
    if tools:
        hub["tools"] = tools
    if body.get("tool_choice") is not None:
        _read_choice(object_at(body["tool_choice"], "tool_choice"), hub)


def _tool(tool: Document, where: str) -> Document:
    kind = tool.get("type")
    if kind not in (None, "custom"):
        return opaque(where)
    schema = object_at(tool.get("input_schema"), f"{where}.input_schema")
    name = text_at(tool.get("name"), f"{where}.name")
    function: Document = {"name": name, "parameters": schema}
    if tool.get("description") is not None:
        function["description"] = text_at(tool["description"], f"{where}.description")
    if tool.get("strict") is True:
        function["strict"] = True
    made: Document = {"type": "function", "function": function}
    if tool.get("cache_control") is not None:
        made["cache_control"] = tool["cache_control"]
    return made


def _read_choice(choice: Document, hub: Document) -> None:
    kind = choice.get("type")
    if kind == "tool":
        name = text_at(choice.get("name"), "tool_choice.name")
        hub["tool_choice"] = {"type": "function", "function": {"name": name}}
    elif isinstance(kind, str) and kind in _CHOICES:
        hub["tool_choice"] = _CHOICES[kind]
    else:
        refuse("tool_choice.type", "must be 'auto', 'any', 'tool' or 'none'")
    if choice.get("disable_parallel_tool_use") is True:
        hub["parallel_tool_calls"] = False


def _read_sampling(body: Document, hub: Document) -> None:
    for name in ("temperature", "top_p"):
        if body.get(name) is not None:
            hub[name] = body[name] if is_number(body[name]) else refuse(name, "must be a number")
    if body.get("top_k") is not None:
        hub["top_k"] = integer_at(body["top_k"], "top_k")
    if body.get("stop_sequences") is not None:
        stops = list_at(body["stop_sequences"], "stop_sequences")
        for number, stop in enumerate(stops):
            text_at(stop, f"stop_sequences[{number}]")
        if stops:
            hub["stop"] = stops
    if body.get("metadata") is not None:
        user = object_at(body["metadata"], "metadata").get("user_id")
        if user is not None:
            hub["user"] = text_at(user, "metadata.user_id")


def _read_reasoning(body: Document, hub: Document) -> None:
    if body.get("thinking") is not None:
        thinking = object_at(body["thinking"], "thinking")
        hub["thinking"] = thinking
        if text_at(thinking.get("type"), "thinking.type") == "enabled":
            budget = integer_at(thinking.get("budget_tokens"), "thinking.budget_tokens", 1)
            hub["reasoning_effort"] = (
                "low" if budget <= _LOW else "medium" if budget <= _MEDIUM else "high"
            )
        elif thinking["type"] == "disabled":
            hub["think"] = False
    effort = _output_config(body).get("effort")
    if effort is not None:
        hub["reasoning_effort"] = text_at(effort, "output_config.effort")


def _read_format(body: Document, hub: Document) -> None:
    where, wanted = "output_config.format", _output_config(body).get("format")
    if wanted is None:
        where, wanted = "output_format", body.get("output_format")
    if wanted is None:
        return
    if object_at(wanted, where).get("type") != "json_schema":
        refuse(f"{where}.type", "must be 'json_schema'")
    schema = object_at(wanted.get("schema"), f"{where}.schema")
    hub["response_format"] = {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": schema, "strict": True},
    }


def _output_config(body: Document) -> dict[str, Any]:
    config = body.get("output_config")
    return {} if config is None else object_at(config, "output_config")
