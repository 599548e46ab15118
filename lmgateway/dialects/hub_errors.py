"""
Refusals of backends, and the error members of OpenAI's grammar, shared by the dialects.

A backend's own text is passed on only where the client can act on it (its
4xx, but for our credentials), and at most so much of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from lmgateway.chat import Document
from lmgateway.errors import (
    BackendError,
    BackendFailed,
    BackendLimited,
    BackendOverloaded,
    BackendTimeout,
    ContextExceeded,
    GatewayError,
    Rejected,
)

MAX_TEXT = 2000
"""Characters of a backend's message that a client may see."""

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


def error_code(error: GatewayError) -> str:
    """Give OpenAI's ``code`` for an error."""
    return getattr(error, "code", None) or _CODES.get(error.kind, error.kind)


def error_document(error: GatewayError) -> Document:
    """Give the ``error`` member of OpenAI's envelope; ``origin`` and ``attempts`` are ours."""
    status = error.status
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {
        "message": str(error),
        "type": kind,
        "param": error.param,
        "code": error_code(error),
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


def retry_after(headers: Mapping[bytes, bytes]) -> float | None:
    """Give the seconds of ``Retry-After``; ``None`` if absent, a date, or no sensible number."""
    try:
        seconds = float(headers.get(b"retry-after", b""))
    except ValueError:
        return None
    return seconds if 0 <= seconds < 1e8 else None


_TOO_LONG = re.compile(
    r"context.?length|maximum context|context window|prompt (?:is )?too long|too many tokens",
    re.IGNORECASE,
)


def refusal(
    status: int,
    headers: Mapping[bytes, bytes],
    message: str = "",
    code: str | None = None,
    param: str | None = None,
) -> BackendError:
    """
    Say what a backend's status (>= 400) means.

    Args:
        status: As the backend answered.
        headers: Its headers, lower-case names.
        message: What it said, if anything.
        code: The grammar's error code, if it has one.
        param: The member at fault, if it said so.
    """
    if status in (401, 403):
        return BackendFailed("The model backend refused this gateway's credential.")
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
    return _rejection(status, message[:MAX_TEXT], code, param)


def _rejection(status: int, message: str, code: str | None, param: str | None) -> Rejected:
    said = message or f"The model backend refused the request with status {status}."
    status = status if 400 <= status < 500 else 502
    if code == "context_length_exceeded" or (code is None and _TOO_LONG.search(message)):
        return ContextExceeded(said, status=status, code="context_length_exceeded", param=param)
    return Rejected(said, status=status, code=code, param=param)
