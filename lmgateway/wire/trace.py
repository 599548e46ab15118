"""
Which trace a request belongs to: W3C Trace Context, read or begun.

https://www.w3.org/TR/trace-context/ : a ``traceparent`` that is as it should be is gone on
with, under a span of ours; any other is taken for none, and so is its ``tracestate``.
"""

from __future__ import annotations

import re
from binascii import hexlify
from collections.abc import MutableMapping
from itertools import chain
from os import urandom
from random import Random
from struct import Struct

from lmgateway.exchange import Trace
from lmgateway.wire.door import Head

PARENT, STATE = b"traceparent", b"tracestate"
SAMPLED = 1
MAX_STATE = 512

_PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_STATE = re.compile(rb"[\x20-\x7e]+")
_bits = Random().getrandbits


def trace_of(headers: MutableMapping[bytes, bytes], share: float = 0.0) -> Trace:
    """
    Take the trace out of a request's headers, or begin one.

    Args:
        headers: By lower-case name; several of one name joined with a comma.
        share: Of the traces that begin here, the share that is to be recorded.
    """
    span = _bits(64)
    if headers:
        parent, state = headers.pop(PARENT, None), headers.pop(STATE, b"")
        found = None if parent is None else _read(parent)
        if found is not None:
            trace, above, flags = found
            return Trace(trace, span, above, flags, _sound(state))
    trace = _stock.pop() if _stock else _fresh()
    sampled = share > 0 and int(trace[-8:], 16) < share * 0x1_0000_0000
    return Trace(trace, span, b"", SAMPLED if sampled else 0, b"")


_STOCK = 64
_WHOLE = Struct("32s")
_stock: list[bytes] = []


def _fresh() -> bytes:
    """A random id of a trace; many are made at once."""
    text = hexlify(urandom(16 * _STOCK))
    _stock.extend(chain.from_iterable(_WHOLE.iter_unpack(text)))
    return _stock.pop()


def trace_of_head(head: Head | None) -> Trace:
    """Take the trace out of a head, for a request that goes no further."""
    headers: dict[bytes, bytes] = {}
    for name, value in () if head is None else head.headers:
        if name == PARENT:
            headers[name] = headers[name] + b"," + value if name in headers else value
    return trace_of(headers)


def _read(parent: bytes) -> tuple[bytes, bytes, int] | None:
    match = _PARENT.fullmatch(parent)
    if match is None:
        return None
    version, trace, above, flags, more = match.groups()
    if version == b"ff" or (version == b"00" and more) or not trace.strip(b"0"):
        return None
    return None if not above.strip(b"0") else (trace, above, int(flags, 16) & SAMPLED)


def _sound(state: bytes) -> bytes:
    return state if len(state) <= MAX_STATE and _STATE.fullmatch(state) else b""
