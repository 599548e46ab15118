"""
Strict JSON at the door, and edits that leave the rest of the bytes alone.

Two readers of one body may disagree: Python keeps the last of two members of
the same name, some backends match names without regard to case.  Whatever the
gateway decides on (``model`` above all) would then not be what the backend
does.  So a body that could be read in two ways is refused, and a body that is
passed on is the client's own bytes, edited member by member.

The reader is msgspec's, which refuses ``NaN``, lone surrogates, trailing bytes
and anything but UTF-8, but silently keeps the last of duplicate members.
``read`` finds those by writing the body anew from its members, in the two ways
that nearly all clients write: what comes out the same has no member twice.  Any
other body is walked at its top level: each member's value is known to the byte,
so the walk jumps from value to value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import filterfalse
from typing import Any, NamedTuple

import msgspec

from lmgateway.chat import Document
from lmgateway.dialects.foreign import POLICY, is_fine, refuse_member
from lmgateway.errors import MalformedRequest

MAX_DEPTH = 64

LARGE = 65536
"""Bytes of a body from which it takes longer to copy it, or to look at each byte, than to walk."""

WHOLE = "body"
"""The ``param`` of an error that is not of one member."""

Spans = Mapping[str, tuple[int, int]]

_decode = msgspec.json.Decoder().decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode
encode = msgspec.json.Encoder().encode

_STYLES = ((b":", b","), (b": ", b", "))
"""What stands after a member's name and before the next: compactly, or as Python writes it."""

MAX_FORMS, MAX_LETTERS = 512, 512
"""How many sets of names are kept, and letters of each: a client may make them up."""

_FIRST = re.compile(rb'[ \t\n\r]*\{[ \t\n\r]*("[^"\\]*+(?:\\.[^"\\]*+)*+")[ \t\n\r]*:[ \t\n\r]*')
_NEXT = re.compile(rb'[ \t\n\r]*,[ \t\n\r]*("[^"\\]*+(?:\\.[^"\\]*+)*+")[ \t\n\r]*:[ \t\n\r]*')
_LAST = re.compile(rb"[ \t\n\r]*\}")


def read(raw: bytes) -> tuple[Document, Spans]:
    """
    Parse a request body.

    Returns:
        The document, and where in *raw* the value of each top-level member lies.

    Raises:
        MalformedRequest: If it is not one JSON object, or could be read in two ways.
    """
    try:
        document = _decode(raw)
        if not isinstance(document, dict):
            raise MalformedRequest("The body must be a JSON object.", param=WHOLE)
        members = _decode_members(raw)
    except RecursionError:
        raise MalformedRequest("The body is nested too deeply.", param=WHOLE) from None
    except UnicodeDecodeError:
        raise MalformedRequest("The body is not valid UTF-8.", param=WHOLE) from None
    except msgspec.MsgspecError as e:
        raise MalformedRequest(f"The body is not valid JSON: {e}.", param=WHOLE) from None
    measured = None
    if len(raw) > LARGE:
        _refuse_depth(document)
    else:
        if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH:
            _refuse_depth(document)
        measured = _measured(raw, members)
    if measured is not None and measured.are_fine:
        return document, measured
    spans = _walked(raw, members) if measured is None else measured
    for name in filterfalse(POLICY.__contains__, members):
        refuse_member(name, document[name])
    return document, spans


def _refuse_depth(document: Document) -> None:
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return
    raise MalformedRequest(f"The body is nested more than {MAX_DEPTH} levels deep.", param=WHOLE)


class _Form(NamedTuple):
    """
    How members of certain names are written in one style.

    Attributes:
        text: All of it, to be filled with the values.
        gaps: How many bytes stand before each value, and after the one before it.
        are_fine: Whether members of these names are never refused, whatever they hold.
    """

    text: bytes
    gaps: tuple[int, ...]
    names: tuple[str, ...]
    are_fine: bool


class _Members(Mapping[str, tuple[int, int]]):
    """
    Where the values lie of members that are written in one style: see ``read``.

    Attributes:
        are_fine: Whether members of these names are never refused, whatever they hold.
    """

    __slots__ = ("_gaps", "_names", "_values", "are_fine")

    def __init__(self, form: _Form, values: tuple[msgspec.Raw, ...]) -> None:
        _, self._gaps, self._names, self.are_fine = form
        self._values = values

    def __getitem__(self, name: str) -> tuple[int, int]:
        span: tuple[int, int] | None = self.get(name)
        if span is None:
            raise KeyError(name)
        return span

    def get(self, name: str, default: Any = None) -> Any:
        """Say where the value of a member lies, if there is one of that name."""
        end = 0
        for each, gap, value in zip(self._names, self._gaps, self._values, strict=True):
            start = end + gap
            end = start + len(value)
            if each == name:
                return start, end
        return default

    def all(self) -> dict[str, tuple[int, int]]:
        """Give all at once."""
        spans: dict[str, tuple[int, int]] = {}
        end = 0
        for name, gap, value in zip(self._names, self._gaps, self._values, strict=True):
            start = end + gap
            end = start + len(value)
            spans[name] = (start, end)
        return spans

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _form(names: tuple[str, ...], colon: bytes, comma: bytes) -> _Form:
    opened = [
        (comma if number else b"{") + b'"' + name.encode() + b'"'
        for number, name in enumerate(names)
    ]
    gaps = tuple([len(each) + len(colon) for each in opened])
    text = b"".join([each.replace(b"%", b"%%") + colon + b"%b" for each in opened]) + b"}"
    return _Form(text, gaps, names, all(map(is_fine, names)))


_forms: dict[tuple[str, ...], tuple[int, _Form, _Form]] = {}
"""By names: where the first colon's end is, and the two ways to write them."""


def _forms_of(names: tuple[str, ...]) -> tuple[int, _Form, _Form] | None:
    """Give the forms of these names, and keep them: clients write the same ones over and over."""
    if not names:
        return None
    compact, spaced = (_form(names, *style) for style in _STYLES)
    forms = (len(names[0].encode()) + 4, compact, spaced)
    if sum(map(len, names)) <= MAX_LETTERS:
        if len(_forms) >= MAX_FORMS:
            _forms.clear()
        _forms[names] = forms
    return forms


def _measured(raw: bytes, members: Mapping[str, msgspec.Raw]) -> _Members | None:
    """Say where the values lie; ``None`` unless all is written in one of the two styles."""
    names, values = tuple(members), tuple(members.values())
    forms = _forms.get(names) or _forms_of(names)
    if forms is None:
        return None
    after, compact, spaced = forms
    form = spaced if raw[after : after + 1] == b" " else compact
    return _Members(form, values) if form.text % values == raw else None


def _walked(raw: bytes, members: Mapping[str, msgspec.Raw]) -> Spans:
    """Find where the values lie, and whether a member is there twice."""
    spans: dict[str, tuple[int, int]] = {}
    match = _FIRST.match(raw)
    while match is not None:
        name = match[1]
        key = _decode_text(name) if b"\\" in name else name[1:-1].decode()
        value = members[key]
        start = match.end()
        end = start + len(value)
        if key in spans or not raw.startswith(value, start):
            raise MalformedRequest(f"The member {key!r} is given twice.", param=key)
        spans[key] = (start, end)
        match = _NEXT.match(raw, end)
    if members and not _LAST.match(raw, end):
        raise MalformedRequest(f"The member {key!r} is given twice.", param=key)
    return spans


def splice(raw: bytes, spans: Spans, changes: Mapping[str, bytes | None]) -> bytes:
    """
    Give *raw* with top-level members replaced, added (at the end) or, for ``None``, removed.

    Args:
        raw: A body that ``read`` accepted.
        spans: What ``read`` said of it.
        changes: Encoded JSON values by member name.

    Returns:
        The edited body; every value that is not changed keeps its bytes.
    """
    whole = memoryview(raw) if len(raw) > LARGE else raw
    if len(changes) == 1:
        [(key, value)] = changes.items()
        span = spans.get(key)
        if value is not None and span is not None:
            return b"".join((whole[: span[0]], value, whole[span[1] :]))
    places = spans.all() if isinstance(spans, _Members) else spans
    kept = {key: whole[start:end] for key, (start, end) in places.items()}
    parts: list[bytes | memoryview] = []
    for key, now in {**kept, **changes}.items():
        if now is not None:
            parts += (b"," if parts else b"{", encode(key), b":", now)
    parts.append(b"}" if parts else b"{}")
    return b"".join(parts)
