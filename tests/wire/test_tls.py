"""TLS: what is offered, who may come in, reloading, and rude clients."""

from __future__ import annotations

import ssl
import time
import warnings
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.errors import ConfigError
from lmgateway.wire.limits import Limits
from lmgateway.wire.tls import ServerTLS
from tests.wire.serving import get, post, statuses
from tests.wire.sockets import (
    Authority,
    SocketCase,
    in_thread,
    pause,
    read_all,
    read_answer,
    trusting,
)


class TLSCase(SocketCase):
    """A server with TLS, and clients for it."""

    def setUp(self) -> None:
        super().setUp()
        folder = Path(self.mktemp())
        folder.mkdir()
        self.authority = Authority(folder)
        self.pair = self.authority.issue("gateway", "localhost")

    def open(
        self, context: ssl.SSLContext | None = None, window: int | None = None
    ) -> ssl.SSLSocket:
        """A client that has shaken hands; blocks."""
        context = context or trusting(self.authority)
        client = context.wrap_socket(self.connect(window), server_hostname="localhost")
        self.addCleanup(client.close)
        return client

    def ask(self, data: bytes, context: ssl.SSLContext | None = None) -> bytes:
        """One request and its answer on a new connection; blocks."""
        with self.open(context) as client:
            client.sendall(data)
            return read_answer(client)


class HandshakeTests(TLSCase):
    """T1, C22: what is offered."""

    async def test_answer(self) -> None:
        """A request over TLS is answered, and the door knows that it is secure."""
        await self.serve(tls=ServerTLS(*self.pair))
        self.assertEqual(statuses(await in_thread(self.ask, post(b"/echo", b"hello"))), [200])
        self.assertTrue(self.door.seen[0].secure)
        await self.empty()

    async def test_large_answer(self) -> None:
        """An answer larger than any buffer arrives whole over TLS."""
        await self.serve(tls=ServerTLS(*self.pair))
        answer = await in_thread(self.ask, get(b"/big"))
        self.assertEqual(len(answer.partition(b"\r\n\r\n")[2]), 8_000_000)

    async def test_chain(self) -> None:
        """A chain behind the certificate is sent along."""
        chain = self.pair[0].with_name("chain.pem")
        chain.write_bytes(self.pair[0].read_bytes() + self.authority.path.read_bytes())
        await self.serve(tls=ServerTLS(chain, self.pair[1]))
        self.assertEqual(statuses(await in_thread(self.ask, get(b"/echo"))), [200])

    async def test_groups(self) -> None:
        """T1: the groups that Mozilla recommends are served, and none besides."""
        await self.serve(tls=ServerTLS(*self.pair))
        for name, served in (
            ("prime256v1", True),
            ("secp384r1", True),
            ("X25519", True),
            ("secp521r1", False),
            ("X448", False),
        ):
            context = trusting(self.authority)
            context.set_ecdh_curve(name)
            try:
                (await in_thread(self.open, context)).close()
            except (ssl.SSLError, ConnectionError):
                self.assertFalse(served, name)
            else:
                self.assertTrue(served, name)

    async def test_c22_protocols(self) -> None:
        """C22: of all protocols only HTTP/1.1 is chosen, and none where it is not offered."""
        await self.serve(tls=ServerTLS(*self.pair))
        client = await in_thread(self.open)
        self.assertEqual(client.selected_alpn_protocol(), "http/1.1")
        client.close()
        context = trusting(self.authority)
        context.set_alpn_protocols(["h2"])
        client = await in_thread(self.open, context)
        self.assertIsNone(client.selected_alpn_protocol())
        client.close()

    async def test_t1_versions_and_ciphers(self) -> None:
        """T1: TLS 1.3 and 1.2 with ephemeral keys and AEAD; nothing else."""
        await self.serve(tls=ServerTLS(*self.pair))
        for version, name in (
            (ssl.TLSVersion.TLSv1_3, "TLSv1.3"),
            (ssl.TLSVersion.TLSv1_2, "TLSv1.2"),
        ):
            context = trusting(self.authority)
            context.minimum_version = context.maximum_version = version
            client = await in_thread(self.open, context)
            self.assertEqual(client.version(), name)
            client.close()
        for ciphers in ("AES128-SHA", "ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384"):
            context = trusting(self.authority)
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(f"{ciphers}:@SECLEVEL=0")
            with self.assertRaises((ssl.SSLError, ConnectionError)):
                await in_thread(self.open, context)

    async def test_t1_old_version(self) -> None:
        """T1: TLS 1.1 is refused."""
        await self.serve(tls=ServerTLS(*self.pair))
        context = trusting(self.authority)
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # we know that it is old
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        with self.assertRaises((ssl.SSLError, ConnectionError)):
            await in_thread(self.open, context)


class ReloadTests(TLSCase):
    """T2: certificates that change."""

    async def test_t2_swap(self) -> None:
        """T2: after a reload new handshakes see the new certificate, old connections go on."""
        tls = ServerTLS(*self.pair)
        await self.serve(Limits(), tls)
        old = await in_thread(self.open)
        first = tls.not_after
        self.authority.issue("gateway", "localhost", ends=2)
        tls.reload()
        self.assertGreater(tls.not_after, first + 80_000)
        new = await in_thread(self.open)
        self.assertNotEqual(old.getpeercert(True), new.getpeercert(True))
        for client in (old, new):
            client.sendall(get(b"/echo"))
            answer = await in_thread(read_answer, client)
            self.assertEqual(statuses(answer), [200])
            client.close()


class FileTests(SynchronousTestCase):
    """What is checked before a certificate is used."""

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.authority = Authority(folder)
        self.cert, self.key = self.authority.issue("gateway", "localhost")

    def _refused(self, word: str, cert: Path, key: Path, ca: Path | None = None) -> None:
        error = self.assertRaises(ConfigError, ServerTLS, cert, key, ca)
        self.assertIn(word, str(error))

    def test_missing(self) -> None:
        """A missing file is named."""
        self._refused("nowhere.pem", self.cert.with_name("nowhere.pem"), self.key)
        self._refused("nowhere.key", self.cert, self.key.with_name("nowhere.key"))
        self._refused("nowhere.ca", self.cert, self.key, self.key.with_name("nowhere.ca"))

    def test_nonsense(self) -> None:
        """A file that holds something else is named."""
        nonsense = self.cert.with_name("nonsense")
        nonsense.write_bytes(b"nonsense")
        self._refused("not a PEM certificate", nonsense, self.key)
        self._refused("not a PEM private key", self.cert, nonsense)
        self._refused("not a PEM certificate", self.cert, self.key, nonsense)

    def test_no_pair(self) -> None:
        """A key of another certificate is refused."""
        _, other = self.authority.issue("other")
        self._refused("no pair", self.cert, other)

    def test_expired(self) -> None:
        """A certificate that has expired, or is not valid yet, is refused."""
        self._refused("expired", *self.authority.issue("old", begins=-3, ends=-1))
        self._refused("not valid before", *self.authority.issue("new", begins=2, ends=3))

    def test_t2_bad_reload(self) -> None:
        """T2: a reload that fails changes nothing."""
        tls = ServerTLS(self.cert, self.key)
        before = tls.not_after
        self.key.write_bytes(b"half a k")
        self.assertRaises(ConfigError, tls.reload)
        self.assertEqual(tls.not_after, before)


class ClientCertificateTests(TLSCase):
    """T3: clients that must show who they are."""

    async def _listen(self, *names: str) -> None:
        await self.serve(tls=ServerTLS(*self.pair, self.authority.path, names))

    async def _refused(self, pair: tuple[Path, Path] | None) -> None:
        with self.assertRaises((ssl.SSLError, ConnectionError, ValueError)):
            await in_thread(self.ask, get(b"/echo"), trusting(self.authority, pair))
        await self.empty()
        self.assertEqual(self.site.requests, [])

    async def test_t3_none(self) -> None:
        """T3: no certificate, no entry."""
        await self._listen()
        await self._refused(None)

    async def test_t3_other_authority(self) -> None:
        """T3: a certificate of another authority does not open."""
        await self._listen()
        folder = Path(self.mktemp())
        folder.mkdir()
        await self._refused(Authority(folder).issue("admin", "admin.example"))

    async def test_t3_wrong_name(self) -> None:
        """T3: the right authority with a name that is not listed does not open."""
        await self._listen("admin.example")
        await self._refused(self.authority.issue("guest", "guest.example"))
        await self._refused(self.authority.issue("admin.example"))

    async def test_t3_right_names(self) -> None:
        """T3: a listed name opens, of whatever kind it is; an empty list takes all."""
        await self._listen("Admin.example", "10.0.0.1", "spiffe://house/admin")
        for name in ("admin.example", "10.0.0.1", "spiffe://house/admin"):
            pair = self.authority.issue("client", "other.example", name)
            answer = await in_thread(self.ask, get(b"/echo"), trusting(self.authority, pair))
            self.assertEqual(statuses(answer), [200], name)

    async def test_t3_any_name(self) -> None:
        """T3: without a list the authority's word is enough."""
        await self._listen()
        pair = self.authority.issue("client")
        answer = await in_thread(self.ask, get(b"/echo"), trusting(self.authority, pair))
        self.assertEqual(statuses(answer), [200])


class RudeClientTests(TLSCase):
    """Clients that are slow, silent or flooding, over TLS."""

    def setUp(self) -> None:
        super().setUp()
        self.tls = ServerTLS(*self.pair)

    async def test_c10_no_hello(self) -> None:
        """C10, row 35: a client that never begins the handshake is let go."""
        await self.serve(tls=self.tls)
        client = self.connect()
        self.assertEqual(await in_thread(read_all, client), b"")
        await self.empty()

    async def test_c10_half_hello(self) -> None:
        """C10, row 35: so is one that stops in the middle of it."""
        await self.serve(tls=self.tls)
        client = self.connect()
        client.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
        await in_thread(read_all, client)
        await self.empty()

    async def test_not_tls(self) -> None:
        """A client that speaks plain HTTP to the TLS port is let go, and no route runs."""
        await self.serve(tls=self.tls)
        client = self.connect()
        client.sendall(get(b"/echo"))
        await in_thread(read_all, client)
        await self.empty()
        self.assertEqual(self.site.requests, [])

    async def test_c6_long_line_and_flood(self) -> None:
        """C6, row 37: a long header and then 50 MB over TLS: 431, and soon closed."""
        await self.serve(tls=self.tls)

        def flood() -> bytes:
            client = self.open()
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX-A: " + b"x" * 17_000)
            answer = client.recv(65536)
            client.settimeout(1)
            try:
                for _ in range(50):
                    client.sendall(b"x\r\n" * 333_333)
            except OSError:
                pass
            return answer

        start = time.monotonic()
        self.assertEqual(statuses(await in_thread(flood)), [431])
        await self.empty()
        self.assertLess(time.monotonic() - start, 8)

    async def test_c8_slow_headers(self) -> None:
        """C8: headers that do not come are 408 over TLS too."""
        await self.serve(tls=self.tls)
        client = await in_thread(self.open)
        client.sendall(b"GET / HT")
        answer = await in_thread(client.recv, 65536)
        self.assertEqual(statuses(answer), [408])
        client.close()
        await self.empty()

    async def test_c9_no_close_notify(self) -> None:
        """C9: a client that never answers the end of TLS is cut off after the linger time."""
        await self.serve(tls=self.tls)
        client = await in_thread(self.open)
        client.sendall(get(b"/echo", b"Connection: close"))
        await in_thread(read_answer, client)
        await self.empty()

    async def test_c9_slow_stream(self) -> None:
        """C9, row 34: a stream over TLS to a client that does not read is aborted."""
        await self.serve(tls=self.tls)
        client = await in_thread(self.open, None, 4096)
        client.sendall(get(b"/flood"))
        await self.until(lambda: self.site.outlets)
        await pause(0.1)
        (channel,) = self.factory.connections
        self.assertLess(channel.outflow.unsent(), 300_000)
        await self.empty()
        self.assertEqual(self.site.cancelled, 1)

    async def test_c9_slow_last_answer(self) -> None:
        """C9: so is the last answer of a connection."""
        await self.serve(tls=self.tls)
        client = await in_thread(self.open, None, 4096)
        client.sendall(get(b"/big", b"Connection: close"))
        await self.until(lambda: self.site.requests)
        await self.empty()

    async def test_c15_leaving(self) -> None:
        """C15, row 32: leaving in mid-stream cancels the route, with a proper end of TLS or not."""
        await self.serve(Limits(), self.tls)
        for _ in range(2):
            client = await in_thread(self.open)
            client.sendall(get(b"/stream"))
            await in_thread(client.recv, 65536)
            client.close()
            await self.empty()
        client = await in_thread(self.open)
        client.sendall(get(b"/stream"))
        await in_thread(client.recv, 65536)
        await in_thread(_unwrap, client)
        await self.empty()
        self.assertEqual(self.site.cancelled, 3)

    async def test_c2_refused_upload(self) -> None:
        """C2: a client in the middle of an upload over TLS reads why it is refused."""
        await self.serve(tls=self.tls)

        def upload() -> bytes:
            client = self.open()
            head = b"POST /echo HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer bad\r\n"
            client.sendall(head + b"Content-Length: 1000000000\r\n\r\n" + b"x" * 40_000)
            time.sleep(0.1)
            return client.recv(65536)

        self.assertEqual(statuses(await in_thread(upload)), [401])
        await self.empty()

    async def test_row_59_too_many(self) -> None:
        """Row 59: a connection too many is told 503 over TLS."""
        await self.serve(Limits(max_connections=1), self.tls)
        first = await in_thread(self.open)
        second = await in_thread(self.open)
        self.assertEqual(statuses(await in_thread(second.recv, 65536)), [503])
        first.close()
        second.close()
        await self.empty()


def _unwrap(client: ssl.SSLSocket) -> None:
    try:
        client.unwrap().close()
    except (OSError, ssl.SSLError):
        client.close()
