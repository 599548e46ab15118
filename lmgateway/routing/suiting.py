"""
Which tiers of a ladder can take what, without looking at each of them again.

Requests of a kind need the same, and windows are of a few sizes: so the places of
the tiers that suit are remembered by what is needed and by the smallest window
that is large enough.  As many answers are kept as a ladder of a thousand tiers
can have without growing: the oldest one goes first.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Protocol

MOST = 256
"""Answers that are kept."""


class Able(Protocol):
    """What is known of a tier."""

    @property
    def capabilities(self) -> frozenset[str] | None:
        """What it can take or do; ``None`` is anything."""

    @property
    def max_context_tokens(self) -> int | None:
        """Its window; ``None`` is unlimited."""


class Suiting:
    """
    Says which tiers suit.

    Args:
        tiers: All of them, in the ladder's order.
    """

    __slots__ = ("_known", "_tiers", "_windows")

    def __init__(self, tiers: Sequence[Able]) -> None:
        self._tiers = tiers
        windows = {t.max_context_tokens for t in tiers if t.max_context_tokens is not None}
        self._windows = sorted(windows)
        self._known: dict[tuple[frozenset[str], int], Sequence[int]] = {}

    def __call__(self, needs: frozenset[str], tokens: int) -> Sequence[int]:
        """Give the places of the tiers that have what is needed, and room for so many tokens."""
        key = (needs, bisect_left(self._windows, tokens))
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= MOST:
                del self._known[next(iter(self._known))]
            found = self._known[key] = self._look(needs, tokens)
        return found

    def _look(self, needs: frozenset[str], tokens: int) -> Sequence[int]:
        return tuple(
            place
            for place, tier in enumerate(self._tiers)
            if (tier.capabilities is None or needs <= tier.capabilities)
            and (tier.max_context_tokens is None or tokens <= tier.max_context_tokens)
        )
