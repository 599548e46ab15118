"""
Errors in OpenAI's grammar, both ways.

Written: ``{"error": {"message", "type", "param", "code", "origin", "attempts"}}``
(https://platform.openai.com/docs/guides/error-codes), where the last two are
ours: who is to blame, and what was tried.  Read: any compatible server's
refusal, whose text is passed on only where the client can act on it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from time import time
from typing import Any

import msgspec

from lmgateway.chat import Document
from lmgateway.dialects.document import encode
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

_TYPES = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
    504: "timeout_error",
}
_CODES = {
    "unauthenticated": "invalid_api_key",
    "unknown_model": "model_not_found",
    "rate_limited": "rate_limit_exceeded",
    "too_many_concurrent": "rate_limit_exceeded",
    "backend_rate_limited": "rate_limit_exceeded",
    "budget_exhausted": "insufficient_quota",
}


def error_document(error: GatewayError) -> Document:
    """Give the members of ``error`` for a client."""
    status = error.status
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {
        "message": str(error),
        "type": kind,
        "param": error.param,
        "code": getattr(error, "code", None) or _CODES.get(error.kind, error.kind),
        "origin": error.origin,
        "attempts": [
            {
                "tier": attempt.tier,
                "backend": attempt.backend,
                "model": attempt.model,
                "outcome": attempt.outcome,
                "status": attempt.status,
            }
            for attempt in error.attempts
        ],
    }


def write_error(error: GatewayError, request_id: str) -> bytes:
    """Give OpenAI's error envelope."""
    return encode({"error": {**error_document(error), "request_id": request_id}})


def read_error(status: int, headers: Mapping[bytes, bytes], body: bytes) -> BackendError:
    """Say what a backend's refusal means.  Never raises, and never repeats a 401's text."""
    if status in (401, 403):
        return CredentialRefused()
    if status == 429:
        return BackendLimited(
            "The model backend is rate limited.", retry_after=retry_after(headers)
        )
    if status in (503, 529):
        return BackendOverloaded(
            "The model backend is overloaded.", retry_after=retry_after(headers)
        )
    if status in (408, 504):
        return BackendTimeout("The model backend timed out.")
    if status >= 500 or status in (409, 425):
        return BackendFailed(f"The model backend failed with status {status}.")
    return _rejection(status, *_told(body))


def _rejection(status: int, message: str, code: str | None, param: str | None) -> Rejected:
    text = message or f"The model backend refused the request with status {status}."
    status = status if 400 <= status < 500 else 502
    if code == "context_length_exceeded" or _TOO_LONG.search(message):
        return ContextExceeded(text, status=status, code="context_length_exceeded", param=param)
    return Rejected(text, status=status, code=code, param=param)


_TOO_LONG = re.compile(
    r"context.?length|maximum context|context window|prompt is too long|too many tokens"
    r"|exceeds? the (?:available )?context",
    re.IGNORECASE,
)
_MAX_TEXT = 2000


def _told(body: bytes) -> tuple[str, str | None, str | None]:
    """The message, code and param of an error body, as far as they are strings."""
    try:
        document: Any = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "", None, None
    error = document.get("error", document) if isinstance(document, dict) else None
    if isinstance(error, str):
        return error[:_MAX_TEXT], None, None
    if not isinstance(error, dict):
        return "", None, None
    message, code, param = error.get("message"), error.get("code"), error.get("param")
    return (
        message[:_MAX_TEXT] if isinstance(message, str) else "",
        code[:100] if isinstance(code, str) else None,
        param[:200] if isinstance(param, str) else None,
    )


_SPAN = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?")
_RESETS = (b"x-ratelimit-reset-requests", b"x-ratelimit-reset-tokens")


def retry_after(headers: Mapping[bytes, bytes], now: float | None = None) -> float | None:
    """
    Read how many seconds to wait, in any of the forms in use.

    ``Retry-After`` in seconds or as an HTTP date (RFC 9110, 10.2.3), ``retry-after-ms``, or
    OpenAI's ``x-ratelimit-reset-*`` spans (``6m0s``, ``120ms``).  What is absent, negative or
    no number is ``None``.
    """
    milliseconds = _number(headers.get(b"retry-after-ms", b""))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get(b"retry-after", b"")
    seconds = _number(text)
    if seconds is None and text:
        seconds = _until(text.decode("latin-1"), time() if now is None else now)
    if seconds is None:
        spans = [_span(headers[name].decode("latin-1")) for name in _RESETS if name in headers]
        seconds = max((span for span in spans if span is not None), default=None)
    return seconds


def _number(text: bytes) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < 1e10 else None


def _until(text: str, now: float) -> float | None:
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError, TypeError):
        return None


def _span(text: str) -> float | None:
    match = _SPAN.fullmatch(text.strip())
    if match is None or not text.strip():
        return None
    hours, minutes, seconds, milliseconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000
