"""
Anthropic's API as we serve it (https://docs.claude.com/en/api/messages).

``POST /v1/messages``, ``POST /v1/messages/count_tokens``; the listing of models is at the path
that OpenAI's has too, and told apart by ``anthropic-version``: see ``surfaces.models``.
"""

from __future__ import annotations

from typing import ClassVar

from klein import Klein
from msgspec import Struct

from lmgateway.dialects.anthropic import ANTHROPIC
from lmgateway.surfaces.intake import Answering, Intake
from lmgateway.wire.request import Request


class AnthropicSurface(Struct, frozen=True, eq=False):
    """The routes."""

    intake: Intake
    app: ClassVar[Klein] = Klein()

    @app.route("/v1/messages", methods=["POST"])
    def messages(self, request: Request) -> Answering:
        """Answer a conversation."""
        return self.intake.take(request, ANTHROPIC, "chat")

    @app.route("/v1/messages/count_tokens", methods=["POST"])
    def count_tokens(self, request: Request) -> Answering:
        """Count the tokens of a conversation."""
        return self.intake.take(request, ANTHROPIC, "count_tokens")
