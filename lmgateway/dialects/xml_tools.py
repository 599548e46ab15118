"""
Tool calls that a model writes as tagged text (``tool_format = "xml"``).

Two forms are in use, both within ``<tool_call>`` and ``</tool_call>``::

    <function=get_weather>                 {"name": "get_weather",
    <parameter=city>                        "arguments": {"city": "Tokyo"}}
    Tokyo
    </parameter>
    </function>

Where the tool's schema says that a parameter is a string, its text is the
value; elsewhere it is read as JSON if it is JSON, else it is a string.  A
block counts only if it is well formed and names declared tools; all else is
text, and so is a block that the answer breaks off in (``unterminated`` counts
those).  White space round a block is dropped with it.

What comes out depends on the text alone, never on how it was cut: tags may be
split anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from lmgateway.chat import Document
from lmgateway.dialects import hub
from lmgateway.dialects.document import encode

MAX_BLOCK = 1 << 20
"""Characters after which an open block is taken for text."""

MAX_TRIES = 16
"""How often one block is read again, at the next closing tag or after a stray opening one."""

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_FUNCTION = re.compile(
    r"\s*<function=([^<>\n]{1,128})>(.*?)</function>(?=\s*(?:<function=|$))", re.S
)
_PARAMETER = re.compile(
    r"\s*<parameter=([^<>\n]{1,128})>(.*?)</parameter>(?=\s*(?:<parameter=|$))", re.S
)

Schemas = Mapping[str, Document]
Call = tuple[str, str]
"""A tool's name, and its arguments as JSON text."""


def schemas_of(tools: Any) -> Schemas:
    """Give the declared tools of a hub request: each one's parameters by its name."""
    functions = [hub.mapping(tool.get("function")) for tool in hub.objects(tools)]
    return {
        function["name"]: hub.mapping(hub.mapping(function.get("parameters")).get("properties"))
        for function in functions
        if isinstance(function.get("name"), str)
    }


# Blocks --------------------------------------------------------------------
def _read_block(block: str, schemas: Schemas) -> list[Call] | None:
    """Give the calls of one block's inside; ``None`` if it is not well formed."""
    inside = block.strip()
    calls = _read_json(inside) if inside.startswith("{") else _read_functions(inside, schemas)
    if not calls or any(name not in schemas for name, _ in calls):
        return None
    return calls


def _goes_on(block: str) -> bool:
    """Whether a closing tag within *block* is a part of what the model wrote."""
    inside = block.strip()
    if inside.startswith("{"):
        try:
            msgspec.json.decode(inside)
        except msgspec.DecodeError as e:
            return "truncated" in str(e)
        except RecursionError:
            pass
        return False
    return inside.startswith("<function=") and not inside.endswith("</function>")


def _read_json(inside: str) -> list[Call] | None:
    try:
        call = msgspec.json.decode(inside)
    except (msgspec.MsgspecError, RecursionError):
        return None
    arguments = hub.arguments_object(call.get("arguments", {}))
    if not isinstance(call.get("name"), str) or arguments is None:
        return None
    return [(call["name"], encode(arguments).decode())]


def _read_functions(inside: str, schemas: Schemas) -> list[Call] | None:
    calls = []
    place = 0
    while place < len(inside):
        match = _FUNCTION.match(inside, place)
        arguments = None if match is None else _read_parameters(match, schemas)
        if match is None or arguments is None:
            return None
        calls.append((match[1].strip(), encode(arguments).decode()))
        place = match.end()
    return calls


def _read_parameters(function: re.Match[str], schemas: Schemas) -> Document | None:
    properties = schemas.get(function[1].strip(), {})
    inside = function[2].rstrip()
    arguments: Document = {}
    place = 0
    while place < len(inside):
        match = _PARAMETER.match(inside, place)
        if match is None:
            return None
        name = match[1].strip()
        arguments[name] = _value(match[2], hub.mapping(properties.get(name)))
        place = match.end()
    return arguments


def _value(text: str, schema: Document) -> Any:
    text = text.removeprefix("\n").removesuffix("\n")
    if schema.get("type") == "string":
        return text
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        return text


# Text ----------------------------------------------------------------------
class Extractor:
    """Takes a text piece by piece, and gives what is plain text of it and what are calls."""

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas
        self._held = ""
        self._searched = 0
        self._tries = 0
        self._inside = False
        self._space = ""
        self._called = False
        self.unterminated = 0

    def feed(self, text: str) -> list[str | Call]:
        """Give what is certain once *text* has come."""
        self._held += text
        out: list[str | Call] = []
        while self._step(out):
            pass
        return out

    def finish(self) -> list[str | Call]:
        """Give what is left at the end: an open block is text."""
        out: list[str | Call] = []
        self.unterminated += self._inside
        for _ in range(MAX_TRIES):
            if not self._inside or _CLOSE not in self._held:
                break
            # What came after a tag that opened nothing may be a whole block.
            self._release(out, len(_OPEN))
            out += self.feed("")
        self._say(out, self._held)
        self._held = ""
        if self._space and not self._called:
            out.append(self._space)
        self._space = ""
        return out

    def _step(self, out: list[str | Call]) -> bool:
        """Take one step; whether another may follow."""
        return self._close(out) if self._inside else self._open(out)

    def _open(self, out: list[str | Call]) -> bool:
        place = self._held.find(_OPEN)
        if place < 0:
            place = len(self._held) - _overlap(self._held, _OPEN)
            self._say(out, self._held[:place])
            self._held = self._held[place:]
            return False
        self._say(out, self._held[:place])
        self._held = self._held[place:]
        self._inside, self._searched, self._tries = True, len(_OPEN), 0
        return True

    def _close(self, out: list[str | Call]) -> bool:
        place = self._held.find(_CLOSE, self._searched)
        if (place < 0 and len(self._held) > MAX_BLOCK + len(_CLOSE)) or place > MAX_BLOCK:
            self._release(out, MAX_BLOCK)
            return True
        if place < 0:
            self._searched = max(self._searched, len(self._held) - len(_CLOSE) + 1)
            return False
        block, end = self._held[len(_OPEN) : place], place + len(_CLOSE)
        calls = _read_block(block, self._schemas)
        self._tries += 1
        if calls is None and self._tries < MAX_TRIES and _goes_on(block):
            self._searched = end
            return True
        if calls is None:
            self._say(out, self._held[:end])
        else:
            out.extend(calls)
            self._space, self._called = "", True
        self._held, self._inside = self._held[end:], False
        return True

    def _release(self, out: list[str | Call], size: int) -> None:
        """Take the beginning of a block for text, and look again after it."""
        self._say(out, self._held[:size])
        self._held, self._inside = self._held[size:], False

    def _say(self, out: list[str | Call], text: str) -> None:
        """Give text, but hold back white space that may belong to a block."""
        if not text:
            return
        text = self._space + text
        said = text.rstrip()
        self._space = text[len(said) :]
        if said:
            out.append(said)
            self._called = False


def _overlap(text: str, tag: str) -> int:
    """Give how much of *text*'s end may be the beginning of *tag*."""
    for size in range(min(len(tag) - 1, len(text)), 0, -1):
        if text.endswith(tag[:size]):
            return size
    return 0


# Answers -------------------------------------------------------------------
def with_xml_calls(answer: Document, schemas: Schemas) -> Document:
    """Give a whole hub answer with the calls of its text as proper ones."""
    choices = [
        _whole_choice(choice, schemas) if isinstance(choice, dict) else choice
        for choice in answer.get("choices") or ()
    ]
    return {**answer, "choices": choices}


def _whole_choice(choice: Document, schemas: Schemas) -> Document:
    message = hub.mapping(choice.get("message"))
    if not isinstance(message.get("content"), str) or _OPEN not in message["content"]:
        return choice
    extractor = Extractor(schemas)
    pieces = [*extractor.feed(message["content"]), *extractor.finish()]
    calls = [piece for piece in pieces if isinstance(piece, tuple)]
    if not calls:
        return choice
    text = "".join(piece for piece in pieces if isinstance(piece, str))
    made = [hub.tool_call(hub.new_id("call_"), *call) for call in calls]
    said = {
        **message,
        "content": text or None,
        "tool_calls": [*hub.objects(message.get("tool_calls")), *made],
    }
    return {
        **choice,
        "message": said,
        "finish_reason": reason_after_calls(choice.get("finish_reason")),
    }


def reason_after_calls(reason: Any) -> Any:
    """Give why an answer with calls ended, for which the backend knew of none."""
    return "tool_calls" if reason == "stop" else reason
