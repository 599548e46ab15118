"""
Bodies for Ollama backends.

Hub requests are written as ``/api/chat`` and ``/api/embed`` bodies; on the
lossless diagonal, an Ollama client's own bytes are edited.
"""

from __future__ import annotations

from typing import Any

from lmgateway.chat import ChatRequest, Document, Overrides
from lmgateway.dialects import hub, ollama_options
from lmgateway.dialects.base import Quirks
from lmgateway.dialects.document import encode, splice
from lmgateway.errors import Unsupported

_SAID = frozenset(
    {
        *ollama_options.NAMED,
        "dimensions",
        "encoding_format",
        "input",
        "keep_alive",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "model",
        "n",
        "options",
        "reasoning_effort",
        "response_format",
        "stream",
        "stream_options",
        "think",
        "thinking",
        "tools",
        "top_logprobs",
    }
)
_LEVELS: dict[str, Any] = {"none": False, "minimal": "low", "xhigh": "high"}


def dropped(request: ChatRequest) -> tuple[str, ...]:
    """Give the members of a request that Ollama has no word for, in order."""
    if request.dialect == "ollama":
        return ()
    document = request.hub
    names = {name for name in document if document[name] is not None} - _SAID
    if document.get("tool_choice") in ("auto", "none"):
        names.discard("tool_choice")
    return (*request.unsaid, *sorted(names))


def verbatim(request: ChatRequest, overrides: Overrides, quirks: Quirks) -> bytes:
    """Edit an Ollama client's own bytes."""
    document = request.document
    changes: dict[str, bytes | None] = {"model": encode(overrides.model)}
    if request.endpoint != "embeddings":
        _edit_chat(request, overrides, quirks, changes)
    changes.update((name, None) for name in quirks.drop if name in document)
    return splice(request.raw, request.spans, changes)


def _edit_chat(
    request: ChatRequest, overrides: Overrides, quirks: Quirks, changes: dict[str, bytes | None]
) -> None:
    document = request.document
    pinned = ollama_options.keep_alive(quirks)
    if pinned is not None and document.get("keep_alive") is None:
        changes["keep_alive"] = encode(pinned)
    if overrides.think is not None and document.get("think") is None:
        changes["think"] = encode(overrides.think)
    if overrides.system_prompt:
        changes.update(_with_system(request, overrides.system_prompt))
    span = request.spans.get("options")
    given = hub.mapping(document.get("options"))
    raw = request.raw[span[0] : span[1]] if span else None
    options = ollama_options.spliced(raw, given, overrides, quirks)
    if options is not None:
        changes["options"] = options


def _with_system(request: ChatRequest, prompt: str) -> dict[str, bytes]:
    document = request.document
    if request.endpoint == "generate":
        own = document.get("system")
        return {"system": encode(f"{prompt}\n\n{own}" if own else prompt)}
    return {"messages": encode(hub.with_system(document.get("messages") or [], prompt))}


def translated(request: ChatRequest, overrides: Overrides, quirks: Quirks) -> bytes:
    """Give the body for a hub request of any other grammar."""
    hub.refuse_diagonal_only(request, "ollama")
    if request.endpoint == "embeddings":
        body = _embed(request.hub, overrides)
    else:
        body = _chat(request, overrides, quirks)
    return encode({name: value for name, value in body.items() if name not in quirks.drop})


def _chat(request: ChatRequest, overrides: Overrides, quirks: Quirks) -> Document:
    document = request.hub
    if (document.get("n") or 1) != 1:
        raise Unsupported("This model's backend gives one answer only.", param="n")
    hub.refuse_old_and_audible(document)
    messages = document.get("messages") or []
    if overrides.system_prompt:
        messages = hub.with_system(messages, overrides.system_prompt)
    body: Document = {
        "model": overrides.model,
        "messages": _messages(messages),
        "stream": request.stream,
        **hub.kept(document, ("logprobs", "top_logprobs")),
        **_tools(document),
        **_format(hub.mapping(document.get("response_format"))),
        **_thinking(document, overrides),
    }
    options = ollama_options.from_hub(document, overrides, quirks)
    if options:
        body["options"] = options
    keep_alive = document.get("keep_alive")
    pinned = ollama_options.keep_alive(quirks) if keep_alive is None else keep_alive
    if pinned is not None:
        body["keep_alive"] = pinned
    return body


def _embed(document: Document, overrides: Overrides) -> Document:
    given = document.get("input")
    texts = given if isinstance(given, list) else [given]
    if not all(isinstance(item, str) for item in texts):
        raise Unsupported("This model's backend takes text only.", param="input")
    extras = hub.kept(document, ("dimensions", "keep_alive", "options"))
    return {"model": overrides.model, "input": given, **extras}


def _tools(document: Document) -> Document:
    tools = hub.objects(document.get("tools"))
    if not tools or document.get("tool_choice") == "none":
        return {}
    for number, tool in enumerate(tools):
        if tool.get("type", "function") != "function":
            raise Unsupported(
                "This model's backend takes functions only.", param=f"tools[{number}].type"
            )
    return {
        "tools": [{"type": "function", "function": hub.mapping(t.get("function"))} for t in tools]
    }


def _format(wanted: Document) -> Document:
    if wanted.get("type") == "json_schema":
        schema = hub.mapping(wanted.get("json_schema")).get("schema")
        return {"format": schema if isinstance(schema, dict) else "json"}
    return {"format": "json"} if wanted.get("type") == "json_object" else {}


def _thinking(document: Document, overrides: Overrides) -> Document:
    think = document.get("think")
    effort = document.get("reasoning_effort")
    if think is None and isinstance(effort, str):
        think = _LEVELS.get(effort, effort)
    if think is None:
        think = overrides.think
    return {} if think is None else {"think": think}


def _messages(messages: list[Any]) -> list[Document]:
    names: dict[str, str] = {}
    return [_message(f"messages[{n}]", message, names) for n, message in enumerate(messages)]


def _message(where: str, message: Document, names: dict[str, str]) -> Document:
    role = message.get("role")
    text, images = _content(message.get("content"), f"{where}.content")
    if role == "assistant":
        return _assistant(where, message, text, names)
    said: Document = {"role": "system" if role == "developer" else role, "content": text}
    if role == "tool":
        name = names.get(hub.text(message.get("tool_call_id"))) or message.get("name")
        if name:
            said["tool_name"] = name
    elif role not in ("system", "developer", "user"):
        raise Unsupported(f"This model's backend has no role {role!r}.", param=f"{where}.role")
    if images:
        said["images"] = images
    return said


def _assistant(where: str, message: Document, text: str, names: dict[str, str]) -> Document:
    said: Document = {"role": "assistant", "content": text or hub.text(message.get("refusal"))}
    thinking = hub.reasoning(message)
    if thinking:
        said["thinking"] = thinking
    calls = hub.objects(message.get("tool_calls"))
    if calls:
        said["tool_calls"] = [
            _call(f"{where}.tool_calls[{number}]", call, names) for number, call in enumerate(calls)
        ]
    return said


def _call(where: str, call: Document, names: dict[str, str]) -> Document:
    function = hub.mapping(call.get("function"))
    name = hub.text(function.get("name"))
    arguments = hub.arguments_object(function.get("arguments"))
    if not name or arguments is None:
        raise Unsupported(
            "This model's backend takes calls of functions with an object of arguments only.",
            param=f"{where}.function",
        )
    names[hub.text(call.get("id"))] = name
    return {"function": {"name": name, "arguments": arguments}}


def _content(content: Any, where: str) -> tuple[str, list[str]]:
    """Give the text and the base64 images of a message's content."""
    if not isinstance(content, list):
        return hub.text(content), []
    texts: list[str] = []
    images: list[str] = []
    for number, part in enumerate(hub.objects(content)):
        kind = part.get("type")
        if kind in ("text", "refusal"):
            texts.append(hub.text(part.get(kind)))
        elif kind == "image_url":
            images.append(_image(part.get("image_url"), f"{where}[{number}].image_url"))
        else:
            raise Unsupported(
                f"This model's backend takes no {kind!r} parts.", param=f"{where}[{number}].type"
            )
    return "\n".join(texts), images


def _image(image: Any, where: str) -> str:
    url = image if isinstance(image, str) else hub.text(hub.mapping(image).get("url"))
    data = hub.split_data_uri(url)
    if data is None:
        raise Unsupported(
            "This model's backend takes images as data URIs only; none is fetched.", param=where
        )
    return data[1]
