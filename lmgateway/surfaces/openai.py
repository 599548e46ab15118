"""
OpenAI's API as we serve it (https://platform.openai.com/docs/api-reference).

``POST /v1/chat/completions``, ``POST /v1/completions``, ``POST /v1/responses``,
``POST /v1/embeddings``, ``GET /v1/models``, ``GET /v1/models/{id}``; all of them
without ``/v1`` too, for clients whose base URL has none.
"""

from __future__ import annotations

from typing import ClassVar

from klein import Klein
from msgspec import Struct

from lmgateway.dialects.completions import COMPLETIONS
from lmgateway.dialects.openai import OPENAI
from lmgateway.surfaces.intake import Answering, Intake
from lmgateway.surfaces.models import Models
from lmgateway.wire.request import Request


class OpenAISurface(Struct, frozen=True, eq=False):
    """The routes."""

    intake: Intake
    models: Models
    app: ClassVar[Klein] = Klein()

    @app.route("/v1/chat/completions", methods=["POST"])
    @app.route("/chat/completions", methods=["POST"])
    def chat(self, request: Request) -> Answering:
        """Answer a conversation."""
        return self.intake.take(request, OPENAI, "chat")

    @app.route("/v1/completions", methods=["POST"])
    @app.route("/completions", methods=["POST"])
    def completions(self, request: Request) -> Answering:
        """Complete a prompt, as of old."""
        return self.intake.take(request, COMPLETIONS, "completions")

    @app.route("/v1/responses", methods=["POST"])
    @app.route("/responses", methods=["POST"])
    def responses(self, request: Request) -> Answering:
        """Answer in the grammar of Responses."""
        from lmgateway.dialects.responses import RESPONSES  # a fifth of all dialects' code

        return self.intake.take(request, RESPONSES, "responses")

    @app.route("/v1/embeddings", methods=["POST"])
    @app.route("/embeddings", methods=["POST"])
    def embeddings(self, request: Request) -> Answering:
        """Turn text into vectors."""
        return self.intake.take(request, OPENAI, "embeddings")

    @app.route("/v1/models", methods=["GET"])
    @app.route("/models", methods=["GET"])
    async def list_models(self, request: Request) -> None:
        """List what this client may name."""
        self.models.all(request)

    @app.route("/v1/models/<path:name>", methods=["GET"])
    @app.route("/models/<path:name>", methods=["GET"])
    async def one_model(self, request: Request, name: str) -> None:
        """Describe one of them."""
        self.models.one(request, name)
