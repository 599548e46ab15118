"""The id of a request: the client's, if it is a decent one, or one of ours."""

from __future__ import annotations

import re
from uuid import uuid4

from lmgateway.wire.door import Head

_DECENT = re.compile(rb"[A-Za-z0-9_.-]{1,128}")


def request_id(head: Head | None) -> str:
    """Give the id that a request goes by, in answers, records and upstream."""
    given = None if head is None else head.get(b"x-request-id")
    if given is not None and _DECENT.fullmatch(given):
        return given.decode()
    return str(uuid4())
