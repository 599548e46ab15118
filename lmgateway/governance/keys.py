"""
Keys: what a client shows, and who that makes it.

Keys are kept as SHA-256 digests only, and looked up by digest: what the timing of a
look-up could tell is about a digest that nobody can choose, not about a key.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from attrs import frozen

from lmgateway.errors import Unauthenticated
from lmgateway.exchange import Principal


def digest(key: str) -> bytes:
    """Give the form in which a key is kept."""
    return sha256(key.encode("utf-8", "surrogateescape")).digest()


@frozen
class Keys:
    """
    Who may ask at all.

    Attributes:
        principals: By key digest; empty if no clients are configured.
        anonymous: Who a caller without a key is; ``None`` if there must be one.
    """

    principals: dict[bytes, Principal]
    anonymous: Principal | None

    @classmethod
    def of(cls, clients: Iterable[tuple[bytes, Principal]], anonymous: Principal | None) -> Keys:
        """Make the key ring of digests and whom they stand for."""
        return cls(dict(clients), anonymous)

    def identify(self, key: str | None) -> Principal:
        """
        Say who shows this key.

        Raises:
            Unauthenticated: If the key is wrong, or missing where one is needed.
        """
        if not self.principals and self.anonymous is not None:
            return self.anonymous
        if key is None or not key:
            if self.anonymous is None:
                raise Unauthenticated("A key is needed.")
            return self.anonymous
        shown = digest(key)
        principal = self.principals.get(shown)
        if principal is None:
            raise Unauthenticated("The key is not valid.")
        return principal
