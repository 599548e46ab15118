"""
Which names the admin port answers to, and whose pages may call it.

A page of another site can make a browser on the operator's machine ask a loopback port, under
that machine's own name or, once its name resolves to 127.0.0.1, under its own.  So ``Host`` must
be a name that the operator would type, and an ``Origin`` must be that very host.
"""

from __future__ import annotations

from lmgateway.classes import frozen
from lmgateway.config.values import is_loopback
from lmgateway.errors import Forbidden
from lmgateway.wire.door import Head

_OWN_SITE = (None, b"same-origin", b"none")


@frozen
class Hosts:
    """
    The names.

    Attributes:
        names: Those that are configured: hosts, or hosts with a port.
        bound: The address that is listened on.
    """

    names: frozenset[str]
    bound: str

    def check(self, head: Head) -> None:
        """
        Look where a request comes from, and whom it thinks it asks.

        Raises:
            Forbidden: If it comes from a page of another site.
        """
        host = (head.get(b"host") or b"").decode("latin-1").lower()
        if not self._answers_to(host):
            raise Forbidden("This name is not served: it is not among admin_hosts.")
        origin = head.get(b"origin")
        if origin is not None:
            page = origin.decode("latin-1").lower().partition("://")[2]
            if page != host and page not in self.names:
                raise Forbidden("Requests from pages of other sites are not served.")
        elif head.method not in (b"GET", b"HEAD") and head.get(b"sec-fetch-site") not in _OWN_SITE:
            raise Forbidden("Requests from pages of other sites are not served.")

    def _answers_to(self, host: str) -> bool:
        name = _without_port(host)
        if host in self.names or name in self.names or is_loopback(name) or name == self.bound:
            return True
        # Off loopback there is TLS, so that a stranger's name fails there already.
        return not self.names and not is_loopback(self.bound)


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name.strip("[]") if colon and (port.isdigit() or not port) else host.strip("[]")
