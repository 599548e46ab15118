"""The id of a request: the client's, if it is a decent one, or one of ours."""

from __future__ import annotations

import re
from os import urandom

from lmgateway.wire.door import Head

_DECENT = re.compile(rb"[A-Za-z0-9_.-]{1,128}")


def request_id(head: Head | None) -> str:
    """Give the id that a request goes by, in answers, records and upstream."""
    given = None if head is None else head.get(b"x-request-id")
    if given is not None and _DECENT.fullmatch(given):
        return given.decode()
    return _fresh()


_STOCK = 256
_random: list[str] = []


def _fresh() -> str:
    """A random UUID (version 4) as text; the system is asked for randomness in bulk."""
    if not _random:
        bulk = urandom(16 * _STOCK).hex()
        _random.extend([bulk[at : at + 32] for at in range(0, len(bulk), 32)])
    text = _random.pop()
    variant = "89ab"[int(text[16], 16) & 3]
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"
