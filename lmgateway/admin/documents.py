"""The API's own description: ``/openapi.json`` and ``/docs``, and that of the client port."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from lmgateway.admin.answers import HTML, JSON, Raw
from lmgateway.admin.declared import Call, Topic
from lmgateway.classes import frozen
from lmgateway.wire.viewer import viewer

topic = Topic("documents")


@frozen(eq=False)
class DocumentRoutes:
    """
    The routes.

    Attributes:
        of_admin: Gives this port's encoded document.
        of_client: Gives the client port's.
    """

    of_admin: Callable[[], bytes]
    of_client: Callable[[], bytes]
    topic: ClassVar[Topic] = topic

    @topic.route(
        "GET", "/openapi.json", role="viewer", answer={"type": "object"}, summary="This document"
    )
    def openapi(self, call: Call) -> Raw:
        """Give the OpenAPI 3.1 document of this port."""
        return Raw(self.of_admin(), JSON)

    @topic.route(
        "GET", "/openapi-client.json", role="viewer", answer={"type": "object"},
        summary="The client port's document",
    )  # fmt: skip
    def client(self, call: Call) -> Raw:
        """Give the OpenAPI 3.1 document of the client port."""
        return Raw(self.of_client(), JSON)

    @topic.route("GET", "/docs", role="viewer", media=HTML, answer=None, summary="Description")
    def docs(self, call: Call) -> Raw:
        """Show ``/openapi.json`` in a browser."""
        page, headers = viewer()
        return Raw(page, HTML, 200, tuple(headers))
