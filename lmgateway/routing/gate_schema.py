"""
Whether JSON in an answer is what was asked for.

Schemas come from clients: they are checked by ``jsonschema-rs`` (the ``schema``
extra) with ``offline=True``, which fetches nothing, reads no file and matches
patterns in linear time.  Without the extra, or for a schema that it refuses,
only what needs no schema is checked: that the text parses, that the tool exists.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import msgspec

from lmgateway.chat import ChatRequest
from lmgateway.routing.gate_answer import ToolCall

MAX_CHECKED = 1024 * 1024
"""Characters of an answer that are checked; a longer one is taken as it is."""

_decode = msgspec.json.Decoder().decode


def can_validate() -> bool:
    """Say whether the ``schema`` extra is installed."""
    return find_spec("jsonschema_rs") is not None


# An answer in JSON -----------------------------------------------------------
def wants_json(request: ChatRequest) -> bool:
    """Say whether the request asks for an answer in JSON."""
    return _format(request).get("type") in ("json_object", "json_schema")


def json_fault(text: str, request: ChatRequest) -> str | None:
    """Say what keeps a whole answer from being the JSON that was asked for."""
    if len(text) > MAX_CHECKED:
        return None
    try:
        value = _decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return "the answer is not JSON"
    if _format(request).get("type") == "json_object" and not isinstance(value, dict):
        return "the answer is not a JSON object"
    return schema_fault(value, _schema(request), "the answer")


def json_prefix_fault(text: str, request: ChatRequest) -> str | None:
    """Say whether the beginning of an answer shows already that it will not be JSON."""
    start = text.lstrip()[:1]
    kinds = (_format(request).get("type"), _schema(request).get("type"))
    starts = "{" if kinds[0] == "json_object" or kinds[1] == "object" else '{["-0123456789tfn'
    return "the answer does not begin as JSON" if start and start not in starts else None


def _format(request: ChatRequest) -> Mapping[str, Any]:
    return _table(request.hub.get("response_format"))


def _schema(request: ChatRequest) -> Mapping[str, Any]:
    return _table(_table(_format(request).get("json_schema")).get("schema"))


# Calls of tools --------------------------------------------------------------
def declares_tools(request: ChatRequest) -> bool:
    """Say whether the request offers tools."""
    return bool(_declared(request))


def must_call(request: ChatRequest) -> bool:
    """Say whether the request leaves the model no choice but to call a tool."""
    choice = request.hub.get("tool_choice")
    return choice == "required" or (
        isinstance(choice, dict) and choice.get("type") in ("function", "custom")
    )


def tool_fault(calls: Sequence[ToolCall], request: ChatRequest) -> str | None:
    """Say what is wrong with the calls of an answer."""
    declared = _declared(request)
    for call in calls:
        if call.name not in declared:
            return "the answer calls a tool that was not declared"
        if not call.custom and (fault := _arguments_fault(call, declared[call.name])):
            return fault
    return None


def _arguments_fault(call: ToolCall, schema: Mapping[str, Any]) -> str | None:
    if len(call.arguments) > MAX_CHECKED:
        return None
    try:
        arguments = _decode(call.arguments or "{}")  # many write nothing for no arguments
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return "the arguments of a tool call are not JSON"
    if not isinstance(arguments, dict):
        return "the arguments of a tool call are not a JSON object"
    return schema_fault(arguments, schema, "a tool call")


def _declared(request: ChatRequest) -> dict[str, Mapping[str, Any]]:
    """The schema of each tool's arguments, by name."""
    tools = request.hub.get("tools")
    found = [
        _table(tool.get("function") or tool.get("custom"))
        for tool in (tools if isinstance(tools, list) else [])
        if isinstance(tool, dict)
    ]
    legacy = request.hub.get("functions")
    found += [_table(function) for function in (legacy if isinstance(legacy, list) else [])]
    return {
        tool["name"]: _table(tool.get("parameters"))
        for tool in found
        if isinstance(tool.get("name"), str)
    }


# Schemas ---------------------------------------------------------------------
def schema_fault(value: Any, schema: Mapping[str, Any], what: str) -> str | None:
    """
    Say where *value* breaks *schema*; nothing is quoted from either.

    Args:
        what: Whose value this is, in words.
    """
    if not schema:
        return None
    fits = _validator(schema)
    return None if fits is None or fits(value) else f"{what} does not satisfy its schema"


def _validator(schema: Mapping[str, Any]) -> Callable[[Any], bool] | None:
    if not can_validate():
        return None
    library = import_module("jsonschema_rs")
    try:
        validator = library.validator_for(
            dict(schema), offline=True, pattern_options=library.RegexOptions()
        )
    except (ValueError, library.ReferencingError, library.ValidationError):
        return None
    fits: Callable[[Any], bool] = validator.is_valid
    return fits


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
