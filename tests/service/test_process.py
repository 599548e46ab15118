"""
The process as an operator sees it: exit codes, signals, files.

Rows O1 to O8 of the reliability notes; real processes on loopback ports.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.harness import free_port

CHECKOUT = Path(__file__).parent.parent.parent

CONFIG = """
[gateway]
client_port = {client}
admin_port = {admin}
drain_timeout_ms = 3000
{gateway}

[backends.mock]
provider = "mock"
mock = {{ tokens_per_second = {pace} }}

[[tiers]]
name = "t"
backend = "mock"
model = "m"

[profiles.default]
classifier = "t"
"""


class ProcessTests(SynchronousTestCase):
    """Tests for starting, signalling and stopping the gateway."""

    def setUp(self) -> None:
        """Write a config into a folder of its own."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.port, self.admin = free_port(), free_port()
        self.config = self.folder / "config.toml"
        self.write()

    def write(self, pace: int = 0, gateway: str = "") -> None:
        """Write the config."""
        self.config.write_text(
            CONFIG.format(client=self.port, admin=self.admin, pace=pace, gateway=gateway)
        )

    def spawn(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a process in an empty folder; it is killed when the test ends."""
        where = self.folder / "cwd"
        where.mkdir(exist_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=where,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.addCleanup(self.reap, process)
        return process

    def reap(self, process: subprocess.Popen[bytes]) -> None:
        """Make sure that a process is gone."""
        if process.poll() is None:
            process.kill()
        process.communicate()

    def serve(self) -> subprocess.Popen[bytes]:
        """Start the gateway by twistd, and wait until it answers."""
        process = self.spawn("tests.twistd", "-n", "lmgateway", "--config", str(self.config))
        self.wait(lambda: self.get("/healthz") == 200, process)
        return process

    def wait(self, condition: Callable[[], bool], process: Any = None) -> None:
        """Wait up to a minute: several of these may start at once on a small machine."""
        end = time.monotonic() + 60
        while True:
            try:
                if condition():
                    return
            except OSError:
                pass
            if time.monotonic() > end or (process is not None and process.poll() is not None):
                self.fail(f"waited in vain: {process and process.communicate()}")
            time.sleep(0.02)

    def get(self, path: str) -> int:
        """Give the status of a GET."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        finally:
            connection.close()

    def stream(self) -> tuple[http.client.HTTPResponse, http.client.HTTPConnection]:
        """Begin a stream, and read its first line."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        self.addCleanup(connection.close)
        body = {"model": "t", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        connection.request(
            "POST",
            "/v1/chat/completions",
            json.dumps(body),
            {"content-type": "application/json"},
        )
        response = connection.getresponse()
        self.assertTrue(response.readline().startswith(b"data:"))
        return response, connection

    def test_a_bad_config_is_told_of_before_the_rest_is_imported(self) -> None:
        """So that the message does not wait for what is not needed to find it."""
        code = (
            "import sys\n"
            "from lmgateway.service.start import makeService\n"
            "try:\n"
            "    makeService({'config': '/not/there'})\n"
            "except SystemExit:\n"
            "    assert 'klein' not in sys.modules and 'twisted.web' not in sys.modules\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            capture_output=True,
            timeout=60,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(b"/not/there", done.stderr)

    def test_bad_config_ends_with_one_report(self) -> None:
        """A bad config ends the process with 78 and names every fault."""
        self.config.write_text("[gateway]\nclient_prot = 1\n[[tiers]]\nname = 'x'\n")
        process = self.spawn("tests.twistd", "-n", "lmgateway", "--config", str(self.config))
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 78)
        self.assertIn(b"client_port", err)
        self.assertNotIn(b"Traceback", out + err)

    def test_F46_missing_secret_ends_with_1(self) -> None:
        """A secret that cannot be had may be there at the next try: systemd makes one."""
        text = self.config.read_text().replace(
            "[gateway]", '[gateway]\nadmin_token_secret = { source = "file", path = "no" }'
        )
        self.config.write_text(text)
        process = self.spawn("tests.twistd", "-n", "lmgateway", "--config", str(self.config))
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 1)
        self.assertIn(b"gateway.admin_token_secret: the file", err)
        self.assertNotIn(b"Traceback", out + err)

    def test_O2_busy_port_ends_with_one_message(self) -> None:
        """A port that is taken ends the process, by either command."""
        for command in (("tests.twistd", "-n", "lmgateway"), ("lmgateway", "serve")):
            with socket.socket() as taken:
                taken.bind(("127.0.0.1", self.port))
                taken.listen()
                process = self.spawn(*command, "--config", str(self.config))
                out, err = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 1, err)
            self.assertIn(b"cannot listen on 127.0.0.1:%d" % self.port, err)
            self.assertNotIn(b"Traceback", out + err)

    def test_O4_sigterm_drains(self) -> None:
        """SIGTERM refuses newcomers, lets the stream in flight end, and exits with 0."""
        self.write(pace=60)
        process = self.serve()
        response, _ = self.stream()
        process.send_signal(signal.SIGTERM)
        self.wait(self.refused)
        self.assertTrue(response.read().endswith(b"data: [DONE]\n\n"))
        self.assertEqual(process.wait(timeout=60), 0)

    def test_O4_drain_deadline(self) -> None:
        """At the drain deadline the rest is told in band, and the process ends with 0."""
        self.write(pace=1, gateway="")
        self.config.write_text(self.config.read_text().replace("= 3000", "= 200"))
        process = self.serve()
        response, _ = self.stream()
        process.send_signal(signal.SIGTERM)
        with self.assertRaises(http.client.IncompleteRead) as caught:
            response.read()
        self.assertIn(b'"draining"', caught.exception.partial)
        self.assertEqual(process.wait(timeout=60), 0)

    def test_O5_second_signal_ends_at_once(self) -> None:
        """A second signal does not wait for anything."""
        self.write(pace=1)
        process = self.serve()
        self.stream()
        process.send_signal(signal.SIGTERM)
        self.wait(self.refused)
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
        self.assertLess(time.monotonic() - begun, 2)
        self.assertNotIn(b"Traceback", process.stderr.read() if process.stderr else b"")

    def test_O5_second_signal_ends_the_delay(self) -> None:
        """Nor for the time in which a balancer is to notice; a reload in it binds nothing."""
        self.write(gateway="drain_delay_ms = 60000")
        process = self.serve()
        process.send_signal(signal.SIGTERM)
        self.wait(lambda: self.get("/readyz") == 503)
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
        errors = process.stderr.read() if process.stderr else b""
        self.assertIn(b"the gateway is shutting down", errors)
        self.assertNotIn(b"Traceback", errors)

    def test_O6_sighup_reloads(self) -> None:
        """SIGHUP applies the file; a bad file leaves the old config serving."""
        process = self.serve()
        self.config.write_text(self.config.read_text().replace('name = "t"', 'name = "u"'))
        self.config.write_text(
            self.config.read_text().replace('classifier = "t"', 'classifier = "u"')
        )
        process.send_signal(signal.SIGHUP)
        self.wait(lambda: self.get("/v1/models/u") == 200)
        self.config.write_text("nonsense")
        process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        self.assertEqual(self.get("/v1/models/u"), 200)
        self.assertIsNone(process.poll())

    def test_R_C26_changed_file_reloads(self) -> None:
        """A change of the file is noticed within a few seconds, without any signal."""
        process = self.serve()
        self.config.write_text(
            self.config.read_text().replace("[profiles", '[aliases]\nnew = "t"\n[profiles')
        )
        self.wait(lambda: self.get("/v1/models/new") == 200, process)

    def test_R_C28_changed_overlay_reloads(self) -> None:
        """So is a new file in conf.d."""
        process = self.serve()
        (self.folder / "conf.d").mkdir()
        (self.folder / "conf.d" / "a.toml").write_text('[aliases]\nnew = "t"\n')
        self.wait(lambda: self.get("/v1/models/new") == 200, process)

    def test_O8_nothing_is_written(self) -> None:
        """Nothing is written into the folder where it is started: no pid file either."""
        process = self.serve()
        self.assertEqual(os.listdir(self.folder / "cwd"), [])
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(timeout=60), 0)
        self.assertEqual(os.listdir(self.folder / "cwd"), [])

    def test_nobody_reads_standard_output(self) -> None:
        """A reader of the access log that sleeps holds up nobody."""
        self.serve()  # its standard output is a pipe of 64 KiB, which nobody reads
        body = json.dumps({"model": "t", "messages": [{"role": "user", "content": "hi"}]})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        self.addCleanup(connection.close)
        for _ in range(300):
            connection.request(
                "POST", "/v1/chat/completions", body, {"content-type": "application/json"}
            )
            self.assertEqual(connection.getresponse().read()[:1], b"{")

    def test_R_C24_environment_names_the_config(self) -> None:
        """``LMG_CONFIG`` says which file, by the console script too."""
        os.environ["LMG_CONFIG"] = str(self.config)
        self.addCleanup(os.environ.pop, "LMG_CONFIG")
        process = self.spawn("lmgateway", "serve")
        self.wait(lambda: self.get("/healthz") == 200, process)

    def test_R_C25_healthcheck(self) -> None:
        """The health check ends with 0 while the gateway serves, and with 1 when it does not."""
        arguments = ("lmgateway", "--healthcheck")
        os.environ["LMG_CLIENT_PORT"] = str(self.port)
        self.addCleanup(os.environ.pop, "LMG_CLIENT_PORT")
        self.assertEqual(self.spawn(*arguments).wait(timeout=60), 1)
        self.serve()
        self.assertEqual(self.spawn(*arguments).wait(timeout=60), 0)

    def test_O1_wall_clock_moves_no_timer(self) -> None:
        """Timers come from the monotonic clock."""
        probe = (
            "import time\n"
            "from twisted.internet import reactor\n"
            "from lmgateway.service.start import makeService\n"
            f"makeService({{'config': {str(self.config)!r}}})\n"
            "assert reactor.seconds is time.monotonic\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", probe],
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            capture_output=True,
            timeout=60,
        )
        self.assertEqual(done.returncode, 0, done.stderr)

    def refused(self) -> bool:
        """Whether new connections are refused."""
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except ConnectionRefusedError:
            return True
        return False
