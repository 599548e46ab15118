"""How a connection to an origin comes about: address, proxy, TLS."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IReactorTCP,
    IStreamClientEndpoint,
)
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer

from lmgateway.wire.origin import Origin, is_literal
from lmgateway.wire.proxy import ProxyEndpoint, Way
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


def _tcp(reactor: IReactorTCP, host: str, port: int, seconds: float) -> IStreamClientEndpoint:
    if not is_literal(host):
        return HostnameEndpoint(reactor, host, port, timeout=seconds)
    kind = TCP6ClientEndpoint if ":" in host else TCP4ClientEndpoint
    endpoint: IStreamClientEndpoint = kind(reactor, host, port, timeout=seconds)
    return endpoint


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
