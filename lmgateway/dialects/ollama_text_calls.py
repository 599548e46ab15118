"""
Tool calls that a model wrote as plain text: ``HassTurnOn(area="Office", domain="light")``.

Small models do that where they should have called.  Only declared tools
count, only ``name=value`` arguments, and only a call that is complete: all
else stays text.  Values are strings in either quotes (with backslash
escapes), JSON numbers, ``true``, ``false`` and ``null``, JSON arrays and
objects without parentheses or commas of their own at the top, or bare words.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import msgspec

from lmgateway.chat import Document
from lmgateway.dialects import hub
from lmgateway.dialects.document import encode

_NAME = re.compile(r"(?<![\w.])([A-Za-z_][\w.-]{0,127})\(")
_ARGUMENT = re.compile(
    r"\s*([A-Za-z_]\w{0,127})\s*[=:]\s*"
    r"(\"(?:[^\"\\]|\\.)*+\"|'(?:[^'\\]|\\.)*+'|\[[^\[\]]*+\]|\{[^{}]*+\}|[^\s\"',()\[\]{}=][^\"',()\[\]{}=]*+)"
    r"\s*([,)])",
    re.DOTALL,
)
_CLOSED = re.compile(r"\s*\)")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


def find_calls(text: str, declared: Collection[str]) -> tuple[list[tuple[str, Document]], str]:
    """
    Find the calls in a text.

    Args:
        text: What the model wrote.
        declared: The names of the tools that it was given.

    Returns:
        Each call's name and arguments, in order; and the text that is left.
    """
    calls: list[tuple[str, Document]] = []
    rest: list[str] = []
    place = 0
    for match in _NAME.finditer(text):
        if match.start() < place or match[1] not in declared:
            continue
        found = _arguments(text, match.end())
        if found is None:
            continue
        rest.append(text[place : match.start()])
        calls.append((match[1], found[0]))
        place = found[1]
    rest.append(text[place:])
    return calls, "".join(rest).strip()


def _arguments(text: str, place: int) -> tuple[Document, int] | None:
    """Read arguments up to the closing parenthesis; ``None`` if they are not of this form."""
    closed = _CLOSED.match(text, place)
    if closed is not None:
        return {}, closed.end()
    arguments: Document = {}
    while True:
        match = _ARGUMENT.match(text, place)
        if match is None:
            return None
        arguments[match[1]] = _value(match[2].strip())
        place = match.end()
        if match[3] == ")":
            return arguments, place


def _value(text: str) -> Any:
    if text[0] in "\"'":
        return _ESCAPE.sub(lambda match: _ESCAPES.get(match[1], match[1]), text[1:-1])
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        return text


def with_text_calls(answer: Document, declared: Collection[str]) -> Document:
    """Give a hub answer with the calls that its text contains, if it has no proper ones."""
    choice = hub.first_choice(answer)
    message = hub.mapping(choice.get("message"))
    if message.get("tool_calls") or not declared:
        return answer
    calls, rest = find_calls(hub.plain_text(message.get("content")), declared)
    if not calls:
        return answer
    said = {
        **message,
        "content": rest or None,
        "tool_calls": [
            hub.tool_call(hub.new_id("call_"), name, encode(arguments).decode())
            for name, arguments in calls
        ],
    }
    chosen = {**choice, "message": said, "finish_reason": "tool_calls"}
    choices = [chosen if one is choice else one for one in answer["choices"]]
    return {**answer, "choices": choices}
