"""
Failures as plain language, with status 200: ``error_style = "friendly"``.

For voice assistants and chat pages that show or speak whatever text comes.
``X-LMG-Error`` still carries the kind.
"""

from __future__ import annotations

from lmgateway.backends.base import Reply
from lmgateway.backends.canned import canned
from lmgateway.chat import ChatRequest
from lmgateway.errors import GatewayError

_TEXTS = {
    "backend_timeout": "Sorry, the model took too long to answer. Please try again.",
    "backend_unavailable": "Sorry, I cannot reach the model at the moment.",
    "backend_tls": "Sorry, I cannot reach the model at the moment.",
    "backend_rejected": "Sorry, the model did not accept this request.",
    "no_target": "Sorry, no model is available for this request.",
    "unknown_model": "Sorry, this model is not available.",
    "forbidden": "Sorry, this model needs a permission that was not given.",
}
_OTHER = "Sorry, something went wrong with the model. Please try again later."


def friendly_reply(request: ChatRequest, error: GatewayError) -> Reply:
    """Give a failure as a normal answer to *request*."""
    text = _TEXTS.get(error.kind, _OTHER)
    return canned(request, text, identity="chatcmpl-error", model=request.model or "lm-gateway")
