"""
The config file as a JSON Schema, made of the classes that structure it.

Types, defaults and ranges come from the attributes, descriptions from the
``Attributes`` sections of the classes' docstrings.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

import attrs

from lmgateway.config.schema import Settings

Schema: TypeAlias = dict[str, Any]

_ENTRY = re.compile(r"    (\w+): (.*(?:\n        .*)*)")
_SCALARS: Mapping[object, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
}


def json_schema() -> Schema:
    """Give the schema (draft 2020-12) of a main config file."""
    definitions: Schema = {}
    root = _table(Settings, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "lm-gateway config.toml",
        **root,
        "$defs": definitions,
    }


def descriptions(cls: type) -> dict[str, str]:
    """Give what a class's docstring says of each attribute."""
    section = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:\n")[2]
    return {name: " ".join(text.split()) for name, text in _ENTRY.findall(section)}


def _table(cls: type, definitions: Schema) -> Schema:
    texts = descriptions(cls)
    hints = get_type_hints(cls, include_extras=True)
    properties = {
        attribute.name: _property(attribute, hints[attribute.name], texts, definitions)
        for attribute in attrs.fields(cls)
    }
    required = [a.name for a in attrs.fields(cls) if a.default is attrs.NOTHING]
    return {
        "description": inspect.cleandoc(cls.__doc__ or "").partition("\n\n")[0],
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _property(
    attribute: attrs.Attribute[Any], hint: Any, texts: Mapping[str, str], definitions: Schema
) -> Schema:
    schema = _typed(hint, definitions) | {"description": texts[attribute.name]}
    if isinstance(attribute.default, bool | int | float | str):
        schema["default"] = attribute.default
    return schema


def _typed(hint: Any, definitions: Schema) -> Schema:
    origin, parts = get_origin(hint), get_args(hint)
    if hint in _SCALARS:
        return {"type": _SCALARS[hint]}
    if origin is Annotated:
        extra: Schema = {}
        for kind in parts[1:]:
            extra |= kind.schema()
        return _typed(parts[0], definitions) | extra
    if origin is Literal:
        return {"enum": [*parts]}
    if origin in (Union, types.UnionType):
        kinds = [_typed(part, definitions) for part in parts if part is not type(None)]
        return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    if origin is tuple:
        return {"type": "array", "items": _typed(parts[0], definitions)}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _free_table(parts, definitions)
    return _reference(hint, definitions)


def _free_table(parts: tuple[Any, ...], definitions: Schema) -> Schema:
    key, value = parts
    schema: Schema = {"type": "object"}
    if value is not object:
        schema["additionalProperties"] = _typed(value, definitions)
    if get_origin(key) is Annotated:
        schema["propertyNames"] = _typed(key, definitions)
    return schema


def _reference(cls: type, definitions: Schema) -> Schema:
    if cls.__name__ not in definitions:
        definitions[cls.__name__] = {}  # keeps a class that holds itself from going round
        definitions[cls.__name__] = _table(cls, definitions)
    return {"$ref": f"#/$defs/{cls.__name__}"}
