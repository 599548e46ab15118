"""The admin port's OpenAPI document, made from its declared routes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attrs import evolve

from lmgateway.admin.answers import HTML, Fault
from lmgateway.admin.declared import Declared
from lmgateway.wire.openapi import Content, Document, Operation, document, own_version

SCHEMES = {
    "token": {"type": "http", "scheme": "bearer"},
    "session": {
        "type": "apiKey", "in": "cookie", "name": "lmg_session",
        "description": "Of /login; named __Host-lmg_session over TLS. What is not a GET needs "
        "the header X-CSRF-Token as well.",
    },
}  # fmt: skip

_SAID = {
    200: "Done.",
    303: "Go there.",
    304: "As you have it.",
    400: "The request is not as declared.",
    401: "A token is needed.",
    403: "The role is too small, or the request comes from a page of another site.",
    404: "There is no such thing.",
    409: "What is asked does not fit what is there now.",
    413: "The body is too large.",
    415: "The body is of another kind.",
    422: "What is asked cannot be done.",
    429: "Too many wrong tokens from this address.",
    500: "Nobody expected this failure.",
    503: "Not now.",
}


def admin_document(declared: Iterable[Declared], *, is_open: bool) -> Document:
    """
    Give the document.

    Args:
        is_open: Whether no token is asked for.
    """
    return document(
        "lmgateway admin API",
        own_version(),
        [_operation(one, is_open=is_open) for one in declared],
        SCHEMES,
        "What the operator sees and may do. Roles: viewer < operator < admin.",
    )


def _operation(one: Declared, *, is_open: bool) -> Operation:
    public = is_open or one.role == "public"
    return Operation(
        method=one.method,
        path=one.path,
        tag=one.topic,
        summary=one.summary,
        description=one.description,
        query=one.query,
        body=None
        if one.body is None
        else Content(of=one.body, media=one.body_media, must=one.needs_body),
        answers=dict(_answers(one)),
        security=() if public else ("token", "session"),
        extensions={"x-lmg-role": one.role},
    )


def _answers(one: Declared) -> Iterator[tuple[str, tuple[Content, ...]]]:
    media = one.media if one.status not in (204, 304) else ""
    for status in (one.status, *one.also):
        others = [Content(media=other) for other in one.other_media]
        yield _told(status, Content(of=one.answer, media=media), *others)
    for status in sorted(_failures(one) - {one.status, *one.also}):
        # A page tells its own errors as pages.
        paged = one.media == HTML and status in one.errors
        yield _told(status, Content(media=HTML) if paged else Content(of=Fault))
    if one.media == HTML and one.role != "public":
        yield _told(303, Content(media=""))


def _told(status: int, content: Content, *others: Content) -> tuple[str, tuple[Content, ...]]:
    return str(status), (evolve(content, description=_SAID.get(status, "")), *others)


def _failures(one: Declared) -> set[int]:
    found = {400, 403, *one.errors}
    if one.role != "public":
        found |= {401, 429}
    if one.changes:
        found |= {413}
    if one.body is not None:
        found |= {415}
    return found
