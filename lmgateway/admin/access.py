"""
Tokens of the admin port, and how often one may guess at them.

Tokens are kept as SHA-256 digests.  What is shown is digested too, and compared with each of them
in constant time, so that time tells nothing, not even which one was nearly right.  An address
that was wrong ``MAX_WRONG`` times in a minute is not listened to until the minute is over: not
even with a good token, or guessing would go on.  A browser that is logged in already, and other
addresses, do not notice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hmac import compare_digest

import msgspec
from cachetools import LRUCache
from msgspec import Struct

from lmgateway.admin.operator import Operator, Role
from lmgateway.errors import RateLimited, Unauthenticated
from lmgateway.governance.addresses import neighbourhood
from lmgateway.governance.keys import digest

MAX_WRONG = 5
WINDOW_SECONDS = 60.0
MAX_ADDRESSES = 10_000
MAX_TOKEN = 4096


class Token(Struct, frozen=True, kw_only=True):
    """
    One token.

    Attributes:
        expires: Seconds since the epoch; ``None`` for never.
    """

    name: str
    role: Role
    digest: bytes
    expires: float | None = None


class Expired(Unauthenticated):
    """A token that was good once; who shows it does not guess."""


class Tokens(Struct, frozen=True):
    """
    All tokens.

    Attributes:
        wall: Seconds since the epoch.
    """

    tokens: Sequence[Token]
    wall: Callable[[], float]

    def __bool__(self) -> bool:
        return bool(self.tokens)

    def identify(self, shown: bytes) -> Token:
        """
        Say whose token that is.

        Raises:
            Unauthenticated: If it is none.
            Expired: If it is one no more.
        """
        given, found = digest(shown[:MAX_TOKEN].decode("latin-1")), None
        for token in self.tokens:  # all of them, whatever was found
            if compare_digest(token.digest, given):
                found = token
        if found is None:
            raise Unauthenticated("The token is not valid.")
        if self._expired(found):
            raise Expired("The token has expired.")
        return found

    def still(self, kept: bytes) -> Operator | None:
        """Say who the holder of the token with that digest is now, if it still is one."""
        for token in self.tokens:
            if token.digest == kept and not self._expired(token):
                return Operator(token.name, token.role, "session")
        return None

    def _expired(self, token: Token) -> bool:
        return token.expires is not None and self.wall() >= token.expires


class _Wrong(Struct):
    since: float
    count: int = 0


class Guesses(msgspec.Struct, eq=False):
    """
    Wrong tokens by address; outlives a reload.

    Attributes:
        now: Reactor seconds.
        tell: Told an ``alarm`` when an address is first turned away.
    """

    now: Callable[[], float]
    tell: Callable[..., None]
    _wrong: LRUCache[str, _Wrong] = msgspec.field(default_factory=lambda: LRUCache(MAX_ADDRESSES))

    def check(self, address: str) -> None:
        """
        Look whether an address may show a token at all.

        Raises:
            RateLimited: If it was wrong too often.
        """
        wrong = self._recent(neighbourhood(address))
        if wrong is None or wrong.count < MAX_WRONG:
            return
        if wrong.count == MAX_WRONG:
            wrong.count += 1
            self.tell("alarm", what="admin_guesses", ip=address, count=MAX_WRONG)
        rest = wrong.since + WINDOW_SECONDS - self.now()
        raise RateLimited("Too many wrong tokens from this address.", retry_after=rest)

    def wrong(self, address: str) -> None:
        """Count a wrong one."""
        key = neighbourhood(address)
        wrong = self._recent(key)
        if wrong is None:
            wrong = self._wrong[key] = _Wrong(self.now())
        wrong.count += 1

    def _recent(self, key: str) -> _Wrong | None:
        wrong = self._wrong.get(key)
        if wrong is None or self.now() - wrong.since >= WINDOW_SECONDS:
            return None
        return wrong
