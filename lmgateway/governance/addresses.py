"""
Which address a request comes from, for limits and records.

The socket's, unless that is a proxy of ours: then the last one of
``X-Forwarded-For`` that is not.  What stands left of it was written by whoever
that is, and proves nothing.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from attrs import field

from lmgateway.classes import frozen
from lmgateway.wire.door import Head

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_HOPS = 32
"""Entries of ``X-Forwarded-For`` that are looked at, from the right."""


def _networks(names: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ip_network(name) for name in names)


@frozen
class Proxies:
    """
    The proxies before us.

    Attributes:
        networks: Where they are.
    """

    networks: tuple[Network, ...] = field(default=(), converter=_networks)

    def client_of(self, head: Head) -> str:
        """Give the address of whoever asks."""
        if not self.networks or not self._is_ours(head.peer):
            return head.peer
        client = head.peer
        for entry in reversed(_entries(head)):
            address = _read(entry)
            if address is None:
                break
            client = str(address)
            if not self._is_ours(client):
                break
        return client

    def _is_ours(self, name: str) -> bool:
        address = _read(name)
        return address is not None and any(address in network for network in self.networks)


def _entries(head: Head) -> list[str]:
    lines = [value for name, value in head.headers if name == b"x-forwarded-for"]
    text = b",".join(lines).decode("latin-1")
    return text.rsplit(",", MAX_HOPS)[-MAX_HOPS:] if text else []


def _read(entry: str) -> Address | None:
    """Read an address, with or without port; an IPv4 one in IPv6 clothes is IPv4."""
    text = entry.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


@lru_cache(4096)
def neighbourhood(name: str) -> str:
    """Give what is limited together: an IPv4 address, or the /64 that an IPv6 one is in."""
    address = _read(name)
    if not isinstance(address, IPv6Address):
        return name if address is None else str(address)
    return str(ip_network((int(address) >> 64 << 64, 64)))
