"""What every answer of the admin port has in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from lmgateway.errors import GatewayError, MethodNotAllowed, NotFound, Unauthenticated
from lmgateway.wire.door import Head, Refusal
from lmgateway.wire.identity import request_id
from lmgateway.wire.request import Request

_COMMON = (
    (b"content-type", b"application/json"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)


def answer(request: Request, status: int, document: Any) -> None:
    """Answer with a document."""
    headers = [*_COMMON, (b"x-request-id", request_id(request.head).encode())]
    request.respond(status, headers, msgspec.json.encode(document))


def refuse(request: Request, error: GatewayError) -> None:
    """Answer with an error."""
    refusal = refusal_of(request.head, error)
    request.respond(refusal.status, refusal.headers, refusal.body)


def refusal_of(head: Head | None, error: GatewayError) -> Refusal:
    """Give an error as ``{"error": text, "kind": kind}``."""
    headers = [*_COMMON, (b"x-request-id", request_id(head).encode())]
    headers.append((b"x-lmg-error", error.kind.encode()))
    if isinstance(error, Unauthenticated):
        headers.append((b"www-authenticate", b'Bearer realm="lm-gateway admin"'))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", ", ".join(error.allow).encode()))
    body = msgspec.json.encode({"error": str(error), "kind": error.kind})
    return Refusal(error.status, tuple(headers), body)


class Fallback:
    """Answers where no route does: see ``wire.routes``."""

    def not_found(self, request: Request) -> None:
        """Answer for a path that is not there."""
        refuse(request, NotFound("There is nothing at this path."))

    def method_not_allowed(self, request: Request, allow: Sequence[str]) -> None:
        """Answer for a method that the path has not."""
        refuse(request, MethodNotAllowed("This path has not that method.", allow=allow))

    def failed(self, request: Request) -> None:
        """Answer for a failure that nobody expected."""
        refuse(request, GatewayError())
