"""The limit on open files is raised, and bounds the connections."""

from __future__ import annotations

import http.client
import json
import os
import resource
import socket
import sys
import time
from pathlib import Path
from subprocess import run

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.service import descriptors
from tests.processes import CHECKOUT, CONFIG, Telling, ended, free_port, listening, spawn

LIMIT = 300


class LimitTests(SynchronousTestCase):
    """See ``lmgateway.service.descriptors``."""

    def limit(self, soft: int) -> None:
        """Pretend a limit."""
        self.patch(descriptors, "getrlimit", lambda kind: (soft, soft))

    def test_connections_that_fit(self) -> None:
        """Half of what is left of the limit, since each needs one to a backend, too."""
        self.limit(65536)
        self.assertEqual(descriptors.connections_that_fit(10_000), 10_000)
        self.assertEqual(descriptors.connections_that_fit(100_000), 32640)
        self.limit(1024)
        self.assertEqual(descriptors.connections_that_fit(10_000), 384)
        self.limit(200)
        self.assertEqual(descriptors.connections_that_fit(10_000), 50)
        self.assertEqual(descriptors.connections_that_fit(None), 50)
        self.limit(resource.RLIM_INFINITY)
        self.assertEqual(descriptors.connections_that_fit(10_000), 10_000)
        self.assertEqual(descriptors.connections_that_fit(None), 10_000)

    def test_the_limit_is_raised(self) -> None:
        """To what the system allows."""
        code = (
            "from resource import *\n"
            "from lmgateway.service.descriptors import raise_limit\n"
            "hard = getrlimit(RLIMIT_NOFILE)[1]\n"
            "setrlimit(RLIMIT_NOFILE, (64, hard))\n"
            "raise_limit()\n"
            "assert getrlimit(RLIMIT_NOFILE)[0] > 64, getrlimit(RLIMIT_NOFILE)\n"
        )
        environ = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
        done = run([sys.executable, "-c", code], env=environ, capture_output=True, timeout=30)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_O9_more_clients_than_descriptors(self) -> None:
        """Those that fit are served, the next are told, and nothing is stuck afterwards."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        config = folder / "config.toml"
        listen = 'client_listen = "systemd:domain=INET:index=0"\nadmin_port = 0'
        config.write_text(CONFIG.format(gateway=listen, mock=""))
        telling = Telling(f"@lmgateway-descriptors-{os.getpid()}")
        self.addCleanup(telling.close)
        listener = listening()
        self.addCleanup(listener.close)
        limited = ["tests.limited", str(LIMIT), "lmgateway", "serve", "--config", str(config)]
        process = spawn(limited, [(listener, "")], {"NOTIFY_SOCKET": telling.address})
        with ended(process):
            telling.wait_for("READY")
            clients = [socket.create_connection(listener.getsockname(), 5) for _ in range(LIMIT)]
            try:
                clients[80].settimeout(10)
                self.assertIn(b"503", clients[80].recv(4096))
                self.assertEqual(self.served(clients[0]), 200)
            finally:
                for client in clients:
                    client.close()
            end = time.monotonic() + 10  # until it has noticed that they left
            while (status := self.served_anew(listener)) != 200 and time.monotonic() < end:
                time.sleep(0.05)
            self.assertEqual(status, 200)

    def test_what_is_said_at_the_start(self) -> None:
        """A bound that nobody set is only told; one that was set and does not fit is warned of."""
        fits = LIMIT // 4
        told = ("info", f"At most {fits} client connections are taken at once.")
        warned = f"max_connections is 5000, but only {fits} fit into the limit on open files."
        for setting, expected in (("", told), ("max_connections = 5000", ("warn", warned))):
            lines = self.said(setting)
            (found,) = [each for each in lines if "connections" in each[2]]
            self.assertEqual((found[0], found[2]), expected)
            self.assertEqual([each for each in lines if each[1] == "log_legacy"], [])
            self.assertEqual("warn" in [each[0] for each in lines], bool(setting))

    def said(self, setting: str) -> list[tuple[str, str, str]]:
        """Start and stop a gateway; give the level, namespace and text of what it logs."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        config = folder / "config.toml"
        ports = f"client_port = {free_port()}\nadmin_port = {free_port()}\n{setting}"
        config.write_text(CONFIG.format(gateway=ports, mock=""))
        telling = Telling(f"@lmgateway-said-{os.getpid()}")
        try:
            limited = ["tests.limited", str(LIMIT), "lmgateway", "serve", "--config", str(config)]
            with ended(spawn(limited, (), {"NOTIFY_SOCKET": telling.address})) as process:
                telling.wait_for("READY")
                process.terminate()
                log = process.communicate(timeout=60)[1]
        finally:
            telling.close()
        lines = [json.loads(line) for line in log.splitlines()]
        return [(each["level"], each["namespace"], each["message"]) for each in lines]

    def served_anew(self, listener: socket.socket) -> int:
        """Ask on a new connection; give the status, or 0 if it was cut."""
        try:
            with socket.create_connection(listener.getsockname(), 5) as client:
                return self.served(client)
        except ConnectionError:
            return 0

    def served(self, client: socket.socket) -> int:
        """Ask on a connection; give the status."""
        client.settimeout(10)
        connection = http.client.HTTPConnection("localhost")
        connection.sock = client
        self.addCleanup(connection.close)
        connection.request("GET", "/healthz")
        return connection.getresponse().status
