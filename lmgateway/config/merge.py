"""
Several files, one tree: how ``conf.d/`` overlays and profile files are laid over the main file.

===================================================  =================================
overlay has                                          result
===================================================  =================================
a table where the base has one                       merged key by key
an item whose ``name`` a base item has               takes that item's place, whole
a client without that, but with a known ``key_env``  takes that client's place, whole
another item                                         is appended
``rules`` or ``fallback`` of a profile               replace the profile's
anything else                                        replaces
===================================================  =================================

What was read is never changed: a merge gives a new tree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import msgspec

Tree: TypeAlias = dict[str, Any]
"""TOML as parsed."""

KeyPath: TypeAlias = tuple[str | int, ...]
"""The way to a value: keys of tables, positions in lists."""

_REPLACED_IN_PROFILES = ("rules", "fallback")


class Place(msgspec.Struct, frozen=True):
    """
    Where a setting was written.

    Attributes:
        file: The file, as it is to be shown; or ``$NAME`` for an environment variable.
        path: The way to it within that file.
    """

    file: str
    path: KeyPath


def ways(node: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Give the way to every table, list and value of a parsed tree."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from ways(value, (*path, key))
    elif isinstance(node, list):
        for position, item in enumerate(node):
            yield from ways(item, (*path, position))
    yield path


class Origins(msgspec.Struct):
    """Which file, and which key in it, each setting of a merged tree came from."""

    _places: dict[KeyPath, Place] = msgspec.field(default_factory=dict)

    def claim(self, path: KeyPath, place: Place) -> None:
        """Note that *path*, with all beneath it, now comes from *place*."""
        depth = len(path)
        for known in [known for known in self._places if known[:depth] == path]:
            del self._places[known]
        self._places[path] = place

    def place(self, path: KeyPath) -> Place | None:
        """Say where *path* came from; ``None`` if no file was read."""
        for depth in range(len(path), -1, -1):
            found = self._places.get(path[:depth])
            if found is not None:
                return Place(found.file, found.path + path[depth:])
        return None


def overlay(base: Tree, top: Tree, file: str, origins: Origins) -> Tree:
    """
    Lay one more file over what there is.

    Args:
        base: What the earlier files gave.
        top: The overlay, as parsed.
        file: The overlay's name.
        origins: Where the overlay's settings are noted.
    """
    return _merge_tables(base, top, (), file, origins)


def _merge_tables(base: Tree, top: Tree, path: KeyPath, file: str, origins: Origins) -> Tree:
    merged = dict(base)
    for key, value in top.items():
        here = (*path, key)
        old = base.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[key] = _merge_tables(old, value, here, file, origins)
        elif isinstance(old, list) and isinstance(value, list) and not _is_replaced(here):
            merged[key] = _merge_lists(old, value, here, file, origins)
        else:
            merged[key] = value
            origins.claim(here, Place(file, here))
    return merged


def _merge_lists(
    base: Sequence[Any], top: Sequence[Any], path: KeyPath, file: str, origins: Origins
) -> list[Any]:
    merged = list(base)
    taken: set[int] = set()
    for position, item in enumerate(top):
        target = _same_item(base, item, path)
        if target is None or target in taken:  # twice in one overlay: left for the check to find
            target = len(merged)
            merged.append(item)
        else:
            merged[target] = item
        taken.add(target)
        origins.claim((*path, target), Place(file, (*path, position)))
    return merged


def _same_item(base: Sequence[Any], item: Any, path: KeyPath) -> int | None:
    keys = ("name", "key_env") if path == ("clients",) else ("name",)
    for key in keys:
        wanted = item.get(key) if isinstance(item, dict) else None
        if not isinstance(wanted, str):
            continue
        for position, old in enumerate(base):
            if isinstance(old, dict) and old.get(key) == wanted:
                return position
    return None


def _is_replaced(path: KeyPath) -> bool:
    return len(path) == 3 and path[0] == "profiles" and path[2] in _REPLACED_IN_PROFILES
