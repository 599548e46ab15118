"""Small answers that are no exchange: JSON documents and errors, with the headers all carry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from lmgateway.dialects.anthropic import ANTHROPIC
from lmgateway.dialects.base import SurfaceDialect
from lmgateway.errors import GatewayError, LimitError, MethodNotAllowed, NotFound
from lmgateway.surfaces.cors import Cors
from lmgateway.surfaces.headers import error_headers
from lmgateway.surfaces.limit_headers import limit_headers
from lmgateway.surfaces.responder import JSON
from lmgateway.wire.door import Head, Refusal
from lmgateway.wire.identity import request_id
from lmgateway.wire.request import Request


class Answers(Struct, frozen=True, eq=False):
    """
    Answers outside the spine.

    Attributes:
        surfaces: The grammar of errors by path prefix, longest first; the last is for all else.
        wall: Seconds since the epoch.
    """

    surfaces: Sequence[tuple[bytes, SurfaceDialect]]
    cors: Cors
    wall: Callable[[], float]

    def json(
        self,
        request: Request,
        status: int,
        body: bytes,
        headers: Mapping[bytes, bytes] | None = None,
    ) -> None:
        """Answer with a document."""
        identity = request_id(request.head).encode()
        request.respond(
            status,
            [
                JSON,
                (b"x-request-id", identity),
                *(headers or {}).items(),
                *self.cors.headers(request.head),
            ],
            body,
        )

    def error(self, request: Request, error: GatewayError) -> None:
        """Answer with an error in the grammar of the path."""
        refusal = self.refusal(request.head, error)
        request.respond(refusal.status, refusal.headers, refusal.body)

    def refusal(self, head: Head | None, error: GatewayError) -> Refusal:
        """Give an error in the grammar of the path."""
        identity, dialect = request_id(head), self._dialect(head)
        standings = error.standings if isinstance(error, LimitError) else ()
        headers = [
            JSON,
            (b"x-request-id", identity.encode()),
            *error_headers(error, None),
            *limit_headers(dialect.name, standings, self.wall()),
            *self.cors.headers(head),
        ]
        body = dialect.write_error(error, identity)
        return Refusal(error.status, tuple(headers), body)

    def not_found(self, request: Request) -> None:
        """Answer for a path that nobody serves, or a preflight of one that somebody does."""
        self.error(request, NotFound("There is nothing at this path."))

    def method_not_allowed(self, request: Request, allow: Sequence[str]) -> None:
        """Answer for a method that the path has not: or for a CORS preflight."""
        headers = self.cors.preflight(request.head)
        if headers is not None:
            identity = (b"x-request-id", request_id(request.head).encode())
            request.respond(204, [identity, *headers], b"")
            return
        self.error(request, MethodNotAllowed("This path has not that method.", allow=allow))

    def failed(self, request: Request) -> None:
        """Answer for a failure that nobody expected."""
        self.error(request, GatewayError())

    def surface(self, head: Head | None) -> str:
        """Name the surface that a path belongs to."""
        return self._dialect(head).name

    def _dialect(self, head: Head | None) -> SurfaceDialect:
        path = b"" if head is None else head.path
        if head is not None and path.startswith(b"/v1/") and head.get(b"anthropic-version"):
            return ANTHROPIC  # its listing of models has the path of OpenAI's
        for prefix, dialect in self.surfaces:
            if path.startswith(prefix):
                return dialect
        return self.surfaces[-1][1]
