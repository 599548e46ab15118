"""What follows from who asks, by the config: worked out once for each principal."""

from __future__ import annotations

from typing import Generic, TypeVar

from lmgateway.principal import Principal

MAX_KNOWN = 200_000
"""Principals that are remembered; far more than keys can be made."""

Kept = TypeVar("Kept")


class Known(dict[str, tuple[Principal, Kept]], Generic[Kept]):
    """What is remembered of each principal, by name: another one may come to go by it."""

    __slots__ = ()

    def keep(self, principal: Principal, kept: Kept) -> tuple[Principal, Kept]:
        """Remember it from now on."""
        if len(self) >= MAX_KNOWN:
            self.clear()
        self[principal.name] = known = (principal, kept)
        return known
