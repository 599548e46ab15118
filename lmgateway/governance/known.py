"""What follows from who asks, by the config: worked out once for each principal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from lmgateway.principal import Principal

MAX_KNOWN = 200_000
"""Principals that are remembered; far more than keys can be made."""

Kept = TypeVar("Kept")


class Known(Generic[Kept]):
    """What is remembered of each principal, until another one goes by its name."""

    __slots__ = ("_by_name",)

    def __init__(self) -> None:
        self._by_name: dict[str, tuple[Principal, Kept]] = {}

    def of(self, principal: Principal, work_out: Callable[[Principal], Kept]) -> Kept:
        """Give what follows, worked out if it is not remembered."""
        known = self._by_name.get(principal.name)
        if known is None or known[0] is not principal:
            if len(self._by_name) >= MAX_KNOWN:
                self._by_name.clear()
            known = self._by_name[principal.name] = (principal, work_out(principal))
        return known[1]
