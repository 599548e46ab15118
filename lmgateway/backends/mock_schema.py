"""
A value that satisfies a JSON Schema, for tool arguments and JSON mode.

Schemas come from clients: whatever they say, the work is bounded, nothing is
fetched, and what is not understood is passed over.  Understood are types,
``enum``, ``const``, ``default``, ``examples``, ``required``, bounds of length,
number and count, the ``any/one/allOf`` family and local references.
"""

from __future__ import annotations

import math
from typing import Any

MAX_VALUES = 1000
MAX_DEPTH = 16
MAX_ITEMS = 16
MAX_LENGTH = 256
_FINEST = 1e-6

_FORMATS = {
    "date": "2024-01-01",
    "date-time": "2024-01-01T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "PT1H",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def example(schema: object, text: str = "mock") -> Any:
    """
    Give a value for a schema.

    Args:
        text: Used where a string may be anything.
    """
    return _Sampler(schema, text).value(schema, 0)


class _Sampler:
    """Makes one value, within one budget."""

    def __init__(self, root: object, text: str) -> None:
        self._root = root
        self._text = text
        self._left = MAX_VALUES

    def value(self, schema: object, depth: int) -> Any:
        self._left -= 1
        if not isinstance(schema, dict) or depth > MAX_DEPTH or self._left < 0:
            return None if isinstance(schema, dict) else self._text
        schema = self._resolved(schema)
        for name in ("const", "default"):
            if name in schema:
                return schema[name]
        for name in ("enum", "examples"):
            if isinstance(schema.get(name), list) and schema[name]:
                return schema[name][0]
        return self._typed(schema, depth)

    def _typed(self, schema: dict[str, Any], depth: int) -> Any:
        match _type_of(schema):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "integer":
                return _number(schema, whole=True)
            case "number":
                return _number(schema, whole=False)
            case "boolean":
                return True
            case "null":
                return None
            case _:
                return self._string(schema)

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The schema with references followed and alternatives decided."""
        for _ in range(MAX_DEPTH):
            if isinstance(schema.get("$ref"), str):
                schema = self._referred(schema["$ref"])
                continue
            for name in ("anyOf", "oneOf", "allOf"):
                parts = [part for part in _list(schema.get(name)) if isinstance(part, dict)]
                if parts:
                    rest = {key: value for key, value in schema.items() if key != name}
                    schema = _merged([rest, *(parts[:MAX_ITEMS] if name == "allOf" else parts[:1])])
                    break
            else:
                return schema
        return {}

    def _referred(self, reference: str) -> dict[str, Any]:
        node: object = self._root
        if not reference.startswith("#"):
            return {}
        for step in reference[1:].split("/")[1 : MAX_DEPTH + 1]:
            step = step.replace("~1", "/").replace("~0", "~")
            node = node.get(step) if isinstance(node, dict) else None
        return node if isinstance(node, dict) else {}

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties")
        properties = properties if isinstance(properties, dict) else {}
        required = [name for name in _list(schema.get("required")) if isinstance(name, str)]
        value: dict[str, Any] = {}
        for name in required or properties:
            if self._left <= 0:
                break
            value[name] = self.value(properties.get(name, {}), depth + 1)
        return value

    def _array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        if isinstance(schema.get("prefixItems"), list):
            return [self.value(item, depth + 1) for item in schema["prefixItems"][:MAX_ITEMS]]
        least, most = _count(schema, "minItems", 1), _count(schema, "maxItems", MAX_ITEMS)
        count = min(max(least, 1 if self._left > 0 else 0), most, MAX_ITEMS)
        return [self.value(schema.get("items", {}), depth + 1) for _ in range(count)]

    def _string(self, schema: dict[str, Any]) -> str:
        form = schema.get("format")
        if isinstance(form, str) and form in _FORMATS:
            return _FORMATS[form]
        text = self._text
        least = min(_count(schema, "minLength", 0), MAX_LENGTH)
        most = min(_count(schema, "maxLength", MAX_LENGTH), MAX_LENGTH)
        return (text + "x" * (least - len(text)))[:most]


def _type_of(schema: dict[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kinds = [one for one in kind if isinstance(one, str)]
        kind = next((one for one in kinds if one != "null"), "null")
    if isinstance(kind, str):
        return kind
    if "properties" in schema or "required" in schema:
        return "object"
    if "items" in schema or "prefixItems" in schema:
        return "array"
    return "string"


def _merged(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Several schemas that all hold, as one: their properties and required names together."""
    merged: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            known = merged.get(name)
            if isinstance(known, dict) and isinstance(value, dict):
                merged[name] = {**known, **value}
            elif isinstance(known, list) and isinstance(value, list):
                merged[name] = [*known, *value]
            else:
                merged[name] = value
    return merged


def _number(schema: dict[str, Any], *, whole: bool) -> float | int:
    step = _real(schema, "multipleOf") or 0
    if step < _FINEST:
        step = 1 if whole else 0
    low, above = _real(schema, "minimum"), _real(schema, "exclusiveMinimum")
    high, below = _real(schema, "maximum"), _real(schema, "exclusiveMaximum")
    nudge = step if step > 0 else _between(above, below)
    value: float | int = 1 if step <= 0 or whole else step
    if low is not None or above is not None:
        value = max(v for v in (low, None if above is None else above + nudge) if v is not None)
    elif (high is not None and value > high) or (below is not None and value >= below):
        value = min(v for v in (high, None if below is None else below - nudge) if v is not None)
    if step > 0:
        value = math.ceil(value / step) * step
    return int(value) if whole else value


def _between(above: float | None, below: float | None) -> float:
    if above is not None and below is not None:
        return (below - above) / 2
    return 1


def _real(schema: dict[str, Any], name: str) -> float | int | None:
    value = schema.get(name)
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return value if abs(value) < 1e15 else None
    return None


def _count(schema: dict[str, Any], name: str, default: int) -> int:
    value = schema.get(name)
    return value if type(value) is int and value >= 0 else default


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
