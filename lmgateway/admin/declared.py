"""
How a route of the admin port is declared: there is no other way to make one.

A module of this package has one class with the routes of one topic, and needs nothing of its
neighbours::

    topic = Topic("cache")

    class Purge(Query, frozen=True):
        model: str | None = None

    class Purged(Shape, frozen=True):
        removed: int

    @frozen(eq=False)
    class CacheRoutes:
        purge: Callable[[str | None], int]
        topic: ClassVar[Topic] = topic

        @topic.route("DELETE", "/admin/cache/<tier>", role="operator", query=Purge, answer=Purged,
                     summary="Forget answers", errors=(404,))
        def forget(self, call: Call, query: Purge, tier: str) -> Purged:
            '''Forget the answers of a tier, or of one model of it.'''
            call.note(tier=tier)
            return Purged(removed=self.purge(query.model))

An instance of it goes into the list in ``service.office``, and that is all: the door asks for
the role, query and body are read into their classes (400 where they do not fit), what the method
returns is sent, what it raises as a ``GatewayError`` is told, the OpenAPI document has the route,
and each call that is not a GET is told as an ``audit`` event.  The method may be ``async``.  It
returns a document, an ``Answer`` (other status, headers) or a ``Raw`` (no JSON; declare its
``media``); or nothing, if it wrote to ``call.request`` itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from inspect import isawaitable
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints
from urllib.parse import parse_qs

import msgspec
from attrs import Factory, field
from klein import Klein

from lmgateway.admin.answers import JSON, refuse, send
from lmgateway.admin.operator import Operator, Role
from lmgateway.classes import define, frozen
from lmgateway.errors import (
    Forbidden,
    GatewayError,
    MalformedRequest,
    Unauthenticated,
    UnsupportedMediaType,
)
from lmgateway.wire.door import Pass
from lmgateway.wire.request import Request

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
FORM = "application/x-www-form-urlencoded"
GONE = 499
_MAX_PARAMETERS = 64

_BY_PATTERN = re.compile(r"Expected `str` matching regex .* - at `\$\.(?P<name>\w+)`", re.DOTALL)

Function = TypeVar("Function", bound=Callable[..., Any])


@frozen(kw_only=True, eq=False)
class Declared:
    """
    One route, as declared.

    Attributes:
        path: The path, with ``<name>`` for its variable parts.
        role: The least role that may call it.
        summary: What it does, in a few words; the method's docstring says more.
        answer: A type, or a JSON Schema; ``None`` where ``media`` is not JSON.
        query: A ``Query`` with a member for each parameter.
        body: An ``Order``; the whole body may be left out if it has no required member.
        media: What kind of answer it is.
        body_media: What kind of body it takes.
        status: The status of success.
        other_media: Further kinds of answer.
        also: Further statuses of success, with the same answer.
        errors: Statuses of failure beyond those that every route has.
        quiet: Whether no ``audit`` event is told although the method changes things.
    """

    topic: str
    method: Method
    path: str
    role: Role
    summary: str
    description: str
    answer: Any
    query: type[msgspec.Struct] | None = None
    body: type[msgspec.Struct] | None = None
    media: str = JSON
    other_media: tuple[str, ...] = ()
    body_media: str = JSON
    status: int = 200
    also: tuple[int, ...] = ()
    errors: tuple[int, ...] = ()
    quiet: bool = False

    @property
    def changes(self) -> bool:
        """Whether it may change something."""
        return self.method != "GET"

    @property
    def needs_body(self) -> bool:
        """Whether the body has a member that must be given."""
        return self.body is not None and any(f.required for f in msgspec.structs.fields(self.body))

    def given(self, request: Request) -> dict[str, Any]:
        """
        Read what the method takes besides the parts of the path.

        Raises:
            MalformedRequest: If query or body are not as declared.
            UnsupportedMediaType: If the body is declared to be something else.
        """
        given: dict[str, Any] = {}
        if self.query is not None:
            given["query"] = _read_fields(request.head.query, self.query)
        elif request.head.query:
            raise MalformedRequest("This path takes no parameters.")
        if self.body is not None:
            given["body"] = self._read_body(request, self.body)
        return given

    def _read_body(self, request: Request, body: type[msgspec.Struct]) -> msgspec.Struct:
        if not request.body:
            return _converted({}, body)
        kind = (request.head.get(b"content-type") or b"").partition(b";")[0].strip().lower()
        if kind != self.body_media.encode():
            raise UnsupportedMediaType(f"The body must be {self.body_media}.")
        if self.body_media == FORM:
            return _read_fields(request.body, body)
        try:
            return msgspec.json.decode(request.body, type=body)
        except msgspec.ValidationError as error:
            raise MalformedRequest(_said(error, body)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise MalformedRequest("The body is not JSON.") from None


class AdminPass(Pass, kw_only=True, frozen=True):
    """
    What the admin port's door let a request in with.

    Attributes:
        id: The request id.
        operator: Who asks.
        declared: The route that it goes to; ``None`` if there is none.
        tell: Takes ``audit`` events.
    """

    id: str
    operator: Operator
    declared: Declared | None
    tell: Callable[..., None]


@define(eq=False)
class Call:
    """
    One call of a route.

    Attributes:
        id: The request id.
        operator: Who asks.
        address: Where from.
        facts: What the ``audit`` event says besides: see ``note``.
    """

    request: Request
    id: str
    operator: Operator
    address: str
    facts: dict[str, Any] = Factory(dict)

    def note(self, **facts: Any) -> None:
        """Add facts to the ``audit`` event: what was changed, ``before`` and ``after``."""
        self.facts.update(facts)


@frozen
class Topic:
    """
    The routes of one module.

    Attributes:
        name: What the OpenAPI document calls them together.
        declared: The routes.
    """

    name: str
    declared: list[Declared] = field(factory=list)
    klein: Klein = field(factory=Klein)

    def route(
        self,
        method: Method,
        path: str,
        *,
        role: Role,
        summary: str,
        answer: Any,
        **more: Any,
    ) -> Callable[[Function], Function]:
        """Declare what the decorated method answers; see ``Declared``, and this module."""

        def declare(function: Function) -> Function:
            declared = Declared(
                topic=self.name, method=method, path=path, role=role, summary=summary,
                description=" ".join((function.__doc__ or "").split()), answer=answer, **more,
            )  # fmt: skip
            self.declared.append(declared)
            route = self.klein.route(path, methods=[method], endpoint=f"{method} {path}")
            route(_run(declared, function))
            return function

        return declare

    def bound(self, routes: object) -> Klein:
        """Give the app whose methods are those of *routes*."""
        app: Klein = self.klein.__get__(routes, type(routes))
        return app


def _run(declared: Declared, function: Callable[..., Any]) -> Callable[..., Any]:
    """Make of a declared method what Klein calls."""

    @wraps(function)
    async def run(routes: object, request: Request, **parts: str) -> None:
        passed = request.pass_
        assert isinstance(passed, AdminPass), "only the admin port's door lets anyone in here"
        call = Call(request, passed.id, passed.operator, passed.address)
        status = GONE
        try:
            assert passed.declared is declared, "the door asked for this route's role"
            call.operator.require(declared.role)
            given = function(routes, call, **parts, **declared.given(request))
            told = await given if isawaitable(given) else given
            status = declared.status if told is None else send(request, told, call.id)
        except GatewayError as error:
            if request.startedWriting:
                raise
            status = refuse(request, error, call.id)
        except Exception:
            status = 500
            raise
        finally:
            if declared.changes and not declared.quiet:
                audit(passed.tell, declared, call, status)
            elif status in (401, 403):
                denied(passed.tell, call, status)

    return run


def audit(tell: Callable[..., None], declared: Declared, call: Call, status: int) -> None:
    """Tell that somebody changed something, or tried to."""
    tell(
        "audit",
        actor=call.operator.name,
        role=call.operator.role,
        via=call.operator.via,
        ip=call.address,
        request_id=call.id,
        route=f"{declared.method} {declared.path}",
        path=call.request.head.path.decode("latin-1")[:256],
        status=status,
        **call.facts,
    )


def denied(tell: Callable[..., None], call: Call, status: int) -> None:
    """Tell that somebody asked for what their role is too small for."""
    tell(
        "denied",
        port="admin",
        ip=call.address,
        actor=call.operator.name,
        role=call.operator.role,
        request_id=call.id,
        path=call.request.head.path.decode("latin-1")[:256],
        outcome=Forbidden.kind if status == Forbidden.status else Unauthenticated.kind,
        status=status,
    )


Fields = TypeVar("Fields", bound=msgspec.Struct)


def _read_fields(text: bytes, fields: type[Fields]) -> Fields:
    """Read parameters or a form; the last of several wins, unless the member is a list."""
    try:
        given = parse_qs(
            text.decode(), keep_blank_values=True, max_num_fields=_MAX_PARAMETERS, errors="strict"
        )
    except ValueError:
        raise MalformedRequest("The parameters cannot be read.") from None
    lists = _lists(fields)
    return _converted({k: v if k in lists else v[-1] for k, v in given.items()}, fields)


def _lists(fields: type[msgspec.Struct]) -> set[str]:
    hints: Mapping[str, Any] = get_type_hints(fields)
    return {name for name, hint in hints.items() if get_origin(hint) in (list, tuple, Sequence)}


def _converted(given: Mapping[str, Any], fields: type[Fields]) -> Fields:
    try:
        return msgspec.convert(given, fields, strict=False)
    except msgspec.ValidationError as error:
        raise MalformedRequest(_said(error, fields)) from None


def _said(error: msgspec.ValidationError, fields: type[msgspec.Struct]) -> str:
    """Say what does not fit; of a text with a pattern, what the pattern is for."""
    text = str(error)
    if found := _BY_PATTERN.fullmatch(text):
        wanted = {f.encode_name: f.type for f in msgspec.structs.fields(fields)}[found["name"]]
        text = f"Expected {_described(wanted)} - at `{found['name']}`"
    text = text.replace("`$.", "`").replace("object ", "").replace("Object ", "")
    return text[:1].upper() + text[1:] + "."


def _described(wanted: Any) -> str:
    """Give the words of a type's pattern: its ``Meta`` has them as its description."""
    for part in get_args(wanted):
        if isinstance(part, msgspec.Meta) and part.pattern is not None:
            return part.description or "another text"
        if found := _described(part):
            return found
    return ""
