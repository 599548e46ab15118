"""
Anthropic's error envelope, both ways.

``{"type": "error", "error": {"type", "message"}, "request_id"}``; ours has in ``error`` also
``origin`` (``client``, ``gateway``, ``upstream``), ``attempts``, and ``param`` where one
request field is at fault.

Written, by the status of the error:

=========  =========================
status     ``error.type``
=========  =========================
401        ``authentication_error``
402        ``billing_error``
403        ``permission_error``
404        ``not_found_error``
413        ``request_too_large``
429        ``rate_limit_error``
503, 529   ``overloaded_error``
504        ``timeout_error``
other 4xx  ``invalid_request_error``
other 5xx  ``api_error``
=========  =========================

Read, from a backend's status, or from the type of an error in a stream:

=======================================  ===========================================
backend                                  error
=======================================  ===========================================
429 ``rate_limit_error``                 ``BackendLimited``
503, 529 ``overloaded_error``            ``BackendOverloaded``
400, 413 that says the prompt is long    ``ContextExceeded``
400 that says our account is empty, 402  ``BackendFailed``, not a word of it relayed
401, 403                                 ``CredentialRefused``, likewise
400, 404, 413, 422                       ``Rejected``, with the backend's message
408, 504 ``timeout_error``               ``BackendTimeout``
409, 425, other 5xx                      ``BackendFailed``
other 4xx                                ``Rejected``, without
=======================================  ===========================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from lmgateway.backend_errors import BackendError, BackendFailed, ContextExceeded
from lmgateway.chat import Document
from lmgateway.dialects.document import encode
from lmgateway.dialects.hub_errors import MAX_TEXT, attempts_of, refusal
from lmgateway.dialects.waits import retry_after
from lmgateway.errors import BudgetExhausted, GatewayError

_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_RELAYED = frozenset({400, 404, 413, 422})

_TOO_LONG = re.compile(r"prompt is too long|exceeds? (?:the )?context (?:limit|window)", re.I)
"""Anthropic has no error type for it: the wording is all there is."""
_NO_CREDIT = re.compile(r"credit balance is too low|reached your specified .*usage limits", re.I)
"""The operator's own account, which Anthropic reports as if the request were wrong."""


class _Fault(msgspec.Struct):
    type: str | None = None
    message: str | None = None


class _Envelope(msgspec.Struct):
    error: _Fault


_read = msgspec.json.Decoder(_Envelope).decode


def error_document(error: GatewayError) -> Document:
    """Give the envelope of *error*, without a request id."""
    status = error.status
    fallback = "api_error" if status >= 500 else "invalid_request_error"
    told: Document = {
        "type": _TYPES.get(status, fallback),
        "message": str(error),
        "origin": error.origin,
        "attempts": attempts_of(error),
    }
    if error.param is not None:
        told["param"] = error.param
    if isinstance(error, BudgetExhausted):
        told["resets_at"] = error.resets_at
    return {"type": "error", "error": told}


def write_error(error: GatewayError, request_id: str) -> bytes:
    """Give the body of an error answer."""
    return encode({**error_document(error), "request_id": request_id})


def read_error(status: int, headers: Mapping[bytes, bytes], body: bytes) -> BackendError:
    """Say what a backend's refusal (status >= 400) means.  Never raises."""
    try:
        fault = _read(body).error
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        fault = _Fault()
    return _meaning(status, fault.message or "", retry_after(headers))


def stream_error(kind: str | None, message: str | None) -> BackendError:
    """Say what an error in a stream, or in an answer that says 200, means."""
    return _meaning(_STATUSES.get(kind or "", 500), message or "", None)


def _meaning(status: int, message: str, wait: float | None) -> BackendError:
    if status == 402 or (status in _RELAYED and _NO_CREDIT.search(message)):
        return BackendFailed()
    if status in _RELAYED and _TOO_LONG.search(message):
        return ContextExceeded(message[:MAX_TEXT], status=400, code="context_length_exceeded")
    return refusal(status, wait, message if status in _RELAYED else "")
