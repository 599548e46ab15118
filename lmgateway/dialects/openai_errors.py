"""
Errors in OpenAI's grammar, both ways.

Written: ``{"error": {"message", "type", "param", "code", "origin", "attempts"}}``
(https://platform.openai.com/docs/guides/error-codes), where the last two are
ours: who is to blame, and what was tried.  Read: any compatible server's
refusal, whose text is passed on only where the client can act on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from lmgateway.backend_errors import BackendError
from lmgateway.chat import Document
from lmgateway.dialects.document import encode
from lmgateway.dialects.hub_errors import MAX_TEXT, attempts_of, refusal
from lmgateway.dialects.waits import retry_after
from lmgateway.errors import BudgetExhausted, GatewayError

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
    resets = {"resets_at": error.resets_at} if isinstance(error, BudgetExhausted) else {}
    return {
        "message": str(error),
        "type": kind,
        "param": error.param,
        "code": getattr(error, "code", None) or _CODES.get(error.kind, error.kind),
        "origin": error.origin,
        "attempts": attempts_of(error),
        **resets,
    }


def write_error(error: GatewayError, request_id: str) -> bytes:
    """Give OpenAI's error envelope."""
    return encode({"error": {**error_document(error), "request_id": request_id}})


def read_error(status: int, headers: Mapping[bytes, bytes], body: bytes) -> BackendError:
    """Say what a backend's refusal means.  Never raises, and never repeats a 401's text."""
    return refusal(status, retry_after(headers), *_told(body))


def _told(body: bytes) -> tuple[str, str | None, str | None]:
    """The message, code and param of an error body, as far as they are strings."""
    try:
        document: Any = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "", None, None
    error = document.get("error", document) if isinstance(document, dict) else None
    if isinstance(error, str):
        return error[:MAX_TEXT], None, None
    if not isinstance(error, dict):
        return "", None, None
    message, code, param = error.get("message"), error.get("code"), error.get("param")
    return (
        message[:MAX_TEXT] if isinstance(message, str) else "",
        code[:100] if isinstance(code, str) else None,
        param[:200] if isinstance(param, str) else None,
    )
