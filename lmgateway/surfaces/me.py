"""``GET /v1/me``: what the key that asks may do, what is left of it, and what it spent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from klein import Klein
from msgspec import Struct

from lmgateway.dialects.document import encode
from lmgateway.governance.admission import Admission
from lmgateway.governance.pricing import NANO, Price
from lmgateway.governance.sheet import LimitLine, LimitLines, sheet
from lmgateway.principal import Principal
from lmgateway.routing.policy import Directory
from lmgateway.surfaces.answers import Answers
from lmgateway.wire.request import Request

_LIMITS = ("requests", "tokens", "concurrency")


class MeSurface(Struct, frozen=True, eq=False):
    """The route."""

    answers: Answers
    directory: Directory
    admission: Admission
    app: ClassVar[Klein] = Klein()

    @app.route("/v1/me", methods=["GET"])
    async def me(self, request: Request) -> None:
        """
        Tell who asks about themselves.

        Limits are the tightest of those that hold for them and their profile; one that is
        not there is ``null``.  ``reset`` is in seconds, until all of it can be used again.
        """
        principal = request.pass_.principal
        assert principal is not None, "the door names everyone who asks about themselves"
        admission = self.admission
        standings = admission.limits.standings(principal, request.pass_.address)
        told = sheet(principal, admission, standings)
        document = {
            "client": told.name or None,
            "group": told.group,
            "profile": told.profile,
            "limits": _limits(told.limits),
            "budgets": told.budgets,
            "spend_usd": told.spend_usd,
            "saved_usd": told.saved_usd,
            "models": self._models(principal),
        }
        self.answers.json(request, 200, encode(document))

    def _models(self, principal: Principal) -> list[dict[str, Any]]:
        """Name the models that may be asked for; what tiers cost is in USD per million tokens."""
        tiers, aliases, profiles = self.directory.visible(principal)
        resolves = self.directory.ladder.aliases
        names = {tier.name: tier.name for tier in tiers} | {a: resolves[a] for a in aliases}
        priced = [
            {"id": name, "price": _price(self.admission.prices.tiers.get(tier))}
            for name, tier in names.items()
        ]
        return [*priced, *({"id": name, "price": None} for name in profiles)]


def _limits(lines: LimitLines) -> dict[str, Mapping[str, float] | None]:
    told = {kind: _limit(getattr(lines, kind)) for kind in _LIMITS}
    return told if lines.cost is None else told | {"cost": _limit(lines.cost)}


def _limit(line: LimitLine | None) -> Mapping[str, float] | None:
    if line is None:
        return None
    return {"limit": line.limit, "remaining": line.remaining, "reset": line.reset}


def _price(price: Price | None) -> Mapping[str, float] | None:
    if price is None:
        return None
    return {name: getattr(price, name) / NANO for name in _PRICES}


_PRICES = ("input", "output", "cached_read", "cached_write", "reasoning", "request")
