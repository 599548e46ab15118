"""
Heads of responses, as bytes.

Whatever a caller passes, the bytes that leave are one head: the reason phrase
comes from a table, framing headers are ours alone, and a line break in a name
or value is taken out.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from email.utils import formatdate
from http import HTTPStatus

Headers = Sequence[tuple[bytes, bytes]]

_LINES = {
    status.value: b"HTTP/1.1 %d %b" % (status, status.phrase.encode())
    for status in HTTPStatus
    if status >= 200
}
_OURS = frozenset(
    (
        b"connection",
        b"content-length",
        b"date",
        b"keep-alive",
        b"proxy-connection",
        b"server",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
_PLAIN: set[bytes] = set()
"""Names that were looked at and are none of those."""
_MAX_PLAIN, _LONG = 1024, 64
"""How many are kept, and how long they may be: some come from a backend."""
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_BREAKS = re.compile(rb"[\r\n\0]+")

CLOSE = b"connection: close\r\n"
KEEP = b"connection: keep-alive\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
NO_BODY = frozenset((204, 304))
"""Statuses of responses that never carry a body."""
LAST_CHUNK = b"0\r\n\r\n"

_date = (0, b"")


def date_line() -> bytes:
    """The ``Date`` header of this second."""
    global _date  # noqa: PLW0603 - one value per process, made once a second
    now = int(time.time())
    if _date[0] != now:
        _date = (now, b"date: %b\r\n" % formatdate(now, usegmt=True).encode())
    return _date[1]


def render_head(status: int, headers: Headers, framing: bytes) -> bytes:
    """
    Render a response head.

    Args:
        status: 200 to 599; anything else becomes 500.
        headers: The caller's; those that frame the message are left out.
        framing: Finished lines of ours.
    """
    line = _LINES.get(status) or _line(status)
    if not _PLAIN.issuperset(dict(headers)):
        headers = _without_ours(headers)
    head = b"\r\n".join([line, *map(b": ".join, headers)])
    count = len(headers)
    if head.count(b"\n") != count or head.count(b"\r") != count or b"\0" in head:
        head = b"\r\n".join([line, *_sanitised(headers)])
    return b"%b\r\n%b%b\r\n" % (head, framing, date_line())


def _line(status: int) -> bytes:
    return b"HTTP/1.1 %d Unknown" % status if 200 <= status <= 599 else _LINES[500]


def _without_ours(headers: Headers) -> Headers:
    """Leave out what frames the message; remember names that need not be looked at again."""
    others = [field for field in headers if field[0].lower() not in _OURS]
    if len(_PLAIN) < _MAX_PLAIN:
        _PLAIN.update(name for name, _ in others if len(name) <= _LONG)
    return others


def _sanitised(headers: Headers) -> list[bytes]:
    return [
        b"%b: %b" % (name, _BREAKS.sub(b" ", value)) for name, value in headers if _NAME.match(name)
    ]
