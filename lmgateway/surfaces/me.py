"""``GET /v1/me``: what the key that asks may do, what is left of it, and what it spent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from attrs import frozen
from klein import Klein

from lmgateway.dialects.document import encode
from lmgateway.governance.admission import Admission
from lmgateway.governance.budgets import Stand
from lmgateway.governance.limits import tightest
from lmgateway.governance.periods import moment_text
from lmgateway.governance.pricing import NANO, Price
from lmgateway.principal import Principal, Standing
from lmgateway.routing.policy import Directory
from lmgateway.surfaces.answers import Answers
from lmgateway.wire.request import Request

_LIMITS = ("requests", "tokens", "concurrency")


@frozen(eq=False)
class MeSurface:
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
        document = {
            "client": principal.name or None,
            "group": principal.group or None,
            "profile": principal.profile,
            "limits": _limits(tightest(standings)),
            "budgets": self._budgets(principal),
            "spend_usd": admission.tally.spending.clients.get(principal.name, 0) / NANO,
            "saved_usd": self._saved(principal),
            "models": self._models(principal),
        }
        self.answers.json(request, 200, encode(document))

    def _saved(self, principal: Principal) -> float | None:
        """Give what was spent less than the baseline; ``None`` without one."""
        admission = self.admission
        if not admission.prices.baselines:
            return None
        return admission.tally.spending.saved.get(principal.name, 0) / NANO

    def _budgets(self, principal: Principal) -> list[Mapping[str, Any]]:
        budgets = self.admission.budgets
        paying = (*budgets.having(principal), *budgets.profiles.get(principal.profile, ()))
        return [_budget(each.stand(budgets.wall())) for each in paying]

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


def _limits(standings: tuple[Standing, ...]) -> Mapping[str, Any]:
    told: dict[str, Any] = dict.fromkeys(_LIMITS)
    for each in standings:
        unit = NANO if each.what == "cost" else 1
        told[each.what] = {
            "limit": each.limit / unit if unit > 1 else each.limit,
            "remaining": each.remaining / unit if unit > 1 else each.remaining,
            "reset": round(each.reset, 3),
        }
    return told


def _budget(stand: Stand) -> Mapping[str, Any]:
    return {
        "name": stand.name,
        "limit_usd": stand.limit / NANO,
        "spent_usd": stand.spent / NANO,
        "reserved_usd": stand.reserved / NANO,
        "resets_at": None if stand.resets is None else moment_text(stand.resets),
    }


def _price(price: Price | None) -> Mapping[str, float] | None:
    if price is None:
        return None
    return {name: getattr(price, name) / NANO for name in _PRICES}


_PRICES = ("input", "output", "cached_read", "cached_write", "reasoning", "request")
