"""What differs between two configs, by key path: never by value, which may be a secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from lmgateway.config.merge import KeyPath
from lmgateway.config.report import dotted
from lmgateway.config.schema import Config, Settings


def changes(before: Config, after: Config) -> list[str]:
    """Give the keys that differ; tables of a list go by their names."""
    found: list[str] = []
    for attribute in attrs.fields(Settings):
        name = attribute.name
        found += _differing((name,), getattr(before, name), getattr(after, name))
    return found


def _differing(path: KeyPath, before: Any, after: Any) -> Iterator[str]:
    if before == after:
        return
    if attrs.has(type(before)) and type(before) is type(after):
        for attribute in attrs.fields(type(before)):
            name = attribute.name
            yield from _differing((*path, name), getattr(before, name), getattr(after, name))
        return
    old, new = _tables(before), _tables(after)
    if old is None or new is None:
        yield dotted(path)
        return
    for name in dict.fromkeys((*old, *new)):
        yield from _differing((*path, name), old.get(name), new.get(name))


def _tables(value: Any) -> Mapping[str, Any] | None:
    """Give a table of tables, or a list of named ones, by name."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, tuple) and all(hasattr(item, "name") for item in value):
        return {item.name: item for item in value}
    return None
