"""T3: TLS on the admin port, and client certificates: who has the wrong one does not get in."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from lmgateway.service.life import GatewayService
from tests.harness import GatewayCase
from tests.wire.sockets import Authority, in_thread, read_answer, trusting

Pair = tuple[Path, Path]


class TLSTests(GatewayCase):
    """Tests for ``admin_tls``."""

    def setUp(self) -> None:
        super().setUp()
        self.files = Path(self.mktemp()).absolute()
        for name in ("ours", "others"):
            (self.files / name).mkdir(parents=True)
        self.ours, self.others = Authority(self.files / "ours"), Authority(self.files / "others")
        self.pair = self.ours.issue("gateway", "localhost")

    def serve(self, tls: str = "", **parts: str) -> GatewayService:
        """Serve the admin port with TLS."""
        cert, key = self.pair
        line = f'admin_tls = {{ cert = "{cert}", key = "{key}"{tls} }}\n'
        return self.start(gateway=line + parts.pop("gateway", ""), **parts)

    def get(self, path: str = "/admin/health", pair: Pair | None = None, more: str = "") -> str:
        """Ask on a new connection; blocks."""
        context = trusting(self.ours, pair)
        raw = socket.create_connection(("127.0.0.1", self.admin_port), 10)
        with context.wrap_socket(raw, server_hostname="localhost") as client:
            head = f"GET {path} HTTP/1.1\r\nHost: localhost:{self.admin_port}\r\n{more}\r\n"
            client.sendall(head.encode())
            return read_answer(client).decode("latin-1")

    def refused(self, pair: Pair | None = None) -> bool:
        """Tell whether the handshake, or the first read after it, fails; blocks."""
        try:
            answer = self.get(pair=pair)
        except (ssl.SSLError, ConnectionError):
            return True
        return not answer

    async def test_T3_a_client_certificate_is_asked_for(self) -> None:
        """No certificate, one of another CA, and one with another name are refused."""
        ca = self.ours.path
        self.serve(f', client_ca = "{ca}", client_names = ["ops.example"]')
        good = self.ours.issue("ops", "ops.example")
        self.assertIn(" 200 ", await in_thread(self.get, "/admin/health", good))
        for pair in (
            None,
            self.others.issue("ops", "ops.example"),
            self.ours.issue("dev", "dev.example"),
            self.ours.issue("nameless"),
        ):
            self.assertTrue(await in_thread(self.refused, pair), pair)

    async def test_a_token_is_asked_for_besides(self) -> None:
        """Where both are configured, both are needed."""
        self.environ["TOKEN"] = "t" * 24
        self.serve(f', client_ca = "{self.ours.path}"', gateway='admin_token_env = "TOKEN"')
        pair = self.ours.issue("ops", "ops.example")
        self.assertIn(" 401 ", await in_thread(self.get, "/admin/health", pair))
        more = "Authorization: Bearer " + "t" * 24 + "\r\n"
        self.assertIn(" 200 ", await in_thread(self.get, "/admin/health", pair, more))

    async def test_over_tls_the_cookie_belongs_to_this_host(self) -> None:
        """A browser that logs in over TLS gets a cookie that no plain connection is sent."""
        self.environ["TOKEN"] = "t" * 24
        self.serve(gateway='admin_token_env = "TOKEN"')
        body = "token=" + "t" * 24

        def log_in() -> str:
            raw = socket.create_connection(("127.0.0.1", self.admin_port), 10)
            with trusting(self.ours).wrap_socket(raw, server_hostname="localhost") as client:
                client.sendall(
                    f"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
                    f"Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}".encode()
                )
                return read_answer(client).decode("latin-1")

        answer = await in_thread(log_in)
        (cookie,) = [line for line in answer.split("\r\n") if line.startswith("set-cookie")]
        self.assertIn("__Host-lmg_session=", cookie)
        self.assertIn("; Secure", cookie)

    async def test_T2_a_new_certificate_is_used_after_a_reload(self) -> None:
        """A certificate that was replaced is shown to the next client."""
        service = self.serve()

        def serial() -> str:
            raw = socket.create_connection(("127.0.0.1", self.admin_port), 10)
            context = trusting(self.ours)
            with context.wrap_socket(raw, server_hostname="localhost") as client:
                return str((client.getpeercert() or {})["serialNumber"])

        before = await in_thread(serial)
        self.ours.issue("gateway", "localhost")
        service.reload()
        self.assertNotEqual(await in_thread(serial), before)
