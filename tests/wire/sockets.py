"""A server on a real loopback socket, and clients that block in threads."""

from __future__ import annotations

import datetime
import ipaddress
import os
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from lmgateway.wire.accepting import Acceptor
from lmgateway.wire.limits import Limits
from lmgateway.wire.routes import Routes
from lmgateway.wire.server import ServerFactory
from lmgateway.wire.timers import Wheel
from lmgateway.wire.tls import ServerTLS
from tests.wire.serving import NotingDoor, PlainFallback, Site

reactor: Any = _reactor
T = TypeVar("T")

QUICK = Limits(
    header_seconds=1.5,
    body_seconds=2.0,
    stall_seconds=1.0,
    linger_seconds=0.5,
    keep_alive_seconds=1.5,
)
LATE = 10.0
"""Long after every limit above; short enough to fail soon."""


def pause(seconds: float) -> Deferred[None]:
    """Let the reactor run for a while."""
    return deferLater(reactor, seconds, lambda: None)


class SocketCase(TestCase):
    """Starts servers, and clients in threads; nothing may be left over."""

    timeout = 30

    def setUp(self) -> None:
        self.site = Site()
        self.door = NotingDoor(max_body=50_000_000)

    async def serve(
        self, limits: Limits = QUICK, tls: ServerTLS | None = None, path: str | None = None
    ) -> None:
        """Listen on a port of the loopback, or on a path."""
        routes = Routes([self.site.app], PlainFallback())
        self.wheel = Wheel(reactor)
        self.factory = ServerFactory(routes, self.door, limits, self.wheel, tls is not None)
        wrapped = self.factory if tls is None else tls.wrap(self.factory, reactor)
        if path is None:
            port = Acceptor(0, wrapped, 50, "127.0.0.1", reactor)
            port.startListening()
            self.port = port.getHost().port
        else:
            port = reactor.listenUNIX(path, wrapped)
        self.addCleanup(self._finish)
        self.addCleanup(port.stopListening)

    async def _finish(self) -> None:
        self.factory.abort()
        await self.empty()
        self.assertEqual(self.wheel.pending, 0)
        self.wheel.stop()

    async def empty(self, seconds: float = LATE) -> float:
        """Wait until no connection is open; tell how long that took."""
        start = time.monotonic()
        while self.factory.connections:
            if time.monotonic() - start > seconds:
                self.fail("a connection is still open")
            await pause(0.02)
        return time.monotonic() - start

    async def until(self, ready: Callable[[], object]) -> None:
        """Wait until something is so."""
        start = time.monotonic()
        while not ready():
            if time.monotonic() - start > LATE:
                self.fail("it did not come to that")
            await pause(0.01)

    def connect(self, window: int | None = None) -> socket.socket:
        """A connected client socket, with a small window if so asked."""
        client = socket.socket()
        client.settimeout(10)
        if window is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        client.connect(("127.0.0.1", self.port))
        self.addCleanup(client.close)
        return client


def in_thread(call: Callable[..., T], *args: object) -> Deferred[T]:
    """Run something that blocks."""
    return deferToThread(call, *args)


def read_all(client: socket.socket) -> bytes:
    """Everything until the server closes; what came before a reset counts too."""
    received = b""
    try:
        while data := client.recv(65536):
            received += data
    except ConnectionError:
        pass
    return received


def read_answer(client: socket.socket) -> bytes:
    """One answer with a length."""
    received = b""
    while b"\r\n\r\n" not in received:
        data = client.recv(65536)
        if not data:
            return received
        received += data
    head, _, body = received.partition(b"\r\n\r\n")
    (length,) = (
        int(line.split(b":")[1])
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length:")
    )
    while len(body) < length:
        body += client.recv(65536)
    return head + b"\r\n\r\n" + body


def open_sockets() -> int:
    """How many sockets this process has open."""
    folder = Path("/proc/self/fd")
    return sum(1 for entry in folder.iterdir() if _target(entry).startswith("socket:"))


def _target(entry: Path) -> str:
    try:
        return os.readlink(entry)
    except OSError:
        return ""


class Authority:
    """A certificate authority for one test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, folder.name)])
        self.cert = self._sign(self.name, self.key, [], 0, 1, ca=True)
        self.path = folder / "ca.pem"
        self.path.write_bytes(self.cert.public_bytes(Encoding.PEM))

    def issue(
        self, name: str, *alternatives: str, begins: float = -1, ends: float = 1
    ) -> tuple[Path, Path]:
        """Write a certificate and its key, valid from and to so many days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        cert = self._sign(subject, key, list(alternatives), begins, ends, ca=False)
        paths = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        paths[0].write_bytes(cert.public_bytes(Encoding.PEM))
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        paths[1].write_bytes(secret)
        return paths

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        alternatives: list[str],
        begins: float,
        ends: float,
        *,
        ca: bool,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=begins, minutes=-5))
            .not_valid_after(now + datetime.timedelta(days=ends))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        names = [_general(name) for name in alternatives]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256())


def _general(name: str) -> x509.GeneralName:
    if "://" in name:
        return x509.UniformResourceIdentifier(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def trusting(authority: Authority, pair: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    """A client's TLS settings: trust *authority*, and show *pair*."""
    context = ssl.create_default_context(cafile=str(authority.path))
    context.set_alpn_protocols(["h2", "http/1.1"])
    if pair is not None:
        context.load_cert_chain(pair[0], pair[1])
    return context
