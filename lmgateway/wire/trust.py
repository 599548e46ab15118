"""
Whom a TLS connection trusts: verified always, there is no switch for it.

The roots are OpenSSL's own (with pyOpenSSL's fall-back to
``/etc/ssl/certs/ca-certificates.crt``), or the backend's ``ca_file`` and
nothing else.  The name is checked during the handshake, before a byte of a
request, or of our own certificate, is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates
from OpenSSL.crypto import X509
from OpenSSL.SSL import VERIFY_FAIL_IF_NO_PEER_CERT, VERIFY_PEER, Connection
from service_identity.hazmat import DNS_ID, IPAddress_ID, verify_service_identity
from service_identity.pyopenssl import extract_patterns
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    TLSVersion,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from lmgateway.wire.origin import Origin, is_literal

_Verify = Callable[[Connection, X509, int, int, int], bool]


@implementer(IOpenSSLClientConnectionCreator)
class Verified:
    """
    Makes TLS connections whose peer must prove to be *host*.

    Twisted's own check lets a certificate pass that names nobody at all (no
    ``subjectAltName``): the exception that this raises is logged and the
    connection goes on (``twisted.internet._sslverify._verifyCB``, 26.10).
    So the check is made here, and whatever goes wrong in it refuses.

    Args:
        creator: Knows the roots, our certificate and the protocols.
        host: Name or IP address.
    """

    def __init__(self, creator: IOpenSSLClientConnectionCreator, host: str) -> None:
        self._creator = creator
        self._identity = IPAddress_ID(host) if is_literal(host) else DNS_ID(host)

    def clientConnectionForTLS(self, tls: TLSMemoryBIOProtocol) -> Connection:
        """Make the connection that *tls* speaks through."""
        connection = self._creator.clientConnectionForTLS(tls)
        connection.set_verify(VERIFY_PEER | VERIFY_FAIL_IF_NO_PEER_CERT, self._verifier(tls))
        return connection

    def _verifier(self, tls: TLSMemoryBIOProtocol) -> _Verify:
        peer: TLSMemoryBIOProtocol | None = tls

        def verify(_: Connection, certificate: X509, error: int, depth: int, good: int) -> bool:
            nonlocal peer
            if depth != 0:
                return bool(good)
            asked, peer = peer, None  # do not keep the connection alive
            try:
                verify_service_identity(extract_patterns(certificate), [self._identity], [])
            except Exception:
                if asked is not None:
                    asked.failVerification(Failure())
                return False
            return bool(good)

        return verify


def _roots(ca_file: str | None) -> Any:
    if ca_file is None:
        return platformTrust()
    loaded = load_pem_x509_certificates(Path(ca_file).read_bytes())
    roots = [Certificate(X509.from_cryptography(each)) for each in loaded]
    return trustRootFromCertificates(roots)


def _own(path: str | None) -> dict[str, Any]:
    if path is None:
        return {}
    data = Path(path).read_bytes()
    certificate, *chain = load_pem_x509_certificates(data)
    key = load_pem_private_key(data, None)
    if key.public_key() != certificate.public_key():
        raise ValueError("the key is not the certificate's")
    return {"certificate": certificate, "privateKey": key, "extraCertChain": chain}


def tls_creator(origin: Origin) -> IOpenSSLClientConnectionCreator:
    """
    Prepare TLS to *origin*.

    Raises:
        ValueError: If a certificate file cannot be used, says which; or for a host whose
            name no certificate can hold.
    """
    path = origin.client_cert
    try:
        own = _own(path)
        path = origin.ca_file
        roots = _roots(path)
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: no usable PEM certificates ({type(error).__name__})") from error
    try:
        creator = optionsForClientTLS(
            origin.host,
            trustRoot=roots,
            acceptableProtocols=[b"http/1.1"],
            extraCertificateOptions={"raiseMinimumTo": TLSVersion.TLSv1_2, **own},
        )
    except UnicodeError:
        raise ValueError("the host name is not one that a certificate can prove") from None
    return Verified(creator, origin.host)
