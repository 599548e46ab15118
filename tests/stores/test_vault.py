"""Tests for ``lmgateway.stores.vault``, ``lmgateway.stores.infisical`` and what they ask with."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.config.secrets import Secret
from lmgateway.config.stores import InfisicalSection, VaultSection
from lmgateway.stores.deadline import Deadline, Refused
from lmgateway.stores.infisical import Infisical
from lmgateway.stores.vault import Vault
from lmgateway.stores.web import Server
from tests.harness import free_port
from tests.stores.keepers import FakeInfisical, FakeVault

LONG = 10.0


class VaultTests(SynchronousTestCase):
    """Tests for ``Vault``."""

    def setUp(self) -> None:
        """Serve one secret."""
        self.server = FakeVault()
        self.addCleanup(self.server.close)
        self.server.secrets["llm/openai"] = {"value": "sk-1", "other": "sk-2"}
        self.seconds = 0.0

    def vault(self, credential: str | None = "root-token", **how: Any) -> None:
        """Make a client."""
        section = VaultSection(address=self.server.url, **how)
        self.client = Vault(section, lambda: self.seconds)
        self.addCleanup(self.client.close)
        self.credential = credential

    def read(self, name: str = "llm/openai") -> dict[str, Any]:
        """Read a secret."""
        secret = None if self.credential is None else Secret(self.credential)
        return self.client.read("secret", name, lambda: secret, Deadline(LONG))

    def refusal(self, name: str = "llm/openai") -> str:
        """Say why it cannot be read."""
        with self.assertRaises(Refused) as caught:
            self.read(name)
        return str(caught.exception)

    def test_a_token(self) -> None:
        """A given token opens it; the namespace is told."""
        self.vault(namespace="team-a")
        self.assertEqual(self.read(), {"value": "sk-1", "other": "sk-2"})
        last = self.server.asked[-1]
        self.assertEqual(last.headers["x-vault-namespace"], "team-a")
        self.assertEqual(last.headers["x-vault-token"], "root-token")

    def test_approle(self) -> None:
        """A role logs in once, not for each secret."""
        self.vault("canary-secret-id", auth="approle", role_id="gateway")
        self.read()
        self.read()
        self.assertEqual(
            self.server.paths,
            ["/v1/auth/approle/login", *["/v1/secret/data/llm/openai"] * 2],
        )

    def test_kubernetes(self) -> None:
        """A pod logs in with its service account; the mount may have another name."""
        self.vault("canary-jwt", auth="kubernetes", role="gateway", login_mount="k8s/prod")
        self.read()
        self.assertEqual(self.server.paths[0], "/v1/auth/k8s/prod/login")

    def test_the_token_is_renewed(self) -> None:
        """From half of its life on; and goes on living."""
        self.vault("canary-secret-id", auth="approle", role_id="gateway")
        self.read()
        self.seconds = 1000
        self.read()
        self.assertNotIn("/v1/auth/token/renew-self", self.server.paths)
        for self.seconds in (2000.0, 4000.0, 6000.0):
            self.read()
        self.assertEqual(self.server.paths.count("/v1/auth/token/renew-self"), 3)
        self.assertEqual(self.server.paths.count("/v1/auth/approle/login"), 1)

    def test_a_given_token_is_renewed(self) -> None:
        """How long it lives is asked."""
        self.vault()
        self.read()
        self.seconds = 2000
        self.read()
        self.assertIn("/v1/auth/token/renew-self", self.server.paths)

    def test_a_token_that_ended(self) -> None:
        """Another login follows."""
        self.server.renewable = False
        self.vault("canary-secret-id", auth="approle", role_id="gateway")
        self.read()
        self.seconds = 3601
        self.read()
        self.assertEqual(self.server.paths.count("/v1/auth/approle/login"), 2)

    def test_a_token_that_was_revoked(self) -> None:
        """Another login follows, once: a secret that may not be read stays unread."""
        self.vault("canary-secret-id", auth="approle", role_id="gateway")
        self.read()
        self.server.tokens.clear()
        self.assertEqual(self.read()["value"], "sk-1")
        self.server.script = lambda asked: self.server.refused if "/data/" in asked.path else None
        self.server.asked.clear()
        self.assertEqual(self.refusal(), "it answered with status 403")
        self.assertEqual(self.server.paths.count("/v1/auth/approle/login"), 1)

    def test_what_goes_wrong(self) -> None:
        """Is told in words of our own; what the server says of it is repeated nowhere."""
        self.vault()
        self.assertEqual(self.refusal("nothing"), "it answered with status 404")
        for answer, text in (
            ((200, b"canary{"), "its answer is not JSON"),
            ((200, b"[]"), "its answer is not an object"),
            ((200, b"x" * 2_000_000), "its answer is too long"),
            ((200, {"data": {"value": "version 1"}}), "version 2"),
            ((307, b""), "status 307"),
            ((500, b"canary"), "status 500"),
        ):
            self.server.script = lambda asked, answer=answer: answer  # type: ignore[misc]
            text_of = self.refusal()
            self.assertIn(text, text_of)
            self.assertNotIn("canary", text_of)

    def test_logins_that_fail(self) -> None:
        """Are named as such."""
        self.vault("wrong", auth="approle", role_id="gateway")
        self.assertEqual(self.refusal(), "login failed: it answered with status 400")
        self.vault(None, auth="approle", role_id="gateway")
        self.assertEqual(self.refusal(), "what is needed to log in is missing")
        self.vault("canary-secret-id", auth="approle", role_id="gateway")
        self.server.script = lambda asked: (200, {"auth": {"client_token": "a\r\nb: c"}})
        self.assertEqual(self.refusal(), "login failed: its answer holds no token")

    def test_out_of_reach(self) -> None:
        """A server that is not there, or hangs, costs no more than its time."""
        self.client = Vault(VaultSection(address=f"http://127.0.0.1:{free_port()}"))
        self.credential = "t"
        self.assertEqual(self.refusal(), "it cannot be reached: Connection refused")
        with self.assertRaises(Refused) as caught:
            self.client.read("secret", "x", lambda: Secret("t"), Deadline(0))
        self.assertEqual(str(caught.exception), "it takes too long")

    def test_no_plain_server_behind_https(self) -> None:
        """TLS is not given up."""
        server = Server(self.server.url.replace("http:", "https:"))
        with self.assertRaises(Refused) as caught:
            server.ask("GET", "/", {}, Deadline(LONG))
        self.assertEqual(str(caught.exception), "TLS failed")


class InfisicalTests(SynchronousTestCase):
    """Tests for ``Infisical``."""

    def setUp(self) -> None:
        """Serve one secret."""
        self.server = FakeInfisical()
        self.addCleanup(self.server.close)
        self.server.secrets["project", "prod", "/llm", "OPENAI"] = "sk-1"
        self.seconds = 0.0
        section = InfisicalSection(address=self.server.url, client_id="gateway", project="project")
        self.client = Infisical(section, lambda: self.seconds)
        self.addCleanup(self.client.close)

    def read(self, name: str = "OPENAI", credential: str = "canary-client-secret") -> str:
        """Read a secret."""
        return self.client.read("/llm", name, lambda: Secret(credential), Deadline(LONG))

    def test_read(self) -> None:
        """One login for several secrets."""
        self.assertEqual([self.read(), self.read()], ["sk-1", "sk-1"])
        self.assertEqual(len(self.server.paths), 3)

    def test_the_token_ends(self) -> None:
        """Another login follows, also if it ends early."""
        self.read()
        self.seconds = 7190
        self.read()
        self.server.tokens.clear()
        self.read()
        logins = [path for path in self.server.paths if path.endswith("login")]
        self.assertEqual(len(logins), 3)

    def test_what_goes_wrong(self) -> None:
        """Is told."""
        with self.assertRaises(Refused) as caught:
            self.read("NOTHING")
        self.assertEqual(str(caught.exception), "it answered with status 404")
        self.setUp()
        with self.assertRaises(Refused) as caught:
            self.read(credential="wrong")
        self.assertEqual(str(caught.exception), "login failed: it answered with status 401")
