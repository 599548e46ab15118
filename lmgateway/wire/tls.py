"""
TLS for a listening port: modern, reloadable, and mutual where asked.

A certificate is swapped by replacing one context: connections that are open
keep the one they began with, the next handshake gets the new one.  TLS 1.2 at
least, ephemeral key exchange over a few good groups and AEAD ciphers only, no
session kept anywhere, and no protocol but HTTP/1.1 offered.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime
from twisted.internet.protocol import Factory
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer

from lmgateway.errors import ConfigError

_CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"
_GROUPS = (b"X25519MLKEM768:X25519:P-256:P-384", b"X25519:P-256:P-384")
"""Of key exchange: with the hybrid against quantum computers, where OpenSSL has it."""
_HTTP = b"http/1.1"
_OPTIONS = (
    SSL.OP_NO_COMPRESSION
    | SSL.OP_NO_TICKET
    | SSL.OP_NO_RENEGOTIATION
    | SSL.OP_CIPHER_SERVER_PREFERENCE
    | SSL.OP_SINGLE_ECDH_USE
)


@implementer(IOpenSSLServerConnectionCreator)
class ServerTLS:
    """
    Makes the server side of TLS connections.

    Args:
        cert: A PEM file: the certificate, then its chain.
        key: A PEM file with its private key.
        client_ca: A PEM file; with it, clients must show a certificate that it signed.
        client_names: Which of those may come in: names, addresses or URIs, one of which must
            be among a certificate's subject alternative names.  Empty: all of them.
        wall: Tells the wall time.

    Raises:
        ConfigError: If the files cannot be used.
    """

    def __init__(
        self,
        cert: Path,
        key: Path,
        client_ca: Path | None = None,
        client_names: Iterable[str] = (),
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._cert = Path(cert)
        self._key = Path(key)
        self._client_ca = None if client_ca is None else Path(client_ca)
        self._client_names = frozenset(name.lower() for name in client_names)
        self._wall = wall
        self.not_after = 0.0
        """Seconds since the epoch at which the certificate expires."""
        self.reload()

    def reload(self) -> None:
        """
        Read the files again; new connections use them from now on.

        Raises:
            ConfigError: If they cannot be used; nothing has changed then.
        """
        chain = self._read_chain()
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(_OPTIONS)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_cipher_list(_CIPHERS)
        _limit_groups(context)
        context.set_alpn_select_callback(_select)
        self._load_pair(context, chain)
        self._require_clients(context)
        self._context = context
        self.not_after = chain[0].not_valid_after_utc.timestamp()

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Make one connection."""
        return SSL.Connection(self._context, None)

    def wrap(self, factory: Factory, clock: IReactorTime) -> TLSMemoryBIOFactory:
        """Put TLS under *factory*'s connections."""
        return TLSMemoryBIOFactory(self, False, factory, clock)

    def _read_chain(self) -> Sequence[x509.Certificate]:
        data = _read(self._cert)
        try:
            chain = x509.load_pem_x509_certificates(data)
        except ValueError:
            raise ConfigError([f"{self._cert}: not a PEM certificate"]) from None
        now, first = self._wall(), chain[0]
        if now >= first.not_valid_after_utc.timestamp():
            raise ConfigError([f"{self._cert}: expired on {first.not_valid_after_utc:%Y-%m-%d}"])
        if now < first.not_valid_before_utc.timestamp():
            day = f"{first.not_valid_before_utc:%Y-%m-%d}"
            raise ConfigError([f"{self._cert}: not valid before {day}"])
        return chain

    def _load_pair(self, context: SSL.Context, chain: Sequence[x509.Certificate]) -> None:
        data = _read(self._key)
        try:
            key = load_pem_private_key(data, None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ConfigError([f"{self._key}: not a PEM private key without passphrase"]) from None
        try:
            context.use_certificate(chain[0])
            for link in chain[1:]:
                context.add_extra_chain_cert(link)
            context.use_privatekey(key)  # type: ignore[arg-type]  # any other kind fails here
            context.check_privatekey()
        except (SSL.Error, TypeError):
            raise ConfigError([f"{self._key}: no pair with {self._cert}, or too weak"]) from None

    def _require_clients(self, context: SSL.Context) -> None:
        """Ask clients for certificates, if there is a CA to check them against."""
        if self._client_ca is None:
            return
        try:
            authorities = x509.load_pem_x509_certificates(_read(self._client_ca))
        except ValueError:
            raise ConfigError([f"{self._client_ca}: not a PEM certificate"]) from None
        store = cast("crypto.X509Store", context.get_cert_store())
        for authority in authorities:
            store.add_cert(crypto.X509.from_cryptography(authority))
            context.add_client_ca(authority)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, self._verify)

    def _verify(
        self, connection: SSL.Connection, cert: crypto.X509, code: int, depth: int, fine: int
    ) -> bool:
        """Accept a link of a client's chain, if OpenSSL does and the name is on the list."""
        if not fine:
            return False
        if depth > 0 or not self._client_names:
            return True
        return not self._client_names.isdisjoint(_names(cert.to_cryptography()))


def _limit_groups(context: SSL.Context) -> None:
    """Offer the groups above and no other; pyOpenSSL has the function, but no method for it."""
    library: Any = vars(SSL)["_lib"]
    for groups in _GROUPS:
        if library.SSL_CTX_set1_curves_list(context._context, groups) == 1:
            return
        library.ERR_clear_error()


def _names(cert: x509.Certificate) -> Iterable[str]:
    """The subject alternative names of a certificate, as text."""
    try:
        extension = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return [
        str(name.value).lower()
        for name in extension.value
        if isinstance(
            name,
            (x509.DNSName, x509.IPAddress, x509.RFC822Name, x509.UniformResourceIdentifier),
        )
    ]


def _select(
    connection: SSL.Connection, offered: list[bytes]
) -> bytes | SSL._NoOverlappingProtocols:
    """Choose HTTP/1.1 where it is offered; go on without a choice where it is not."""
    return _HTTP if _HTTP in offered else SSL.NO_OVERLAPPING_PROTOCOLS


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror or 'cannot be read'}"]) from None
