"""
Bodies of Ollama clients, read into hub requests.

Ollama has no ids for tool calls: a made-up one says where the call stands in
the conversation (``call_2_0``: first call of the third message), so that it is
the same in every later turn, and each ``tool`` message is matched with the
oldest unanswered call of its ``tool_name``.
"""

from __future__ import annotations

from typing import Any

from lmgateway.chat import Document
from lmgateway.dialects import hub, ollama_options
from lmgateway.dialects.document import encode
from lmgateway.errors import MalformedRequest

_ROLES = ("system", "user", "assistant", "tool")  # no set: what is sent may be unhashable
_PASSED = ("keep_alive", "logprobs", "top_logprobs")
_SAID = frozenset(
    {
        *_PASSED,
        "dimensions",
        "format",
        "images",
        "input",
        "messages",
        "model",
        "options",
        "prompt",
        "stream",
        "system",
        "think",
        "tools",
    }
)
_ONLY = (("suffix", str), ("template", str), ("raw", bool), ("context", list))


def chat(document: Document) -> Document:
    """Give the hub form of an ``/api/chat`` body."""
    request = _shared(document)
    request["messages"] = _Messages().read(hub.items(document, "messages"))
    tools = hub.items(document, "tools")
    if tools:
        request["tools"] = tools
    return request


def generate(document: Document) -> Document:
    """Give the hub form of an ``/api/generate`` body: at most a system and a user message."""
    request = _shared(document)
    prompt = hub.member(document, "prompt", str) or ""
    system = hub.member(document, "system", str)
    content = _with_images(prompt, document, "")
    request["messages"] = [{"role": "system", "content": system}] if system else []
    if content:
        request["messages"].append({"role": "user", "content": content})
    return request


def diagonal_only(document: Document) -> str | None:
    """Give the member of an ``/api/generate`` body that only Ollama can honour."""
    for name, kind in _ONLY:
        if hub.member(document, name, kind):
            return name
    return None


def unsaid(document: Document) -> tuple[str, ...]:
    """Give the members that the hub has no word for (``truncate``), in order."""
    names = document.keys() - _SAID - {name for name, _ in _ONLY}
    return tuple(sorted(name for name in names if document[name] is not None))


def embeddings(document: Document) -> Document:
    """Give the hub form of an ``/api/embed`` or (with ``prompt``) ``/api/embeddings`` body."""
    value = document.get("input", document.get("prompt"))
    if not isinstance(value, str | list):
        name = "prompt" if "prompt" in document else "input"
        raise MalformedRequest(f"The member {name!r} must be text or texts.", param=name)
    if isinstance(value, list) and not all(isinstance(item, str) for item in value):
        raise MalformedRequest("Each of 'input' must be a string.", param="input")
    options = hub.member(document, "options", dict)
    return {
        "model": document.get("model"),
        "input": value,
        "encoding_format": "float",
        **hub.kept(document, ("dimensions", "keep_alive")),
        **({"options": options} if options else {}),
    }


def _shared(document: Document) -> Document:
    request: Document = {"model": hub.model_of(document), "stream": streams(document)}
    request.update(ollama_options.to_hub(hub.member(document, "options", dict) or {}))
    request.update(hub.kept(document, _PASSED))
    request.update(_thinking(document.get("think")))
    request.update(_format(document.get("format")))
    return request


def streams(document: Document) -> bool:
    """Whether the answer is to be streamed: yes, unless the client says no, as Ollama does."""
    return hub.member(document, "stream", bool) is not False


def _thinking(think: Any) -> Document:
    if think is None or think == "":
        return {}
    if isinstance(think, bool):
        return {"think": think}
    if isinstance(think, str):
        return {"reasoning_effort": think}
    raise MalformedRequest("The member 'think' must be a boolean or a level.", param="think")


def _format(value: Any) -> Document:
    if value is None or value == "":
        return {}
    if value == "json":
        return {"response_format": {"type": "json_object"}}
    if isinstance(value, dict):
        schema = {"name": "response", "schema": value}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    raise MalformedRequest("The member 'format' must be 'json' or a JSON schema.", param="format")


class _Messages:
    """Reads a conversation, remembering the calls that no tool has answered yet."""

    def __init__(self) -> None:
        self._open: list[tuple[str, str]] = []

    def read(self, messages: list[Document]) -> list[Document]:
        """Give the hub's messages."""
        return [self._message(number, message) for number, message in enumerate(messages)]

    def _message(self, number: int, message: Document) -> Document:
        where = f"messages[{number}]."
        role = message.get("role")
        if role not in _ROLES:
            raise MalformedRequest(
                "A message's role must be system, user, assistant or tool.", param=f"{where}role"
            )
        content = hub.member(message, "content", str, where) or ""
        said: Document = {"role": role, "content": _with_images(content, message, where)}
        if role == "tool":
            said["tool_call_id"] = self._answered(number, message)
        elif role == "assistant":
            self._assistant(number, message, said)
        return said

    def _assistant(self, number: int, message: Document, said: Document) -> None:
        thinking = hub.member(message, "thinking", str, f"messages[{number}].")
        if thinking:
            said["reasoning_content"] = thinking
        calls = [
            self._call(number, index, call)
            for index, call in enumerate(hub.items(message, "tool_calls", f"messages[{number}]."))
        ]
        if calls:
            said["tool_calls"] = calls
            said["content"] = said["content"] or None

    def _call(self, number: int, index: int, call: Document) -> Document:
        where = f"messages[{number}].tool_calls[{index}].function"
        function = call.get("function")
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise MalformedRequest("A tool call must name its function.", param=where)
        arguments = hub.arguments_object(function.get("arguments") or {})
        if arguments is None:
            raise MalformedRequest("Arguments must be an object.", param=f"{where}.arguments")
        name = function["name"]
        call_id = hub.text(call.get("id")) or f"call_{number}_{index}"
        self._open.append((call_id, name))
        return hub.tool_call(call_id, name, encode(arguments).decode())

    def _answered(self, number: int, message: Document) -> str:
        given = hub.text(message.get("tool_call_id"))
        name = hub.text(message.get("tool_name")) or hub.text(message.get("name"))
        for place, (call_id, called) in enumerate(self._open):
            if call_id == given or (not given and (not name or called == name)):
                del self._open[place]
                return call_id
        return given or f"call_{number}"


def _with_images(content: str, owner: Document, where: str) -> Any:
    """Give content as text, or as parts if images come with it."""
    images = hub.member(owner, "images", list, where)
    if not images:
        return content
    parts: list[Document] = [{"type": "text", "text": content}] if content else []
    for number, image in enumerate(images):
        path = f"{where}images[{number}]"
        parts.append({"type": "image_url", "image_url": {"url": _image_url(image, path)}})
    return parts


def _image_url(image: Any, where: str) -> str:
    if isinstance(image, str):
        if hub.split_data_uri(image) is not None:
            return image
        media_type = hub.sniff_image(image)
        if media_type is not None:
            return f"data:{media_type};base64,{image}"
    raise MalformedRequest("An image must be given in base64.", param=where)
