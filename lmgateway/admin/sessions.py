"""
Browsers that are logged in.

A session is a random name in a cookie, kept here by its digest, with the digest of the token that
opened it: a token that is taken away, has expired or has another role by now takes effect at the
next request.  A session ends after ``IDLE_SECONDS`` without a request and after ``MAX_SECONDS`` in
any case, and there are no more than ``MAX_SESSIONS``: the one that was idle longest makes room.
"""

from __future__ import annotations

from collections.abc import Callable
from secrets import token_urlsafe

import msgspec
from msgspec import Struct

from lmgateway.governance.keys import digest

IDLE_SECONDS = 3600.0
MAX_SECONDS = 12 * 3600.0
MAX_SESSIONS = 256


class Session(Struct):
    """
    One of them.

    Attributes:
        token: The digest of the token that was shown.
        csrf: What requests that change something must show as well.
        began: Reactor seconds of the login.
        seen: Reactor seconds of the last request.
    """

    token: bytes
    csrf: str
    began: float
    seen: float

    def rest(self, now: float) -> float:
        """Give the seconds that are left if nothing more is asked."""
        return min(self.seen + IDLE_SECONDS, self.began + MAX_SECONDS) - now


class Sessions(msgspec.Struct, eq=False):
    """
    All of them; outlives a reload.

    Attributes:
        now: Reactor seconds.
    """

    now: Callable[[], float]
    _open: dict[bytes, Session] = msgspec.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._open)

    def begin(self, token: bytes) -> str:
        """Begin one for the holder of the token with that digest; gives the cookie's value."""
        now = self.now()
        self._open = {key: each for key, each in self._open.items() if each.rest(now) > 0}
        if len(self._open) >= MAX_SESSIONS:
            self._open.pop(next(iter(self._open)))
        name = token_urlsafe(32)
        self._open[digest(name)] = Session(token, token_urlsafe(32), now, now)
        return name

    def find(self, name: str) -> Session | None:
        """Give the session of a cookie, if there is one; it counts as used now."""
        key, now = digest(name), self.now()
        session = self._open.pop(key, None)
        if session is None or session.rest(now) <= 0:
            return None
        session.seen = now
        self._open[key] = session  # the last one now: the first one is idle longest
        return session

    def end(self, name: str) -> None:
        """Forget one."""
        self._open.pop(digest(name), None)
