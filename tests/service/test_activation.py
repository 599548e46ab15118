"""Socket activation: the socket belongs to another process, and outlives ours."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.processes import CONFIG, Telling, ended, listening, spawn

LISTEN = """
client_listen = "systemd:domain=INET:name=client"
admin_listen = "systemd:domain=UNIX:name=admin"
drain_timeout_ms = 5000
"""


class ActivationTests(SynchronousTestCase):
    """Tests with a parent that holds the sockets."""

    def setUp(self) -> None:
        """Listen, as systemd does for a socket unit."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.telling = Telling(f"@lmgateway-{os.getpid()}-{id(self)}")
        self.addCleanup(self.telling.close)
        self.client = listening()
        self.addCleanup(self.client.close)
        self.admin = listening(socket.AF_UNIX, f"\0lmgateway-admin-{os.getpid()}-{id(self)}")
        self.addCleanup(self.admin.close)
        self.config = self.folder / "config.toml"
        self.write()

    def write(self, gateway: str = LISTEN) -> None:
        """Write the config."""
        self.config.write_text(CONFIG.format(gateway=gateway, mock="first_token_ms = 1"))

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Start the gateway and wait until it says that it is ready."""
        process = spawn(
            [*(command or ("lmgateway", "serve")), "--config", str(self.config)],
            [(self.client, "client"), (self.admin, "admin")],
            {"NOTIFY_SOCKET": self.telling.address, "WATCHDOG_USEC": "400000"},
        )
        self.enterContext(ended(process))
        return process

    def get(self, path: str, family: int = socket.AF_INET) -> bytes:
        """Make one request on a new connection."""
        address = (self.client if family == socket.AF_INET else self.admin).getsockname()
        connection = http.client.HTTPConnection("localhost", timeout=60)
        connection.sock = socket.socket(family)
        connection.sock.settimeout(60)
        connection.sock.connect(address)
        self.addCleanup(connection.close)
        connection.request("GET", path)
        response = connection.getresponse()
        self.assertEqual(response.status, 200)
        return response.read()

    def test_O7_the_life_of_a_service(self) -> None:
        """Ready, alive, reloading, ready, stopping, by twistd as well."""
        process = self.start("tests.twistd", "-n", "lmgateway")
        ready = self.telling.wait_for("READY")
        host, port = self.client.getsockname()
        self.assertIn(f"Serving on {host}:{port}", ready["STATUS"])
        self.get("/healthz")
        self.assertIn(b"ok", self.get("/admin/health", socket.AF_UNIX))
        self.telling.wait_for("WATCHDOG")
        self.telling.wait_for("WATCHDOG")
        process.send_signal(signal.SIGHUP)
        self.telling.wait_for("RELOADING")
        self.telling.wait_for("READY")
        self.get("/healthz")
        self.assertIn(b"ok", self.get("/admin/health", socket.AF_UNIX))
        self.config.write_text("nonsense")
        process.send_signal(signal.SIGHUP)
        self.telling.wait_for("RELOADING")
        self.assertIn("not reloaded", self.telling.wait_for("READY")["STATUS"])
        process.send_signal(signal.SIGTERM)
        self.assertEqual(
            self.telling.wait_for("STOPPING")["EXTEND_TIMEOUT_USEC"], str(10 * 1000 * 1000)
        )
        self.assertEqual(process.wait(timeout=60), 0)

    def test_O7_the_next_process_serves_who_waits(self) -> None:
        """A connection that comes while no gateway runs is served by the next one."""
        first = self.start()
        self.telling.wait_for("READY")
        first.send_signal(signal.SIGTERM)
        self.assertEqual(first.wait(timeout=60), 0)
        waiting = socket.create_connection(self.client.getsockname(), 5)
        self.addCleanup(waiting.close)
        waiting.sendall(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
        self.start()
        waiting.settimeout(60)
        self.assertTrue(waiting.recv(4096).startswith(b"HTTP/1.1 200"))

    def test_what_others_can_reach_must_be_guarded(self) -> None:
        """A socket that is open to the network needs clients, whoever opened it."""
        self.client.close()
        self.client = listening(address=("0.0.0.0", 0))  # refused, as it should be
        self.addCleanup(self.client.close)
        process = self.start()
        _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 1)
        self.assertIn(b"gateway.client_listen: others can reach the client port", err)
        self.assertIsNone(self.telling.hear(0))

    def test_no_socket_was_handed_over(self) -> None:
        """The start fails with one message."""
        process = spawn(["lmgateway", "serve", "--config", str(self.config)])
        with ended(process):
            _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 1)
        self.assertIn(b"gateway.client_listen: no such socket was handed over", err)

    def test_a_reload_moves_to_an_address_and_back(self) -> None:
        """The socket is left, not closed, and can be taken up again."""
        process = self.start()
        self.telling.wait_for("READY")
        with listening() as other:
            free = other.getsockname()[1]
        self.write(LISTEN.replace("client_listen", f"client_port = {free}\n# client_listen"))
        process.send_signal(signal.SIGHUP)
        self.telling.wait_for("RELOADING")
        self.assertIn(f"127.0.0.1:{free}", self.telling.wait_for("READY")["STATUS"])
        self.write()
        process.send_signal(signal.SIGHUP)
        self.telling.wait_for("RELOADING")
        self.telling.wait_for("READY")
        self.get("/healthz")
