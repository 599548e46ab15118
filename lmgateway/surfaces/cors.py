"""Cross-origin requests (https://fetch.spec.whatwg.org/#http-cors-protocol): off by default."""

from __future__ import annotations

from msgspec import Struct

from lmgateway.wire.door import Head

_METHODS = b"GET, POST, OPTIONS"
_EXPOSED = (
    b"x-request-id, x-lmg-tier, x-lmg-backend, x-lmg-model, x-lmg-profile, x-lmg-class, "
    b"x-lmg-attempts, x-lmg-cache, x-lmg-cost, x-lmg-dropped, x-lmg-error, idempotent-replayed, "
    b"retry-after, server-timing"
)
_MAX_AGE = b"600"


class Cors(Struct, frozen=True):
    """
    What pages of other origins may do.

    Attributes:
        origins: Those let in, as ``scheme://host[:port]``; ``*`` alone is everyone.
    """

    origins: frozenset[str] = frozenset()

    def headers(self, head: Head | None) -> list[tuple[bytes, bytes]]:
        """Give what an answer to this request must carry."""
        if not self.origins:
            return []
        origin = None if head is None else head.get(b"origin")
        if origin is None or not self._lets_in(origin):
            return [(b"vary", b"Origin")]
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _EXPOSED),
            (b"vary", b"Origin"),
        ]

    def preflight(self, head: Head) -> list[tuple[bytes, bytes]] | None:
        """Give the headers of the answer to a preflight; ``None`` if this is none, or refused."""
        origin, method = head.get(b"origin"), head.get(b"access-control-request-method")
        if head.method != b"OPTIONS" or origin is None or method is None:
            return None
        if not self._lets_in(origin):
            return None
        headers = [*self.headers(head), (b"access-control-allow-methods", _METHODS)]
        asked = head.get(b"access-control-request-headers")
        if asked is not None:
            headers.append((b"access-control-allow-headers", asked))
        return [*headers, (b"access-control-max-age", _MAX_AGE)]

    def _lets_in(self, origin: bytes) -> bool:
        return "*" in self.origins or origin.decode("latin-1") in self.origins
