"""Whether the gateway is alive, as a container asks it."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from unittest.mock import patch

from click.testing import CliRunner
from twisted.trial.unittest import SkipTest

from lmgateway.commands.cli import main
from lmgateway.commands.healthcheck import is_healthy
from tests.config.folder import FolderTestCase, based


class Health(BaseHTTPRequestHandler):
    """Answers ``/healthz`` with the status of its server."""

    def do_GET(self) -> None:  # http.server calls it
        """Answer."""
        self.send_response(self.server.status if self.path == "/healthz" else 404)  # type: ignore[attr-defined]  # set below
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its own name
        """Say nothing."""


class HealthcheckTests(FolderTestCase):
    """R-C25 of the reference, against a small server on this machine."""

    def serve(self, status: int = 200, context: ssl.SSLContext | None = None) -> str:
        """Serve, and give the port."""
        server = HTTPServer(("127.0.0.1", 0), Health)
        server.status = status  # type: ignore[attr-defined]  # for the requests
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # refusals are meant
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        self.addCleanup(server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)
        return str(server.server_address[1])

    def context(self) -> ssl.SSLContext:
        """Give a server's TLS, with a new certificate in the folder."""
        if shutil.which("openssl") is None:
            raise SkipTest("openssl is not installed")
        files = ["-keyout", str(self.folder / "key.pem"), "-out", str(self.folder / "cert.pem")]
        new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        subject = ["-subj", "/CN=elsewhere.example", "-days", "2", "-nodes"]
        subprocess.run([*new, *subject, *files], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "cert.pem", self.folder / "key.pem")
        return context

    def test_R_C25_the_exit_status_tells(self) -> None:
        """By the command and by the reference's flag; the port is in the environment."""
        port = self.serve()
        for words in (["--healthcheck"], ["healthcheck"], ["healthcheck", "--config", "no.toml"]):
            with patch.dict(os.environ, {"LMG_CLIENT_PORT": port}):
                self.assertEqual(CliRunner().invoke(main, words).exit_code, 0)
            with patch.dict(os.environ, {"LMG_CLIENT_PORT": "1"}):
                self.assertEqual(CliRunner().invoke(main, words).exit_code, 1)

    def test_the_port_is_in_the_config(self) -> None:
        """Or in an overlay; and the environment wins."""
        port = self.serve()
        self.write("config.toml", based(f"client_port = {port}"))
        self.assertTrue(is_healthy(self.source, {}))
        self.write("conf.d/x.toml", "[gateway]\nclient_port = 1\n")
        self.assertFalse(is_healthy(self.source, {}))
        self.assertTrue(is_healthy(self.source, {"LMG_CLIENT_PORT": port}))

    def test_a_bad_config_does_not_make_it_ill(self) -> None:
        """The old one may well be served; only the port matters."""
        port = self.serve()
        self.write("config.toml", f'[gateway]\nclient_port = {port}\nnonsense = "x"\n')
        self.assertTrue(is_healthy(self.source, {}))
        for text in ("[[[", "gateway = 5", '[gateway]\nclient_port = "x"\nclient_host = 5'):
            self.write("config.toml", text)
            self.assertTrue(is_healthy(self.source, {"LMG_CLIENT_PORT": port}), text)

    def test_the_address_is_one_that_can_be_asked(self) -> None:
        """Also when all of them are listened on."""
        port = self.serve()
        for host in ("0.0.0.0", "localhost", "127.0.0.1"):
            environ = {"LMG_CLIENT_PORT": port, "LMG_CLIENT_HOST": host}
            self.assertTrue(is_healthy(self.source, environ), host)
        self.assertFalse(is_healthy(self.source, environ | {"LMG_CLIENT_HOST": "::"}))
        self.assertFalse(is_healthy(self.source, environ | {"LMG_CLIENT_HOST": "127.0.0.2"}))

    def test_an_error_status_is_ill(self) -> None:
        """Only success is health."""
        for status in (404, 500, 503):
            self.assertFalse(is_healthy(self.source, {"LMG_CLIENT_PORT": self.serve(status)}))

    def test_tls_is_spoken_where_it_is_configured(self) -> None:
        """Whatever name the certificate is for."""
        port = self.serve(context=self.context())
        tls = 'client_tls = { cert = "cert.pem", key = "key.pem" }'
        self.write("config.toml", based(f"client_port = {port}\n{tls}"))
        self.assertTrue(is_healthy(self.source, {}))
        self.write("config.toml", based(f"client_port = {port}"))
        self.assertFalse(is_healthy(self.source, {}))

    def test_a_gateway_that_asks_for_a_certificate_is_alive(self) -> None:
        """We have none to show, but it is there."""
        context = self.context()
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(self.folder / "cert.pem")
        port = self.serve(context=context)
        tls = 'client_tls = { cert = "cert.pem", key = "key.pem", client_ca = "cert.pem" }'
        self.write("config.toml", based(f"client_port = {port}\n{tls}"))
        self.assertTrue(is_healthy(self.source, {}))
        self.assertFalse(is_healthy(self.source, {"LMG_CLIENT_PORT": "1"}))
