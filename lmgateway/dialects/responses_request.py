"""
Bodies of ``POST /v1/responses``, read into hub requests.

An item list is flat where the hub nests: the reasoning, the text and the calls
of one assistant turn are items of their own, and are put together into one
message here.
"""

from __future__ import annotations

from typing import Any

from lmgateway.chat import Document
from lmgateway.dialects import hub
from lmgateway.errors import MalformedRequest, Unsupported, UnsupportedParameter

_STATE = ("previous_response_id", "conversation", "prompt", "background", "store")
_PASSED = (
    "temperature",
    "top_p",
    "parallel_tool_calls",
    "metadata",
    "user",
    "top_logprobs",
    "service_tier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
)
_SAID = frozenset(
    {
        *_STATE,
        *_PASSED,
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "model",
        "reasoning",
        "stream",
        "stream_options",
        "text",
        "tool_choice",
        "tools",
    }
)
_ROLES = ("user", "assistant", "system", "developer")  # no set: what is sent may be unhashable


def refuse_state(document: Document) -> None:
    """
    Refuse what needs answers to be kept: this gateway keeps none.

    Raises:
        UnsupportedParameter: Naming the member.
    """
    for name in _STATE:
        if document.get(name):
            raise UnsupportedParameter(
                f"The member {name!r} is not supported: this gateway stores no responses. "
                "Send the whole conversation as 'input'.",
                param=name,
            )


def to_hub(document: Document) -> Document:
    """Give the hub form of a body."""
    refuse_state(document)
    request: Document = {
        "model": hub.model_of(document),
        "messages": _Conversation().read(document),
        "stream": bool(hub.member(document, "stream", bool)),
        **hub.kept(document, _PASSED),
        **_reasoning(document),
        **_text(document),
        **_tools(document),
    }
    bound = hub.member(document, "max_output_tokens", int)
    if bound is not None:
        if bound < 1:
            raise MalformedRequest(
                "The member 'max_output_tokens' must be at least 1.", param="max_output_tokens"
            )
        request["max_tokens"] = bound
    wanted = hub.member(document, "include", list) or []
    if "message.output_text.logprobs" in wanted or document.get("top_logprobs"):
        request["logprobs"] = True
    return request


def unsaid(document: Document) -> tuple[str, ...]:
    """Give the members that the hub has no word for (``max_tool_calls``), in order."""
    names = document.keys() - _SAID
    if document.get("truncation") == "disabled":
        names.discard("truncation")
    return tuple(sorted(name for name in names if document[name] is not None))


def _reasoning(document: Document) -> Document:
    effort = hub.member(hub.member(document, "reasoning", dict) or {}, "effort", str, "reasoning.")
    return {"reasoning_effort": effort} if effort else {}


def _text(document: Document) -> Document:
    """Give the members for ``text``: the form of the answer, and its length."""
    text = hub.member(document, "text", dict) or {}
    said = hub.kept(text, ("verbosity",))
    form = hub.member(text, "format", dict, "text.") or {}
    kind = form.get("type", "text")
    if kind == "json_object":
        said["response_format"] = {"type": "json_object"}
    elif kind == "json_schema":
        if not isinstance(form.get("schema"), dict):
            raise MalformedRequest("A JSON schema is missing.", param="text.format.schema")
        schema = hub.kept(form, ("name", "description", "schema", "strict"))
        said["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif kind != "text":
        raise MalformedRequest(f"There is no text format {kind!r}.", param="text.format.type")
    return said


# Tools ---------------------------------------------------------------------
def _tools(document: Document) -> Document:
    tools = [
        _tool(f"tools[{number}]", tool) for number, tool in enumerate(hub.items(document, "tools"))
    ]
    choice = document.get("tool_choice")
    if choice is None:
        return {"tools": tools} if tools else {}
    if choice in ("auto", "none", "required"):
        return {"tools": tools, "tool_choice": choice} if tools else {}
    return _chosen(tools, hub.member(document, "tool_choice", dict))


def _tool(where: str, tool: Document) -> Document:
    if tool.get("type") != "function":
        raise Unsupported(
            f"Tools of type {tool.get('type')!r} are not supported: only functions are.",
            param=f"{where}.type",
        )
    if not hub.member(tool, "name", str, f"{where}."):
        raise MalformedRequest("A tool must have a name.", param=f"{where}.name")
    members = ("name", "description", "parameters", "strict")
    return {"type": "function", "function": hub.kept(tool, members)}


def _chosen(tools: list[Document], choice: Document) -> Document:
    """Give the members for a choice among the tools: one of them, or some."""
    kind = choice.get("type")
    if kind == "function":
        name = hub.member(choice, "name", str, "tool_choice.")
        return {"tools": tools, "tool_choice": {"type": "function", "function": {"name": name}}}
    if kind == "allowed_tools":
        allowed = {tool.get("name") for tool in hub.items(choice, "tools", "tool_choice.")}
        left = [tool for tool in tools if tool["function"]["name"] in allowed]
        return {"tools": left, "tool_choice": choice.get("mode", "auto")} if left else {}
    raise Unsupported(f"A tool choice of type {kind!r} is not supported.", param="tool_choice.type")


# Items ---------------------------------------------------------------------
class _Conversation:
    """Puts items together into messages."""

    def __init__(self) -> None:
        self._messages: list[Document] = []
        self._turn: Document | None = None

    def read(self, document: Document) -> list[Document]:
        """Give the hub's messages for ``instructions`` and ``input``."""
        instructions = hub.member(document, "instructions", str)
        if instructions:
            self._messages.append({"role": "system", "content": instructions})
        given = document.get("input")
        if isinstance(given, str):
            return [*self._messages, {"role": "user", "content": given}]
        items = hub.items(document, "input")
        if not items:
            raise MalformedRequest("The member 'input' must be filled.", param="input")
        for number, item in enumerate(items):
            self._item(f"input[{number}].", item)
        return self._messages

    def _item(self, where: str, item: Document) -> None:
        match item.get("type", "message"):
            case "message":
                self._message(where, item)
            case "reasoning":
                self._reasoning(item)
            case "function_call":
                self._call(where, item)
            case "function_call_output":
                self._output(where, item)
            case "item_reference":
                raise UnsupportedParameter(
                    "References to stored items are not supported.", param=f"{where}type"
                )
            case kind:
                raise Unsupported(
                    f"Items of type {kind!r} are not supported.", param=f"{where}type"
                )

    def _message(self, where: str, item: Document) -> None:
        role = item.get("role")
        if role not in _ROLES:
            raise MalformedRequest(
                "A message's role must be user, assistant, system or developer.",
                param=f"{where}role",
            )
        content, refusal = _content(item.get("content"), f"{where}content")
        if role != "assistant":
            self._turn = None
            self._messages.append({"role": role, "content": content})
            return
        turn = self._assistant()
        if turn["content"] is not None or "tool_calls" in turn:
            self._turn = None
            turn = self._assistant()
        turn["content"] = hub.plain_text(content)
        if refusal:
            turn["refusal"] = refusal

    def _reasoning(self, item: Document) -> None:
        said = hub.objects(item.get("content")) or hub.objects(item.get("summary"))
        text = "\n".join(hub.text(part.get("text")) for part in said)
        turn = self._turn
        if turn is not None and (turn["content"] is not None or "tool_calls" in turn):
            self._turn = None  # thought after it had spoken: the next turn
        if text:
            turn = self._assistant()
            turn["reasoning_content"] = turn.get("reasoning_content", "") + text

    def _call(self, where: str, item: Document) -> None:
        call_id = hub.member(item, "call_id", str, where)
        name = hub.member(item, "name", str, where)
        if not call_id or not name:
            member = "name" if call_id else "call_id"
            raise MalformedRequest(f"A call must have a {member!r}.", param=where + member)
        arguments = hub.member(item, "arguments", str, where) or "{}"
        calls = self._assistant().setdefault("tool_calls", [])
        calls.append(hub.tool_call(call_id, name, arguments))

    def _output(self, where: str, item: Document) -> None:
        call_id = hub.member(item, "call_id", str, where)
        if not call_id:
            raise MalformedRequest("An output must have a 'call_id'.", param=f"{where}call_id")
        content, _ = _content(item.get("output"), f"{where}output")
        self._turn = None
        self._messages.append({"role": "tool", "tool_call_id": call_id, "content": content})

    def _assistant(self) -> Document:
        """Give the assistant's message that is being put together."""
        if self._turn is None:
            self._turn = {"role": "assistant", "content": None}
            self._messages.append(self._turn)
        return self._turn


def _content(content: Any, where: str) -> tuple[Any, str]:
    """Give content in the hub's form (text, or parts if there is more), and a refusal."""
    if isinstance(content, str):
        return content, ""
    if not isinstance(content, list):
        raise MalformedRequest("Content must be a string or an array.", param=where)
    parts: list[Document] = []
    refusal = ""
    for number, part in enumerate(content):
        if not isinstance(part, dict):
            raise MalformedRequest("A part must be an object.", param=f"{where}[{number}]")
        if part.get("type") == "refusal":
            refusal += hub.text(part.get("refusal"))
        else:
            parts.append(_part(part, f"{where}[{number}]."))
    if len(parts) == 1 and parts[0]["type"] == "text":
        return parts[0]["text"], refusal
    return parts, refusal


def _part(part: Document, where: str) -> Document:
    match part.get("type"):
        case "input_text" | "output_text" | "text" | "summary_text":
            return {"type": "text", "text": hub.member(part, "text", str, where) or ""}
        case "input_image":
            return _image(part, where)
        case "input_file":
            return _file(part, where)
        case "input_audio":
            audio = hub.member(part, "input_audio", dict, where)
            return {"type": "input_audio", "input_audio": audio}
        case kind:
            raise Unsupported(f"Parts of type {kind!r} are not supported.", param=f"{where}type")


def _image(part: Document, where: str) -> Document:
    url = hub.member(part, "image_url", str, where)
    if not url:
        raise UnsupportedParameter(
            "An image must be given as a URL or a data URI.", param=f"{where}image_url"
        )
    image: Document = {"url": url}
    if part.get("detail") is not None:
        image["detail"] = part["detail"]
    return {"type": "image_url", "image_url": image}


def _file(part: Document, where: str) -> Document:
    file = hub.kept(part, ("file_data", "file_id", "filename"))
    if "file_data" not in file and "file_id" not in file:
        raise UnsupportedParameter(
            "A file must be given by its data; none is fetched.", param=f"{where}file_data"
        )
    return {"type": "file", "file": file}
