"""
``POST /v1/route/explain``: what would be done with a chat, and why.

The body is that of a chat.  Nobody is asked but the classifier, and that only
with the member ``"classify": true``; ``"label": "..."`` supposes its answer.
"""

from __future__ import annotations

from typing import ClassVar

from klein import Klein
from msgspec import Struct

from lmgateway.dialects.openai import OPENAI
from lmgateway.surfaces.intake import Answering, Intake
from lmgateway.wire.request import Request


class ExplainSurface(Struct, frozen=True, eq=False):
    """
    The route.

    Attributes:
        intake: Whose gateway explains where others answer.
    """

    intake: Intake
    app: ClassVar[Klein] = Klein()

    @app.route("/v1/route/explain", methods=["POST"])
    def explain(self, request: Request) -> Answering:
        """Explain."""
        return self.intake.take(request, OPENAI, "chat")
