"""
How a config names a socket that somebody else listens on, and hands over.

The spelling is that of Twisted's endpoints: ``systemd:domain=INET:index=0``, or by the name that
the socket unit gives it, ``systemd:domain=INET:name=client``.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from lmgateway.classes import frozen
from lmgateway.config.values import Parsed

DOMAINS = ("INET", "INET6", "UNIX")


@frozen
class SocketName:
    """
    Which socket is meant.

    Attributes:
        domain: ``INET``, ``INET6`` or ``UNIX``.
        index: Its place among those handed over.
        name: Its name; one of both is given.
    """

    domain: str
    index: int | None = None
    name: str | None = None


def socket_name(text: str) -> SocketName:
    """
    Read the name of a socket.

    Raises:
        ValueError: If it is none.
    """
    prefix, *parts = text.split(":")
    given = dict(part.split("=", 1) for part in parts)
    domain = given.pop("domain", "")
    if prefix != "systemd" or domain not in DOMAINS or len(given) != 1 or len(parts) != 2:
        raise ValueError("not the name of a socket")
    ((key, value),) = given.items()
    if key == "name" and value:
        return SocketName(domain, name=value)
    if key == "index" and value.isascii() and value.isdigit() and len(value) < 4:
        return SocketName(domain, index=int(value))
    raise ValueError("not the name of a socket")


_HANDED_SOCKET = Parsed(
    socket_name,
    '"systemd:domain=INET:index=0" or "systemd:domain=INET:name=client" '
    "(the domain may be INET6 or UNIX, too)",
)

HandedSocket: TypeAlias = Annotated[str, _HANDED_SOCKET]
