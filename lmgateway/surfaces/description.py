"""Where the client port describes itself: ``/openapi.json`` and ``/docs``."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from klein import Klein
from msgspec import Struct

from lmgateway.surfaces.answers import Answers
from lmgateway.wire.identity import request_id
from lmgateway.wire.request import Request
from lmgateway.wire.viewer import MEDIA, viewer


class DescriptionSurface(Struct, frozen=True, eq=False):
    """
    The routes.

    Attributes:
        document: Gives the encoded document.
    """

    answers: Answers
    document: Callable[[], bytes]
    app: ClassVar[Klein] = Klein()

    @app.route("/openapi.json", methods=["GET"])
    async def openapi(self, request: Request) -> None:
        """Give this document."""
        self.answers.json(request, 200, self.document())

    @app.route("/docs", methods=["GET"])
    async def docs(self, request: Request) -> None:
        """Show this document in a browser."""
        page, headers = viewer()
        identity = (b"x-request-id", request_id(request.head).encode())
        kind = (b"content-type", MEDIA.encode())
        request.respond(200, [kind, identity, *headers], page)
