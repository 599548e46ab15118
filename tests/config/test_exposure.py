"""Who can reach the ports, and that what guards them is there."""

from __future__ import annotations

import shutil
import subprocess
from hashlib import sha256
from unittest import SkipTest

from lmgateway.config.exposure import key_digest
from lmgateway.config.schema import ClientSection
from lmgateway.config.secrets import Secret
from tests.config.folder import BASE, FolderTestCase, based

CLIENT = '[[clients]]\nkey_env = "K"\nprofile = "default"\n'
KEY = "a-key-of-some-length"


class PortTests(FolderTestCase):
    """Decision 17: nothing is open by mistake."""

    def test_both_ports_are_for_this_machine_only(self) -> None:
        """Unless the config says otherwise."""
        gateway = self.load(BASE).gateway
        self.assertEqual((gateway.client_host, gateway.admin_host), ("127.0.0.1", "127.0.0.1"))

    def test_an_open_client_port_must_be_meant(self) -> None:
        """By clients with keys, or by saying that anyone may use it."""
        for host in ("0.0.0.0", "::", "192.168.1.5"):
            self.assertEqual(
                self.problem(based(f'client_host = "{host}"')),
                "config.toml:3: gateway.client_host: others can reach the client port there, and "
                "anyone may use it: add [[clients]], or say allow_anonymous = true",
            )
            self.load(based(f'client_host = "{host}"\nallow_anonymous = true'))
            self.load(based(f'client_host = "{host}"', CLIENT), K=KEY)
            self.load(based(f'client_host = "{host}"', '[state]\nkeys = "memory"'))
        for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost"):
            self.load(based(f'client_host = "{host}"'))

    def test_the_environment_opens_nothing_by_itself(self) -> None:
        """It is checked like the file."""
        self.assertIn(
            "$LMG_CLIENT_HOST: gateway.client_host: others can",
            self.problem(BASE, LMG_CLIENT_HOST="0.0.0.0"),
        )

    def test_an_address_is_no_name(self) -> None:
        """What a name means may change, or cannot be looked up at start."""
        self.assertIn("must be an IP address", self.problem(based('client_host = "my.host"')))

    def test_an_open_admin_port_needs_tls_and_a_token(self) -> None:
        """Or client certificates."""
        self.make_certificate()
        tls = 'admin_tls = { cert = "cert.pem", key = "key.pem" }'
        mutual = tls.replace(" }", ', client_ca = "cert.pem" }')
        for keys in ("", 'admin_token_env = "K"', tls):
            problem = self.problem(based(f'admin_host = "0.0.0.0"\n{keys}'), K=KEY)
            self.assertIn("gateway.admin_host: others can reach the admin port", problem)
        for keys in (f'admin_token_env = "K"\n{tls}', mutual):
            self.load(based(f'admin_host = "0.0.0.0"\n{keys}'), K=KEY)

    def test_ports_differ(self) -> None:
        """Unless the system chooses both."""
        self.assertEqual(
            self.problem(based("client_port = 9\nadmin_port = 9")),
            "config.toml:4: gateway.admin_port: must not be the client port as well",
        )
        self.load(based("client_port = 0\nadmin_port = 0"))

    def make_certificate(self) -> None:
        """Make a certificate for this test."""
        if shutil.which("openssl") is None:
            raise SkipTest("openssl is not installed")
        subject = ["-subj", "/CN=localhost", "-days", "2", "-nodes"]
        files = ["-keyout", str(self.folder / "key.pem"), "-out", str(self.folder / "cert.pem")]
        new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        subprocess.run([*new, *subject, *files], check=True, capture_output=True)

    def test_tls_files_must_be_there_and_fit(self) -> None:
        """Each fault at its own key."""
        self.make_certificate()
        self.write("junk.pem", "junk")
        for keys, fault in (
            ('cert = "no.pem", key = "key.pem"', "client_tls.cert: "),
            ('cert = "cert.pem", key = "no.pem"', "client_tls.key: "),
            ('cert = "junk.pem", key = "key.pem"', "client_tls.cert: is not a PEM certificate"),
            ('cert = "cert.pem", key = "junk.pem"', "client_tls.cert: is not a PEM certificate"),
            ('cert = "cert.pem", key = "key.pem", client_ca = "junk.pem"', "holds no PEM"),
            ('cert = "cert.pem", key = "key.pem", client_names = ["a"]', "without client_ca"),
        ):
            self.assertIn(fault, self.problem(based(f"client_tls = {{ {keys} }}")))
        tls = self.load(
            based('client_tls = { cert = "cert.pem", key = "key.pem" }')
        ).gateway.client_tls
        assert tls is not None
        self.assertEqual(tls.cert, str(self.folder / "cert.pem"))

    def test_a_key_with_a_password_is_refused(self) -> None:
        """Instead of being asked for on the terminal."""
        self.make_certificate()
        locked = str(self.folder / "locked.pem")
        command = ["openssl", "ec", "-in", str(self.folder / "key.pem"), "-aes128", "-out", locked]
        subprocess.run([*command, "-passout", "pass:word"], check=True, capture_output=True)
        text = based('client_tls = { cert = "cert.pem", key = "locked.pem" }')
        self.assertIn("needs a password", self.problem(text))

    def test_files_of_backends_must_be_there(self) -> None:
        """Trusted certificates, the certificate to show, scripted answers."""
        self.write("junk.pem", "junk")
        for keys, fault in (
            ('base_url = "https://x"\nca_file = "no.pem"', "ca_file: "),
            ('base_url = "https://x"\nca_file = "junk.pem"', "ca_file: holds no PEM certificate"),
            ('base_url = "https://x"\nclient_cert = "junk.pem"', "client_cert: must hold a PEM"),
            ('provider = "mock"\nmock = { fixtures = "no.json" }', "fixtures: "),
        ):
            text = BASE.replace('base_url = "http://127.0.0.1:9000"', keys)
            self.assertIn(fault, self.problem(text))


class KeyTests(FolderTestCase):
    """R-U05 and weak spot 24 of the reference: a guard that is not there stops the start."""

    def test_R_U05_a_client_key_that_is_not_there_stops_the_start(self) -> None:
        """The source is named, whatever it is."""
        env = self.problem(BASE + CLIENT)
        self.assertIn('clients[0].key_env: the environment variable "K" gives no secret', env)
        self.assertEqual(self.problem(BASE + CLIENT, K=""), env)
        self.assertEqual(self.problem(BASE + CLIENT, K="\r\n"), env)
        self.write("empty", "\n")
        for name in ("missing", "empty"):
            text = BASE + CLIENT.replace(
                'key_env = "K"', f'key_secret = {{ source = "file", path = "{name}" }}'
            )
            problem = self.problem(text)
            self.assertIn("clients[0].key_secret: the file ", problem)
            self.assertIn(f'{name}" gives no secret', problem)

    def test_a_key_that_no_header_can_carry_is_refused(self) -> None:
        """It could never be shown."""
        self.assertIn("not printable ASCII", self.problem(BASE + CLIENT, K="schlüssel-mit-umlaut"))

    def test_an_admin_token_that_is_not_there_stops_the_start(self) -> None:
        """The reference left the port open."""
        self.assertIn(
            'gateway.admin_token_env: the environment variable "T" gives no secret',
            self.problem(based('admin_token_env = "T"')),
        )
        secret = 'admin_token_secret = { source = "env", var = "T" }'
        self.assertIn("gateway.admin_token_secret: ", self.problem(based(secret)))
        self.load(based('admin_token_env = "T"'), T=KEY)

    def test_two_clients_cannot_have_one_key(self) -> None:
        """Nobody could tell who asks; a digest counts as its key."""
        digest = sha256(KEY.encode()).hexdigest().upper()
        for other in ('key_env = "L"', f'key_sha256 = "{digest}"'):
            text = BASE + CLIENT + CLIENT.replace('key_env = "K"', f'name = "other"\n{other}')
            self.assertIn(
                'clients[1]: has the same key as client "K"', self.problem(text, K=KEY, L=KEY)
            )

    def test_a_missing_backend_key_stops_nothing(self) -> None:
        """A local server needs none; it is a warning."""
        text = BASE.replace("[backends.mock]", '[backends.mock]\napi_key_env = "NOPE"')
        (warning,) = self.warnings(text)
        self.assertIn('no API key: the environment variable "NOPE" gives none', warning)

    def test_a_digest_is_the_same_however_it_is_known(self) -> None:
        """Written or made, in lower case."""
        digest = sha256(KEY.encode()).hexdigest()
        written = ClientSection(profile="p", key_sha256=digest.upper())
        self.assertEqual(key_digest(written, None), digest)
        self.assertEqual(key_digest(ClientSection(profile="p"), Secret(KEY)), digest)
        self.assertEqual(key_digest(ClientSection(profile="p"), None), "")
