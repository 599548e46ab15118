"""The API's own documents: ``/openapi.json``."""

from __future__ import annotations

from typing import ClassVar

from attrs import frozen

from lmgateway.admin.answers import JSON, Raw
from lmgateway.admin.declared import Call, Topic

topic = Topic("documents")


@frozen(eq=False)
class DocumentRoutes:
    """
    The routes.

    Attributes:
        documents: Encoded documents, by port.
    """

    documents: dict[str, bytes]
    topic: ClassVar[Topic] = topic

    @topic.route(
        "GET", "/openapi.json", role="viewer", answer={"type": "object"}, summary="This document"
    )
    def openapi(self, call: Call) -> Raw:
        """Give the OpenAPI 3.1 document of this port."""
        return Raw(self.documents["admin"], JSON)
