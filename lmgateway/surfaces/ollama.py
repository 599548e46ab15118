"""
Ollama's API as we serve it (https://docs.ollama.com/api).

Chat, completion and embeddings go through the spine.  The rest shows profiles as if they were
models that are loaded: ``GET /api/tags``, ``POST /api/show``, ``GET /api/version``,
``GET /api/ps``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from klein import Klein
from msgspec import Struct

from lmgateway.chat import Endpoint
from lmgateway.dialects.ollama import OLLAMA
from lmgateway.dialects.ollama_answers import is_load, load_answer
from lmgateway.dialects.ollama_discovery import (
    Shown,
    asked_for,
    running,
    show,
    tags,
    untagged,
    version,
)
from lmgateway.errors import GatewayError, MalformedRequest, UnknownModel
from lmgateway.routing.policy import Directory
from lmgateway.surfaces.answers import Answers
from lmgateway.surfaces.intake import Answering, Intake
from lmgateway.wire.request import Request

MAX_LOAD = 512
"""Bytes: a request that asks for no answer is a short one."""


class OllamaSurface(Struct, frozen=True, eq=False):
    """
    The routes.

    Attributes:
        wall: Seconds since the epoch: when the models were last changed, for who asks.
    """

    intake: Intake
    answers: Answers
    directory: Directory
    wall: Callable[[], float]
    app: ClassVar[Klein] = Klein()

    @app.route("/api/chat", methods=["POST"])
    async def chat(self, request: Request) -> None:
        """Answer a conversation."""
        if not self._loads(request, "chat"):
            await self.intake.take(request, OLLAMA, "chat")

    @app.route("/api/generate", methods=["POST"])
    async def generate(self, request: Request) -> None:
        """Complete a prompt."""
        if not self._loads(request, "generate"):
            await self.intake.take(request, OLLAMA, "generate")

    @app.route("/api/embed", methods=["POST"])
    @app.route("/api/embeddings", methods=["POST"])
    def embed(self, request: Request) -> Answering:
        """Turn text into vectors."""
        return self.intake.take(request, OLLAMA, "embeddings")

    @app.route("/api/version", methods=["GET"])
    async def show_version(self, request: Request) -> None:
        """Say which release of Ollama this is like."""
        self.answers.json(request, 200, version())

    @app.route("/api/tags", methods=["GET"])
    async def list_tags(self, request: Request) -> None:
        """List the profiles that this client may use."""
        self.answers.json(request, 200, tags(self._shown(request), self.wall()))

    @app.route("/api/ps", methods=["GET"])
    async def list_running(self, request: Request) -> None:
        """List them once more: they are always loaded."""
        self.answers.json(request, 200, running(self._shown(request), self.wall()))

    @app.route("/api/show", methods=["POST"])
    async def show_model(self, request: Request) -> None:
        """Describe a profile, or a tier or an alias by the same name."""
        try:
            name = asked_for(request.body)
        except MalformedRequest as error:
            self.answers.error(request, error)
            return
        for shown in self._shown(request, everything=True):
            if untagged(shown.name) == untagged(name):
                self.answers.json(request, 200, show(shown, self.wall()))
                return
        self.answers.error(request, UnknownModel(f"model {name!r} not found"))

    def _loads(self, request: Request, endpoint: Endpoint) -> bool:
        """Answer what asks only that a model be loaded: ours always are."""
        if len(request.body) > MAX_LOAD:
            return False
        try:
            asked = OLLAMA.parse(request.body, endpoint)
        except MalformedRequest:
            return False
        if not is_load(asked):
            return False
        principal = request.pass_.principal
        assert principal is not None, "the door names everyone who asks for models"
        try:
            self.directory.choose(principal, asked.model, expert=False)
        except GatewayError as error:
            self.answers.error(request, error)
        else:
            self.answers.json(request, 200, load_answer(asked))
        return True

    def _shown(self, request: Request, *, everything: bool = False) -> list[Shown]:
        principal = request.pass_.principal
        assert principal is not None, "the door names everyone who asks for models"
        tiers, aliases, profiles = self.directory.visible(principal)
        shown = [Shown(name=name, mode=self.directory.policies[name].mode) for name in profiles]
        if everything:
            names = [*(tier.name for tier in tiers), *aliases]
            shown += [Shown(name=name, mode="dispatch") for name in names]
        return shown
