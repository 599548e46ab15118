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
from functools import lru_cache
from math import ceil

from lmgateway.errors import LimitError
from lmgateway.governance.pricing import usd
from lmgateway.principal import Standing

Headers = list[tuple[bytes, bytes]]

_TOLD = ("requests", "tokens")
_KEYS = (b"limit", b"remaining", b"reset")
_OPENAI = {what: [b"x-ratelimit-%b-%b" % (key, what.encode()) for key in _KEYS] for what in _TOLD}
_ANTHROPIC = {
    what: [b"anthropic-ratelimit-%b-%b" % (what.encode(), key) for key in _KEYS] for what in _TOLD
}


def limit_headers(surface: str, standings: Iterable[Standing], wall: float) -> Headers:
    """
    Say how limits stand.

    Args:
        surface: The grammar of the client.
        wall: Seconds since the epoch.
    """
    is_anthropic = surface == "anthropic"
    names = _ANTHROPIC if is_anthropic else _OPENAI
    headers: Headers = []
    for each in standings:
        if each.what in names:
            limit, remaining, reset = names[each.what]
            told = _moment(ceil(wall + each.reset)) if is_anthropic else _span(each.reset)
            headers += ((limit, b"%d" % each.limit), (remaining, b"%d" % each.remaining))
            headers.append((reset, told))
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


@lru_cache(maxsize=256)
def _moment(seconds: int) -> bytes:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()


def _span(seconds: float) -> bytes:
    """Give a duration as OpenAI writes it: ``120ms``, ``1.5s``, ``6m0s``, ``1h0m0s``."""
    milliseconds = ceil(seconds * 1000)
    if milliseconds < 1000:
        return b"%dms" % milliseconds
    whole, rest = divmod(milliseconds, 1000)
    minutes, whole = divmod(whole, 60)
    text = (b"%d.%03d" % (whole, rest)).rstrip(b"0") + b"s" if rest else b"%ds" % whole
    if minutes < 60:
        return b"%dm%b" % (minutes, text) if minutes else text
    return b"%dh%dm%b" % (*divmod(minutes, 60), text)
