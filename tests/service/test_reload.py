"""Reload, in process: what changes is applied whole, and what fails changes nothing."""

from __future__ import annotations

import socket
from pathlib import Path

from lmgateway.errors import ConfigError
from lmgateway.service.life import GatewayService
from tests.harness import GatewayCase, free_port
from tests.wire.sockets import Authority, in_thread, trusting


class ReloadTests(GatewayCase):
    """Tests for ``GatewayService.reload``."""

    async def test_a_failed_reload_changes_nothing(self) -> None:
        """Records, limits and connections stay as they were if a new port cannot be had."""
        service = self.start()
        for _ in range(3):
            await self.chat()
        clients = dict(service.resources._clients)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            self.backend_elsewhere(taken.getsockname()[1])
            with self.assertRaises(ConfigError):
                service.reload()
        self.assertEqual(len(await self.entries()), 3)
        for key, client in clients.items():
            self.assertIs(service.resources._clients[key], client)
        self.assertEqual((await self.chat()).code, 200)

    def backend_elsewhere(self, admin: int) -> None:
        """Change the config in all that outlives it, and ask for a port that is taken."""
        path = self.write(gateway="traffic_log_capacity = 1\nmax_in_flight = 1")
        text = path.read_text().replace(self.url_of_backend, "http://127.0.0.1:1")
        path.write_text(text.replace(f"admin_port = {self.admin_port}", f"admin_port = {admin}"))

    async def test_the_host_changes_on_the_same_port(self) -> None:
        """A listener moves to another address of the same port, and back."""
        service = self.start()
        self.write(gateway='client_host = "0.0.0.0"\n    allow_anonymous = true')
        service.reload()
        self.assertEqual(service.client.address, f"0.0.0.0:{self.client_port}")
        self.assertEqual((await self.chat()).code, 200)
        self.write()
        service.reload()
        self.assertEqual((await self.chat()).code, 200)
        self.assert_port_is_ours_alone()

    async def test_a_host_that_cannot_be_had(self) -> None:
        """If the other address cannot be listened on, the present one goes on, unshared."""
        service = self.start()
        self.write(gateway='client_host = "203.0.113.1"\n    allow_anonymous = true')
        with self.assertRaises(ConfigError):
            service.reload()
        self.assertEqual((await self.chat()).code, 200)
        self.assert_port_is_ours_alone()

    def assert_port_is_ours_alone(self) -> None:
        """Nobody else can listen on the client port."""
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with self.assertRaises(OSError):
                other.bind(("127.0.0.1", self.client_port))

    async def test_workers_take_a_restart(self) -> None:
        """One process says that it cannot become several, and goes on."""
        service = self.start()
        self.write(gateway="workers = 2")
        error = self.assertRaises(ConfigError, service.reload)
        self.assertIn("takes a restart", str(error))
        self.assertEqual((await self.chat()).code, 200)

    async def test_a_reload_at_the_end_is_refused(self) -> None:
        """Once it was asked to stop it says so, whatever is closed by then."""
        service = self.start()
        await service.drain()
        error = self.assertRaises(ConfigError, service.reload)
        self.assertIn("shutting down", str(error))

    async def test_tls_is_put_on_and_taken_off(self) -> None:
        """TLS comes and goes on the same socket; what is open goes on as it began."""
        service = self.start()
        with socket.create_connection(("127.0.0.1", self.client_port)) as old:
            await self.ask_on(old)
            authority = self.use_tls(service)
            version = await in_thread(self.shake_hands, authority)
            self.assertEqual(version, "TLSv1.3")
            await self.ask_on(old)
        self.write()
        service.reload()
        self.assertEqual((await self.chat()).code, 200)

    async def ask_on(self, client: socket.socket) -> None:
        """Make one request on an open connection."""
        client.sendall(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
        self.assertIn(b'{"status":"ok"}', await in_thread(client.recv, 4096))

    async def test_certificates_of_a_backend_are_read_again(self) -> None:
        """A reload meets an upstream with the certificates that its files hold now."""
        folder = Path(self.mktemp())
        folder.mkdir()
        file = folder / "roots.pem"
        file.write_bytes(Authority(folder).path.read_bytes())
        secure = f'[backends.s]\nbase_url = "https://localhost"\nca_file = "{file.absolute()}"'
        service = self.start(more=secure)
        first = set(service.resources._clients.values())
        service.reload()
        self.assertEqual(set(service.resources._clients.values()), first)
        file.write_bytes(file.read_bytes() * 2)
        service.reload()
        self.assertEqual(len(first & set(service.resources._clients.values())), 1)
        file.unlink()
        with self.assertRaises(ConfigError):
            service.reload()

    def use_tls(self, service: GatewayService) -> Authority:
        """Reload with a certificate."""
        folder = Path(self.mktemp())
        folder.mkdir()
        authority = Authority(folder)
        cert, key = (path.absolute() for path in authority.issue("gateway", "localhost"))
        self.write(gateway=f'client_tls = {{ cert = "{cert}", key = "{key}" }}')
        service.reload()
        return authority

    def shake_hands(self, authority: Authority) -> str | None:
        """Make a TLS connection; blocks."""
        plain = socket.create_connection(("127.0.0.1", self.client_port), 5)
        with trusting(authority).wrap_socket(plain, server_hostname="localhost") as secure:
            return secure.version()

    async def test_a_port_changes(self) -> None:
        """A new port number is listened on, and the old one is let go."""
        service = self.start()
        self.client_port, old = free_port(), self.client_port
        self.write()
        service.reload()
        self.assertEqual((await self.chat()).code, 200)
        with socket.socket() as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(("127.0.0.1", old))
