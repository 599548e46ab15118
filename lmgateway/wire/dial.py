"""
How a connection to an origin comes about: address, proxy, TLS.

TLS is verified always: there is no switch for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.x509 import load_pem_x509_certificates
from OpenSSL.crypto import X509
from OpenSSL.SSL import Error as SSLError
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IReactorTCP,
    IStreamClientEndpoint,
)
from twisted.internet.ssl import (
    Certificate,
    PrivateCertificate,
    TLSVersion,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer

from lmgateway.wire.origin import Origin, is_literal
from lmgateway.wire.proxy import ProxyEndpoint, Way


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


def _certificates(path: str) -> list[Certificate]:
    loaded = load_pem_x509_certificates(Path(path).read_bytes())
    return [Certificate(X509.from_cryptography(each)) for each in loaded]


def _trust(ca_file: str | None) -> Any:
    if ca_file is None:
        return platformTrust()
    return trustRootFromCertificates(_certificates(ca_file))


def tls_creator(origin: Origin) -> IOpenSSLClientConnectionCreator:
    """
    Prepare TLS to *origin*.

    Raises:
        ValueError: If a certificate file cannot be used; says which.
    """
    extra: dict[str, Any] = {"raiseMinimumTo": TLSVersion.TLSv1_2}
    own = None
    path = origin.client_cert
    try:
        if path is not None:
            own = PrivateCertificate.loadPEM(Path(path).read_bytes())
            extra["extraCertChain"] = [each.original for each in _certificates(path)[1:]]
        path = origin.ca_file
        return optionsForClientTLS(
            origin.host,
            trustRoot=_trust(origin.ca_file),
            clientCertificate=own,
            acceptableProtocols=[b"http/1.1"],
            extraCertificateOptions=extra,
        )
    except (OSError, ValueError, SSLError) as error:
        raise ValueError(f"{path}: no usable PEM certificates ({type(error).__name__})") from error


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
