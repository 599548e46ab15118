"""
What all grammars' errors have in common: what a refusal means, how long to wait, what was tried.

A backend's own text is passed on only where the client can act on it (its
4xx, but for our credentials), and at most so much of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from time import time

from lmgateway.chat import Document
from lmgateway.errors import (
    BackendError,
    BackendFailed,
    BackendLimited,
    BackendOverloaded,
    BackendTimeout,
    ContextExceeded,
    CredentialRefused,
    GatewayError,
    Rejected,
)

MAX_TEXT = 2000
"""Characters of a backend's message that a client may see."""
LONGEST_WAIT = 1e8
"""Seconds: a wait that is longer is no sensible number."""

_TOO_LONG = re.compile(
    r"context.?length|maximum context|context window|prompt (?:is )?too long|too many tokens"
    r"|exceeds? (?:the )?(?:available )?context",
    re.IGNORECASE,
)


def attempts_of(error: GatewayError) -> list[Document]:
    """Give what was tried, as a client is told."""
    return [
        {
            "tier": attempt.tier,
            "backend": attempt.backend,
            "model": attempt.model,
            "outcome": attempt.outcome,
            "status": attempt.status,
        }
        for attempt in error.attempts
    ]


# Meaning -------------------------------------------------------------------
def refusal(
    status: int,
    wait: float | None = None,
    message: str = "",
    code: str | None = None,
    param: str | None = None,
) -> BackendError:
    """
    Say what a backend's status (>= 400) means.

    Args:
        status: As the backend answered.
        wait: The seconds that it asked for: see ``retry_after``.
        message: What it said, if anything.
        code: The grammar's error code, if it has one.
        param: The member at fault, if it said so.
    """
    if status in (401, 403):
        return CredentialRefused()
    if status == 429:
        return BackendLimited("The model backend is rate limited.", retry_after=wait)
    if status in (503, 529):
        return BackendOverloaded("The model backend is overloaded.", retry_after=wait)
    if status in (408, 504):
        return BackendTimeout("The model backend timed out.")
    if status >= 500 or status in (409, 425):
        return BackendFailed(f"The model backend failed with status {status}.")
    return _rejection(status, message[:MAX_TEXT], code, param)


def _rejection(status: int, message: str, code: str | None, param: str | None) -> Rejected:
    said = message or f"The model backend refused the request with status {status}."
    status = status if 400 <= status < 500 else 502
    if code == "context_length_exceeded" or _TOO_LONG.search(message):
        return ContextExceeded(said, status=status, code="context_length_exceeded", param=param)
    return Rejected(said, status=status, code=code, param=param)


# Waiting -------------------------------------------------------------------
_SPAN = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?")
_RESETS = (b"x-ratelimit-reset-requests", b"x-ratelimit-reset-tokens")


def retry_after(headers: Mapping[bytes, bytes], now: float | None = None) -> float | None:
    """
    Read how many seconds a backend asks to wait, in any of the forms in use.

    ``retry-after-ms``; ``Retry-After`` in seconds or as an HTTP date (RFC 9110, 10.2.3), which
    is taken relative to the backend's own ``Date``, so that two clocks need not agree; or
    OpenAI's ``x-ratelimit-reset-*`` spans (``6m0s``, ``120ms``).  What is absent, negative or
    no number is ``None``.

    Args:
        headers: The backend's, lower-case names.
        now: Seconds since the epoch, where there is no ``Date``; the present if not given.
    """
    milliseconds = _number(headers.get(b"retry-after-ms", b""))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get(b"retry-after", b"")
    seconds = _number(text)
    until = None if seconds is not None else _date(text)
    if until is not None:
        since = _date(headers.get(b"date", b""))
        seconds = max(0.0, until - (since or now or time()))
    if seconds is None:
        spans = [_span(headers[name]) for name in _RESETS if name in headers]
        seconds = max((span for span in spans if span is not None), default=None)
    return seconds


def _number(text: bytes) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < LONGEST_WAIT else None


def _date(text: bytes) -> float | None:
    try:
        return parsedate_to_datetime(text.decode("latin-1")).timestamp()
    except (ValueError, OverflowError, TypeError):
        return None


def _span(text: bytes) -> float | None:
    match = _SPAN.fullmatch(text.decode("latin-1").strip())
    if match is None or not text.strip():
        return None
    hours, minutes, seconds, milliseconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
