"""
How long a backend asks us to wait, in every form in use.

=====================================  =========================================
header                                 value
=====================================  =========================================
``retry-after-ms``                     milliseconds
``retry-after``                        seconds, with or without a fraction; or an
                                       HTTP date (RFC 9110, 10.2.3)
``x-ratelimit-reset-requests``,        a span (``1s``, ``6m0s``, ``20ms``), seconds,
``-tokens``, ``x-ratelimit-reset``,    or seconds or milliseconds since the epoch
``ratelimit-reset``                    likewise
``anthropic-ratelimit-*-reset``        a moment (RFC 3339)
=====================================  =========================================

The first row that says something sensible is taken.  Of several resets the
latest counts, unless the ``remaining`` beside them tell which limits are used
up.  Moments are taken relative to the backend's own ``Date``, so that two
clocks need not agree.  A backend may say anything: what is negative or no
number is as if it were not there, and what is longer than a day is a day.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from time import time

LONGEST_WAIT = 86400.0
"""Seconds that a backend is believed to want at most."""

_NUMBER = re.compile(r"\+?[0-9]{1,20}(?:\.[0-9]{0,20})?(?:[eE]\+?[0-9]{1,3})?")
_SPAN = re.compile(
    r"(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m(?!s))?"
    r"(?:([0-9]{1,9}(?:\.[0-9]{1,9})?)s)?(?:([0-9]{1,12}(?:\.[0-9]{1,9})?)ms)?"
)
_MOMENT_BYTES = 64
_EPOCH_SECONDS = 1e9
_EPOCH_MILLISECONDS = 1e12
_RESETS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-ratelimit-reset-requests", b"x-ratelimit-remaining-requests"),
    (b"x-ratelimit-reset-tokens", b"x-ratelimit-remaining-tokens"),
    (b"x-ratelimit-reset", b"x-ratelimit-remaining"),
    (b"ratelimit-reset", b"ratelimit-remaining"),
    *(
        (b"anthropic-ratelimit-%b-reset" % what, b"anthropic-ratelimit-%b-remaining" % what)
        for what in (b"requests", b"tokens", b"input-tokens", b"output-tokens")
    ),
)


def retry_after(headers: Mapping[bytes, bytes], now: float | None = None) -> float | None:
    """
    Read how many seconds a backend asks to wait; ``None`` if it does not say.

    Args:
        headers: The backend's, lower-case names.
        now: Seconds since the epoch, where there is no ``Date``; the present if not given.
    """
    milliseconds = _number(_text(headers, b"retry-after-ms"))
    if milliseconds is not None:
        return min(milliseconds / 1000, LONGEST_WAIT)
    present = _date(_text(headers, b"date")) or now or time()
    wait = _told(_text(headers, b"retry-after"), present)
    if wait is None:
        wait = max(_resets(headers, present), default=None)
    return None if wait is None else min(wait, LONGEST_WAIT)


def _told(text: str, present: float) -> float | None:
    seconds = _number(text)
    if seconds is None:
        until = _date(text)
        seconds = _span(text) if until is None else max(0.0, until - present)
    return seconds


def _resets(headers: Mapping[bytes, bytes], present: float) -> list[float]:
    """The waits of the limits that are used up; of all limits where none is said to be."""
    waits: list[float] = []
    used_up: list[float] = []
    for name, remaining in _RESETS:
        wait = _reset(_text(headers, name), present) if name in headers else None
        if wait is not None:
            waits.append(wait)
            used_up += [wait] * (_number(_text(headers, remaining)) == 0)
    return used_up or waits


def _reset(text: str, present: float) -> float | None:
    number = _number(text)
    if number is not None:
        if number >= _EPOCH_MILLISECONDS:
            number /= 1000
        return max(0.0, number - present) if number >= _EPOCH_SECONDS else number
    span = _span(text)
    if span is not None:
        return span
    moment = _moment(text)
    return None if moment is None else max(0.0, moment - present)


# Forms -----------------------------------------------------------------------
def _text(headers: Mapping[bytes, bytes], name: bytes) -> str:
    return headers.get(name, b"").decode("latin-1").strip()


def _number(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text) else None


def _date(text: str) -> float | None:
    """Seconds since the epoch of an HTTP date."""
    if not text or len(text) > _MOMENT_BYTES:
        return None
    try:
        return _seconds(parsedate_to_datetime(text))
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def _moment(text: str) -> float | None:
    """Seconds since the epoch of an RFC 3339 time."""
    if len(text) > _MOMENT_BYTES or "T" not in text.upper():
        return None
    try:
        return _seconds(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return None


def _seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _span(text: str) -> float | None:
    match = _SPAN.fullmatch(text) if text else None
    if match is None:
        return None
    parts: Iterator[float] = (float(part or 0) for part in match.groups())
    return sum(part * unit for part, unit in zip(parts, (3600, 60, 1, 0.001), strict=True))
