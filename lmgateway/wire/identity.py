"""The id of a request: the client's, if it is a decent one, or one of ours."""

from __future__ import annotations

import re
from binascii import hexlify
from os import urandom
from struct import Struct

from lmgateway.wire.door import Head

_DECENT = re.compile(rb"[A-Za-z0-9_.-]{1,128}")


def request_id(head: Head | None) -> str:
    """Give the id that a request goes by, in answers, records and upstream."""
    given = None if head is None else head.first.get(b"x-request-id")
    if given is not None and _DECENT.fullmatch(given):
        return given.decode()
    return _stock.pop() if _stock else _fresh()


_STOCK = 64
_PARTS = Struct("8s4s4s4s12s")
_WRITE = b"%b-%b-%b-%b-%b".__mod__
_RANDOM = int.from_bytes(bytes.fromhex("ffffffffffff0fff3fffffffffffffff" * _STOCK))
_FIXED = int.from_bytes(bytes.fromhex("00000000000040008000000000000000" * _STOCK))
"""Which bits of a UUID (version 4) are random, and what the others are; for a whole stock."""

_stock: list[str] = []


def _fresh() -> str:
    """A random UUID (version 4) as text; many are made at once."""
    drawn = int.from_bytes(urandom(16 * _STOCK)) & _RANDOM | _FIXED
    text = hexlify(drawn.to_bytes(16 * _STOCK))
    _stock.extend(map(bytes.decode, map(_WRITE, _PARTS.iter_unpack(text))))
    return _stock.pop()
