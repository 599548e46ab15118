"""
How long a client will wait: ``X-LMG-Deadline``.

A whole number of milliseconds (``1500``), or a number with its unit (``1500ms``,
``1.5s``, ``2m``), counted from the moment at which the request was complete.
It bounds what ``request_timeout_ms`` bounds, all attempts, pauses and waits in
queues up to the first output of a stream or the end of a whole answer, and can
only shorten it.  Anything else is refused: a deadline that is ignored would be
worse than none.
"""

from __future__ import annotations

import re

from lmgateway.errors import MalformedRequest

DEADLINE_HEADER = "x-lmg-deadline"

_FORM = re.compile(r"([0-9]{1,9})|([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m)", re.ASCII)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}


def deadline(text: str) -> float:
    """
    Read a deadline, in seconds.

    Raises:
        MalformedRequest: If it is not one.
    """
    match = _FORM.fullmatch(text.strip())
    number, unit = (match[1] or match[2], match[3] or "ms") if match else ("0", "ms")
    seconds = float(number) * _UNITS[unit]
    if seconds <= 0:
        raise MalformedRequest(
            "X-LMG-Deadline must be a whole number of milliseconds, or a number with a unit: "
            "1500, 1500ms, 1.5s, 2m.",
            param="X-LMG-Deadline",
        )
    return seconds
