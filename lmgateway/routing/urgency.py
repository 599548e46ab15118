"""
How urgent a request is, and where it goes when its tier has too long a queue.

``X-LMG-Priority`` is a whole number, the higher the sooner; anything else
counts as 0.  It is never above the client's ceiling.  Without the header the
client's own priority holds, or else the tier's.
"""

from __future__ import annotations

import re

from lmgateway.exchange import Exchange
from lmgateway.routing.ladder import Ladder, Tier

_NUMBER = re.compile(r"\s*[+-]?[0-9]{1,9}\s*", re.ASCII)


def priority(exchange: Exchange, tier: Tier) -> int:
    """Say how urgent a request is that begins at *tier*."""
    principal = exchange.principal
    if exchange.headers and (text := exchange.headers.get("x-lmg-priority")) is not None:
        asked = _whole(text) or 0
        if principal is None or principal.priority_ceiling is None:
            return asked
        return min(asked, principal.priority_ceiling)
    if principal is not None and principal.default_priority is not None:
        return principal.default_priority
    return tier.priority


def place(ladder: Ladder, tier: Tier, exchange: Exchange) -> Tier:
    """
    Settle the priority of an exchange, and the tier that it begins at.

    Returns:
        *tier*, or the one that it overflows to.
    """
    exchange.priority = priority(exchange, tier)
    overflow = tier.overflow
    if overflow is None or tier.queue is None or exchange.priority < overflow.min_priority:
        return tier
    limits = [overflow.depth, _whole(exchange.headers.get("x-lmg-max-queue"))]
    tolerated = [limit for limit in limits if limit is not None]
    other = ladder.find(overflow.to)
    if other is None or not tolerated or tier.queue.depth <= min(tolerated):
        return tier
    exchange.overflowed = True
    return other


def _whole(text: str | None) -> int | None:
    if text is None or _NUMBER.fullmatch(text) is None:
        return None
    return int(text)
