"""
How limits stand, in the headers of each API.

===============================================  =====================================
OpenAI's, and on Ollama's paths                  Anthropic's
===============================================  =====================================
``x-ratelimit-limit-requests: 60``               ``anthropic-ratelimit-requests-limit``
``x-ratelimit-remaining-requests: 59``           ``anthropic-ratelimit-requests-remaining``
``x-ratelimit-reset-requests: 1s``, ``6m0s``     ``anthropic-ratelimit-requests-reset``:
                                                 an RFC 3339 time
the same with ``tokens``                         the same with ``tokens``
===============================================  =====================================

A refusal has besides, as lm-gateway-rs: ``X-RateLimit-Limit``, ``X-RateLimit-Policy``
and ``X-RateLimit-Scope``.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from lmgateway.errors import LimitError
from lmgateway.governance.pricing import usd
from lmgateway.principal import Standing

Headers = list[tuple[bytes, bytes]]

_KEYS = (b"limit", b"remaining", b"reset")


def limit_headers(surface: str, standings: Iterable[Standing], wall: float) -> Headers:
    """
    Say how limits stand.

    Args:
        surface: The grammar of the client.
        wall: Seconds since the epoch.
    """
    headers: Headers = []
    for each in standings:
        if each.what not in ("requests", "tokens"):
            continue
        values = (b"%d" % each.limit, b"%d" % each.remaining)
        if surface == "anthropic":
            names = [b"anthropic-ratelimit-%b-" % each.what.encode() + key for key in _KEYS]
            reset = _moment(wall + each.reset)
        else:
            names = [b"x-ratelimit-%b-" % key + each.what.encode() for key in _KEYS]
            reset = _span(each.reset)
        headers += zip(names, (*values, reset.encode()), strict=True)
    return headers


def refusal_headers(error: LimitError) -> Headers:
    """Say which limit refused."""
    if not error.standings:
        return []
    reached: Standing = error.standings[0]
    limit = usd(reached.limit) if reached.what == "cost" else str(reached.limit)
    headers = [(b"x-ratelimit-limit", limit.encode())]
    if reached.what != "concurrency":
        headers.append((b"x-ratelimit-policy", limit.encode() + b";w=60"))
    return [*headers, (b"x-ratelimit-scope", reached.scope.encode())]


def _moment(seconds: float) -> str:
    """Give a time that is not before *seconds*, to the second."""
    return datetime.fromtimestamp(-(-seconds // 1), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _span(seconds: float) -> str:
    """Give a duration as OpenAI writes it: ``120ms``, ``1.5s``, ``6m0s``, ``1h0m0s``."""
    milliseconds = -int(-seconds * 1000 // 1)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds / 1000, 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{rest:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text
