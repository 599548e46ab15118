"""
What the gates look at: an answer in hub form, read with care.

Backends are hostile: any member may be missing or of the wrong type, and what
cannot be read is taken as not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lmgateway.chat import ChatRequest, Chunk, Document
from lmgateway.classes import frozen


@frozen
class ToolCall:
    """
    One call that an answer asks for.

    Attributes:
        arguments: JSON text, as the model wrote it; of a custom tool, any text.
        custom: Whether it is a tool that takes any text.
    """

    name: str
    arguments: str
    custom: bool = False


@frozen(kw_only=True)
class Said:
    """
    What the first choice of an answer says.

    Attributes:
        text: All of its text; empty if it has none.
        refusal: The text of a refusal that the model itself marked as one.
        bears_more: Whether there is output that is not text: an image, a sound.
    """

    text: str = ""
    refusal: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    bears_more: bool = False


def said(answer: Document) -> Said:
    """Read a hub answer: a ``chat.completion``, or a legacy ``text_completion``."""
    choice = _table(_first(answer.get("choices")))
    message = _table(choice.get("message"))
    text, more = _content(message.get("content", choice.get("text")))
    reason = choice.get("finish_reason")
    return Said(
        text=text,
        refusal=_text(message.get("refusal")),
        tool_calls=tuple(_calls(message)),
        finish_reason=reason if isinstance(reason, str) else None,
        bears_more=more or bool(message.get("audio")) or bool(message.get("images")),
    )


def asked(request: ChatRequest) -> str:
    """Give the text of the latest user message, or the legacy prompt."""
    messages = request.hub.get("messages")
    for message in reversed(messages if isinstance(messages, list) else []):
        if isinstance(message, dict) and message.get("role") == "user":
            return _content(message.get("content"))[0]
    return _text(request.hub.get("prompt"))


class Assembly:
    """Puts the chunks of one stream together: the first choice only, as ``said`` reads it."""

    def __init__(self) -> None:
        self.text = ""
        self.has_tool_call = False
        self.size = 0
        self._refusal = ""
        self._finish: str | None = None
        self._more = False
        self._calls: dict[int, list[str]] = {}

    def add(self, chunk: Chunk) -> None:
        """Take one hub chunk."""
        for choice in _tables(chunk.get("choices")):
            if choice.get("index", 0) == 0:
                self._take(choice)

    def _take(self, choice: Mapping[str, Any]) -> None:
        delta = _table(choice.get("delta"))
        text, more = _content(delta.get("content", choice.get("text")))
        refusal = _text(delta.get("refusal"))
        self.text += text
        self._refusal += refusal
        self.size += len(text) + len(refusal)
        self._more = self._more or more or bool(delta.get("audio")) or bool(delta.get("images"))
        for call in _tables(delta.get("tool_calls")):
            self._take_call(call)
        if isinstance(delta.get("function_call"), dict):
            self._take_call({"function": delta["function_call"]})
        reason = choice.get("finish_reason")
        self._finish = reason if isinstance(reason, str) else self._finish

    def _take_call(self, call: Mapping[str, Any]) -> None:
        self.has_tool_call = True
        position = call.get("index", 0)
        parts = self._calls.setdefault(position if isinstance(position, int) else 0, ["", ""])
        function = _table(call.get("function"))
        parts[0] += _text(function.get("name"))
        parts[1] += _text(function.get("arguments"))
        self.size += len(_text(function.get("arguments")))

    def answer(self) -> Document:
        """Give the whole as a hub answer."""
        message: Document = {"role": "assistant", "content": self.text}
        if self._refusal:
            message["refusal"] = self._refusal
        if self._more:
            message["audio"] = True
        if self._calls:
            message["tool_calls"] = [
                {"type": "function", "function": {"name": name, "arguments": arguments}}
                for name, arguments in self._calls.values()
            ]
        return {"choices": [{"index": 0, "message": message, "finish_reason": self._finish}]}


def _content(content: Any) -> tuple[str, bool]:
    """The text of a ``content`` member, and whether there is more in it than text."""
    if not isinstance(content, list):
        return _text(content), False
    texts = [_text(part.get("text") or part.get("refusal")) for part in _tables(content)]
    more = any("image" in str(part.get("type")) for part in _tables(content))
    return " ".join(text for text in texts if text), more


def _calls(message: Mapping[str, Any]) -> Iterable[ToolCall]:
    for call in _tables(message.get("tool_calls")):
        custom = call.get("type") == "custom"
        function = _table(call.get("custom" if custom else "function"))
        arguments = function.get("input" if custom else "arguments")
        yield ToolCall(_text(function.get("name")), _text(arguments), custom)
    legacy = message.get("function_call")
    if isinstance(legacy, dict):
        yield ToolCall(_text(legacy.get("name")), _text(legacy.get("arguments")))


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else None


def _tables(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
