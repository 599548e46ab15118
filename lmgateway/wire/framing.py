"""
The rules that a request head must keep beyond what llhttp enforces.

All of them serve one end: no request that two servers could read differently
is served.  A refused head is never forwarded, repaired or guessed at.
"""

from __future__ import annotations

import re
from functools import lru_cache

from lmgateway.errors import ExpectationFailed, MalformedRequest, MethodNotAllowed
from lmgateway.wire.door import Head
from lmgateway.wire.reader import Message

METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"))
_ALLOW = tuple(sorted(method.decode() for method in METHODS))
_TARGET = re.compile(rb"/[!$-~\"]*\Z")
_LABEL = rb"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(
    rb"(?:%b(?:\.%b)*\.?|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{1,5}))?\Z" % (_LABEL, _LABEL)
)
_MAX_HOST = 262
_WATCHED = frozenset((b"host", b"content-length", b"transfer-encoding", b"expect"))


def valid_host(value: bytes) -> bool:
    """Whether *value* is a proper ``Host``: a name or an address, and perhaps a port."""
    return len(value) <= _MAX_HOST and _valid_host(value)


@lru_cache(maxsize=1024)
def _valid_host(value: bytes) -> bool:
    match = _HOST.match(value)
    return match is not None and int(match[1] or 0) < 65536


def read_head(message: Message, peer: str, secure: bool) -> Head:
    """
    Check a message's head, and give it a form to decide on.

    Raises:
        GatewayError: If it breaks a rule; the connection cannot go on then.
    """
    if not message.version:
        raise MalformedRequest("The request line is not that of HTTP/1.1.")
    if message.method not in METHODS:
        raise MethodNotAllowed("This method is not served here.", allow=_ALLOW)
    if _TARGET.match(message.target) is None:
        raise MalformedRequest("The request target must be a path in printable ASCII.")
    headers: list[tuple[bytes, bytes]] = []
    length = _read_fields(message, headers)
    path, _, query = message.target.partition(b"?")
    return Head(
        method=message.method,
        path=path,
        query=query,
        headers=headers,
        peer=peer,
        secure=secure,
        length=length,
    )


def _name(name: bytes) -> tuple[bytes, bool]:
    """A header's name in lower case, and whether it frames or addresses the message."""
    if b"_" in name:
        raise MalformedRequest("Header names with an underscore are not accepted.")
    lower = name.lower()
    return lower, lower in _WATCHED


_read_name = lru_cache(maxsize=4096)(_name)
_CACHED = 64
"""Longer names are not kept: they are a client's, and could fill the memory."""


def _read_fields(message: Message, headers: list[tuple[bytes, bytes]]) -> int | None:
    """Put the fields into *headers*, checking those that matter; return the body's length."""
    length: int | None = 0
    hosts = 0
    for raw, value in message.fields:
        name, watched = _read_name(raw) if len(raw) <= _CACHED else _name(raw)
        value = value.rstrip(b" \t")
        headers.append((name, value))
        if not watched:
            continue
        if name == b"host":
            hosts += 1
            if len(value) > _MAX_HOST or not _valid_host(value):
                raise MalformedRequest("The Host header is not valid.")
        elif name == b"content-length":
            if len(value) > 15 or not value.isdigit():
                raise MalformedRequest("The Content-Length header is not valid.")
            length = int(value)
        elif name == b"transfer-encoding":
            _check_coding(message, value)
            length = None
        elif message.version == b"1.1" and value.lower() != b"100-continue":
            raise ExpectationFailed("The only expectation understood is 100-continue.")
    if hosts > 1 or (hosts == 0 and message.version != b"1.0"):
        raise MalformedRequest("The request needs one Host header.")
    return length


def _check_coding(message: Message, value: bytes) -> None:
    if message.version != b"1.1" or value.lower() != b"chunked":
        raise MalformedRequest("The only transfer coding understood is chunked, in HTTP/1.1.")


def expects_continue(message: Message, head: Head) -> bool:
    """Whether the client waits for ``100 Continue`` before it sends the body."""
    return (
        head.length != 0
        and message.version == b"1.1"
        and message.received == 0
        and head.get(b"expect") is not None
    )
