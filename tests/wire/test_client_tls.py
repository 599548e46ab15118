"""TLS to backends: what is accepted, what is refused, and what is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from OpenSSL.crypto import X509
from OpenSSL.SSL import Context, Error, OP_NO_TLSv1_2, OP_NO_TLSv1_3
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.ssl import (
    Certificate,
    TLSVersion,
    trustRootFromCertificates,
)

from lmgateway.backend_errors import BackendError, BackendTLS
from lmgateway.wire.body import BodyReader
from lmgateway.wire.client import Origin, WireAgent
from tests.wire.dialing import ok
from tests.wire.upstreams import Authority, Lines, SocketTestCase, answering, reactor


class TLSTestCase(SocketTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp())
        self.authority = Authority(self.folder)
        self.installed = reactor.installNameResolver(_Local())
        self.addCleanup(reactor.installNameResolver, self.installed)

    def tls(self, names: list[str], **how: Any) -> Lines:
        return self.serve(answering(ok(b"secure")), self.authority.server(names, **how))

    async def ask(self, lines: Lines, host: str, ca_file: str | None, **origin: Any) -> bytes:
        """Ask once, and give the body."""
        client, target = self.client(lines, scheme="https", host=host, ca_file=ca_file, **origin)
        response = await client.send(target, b"", head_seconds=5)
        return await BodyReader(response, self.wheel).whole(100, 5)

    async def refused(self, lines: Lines, host: str, ca_file: str | None, **origin: Any) -> None:
        """Ask once, and see that it is refused before a byte of the request is sent."""
        try:
            await self.ask(lines, host, ca_file, **origin)
        except BackendTLS as error:
            self.assertEqual(error.status, 502)
            self.assertIsNotNone(error.__cause__)
        else:
            self.fail("accepted")
        for line in lines.lines:
            await line.closed
            self.assertEqual(line.received, b"")
        self.assertEqual((self.agent.active, self.agent.idle), (0, 0))


class _Local:
    """Resolves every name to this machine."""

    def resolveHostName(
        self,
        receiver: Any,
        name: str,
        portNumber: int = 0,  # noqa: N803 - Twisted's name
        *rest: object,
    ) -> None:
        receiver.resolutionBegan(None)
        receiver.addressResolved(IPv4Address("TCP", "127.0.0.1", portNumber))
        receiver.resolutionComplete()


class CertificateTests(TLSTestCase):
    """U11: the table of certificates, hosts and trust roots."""

    async def test_right_certificates(self) -> None:
        """U11: the right name or address, from a trusted authority, is accepted."""
        lines = self.tls(["backend.test", "127.0.0.1"])
        for host in ("backend.test", "127.0.0.1"):
            self.assertEqual(await self.ask(lines, host, self.authority.path), b"secure")

    async def test_wrong_certificates(self) -> None:
        """U11: wrong host, address not named, expired, not yet valid, self-signed: refused."""
        for names, host, how in (
            (["other.test"], "backend.test", {}),
            (["backend.test"], "127.0.0.1", {}),
            (["127.0.0.2"], "127.0.0.1", {}),
            (["127.0.0.1"], "backend.test", {}),
            ([], "localhost", {}),  # the common name is no name
            (["*.test"], "a.backend.test", {}),
            (["backend.test"], "backend.test", {"days": (-5, -1)}),
            (["backend.test"], "backend.test", {"days": (1, 5)}),
            (["backend.test"], "backend.test", {"self_signed": True}),
        ):
            await self.refused(self.tls(names, **how), host, self.authority.path)

    async def test_unknown_authority(self) -> None:
        """U11: without ``ca_file`` the system's roots decide; with it, they do not."""
        lines = self.tls(["backend.test"])
        await self.refused(lines, "backend.test", None)
        other = Authority(self.folder / "other", "Other CA")
        await self.refused(self.tls(["backend.test"]), "backend.test", other.path)

    async def test_bundle(self) -> None:
        """U11: ``ca_file`` may hold several certificates."""
        other = Authority(self.folder / "other", "Other CA")
        bundle = self.folder / "bundle.pem"
        bundle.write_bytes(Path(other.path).read_bytes() + Path(self.authority.path).read_bytes())
        lines = self.tls(["backend.test"])
        self.assertEqual(await self.ask(lines, "backend.test", str(bundle)), b"secure")

    async def test_server_name_is_sent(self) -> None:
        """U11: the backend is told which name is meant, and for an address nothing."""
        seen: list[bytes | None] = []
        options = self.authority.server(["backend.test", "127.0.0.1"])
        context: Context = options.getContext()
        context.set_tlsext_servername_callback(lambda c: seen.append(c.get_servername()))
        lines = self.serve(answering(ok(b"secure")), options)
        for host in ("backend.test", "127.0.0.1"):
            await self.ask(lines, host, self.authority.path)
        self.assertEqual(seen, [b"backend.test", None])

    async def test_not_tls_at_all(self) -> None:
        """U11: a backend that answers plain HTTP on a TLS port is a TLS failure."""
        lines = self.serve(answering(b"HTTP/1.1 400 Bad\r\n\r\n"))
        client, target = self.client(lines, scheme="https")
        try:
            await client.send(target, b"", head_seconds=5)
        except BackendTLS:
            pass
        else:
            self.fail("accepted")


class VersionTests(TLSTestCase):
    async def test_old_versions(self) -> None:
        """U11: TLS 1.1 is refused, 1.2 and 1.3 are spoken."""
        old = {
            "insecurelyLowerMinimumTo": TLSVersion.TLSv1_0,
            "lowerMaximumSecurityTo": TLSVersion.TLSv1_1,
        }
        lines = self.tls(["backend.test"], settings=old)
        await self.refused(lines, "backend.test", self.authority.path)
        for without in (OP_NO_TLSv1_2, OP_NO_TLSv1_3):
            options = self.authority.server(["backend.test"])
            options.getContext().set_options(without)
            lines = self.serve(answering(ok(b"secure")), options)
            self.assertEqual(await self.ask(lines, "backend.test", self.authority.path), b"secure")

    async def test_only_http_1_is_offered(self) -> None:
        """A backend that would rather speak HTTP/2 is spoken to in HTTP/1.1."""
        settings = {"acceptableProtocols": [b"h2", b"http/1.1"]}
        lines = self.tls(["backend.test"], settings=settings)
        await self.ask(lines, "backend.test", self.authority.path)
        transport: Any = lines.lines[0].transport
        self.assertEqual(transport.negotiatedProtocol, b"http/1.1")


class ClientCertificateTests(TLSTestCase):
    def demanding(self) -> Lines:
        root = Certificate(X509.from_cryptography(self.authority.certificate))
        settings = {"trustRoot": trustRootFromCertificates([root])}
        return self.tls(["backend.test"], settings=settings)

    async def test_shown(self) -> None:
        """U11: a backend that asks for a certificate is shown the configured one."""
        lines = self.demanding()
        path = self.authority.client_file()
        body = await self.ask(lines, "backend.test", self.authority.path, client_cert=path)
        self.assertEqual(body, b"secure")

    async def test_missing(self) -> None:
        """U11: without one, or with another authority's, the backend refuses."""
        other = Authority(self.folder / "other", "Other CA")
        for path in (None, other.client_file()):
            await self.refused(
                self.demanding(), "backend.test", self.authority.path, client_cert=path
            )


class FileTests(TLSTestCase):
    async def test_unusable_files(self) -> None:
        """A certificate file that cannot be used is an error at once, which names the file."""
        empty = self.folder / "empty.pem"
        empty.write_bytes(b"")
        mixed = self.folder / "mixed.pem"
        certificate = Path(self.authority.path).read_bytes()
        mixed.write_bytes(certificate + Path(self.authority.client_file()).read_bytes())
        for key, paths in (
            ("ca_file", [empty, self.folder / "missing.pem"]),
            ("client_cert", [empty, self.folder / "missing.pem", mixed, self.authority.path]),
        ):
            for path in map(str, paths):
                origin = Origin.parse("https://backend.test", **{key: path})
                with self.assertRaises(ValueError) as caught:
                    WireAgent(reactor, self.wheel, origin)
                self.assertIn(path, str(caught.exception))

    async def test_name_that_no_certificate_holds(self) -> None:
        """U11: a host name that cannot be verified is refused when it is configured."""
        with self.assertRaises(ValueError) as caught:
            WireAgent(reactor, self.wheel, Origin.parse("https://my_backend"))
        self.assertIn("host name", str(caught.exception))


class RetryTests(TLSTestCase):
    async def test_stale_connection(self) -> None:
        """U4: the one retry works over TLS too."""
        lines = self.tls(["127.0.0.1"])
        client, target = self.client(lines, scheme="https", ca_file=self.authority.path)
        for _ in range(3):
            response = await client.send(target, b"", head_seconds=5)
            await BodyReader(response, self.wheel).whole(100, 5)
            sent: Deferred[Any] = client.send(target, b"", head_seconds=5)
            lines.lines[-1].transport.abortConnection()  # type: ignore[union-attr]  # made
            await BodyReader(await sent, self.wheel).whole(100, 5)
        self.assertEqual(self.agent.opened, 4)


class CutTests(TLSTestCase):
    async def test_cut_without_goodbye(self) -> None:
        """U8: an answer that ends with the connection, but without TLS's goodbye, was cut."""

        def script(line: Any, data: bytes) -> None:
            line.write(b"HTTP/1.1 200 OK\r\n\r\npart")
            line.transport.transport.loseConnection()

        lines = self.serve(script, self.authority.server(["127.0.0.1"]))
        client, target = self.client(lines, scheme="https", ca_file=self.authority.path)
        reader = BodyReader(await client.send(target, b"", head_seconds=5), self.wheel)
        try:
            while await reader.chunk(5):
                pass
        except BackendError as error:
            self.assertNotIsInstance(error.__cause__, Error)
        else:
            self.fail("taken for whole")
