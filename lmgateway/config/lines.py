"""
In which line of a TOML file a key stands.

``tomllib`` tells no positions.  This looks for the lines that begin a table
or a key, and lets ``tomllib`` read the key itself.  Lines within multi-line
strings are passed over, and what stands within an inline table or a list is
found at the line of the key that holds it: near enough to point at.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

from lmgateway.config.merge import KeyPath

_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_KEY = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*"
_HEADER = re.compile(rf"[ \t]*\[[ \t]*({_KEY})[ \t]*\][ \t]*(?:#.*)?")
_ITEM_HEADER = re.compile(rf"[ \t]*\[\[[ \t]*({_KEY})[ \t]*\]\][ \t]*(?:#.*)?")
_ASSIGNMENT = re.compile(rf"[ \t]*({_KEY})[ \t]*=")
_TOKEN = re.compile(r"""("{3}|'{3})|"(?:[^"\\]|\\.)*"|'[^']*'|#.*""")


def key_lines(text: str) -> dict[KeyPath, int]:
    """Give the line (from 1) of every table and key that is written on a line of its own."""
    found: dict[KeyPath, int] = {}
    items: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for number, line in _lines(text):
        if match := _ITEM_HEADER.fullmatch(line):
            path = _within_items(_parts(match[1]), items)
            items[path] = items.get(path, -1) + 1
            table = (*path, items[path])
            found.setdefault(path, number)
            found.setdefault(table, number)
        elif match := _HEADER.fullmatch(line):
            table = _within_items(_parts(match[1]), items)
            table = (*table, items[table]) if table in items else table
            found.setdefault(table, number)
        elif match := _ASSIGNMENT.match(line):
            found.setdefault((*table, *_parts(match[1])), number)
    return found


def line_of(path: KeyPath, lines: dict[KeyPath, int]) -> int | None:
    """Give the line of *path*, or of the nearest thing that holds it."""
    for depth in range(len(path), 0, -1):
        if path[:depth] in lines:
            return lines[path[:depth]]
    return None


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Go through the lines that do not begin within a multi-line string."""
    quote = ""
    for number, line in enumerate(text.split("\n"), start=1):
        if not quote:
            yield number, line.rstrip("\r")
        quote = _open_quote(line, quote)


def _open_quote(line: str, quote: str) -> str:
    """Give the multi-line quote that is open after *line*, if *quote* is before it."""
    position = 0
    while True:
        if quote:
            end = line.find(quote, position)
            if end < 0:
                return quote
            position, quote = end + 3, ""
        match = _TOKEN.search(line, position)
        if match is None:
            return ""
        position, quote = match.end(), match[1] or ""


def _parts(key: str) -> KeyPath:
    """Split a dotted key, by having it read as one."""
    parts: list[str] = []
    try:
        node = tomllib.loads(f"{key} = 0")
        while isinstance(node, dict):
            ((part, node),) = node.items()
            parts.append(part)
    except tomllib.TOMLDecodeError:
        return (key,)
    return tuple(parts)


def _within_items(parts: KeyPath, items: dict[KeyPath, int]) -> KeyPath:
    """Put the position of the latest item where *parts* pass through a list of tables."""
    path: KeyPath = ()
    for part in parts[:-1]:
        path = (*path, part)
        if path in items:
            path = (*path, items[path])
    return (*path, *parts[-1:])
