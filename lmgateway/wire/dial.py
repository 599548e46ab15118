"""How a connection to an origin comes about: address, proxy, TLS."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer

from lmgateway.wire.origin import Origin, Way, is_literal
from lmgateway.wire.proxy import ProxyEndpoint
from lmgateway.wire.race import NameEndpoint, literal_endpoint
from lmgateway.wire.trust import tls_creator


class _PlainWrites(TLSMemoryBIOFactory):
    """TLS that sends what is written: a request is one write, with nothing to wait for."""

    protocol = TLSMemoryBIOProtocol


@implementer(IStreamClientEndpoint)
class _TLSEndpoint:
    def __init__(
        self, creator: IOpenSSLClientConnectionCreator, below: IStreamClientEndpoint, clock: Any
    ) -> None:
        self._creator = creator
        self._below = below
        self._clock = clock

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect, and begin the TLS handshake on the connection."""
        tls = _PlainWrites(self._creator, True, factory, self._clock)
        return self._below.connect(tls)


def _tcp(reactor: Any, host: str, port: int, seconds: float) -> IStreamClientEndpoint:
    if is_literal(host):
        return literal_endpoint(reactor, host, port, seconds)
    return NameEndpoint(reactor, host, port, seconds)


def endpoint_for(reactor: Any, origin: Origin, seconds: float) -> IStreamClientEndpoint:
    """
    Give the endpoint that leads to *origin*, through its proxy if it has one.

    Args:
        reactor: Makes connections, and resolves names.
        seconds: What the caller will wait for all of it; the endpoint gives up later.

    Raises:
        ValueError: If a certificate file cannot be used.
    """
    patience = seconds + 1.0
    if origin.proxy is None:
        endpoint = _tcp(reactor, origin.host, origin.port, patience)
    else:
        way = Way.parse(origin.proxy)
        below = _tcp(reactor, way.host, way.port, patience)
        endpoint = ProxyEndpoint(below, way, origin.host, origin.port)
    if origin.scheme == "https":
        endpoint = _TLSEndpoint(tls_creator(origin), endpoint, reactor)
    return endpoint
