"""Secrets from servers, programs and files, in a whole gateway."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

from lmgateway.errors import ConfigError
from lmgateway.service.life import GatewayService
from lmgateway.stores.courier import surroundings
from tests.fakes import until
from tests.harness import GatewayCase, free_port
from tests.stores.keepers import FakeInfisical, FakeVault

VAULT = 'api_key_secret = { source = "vault", name = "llm/openai", field = "key" }'


class SecretsCase(GatewayCase):
    """A gateway whose backend's key is somewhere."""

    def setUp(self) -> None:
        """Make its surroundings."""
        super().setUp()
        self.variables = {"VAULT_TOKEN": "root-token", "PATH": "/usr/bin:/bin"}
        self.environ = cast(Any, surroundings(self.variables))
        self.told: list[dict[str, Any]] = []

    def listen(self, service: GatewayService) -> GatewayService:
        """Write down what is told of secrets."""
        service.resources.events.listen(
            lambda event: self.told.append(event.facts) if event.kind == "secret" else None
        )
        return service

    async def shown(self) -> str:
        """Give the key that the backend is shown."""
        got = await self.chat()
        self.assertEqual(got.code, 200, got.body)
        return self.backend.asked[-1].headers["authorization"].removeprefix("Bearer ")

    async def warnings(self) -> str:
        """Give the warnings that an operator sees."""
        got = await self.ask("GET", "/admin/health", admin=True)
        return "\n".join(got.json["warnings"])


class ServerTests(SecretsCase):
    """Secrets of Vault and Infisical."""

    def setUp(self) -> None:
        """Serve a key from Vault."""
        super().setUp()
        self.vault = FakeVault()
        self.addCleanup(self.vault.close)
        self.vault.secrets["llm/openai"] = {"key": "sk-first"}
        self.more = f'[secrets.vault]\naddress = "{self.vault.url}"\ntoken_env = "VAULT_TOKEN"'

    def serving(self) -> GatewayService:
        """Serve."""
        return self.listen(self.start(backends=VAULT, more=self.more))

    async def test_MX11_from_vault(self) -> None:
        """The key of a backend is read from Vault, and nothing shows it."""
        self.serving()
        self.assertEqual(await self.shown(), "sk-first")
        shown = (await self.ask("GET", "/admin/config", admin=True)).body.decode()
        self.assertIn('"api_key_source":"vault"', shown)
        self.assertNotIn("sk-first", shown + await self.warnings())

    async def test_another_key(self) -> None:
        """Once it is fetched again, the new one is used; nobody has to reload."""
        service = self.serving()
        self.vault.secrets["llm/openai"] = {"key": "sk-second"}
        await service.freshness.refresh()
        await until(lambda: service.generation == 2, 10)
        self.assertEqual(await self.shown(), "sk-second")
        await service.freshness.refresh()
        self.assertEqual((service.generation, self.told), (2, []))

    async def test_a_reload_fetches(self) -> None:
        """So does whoever asks for a reload."""
        self.serving()
        self.vault.secrets["llm/openai"] = {"key": "sk-second"}
        got = await self.ask("POST", "/admin/reload", admin=True)
        self.assertEqual(got.code, 200)
        self.assertEqual(await self.shown(), "sk-second")

    async def test_out_of_reach_later(self) -> None:
        """The old key is used on, and it is said which one and why; until it is back."""
        service = self.serving()
        self.vault.script = lambda asked: (503, {"errors": ["sealed"]})
        await service.freshness.refresh()
        got = await self.ask("POST", "/admin/reload", admin=True)
        self.assertEqual(got.code, 200, got.body)
        self.assertEqual(await self.shown(), "sk-first")
        said = await self.warnings()
        self.assertIn(
            'backends.mock.api_key_secret: the Vault secret "secret/llm/openai" gives no secret: '
            "it answered with status 503; the one it gave before is used",
            said,
        )
        self.assertEqual([facts["state"] for facts in self.told], ["stale"])
        self.vault.script = lambda asked: None
        await service.freshness.refresh()
        self.assertNotIn("Vault", await self.warnings())
        self.assertEqual([facts["state"] for facts in self.told], ["stale", "fresh"])

    async def test_out_of_reach_at_the_start(self) -> None:
        """Nothing is served; the key path and the source are named, and that it may pass."""
        self.more = self.more.replace(self.vault.url, f"http://127.0.0.1:{free_port()}")
        with self.assertRaises(ConfigError) as caught:
            self.serving()
        self.assertIn(
            'backends.mock.api_key_secret: the Vault secret "secret/llm/openai" gives no secret: '
            "it cannot be reached: Connection refused",
            str(caught.exception),
        )
        self.assertTrue(caught.exception.transient)

    async def test_a_server_that_hangs(self) -> None:
        """The start waits no longer than it may."""
        hung = FakeVault()
        self.addCleanup(hung.close)
        hung.answer = lambda asked: until_closed()  # type: ignore[method-assign]
        self.more = self.more.replace(self.vault.url, hung.url) + "\n[secrets]\ntimeout_ms = 300"
        with self.assertRaises(ConfigError) as caught:
            self.serving()
        self.assertIn("gives no secret: it ", str(caught.exception))

    async def test_from_infisical(self) -> None:
        """The same with Infisical."""
        server = FakeInfisical()
        self.addCleanup(server.close)
        server.secrets["p1", "prod", "/llm", "OPENAI"] = "sk-infisical"
        self.variables["SECRET"] = "canary-client-secret"
        self.start(
            backends='api_key_secret = { source = "infisical", name = "OPENAI", folder = "/llm" }',
            more=f"""
            [secrets.infisical]
            address = "{server.url}"
            client_id = "gateway"
            client_secret_env = "SECRET"
            project = "p1"
            """,
        )
        self.assertEqual(await self.shown(), "sk-infisical")


def until_closed() -> Any:
    """Answer never, for all that a test waits."""
    from threading import Event

    Event().wait(3)
    return 500, {}


class LocalTests(SecretsCase):
    """Secrets of programs and files."""

    async def test_from_a_command(self) -> None:
        """What a program writes first is the key."""
        command = f'["{sys.executable}", "-c", "print(\'sk-from-a-program\')"]'
        self.start(backends=f'api_key_secret = {{ source = "command", command = {command} }}')
        self.assertEqual(await self.shown(), "sk-from-a-program")

    async def test_a_command_that_fails(self) -> None:
        """Stops the start; its arguments are not told, for they may hold a secret."""
        command = f'["{sys.executable}", "-c", "canary = 1; raise SystemExit(2)"]'
        with self.assertRaises(ConfigError) as caught:
            self.start(backends=f'api_key_secret = {{ source = "command", command = {command} }}')
        self.assertIn("gives no secret: it ended with status 2", str(caught.exception))
        self.assertNotIn("canary", str(caught.exception))

    def mount(self, text: str, name: str) -> None:
        """Do as Kubernetes does: a folder of files, and a link that is swapped."""
        folder = self.folder / name
        folder.mkdir()
        (folder / "key").write_text(text)
        link = self.folder / "..data_tmp"
        link.symlink_to(name)
        link.rename(self.folder / "..data")

    async def test_F46_kubernetes_swaps_a_file(self) -> None:
        """A key that is mounted is read again when it changes; when it goes, the old one stays."""
        self.write()
        self.mount("sk-first", "..one")
        (self.folder / "key").symlink_to("..data/key")
        service = self.listen(
            self.start(backends='api_key_secret = { source = "file", path = "key" }')
        )
        service._watcher.startService()
        self.addCleanup(service._watcher.stopService)
        self.assertEqual(await self.shown(), "sk-first")
        self.mount("sk-second", "..two")
        await until(lambda: service.generation == 2, 10)
        self.assertEqual(await self.shown(), "sk-second")
        (self.folder / "key").unlink()
        await until(lambda: service.generation == 3, 10)
        self.assertEqual(await self.shown(), "sk-second")
        self.assertIn("the one it gave before is used", await self.warnings())
        self.assertEqual([facts["state"] for facts in self.told], ["stale"])

    async def test_F46_missing_at_the_start(self) -> None:
        """A key file that is missing, empty or unreadable stops the start, by name."""
        self.write()
        for content in (None, "", "two\nlines", "\x00"):
            if content is not None:
                (self.folder / "key").write_text(content)
            with self.assertRaises(ConfigError) as caught:
                self.start(backends='api_key_secret = { source = "file", path = "key" }')
            self.assertIn("backends.mock.api_key_secret: the file", str(caught.exception))
            self.assertTrue(caught.exception.transient)

    async def test_where_systemd_and_docker_put_files(self) -> None:
        """A bare name is looked for there too."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "openai").write_text("sk-of-systemd")
        self.variables["CREDENTIALS_DIRECTORY"] = str(folder.absolute())
        self.start(backends='api_key_secret = { source = "file", path = "openai" }')
        self.assertEqual(await self.shown(), "sk-of-systemd")

    async def test_clients_and_tokens_too(self) -> None:
        """Any secret may come from anywhere: a client's key, the admin token."""
        command = f'["{sys.executable}", "-c", "print(\'key-of-ann-from-a-program\')"]'
        self.start(
            gateway=f'admin_token_secret = {{ source = "command", command = {command} }}',
            more=f"""
            [[clients]]
            name = "ann"
            profile = "default"
            key_secret = {{ source = "command", command = {command} }}
            """,
        )
        key: dict[str, Any] = {"Authorization": "Bearer key-of-ann-from-a-program"}
        self.assertEqual((await self.chat(**key)).code, 200)
        self.assertEqual((await self.chat()).code, 401)
        got = await self.ask("GET", "/admin/health", admin=True, **key)
        self.assertEqual(got.code, 200)
