"""
The cookie of a browser that is logged in: unreadable to scripts, never sent from other sites.

Over TLS its name begins with ``__Host-``, so that neither a plain connection nor a neighbouring
host can set one.  Whether it is TLS is known from the socket, or from ``X-Forwarded-Proto`` where
a proxy of ours sends that.
"""

from __future__ import annotations

from lmgateway.classes import frozen
from lmgateway.governance.addresses import Proxies
from lmgateway.wire.door import Head

_PLAIN = b"lmg_session"
_SECURE = b"__Host-lmg_session"


@frozen
class Cookies:
    """
    Reads and writes it.

    Attributes:
        proxies: Those whose word is taken.
    """

    proxies: Proxies

    def read(self, head: Head) -> str | None:
        """Give the cookie's value."""
        wanted = _SECURE if self._is_secure(head) else _PLAIN
        for name, line in head.headers:
            if name != b"cookie":
                continue
            for pair in line.split(b";"):
                key, _, value = pair.strip().partition(b"=")
                if key == wanted:
                    return value.decode("latin-1")
        return None

    def written(self, head: Head, value: str) -> tuple[bytes, bytes]:
        """Give the header that sets it; an empty value removes it."""
        secure = self._is_secure(head)
        name, more = (_SECURE, b"; Secure") if secure else (_PLAIN, b"")
        end = b"" if value else b"; Max-Age=0"
        line = name + b"=" + value.encode() + b"; Path=/; HttpOnly; SameSite=Strict" + more + end
        return b"set-cookie", line

    def _is_secure(self, head: Head) -> bool:
        if head.secure:
            return True
        proxied = self.proxies.client_of(head) != head.peer
        return proxied and (head.get(b"x-forwarded-proto") or b"").lower() == b"https"
