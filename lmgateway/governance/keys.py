"""
Keys: what a client shows, and who that makes it.

Keys are known by their SHA-256 digests, and looked up by digest: what the timing of a
look-up could tell is about a digest that nobody can choose, not about a key.  The digests
of keys that were shown lately are remembered, right or wrong ones: OpenSSL takes longer to
make one than all the rest of the door.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from functools import lru_cache
from hashlib import sha256
from time import time

from msgspec import Struct

from lmgateway.errors import Forbidden, Unauthenticated
from lmgateway.principal import NEVER, Principal

Find = Callable[[bytes], Principal | None]
"""Says who shows a key with this digest; raises ``Unauthenticated`` if it is good no more."""

_BLANK = sha256()
"""Of nothing; a copy takes half the time of a new one, for which OpenSSL looks up what it is."""


def digest(key: str) -> bytes:
    """Give the form in which a key is kept."""
    hashed = _BLANK.copy()
    hashed.update(key.encode("utf-8", "surrogateescape"))
    return hashed.digest()


_remembered = lru_cache(maxsize=1024)(digest)
_LONGEST = 256
"""Characters of a key whose digest is remembered: the same clients come again and again."""


def _nobody(digest: bytes) -> Principal | None:
    return None


class Keys(Struct, frozen=True, kw_only=True):
    """
    Who may ask at all.

    Attributes:
        principals: By key digest: those of the config.
        anonymous: Who a caller without a key is; ``None`` if there must be one.
        find: Looks up those that were made at run time.
        is_open: Whether everyone is ``anonymous``, whatever they show.
        wall: Seconds since the epoch.
    """

    principals: dict[bytes, Principal]
    anonymous: Principal | None
    find: Find = _nobody
    is_open: bool = False
    wall: Callable[[], float] = time

    @classmethod
    def of(
        cls,
        clients: Iterable[tuple[bytes, Principal]],
        anonymous: Principal | None,
        wall: Callable[[], float] = time,
        *,
        find: Find = _nobody,
        is_open: bool = False,
    ) -> Keys:
        """Make the key ring of digests and whom they stand for."""
        return cls(
            principals=dict(clients), anonymous=anonymous, find=find, is_open=is_open, wall=wall
        )

    def identify(self, key: str | None) -> Principal:
        """
        Say who shows this key.

        Raises:
            Unauthenticated: If the key is wrong, expired, or missing where one is needed.
        """
        if self.is_open and self.anonymous is not None:
            return self.anonymous
        if key is None or not key:
            if self.anonymous is None:
                raise Unauthenticated("A key is needed.")
            return self.anonymous
        shown = _remembered(key) if len(key) <= _LONGEST else digest(key)
        principal = self.principals.get(shown)
        if principal is None:
            principal = self.find(shown)
            if principal is None:
                raise Unauthenticated("The key is not valid.")
            return principal
        if principal.expires != NEVER and self.wall() >= principal.expires:
            raise Unauthenticated("The key has expired.")
        return principal


def check_path(principal: Principal, path: str) -> None:
    """
    Look whether a client may ask a path at all.

    Raises:
        Forbidden: If it may not.
    """
    allowed = principal.allow_endpoints
    if allowed is not None and not any(fnmatchcase(path, glob) for glob in allowed):
        raise Forbidden("This key is not for this path.")
