"""
What all grammars' errors have in common: what a refusal means, what was tried.

A backend's own text is passed on only where the client can act on it (its
4xx, but for our credentials), and at most so much of it.
"""

from __future__ import annotations

import re

from lmgateway.backend_errors import (
    BackendError,
    BackendFailed,
    BackendLimited,
    BackendOverloaded,
    BackendTimeout,
    ContextExceeded,
    CredentialRefused,
    Rejected,
)
from lmgateway.chat import Document
from lmgateway.errors import GatewayError

MAX_TEXT = 2000
"""Characters of a backend's message that a client may see."""

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
        wait: The seconds that it asked for: see ``dialects.waits``.
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
    if status == 402:  # the gateway's account with it, which is no client's concern
        return BackendFailed()
    if status >= 500 or status in (409, 425):
        return BackendFailed(f"The model backend failed with status {status}.")
    return _rejection(status, message[:MAX_TEXT], code, param)


def _rejection(status: int, message: str, code: str | None, param: str | None) -> Rejected:
    said = message or f"The model backend refused the request with status {status}."
    status = status if 400 <= status < 500 else 502
    if code == "context_length_exceeded" or _TOO_LONG.search(message):
        return ContextExceeded(said, status=status, code="context_length_exceeded", param=param)
    return Rejected(said, status=status, code=code, param=param)
