"""Scripted backends on real loopback sockets, and certificates for them."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from lmgateway.wire.client import Origin, Target, WireAgent, WireClient
from lmgateway.wire.timers import Wheel

reactor: Any = installed
Script = Callable[["Line", bytes], None]


class Line(Protocol):
    """The backend's end of one connection."""

    def __init__(self, script: Script, lines: list[Line]) -> None:
        self.script = script
        self.received = b""
        self.closed: Deferred[Line] = Deferred()
        self.begun: Deferred[Line] = Deferred()
        lines.append(self)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self.script(self, data)
        if not self.begun.called:
            self.begun.callback(self)

    def write(self, data: bytes) -> None:
        """Send."""
        assert self.transport is not None
        self.transport.write(data)

    def close(self) -> None:
        """Close properly."""
        assert self.transport is not None
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed.callback(self)


class Lines(Factory):
    """Accepts connections for one script."""

    noisy = False
    port = 0

    def __init__(self, script: Script) -> None:
        self.script = script
        self.lines: list[Line] = []
        self.arrived: list[Deferred[Line]] = []

    def buildProtocol(self, addr: object) -> Line:
        line = Line(self.script, self.lines)
        arrived, self.arrived = self.arrived, []
        for waiting in arrived:
            reactor.callLater(0, waiting.callback, line)
        return line

    def next(self) -> Deferred[Line]:
        """Wait for the next connection."""
        waiting: Deferred[Line] = Deferred()
        self.arrived.append(waiting)
        return waiting


def quiet(line: Line, data: bytes) -> None:
    """Never answer."""


def answering(response: bytes) -> Script:
    """Answer each request, which must come in one piece, with *response*."""

    def script(line: Line, data: bytes) -> None:
        line.write(response)

    return script


def wait(seconds: float) -> Deferred[None]:
    """Let time pass."""
    return deferLater(reactor, seconds, lambda: None)


class SocketTestCase(TestCase):
    """Backends, agents and clients that are gone after the test."""

    timeout = 20

    def setUp(self) -> None:
        self.wheel = Wheel(reactor, tick=0.01)
        self.addCleanup(self.wheel.stop)

    def serve(
        self, script: Script, context: Any = None, interface: str = "127.0.0.1", port: int = 0
    ) -> Lines:
        """Start a backend; its port is ``lines.port``."""
        lines = Lines(script)
        if context is None:
            listener = reactor.listenTCP(port, lines, interface=interface)
        else:
            listener = reactor.listenSSL(port, lines, context, interface=interface)
        lines.port = listener.getHost().port
        self.addCleanup(self._stop, listener, lines)
        return lines

    async def _stop(self, listener: Any, lines: Lines) -> None:
        await listener.stopListening()
        for line in lines.lines:
            if not line.closed.called:
                line.transport.abortConnection()  # type: ignore[union-attr]  # made
                await line.closed

    def client(
        self,
        lines: Lines | int,
        *,
        scheme: str = "http",
        host: str = "127.0.0.1",
        agent: dict[str, Any] | None = None,
        **origin: Any,
    ) -> tuple[WireClient, Target]:
        """Make a client and a target for a backend."""
        port = lines if isinstance(lines, int) else lines.port
        where = Origin.parse(f"{scheme}://{host}:{port}", **origin)
        self.agent = WireAgent(reactor, self.wheel, where, **(agent or {}))
        self.addCleanup(self._close, self.agent)
        target = Target.prepare(where, b"POST", "/x", [(b"authorization", b"Bearer canary-7f3a")])
        return WireClient(self.agent, self.wheel), target

    async def _close(self, agent: WireAgent) -> None:
        agent.close()
        await wait(0.02)

    def deaf_port(self) -> int:
        """Give a port where connections are neither accepted nor refused."""
        listener = socket.socket()
        self.addCleanup(listener.close)
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):  # fill the backlog
            filler = socket.socket()
            self.addCleanup(filler.close)
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        return int(listener.getsockname()[1])


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self, folder: Path, name: str = "Test CA") -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign(name, self.key, None, [], ca=True, days=(-10, 10))
        self.path = str(folder / f"{name}.pem")
        Path(self.path).write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def _sign(
        self,
        name: str,
        key: ec.EllipticCurvePrivateKey,
        issuer: Authority | None,
        names: list[str],
        *,
        ca: bool,
        days: tuple[int, int],
    ) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.certificate.subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=days[0]))
            .not_valid_after(now + timedelta(days=days[1]))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if names:
            general = [_general_name(each) for each in names]
            builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
        return builder.sign(issuer.key if issuer else key, hashes.SHA256())

    def issue(
        self, names: list[str], *, days: tuple[int, int] = (-1, 5), self_signed: bool = False
    ) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        """Issue a certificate for *names*."""
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = None if self_signed else self
        return self._sign("localhost", key, issuer, names, ca=False, days=days), key

    def server(self, names: list[str], **how: Any) -> CertificateOptions:
        """Give a server's TLS settings with a new certificate."""
        # Twisted's server fails the handshake of a client that offers ALPN to it without these.
        settings = {"acceptableProtocols": [b"http/1.1"], **how.pop("settings", {})}
        certificate, key = self.issue(names, **how)
        # Twisted's types want pyOpenSSL's objects, which warn of their own deprecation.
        own: dict[str, Any] = {"privateKey": key, "certificate": certificate}
        return CertificateOptions(**own, **settings)

    def client_file(self) -> str:
        """Write a client's certificate and key; give the path."""
        certificate, key = self.issue(["client.test"])
        path = self.folder / "client.pem"
        path.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return str(path)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
