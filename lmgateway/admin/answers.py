"""What every answer of the admin port has in common."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any, ClassVar

import msgspec

from lmgateway.errors import (
    GatewayError,
    MethodNotAllowed,
    NotFound,
    RequestError,
    Unauthenticated,
)
from lmgateway.wire.door import Head, Refusal
from lmgateway.wire.identity import request_id
from lmgateway.wire.request import Request

JSON = "application/json"
HTML = "text/html; charset=utf-8"

Headers = tuple[tuple[bytes, bytes], ...]

_COMMON: Headers = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),  # none at all makes the Origin of a form "null"
)


class Shape(msgspec.Struct, frozen=True):
    """The shape of an answer: derive one for each document."""


class Query(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The query parameters of a route: derive, one member each; unknown ones are refused."""


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The JSON body of a request that changes something: derive; unknown members are refused."""


class Conflict(RequestError):
    """What is asked does not fit what is there now."""

    kind: ClassVar[str] = "conflict"
    status = 409


class Fault(Shape, frozen=True):
    """
    An error.

    Attributes:
        error: What is wrong, in one sentence.
        kind: The same in one word.
        problems: Each thing that is wrong, where there are several.
    """

    error: str
    kind: str
    problems: list[str] | msgspec.UnsetType = msgspec.UNSET


class Answer(msgspec.Struct, frozen=True):
    """A document with a status other than 200, or with headers."""

    document: Any
    status: int = 200
    headers: Headers = ()


class Raw(msgspec.Struct, frozen=True):
    """An answer that is no JSON document."""

    body: bytes
    media: str
    status: int = 200
    headers: Headers = ()


def send(request: Request, given: object, id_: str) -> int:
    """Answer with a document, an ``Answer`` or a ``Raw``; gives the status."""
    if isinstance(given, Raw):
        status, media, body, more = given.status, given.media, given.body, given.headers
    else:
        told = given if isinstance(given, Answer) else Answer(given)
        status, media, more = told.status, JSON, told.headers
        body = msgspec.json.encode(told.document)
    request.respond(status, [*head_of(id_, media), *more], body)
    return status


def head_of(id_: str, media: str) -> Headers:
    """Give the headers of every answer."""
    return ((b"content-type", media.encode()), *_COMMON, (b"x-request-id", id_.encode()))


def refuse(request: Request, error: GatewayError, id_: str | None = None) -> int:
    """Answer with an error; gives the status."""
    refusal = refusal_of(request.head, error, id_)
    request.respond(refusal.status, refusal.headers, refusal.body)
    return refusal.status


def refusal_of(head: Head | None, error: GatewayError, id_: str | None = None) -> Refusal:
    """Give an error as ``{"error": text, "kind": kind}``."""
    headers = [*head_of(id_ or request_id(head), JSON), (b"x-lmg-error", error.kind.encode())]
    if isinstance(error, Unauthenticated):
        headers.append((b"www-authenticate", b'Bearer realm="lm-gateway admin"'))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", ", ".join(error.allow).encode()))
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, ceil(error.retry_after))))
    fault = Fault(error=str(error), kind=error.kind)
    return Refusal(error.status, tuple(headers), msgspec.json.encode(fault))


class Fallback:
    """Answers where no route does: see ``wire.routes``."""

    def not_found(self, request: Request) -> None:
        """Answer for a path that is not there."""
        refuse(request, NotFound("There is nothing at this path."))

    def method_not_allowed(self, request: Request, allow: Sequence[str]) -> None:
        """Answer for a method that the path has not."""
        refuse(request, MethodNotAllowed("This path has not that method.", allow=allow))

    def failed(self, request: Request) -> None:
        """Answer for a failure that nobody expected, or for one that cut the request short."""
        refuse(request, request.interruption or GatewayError())
