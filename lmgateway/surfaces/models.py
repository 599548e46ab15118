"""``GET /v1/models``: the names that a client may use."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from lmgateway.dialects.anthropic import model_document, models_page
from lmgateway.dialects.document import encode
from lmgateway.errors import UnknownModel
from lmgateway.principal import Principal
from lmgateway.routing.policy import AUTO, Directory
from lmgateway.surfaces.answers import Answers
from lmgateway.wire.request import Request


class Models(Struct, frozen=True, eq=False):
    """
    The listing.

    Attributes:
        started: Seconds since the epoch; what ``created`` says of every model.
    """

    directory: Directory
    answers: Answers
    started: float

    def all(self, request: Request) -> None:
        """Answer with all names, tiers first in the order of the ladder.

        A client that sends ``anthropic-version`` gets Anthropic's shape.
        """
        data = self._entries(request.pass_.principal)
        if request.head.get(b"anthropic-version") is not None:
            names = [entry["id"] for entry in data]
            self.answers.json(request, 200, models_page(names, self._created_at()))
            return
        self.answers.json(request, 200, encode({"object": "list", "data": data}))

    def one(self, request: Request, name: str) -> None:
        """Answer with one of them, or 404."""
        for entry in self._entries(request.pass_.principal):
            if entry["id"] == name:
                self.answers.json(request, 200, self._described(request, entry))
                return
        error = UnknownModel(f"There is no model {name!r} here.", param="model")
        self.answers.error(request, error)

    def _described(self, request: Request, entry: dict[str, Any]) -> bytes:
        if request.head.get(b"anthropic-version") is not None:
            return model_document(entry["id"], self._created_at())
        return encode(entry)

    def _created_at(self) -> str:
        return datetime.fromtimestamp(int(self.started), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _entries(self, principal: Principal | None) -> list[dict[str, Any]]:
        assert principal is not None, "the door names everyone who asks for models"
        tiers, aliases, profiles = self.directory.visible(principal)
        resolves = self.directory.ladder.aliases
        entries = [self._entry(tier.name, tier.backend.name) for tier in tiers]
        for alias in aliases:
            entry = self._entry(alias, "alias")
            entry["lm_gateway"] = {"resolves_to": resolves[alias]}
            entries.append(entry)
        entries += [self._entry(name, "profile") for name in profiles]
        return [*entries, self._entry(AUTO, "lm-gateway")] if tiers else entries

    def _entry(self, name: str, owner: str) -> dict[str, Any]:
        return {
            "id": name,
            "object": "model",
            "created": int(self.started),
            "owned_by": owner,
        }
