"""Tests for ``lmgateway.config.sources`` and ``lmgateway.config.environment``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.config.backend import SecretSource
from lmgateway.config.environment import Environment, Read
from lmgateway.config.load import load
from lmgateway.config.schema import Config, SecretsSection, Settings
from lmgateway.config.secrets import Secret, described, obtain, resolve
from lmgateway.config.sources import complaints, sources_of
from lmgateway.errors import ConfigError

BASE = """
[gateway]
[backends.b]
base_url = "http://127.0.0.1:1"
{backend}
[[tiers]]
name = "t"
backend = "b"
model = "m"
[profiles.default]
classifier = "t"
{more}
"""
VAULT = '[secrets.vault]\naddress = "https://vault:8200"\ntoken_env = "VAULT_TOKEN"'


@define
class Carrier:
    """A courier that gives what it was told to."""

    given: dict[str, str] = field(factory=dict)
    asked: list[list[SecretSource]] = field(factory=list)

    def __call__(
        self,
        section: SecretsSection,
        sources: Sequence[SecretSource],
        read: Read,
        environ: Mapping[str, str],
    ) -> dict[SecretSource, Secret | str]:
        """Give."""
        self.asked.append([*sources])
        return {
            source: Secret(self.given[source.name or ""])
            if (source.name or "") in self.given
            else "it is gone"
            for source in sources
        }


class SourcesTests(SynchronousTestCase):
    """Tests for what stands in a config."""

    def setUp(self) -> None:
        """Make an environment that fetches."""
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.carrier = Carrier({"openai": "sk-1"})
        self.environ = Environment({"VAULT_TOKEN": "t"}, self.carrier)

    def load(self, backend: str = "", more: str = "", *, bare: bool = False) -> Config:
        """Load a config."""
        path = self.folder / "config.toml"
        path.write_text(BASE.format(backend=backend, more=more))
        return load(path, {} if bare else self.environ)

    def problems(self, backend: str = "", more: str = "") -> str:
        """Give what is wrong with one."""
        with self.assertRaises(ConfigError) as caught:
            self.load(backend, more)
        return str(caught.exception)

    def test_every_slot_is_found(self) -> None:
        """Wherever the schema has a place for a source, the walk gets there."""
        source = SecretSource(source="env", var="X")
        for path, settings in slots(source):
            self.assertEqual([*sources_of(settings)], [(path, source)])

    def test_fetched_once_each(self) -> None:
        """Two that need the same secret share it."""
        secret = '{ source = "vault", name = "openai" }'
        clients = "".join(
            f'[[clients]]\nname = "{name}"\nprofile = "default"\n'
            f'key_secret = {{ source = "vault", name = "{name}" }}\n'
            for name in ("ann", "bob")
        )
        self.carrier.given |= {"ann": "key-of-ann", "bob": "key-of-bob"}
        self.load(f"api_key_secret = {secret}", VAULT + "\n" + clients)
        ((*asked,),) = self.carrier.asked
        self.assertEqual([source.name for source in asked], ["openai", "ann", "bob"])

    def test_what_makes_no_sense(self) -> None:
        """Is told with its key path, and nothing is fetched for it."""
        for secret, more, text in (
            ('{ source = "vault", name = "x" }', "", "needs the table [secrets.vault]"),
            ('{ source = "infisical", name = "x" }', "", "needs the table [secrets.infisical]"),
            ('{ source = "vault" }', VAULT, "api_key_secret.name: must be given"),
            ('{ source = "command" }', "", "api_key_secret.command: must be given"),
            ('{ source = "command", command = [] }', "", "command: must be given"),
            (
                '{ source = "vault", name = "x", path = "y" }',
                VAULT,
                'api_key_secret.path: is not for source = "vault"',
            ),
            ('{ source = "fault" }', "", 'must not be "fault"; did you mean "vault"?'),
        ):
            found = self.problems(f"api_key_secret = {secret}", more)
            self.assertIn(text, found)
            self.assertNotIn("gives no secret", found)
        self.assertEqual(self.carrier.asked, [])

    def test_logins_that_make_no_sense(self) -> None:
        """Each way to log in says what it needs; it cannot come from where it leads."""
        server = '[secrets.vault]\naddress = "https://v"\n'
        for rest, text in (
            ("", "secrets.vault.token_env: must be given"),
            ('auth = "approle"', "secrets.vault.role_id: must be given"),
            ('auth = "approle"', "secrets.vault.secret_id_env: must be given"),
            ('auth = "kubernetes"', "secrets.vault.role: must be given"),
            (
                'token_secret = { source = "vault", name = "x" }',
                'token_secret.source: must be "env" or "file" here',
            ),
        ):
            self.assertIn(text, self.problems(more=server + rest))
        more = '[secrets.infisical]\nclient_id = "c"\nproject = "p"'
        self.assertIn(
            "secrets.infisical.client_secret_env: must be given", self.problems(more=more)
        )

    def test_bare_variables(self) -> None:
        """Who only wants to read the file is not refused what nobody fetched."""
        config = self.load('api_key_secret = { source = "vault", name = "x" }', VAULT, bare=True)
        self.assertEqual([source.name for _, source in sources_of(config)], ["x"])

    def test_several_lines(self) -> None:
        """What could not be sent in a header is no secret."""
        self.carrier.given["openai"] = "a\r\nX-Other: b"
        found = self.problems('api_key_secret = { source = "vault", name = "openai" }', VAULT)
        self.assertIn("gives no secret: it is empty, or not printable ASCII", found)

    def test_the_last_good_one(self) -> None:
        """Is used while there is no other, and that is complained of."""
        config = self.load('api_key_secret = { source = "vault", name = "openai" }', VAULT)
        ((_, source),) = sources_of(config)
        del self.carrier.given["openai"]
        self.load('api_key_secret = { source = "vault", name = "openai" }', VAULT)
        self.assertEqual(resolve(source, self.environ, self.folder), Secret("sk-1"))
        (text,) = complaints(config, self.environ)
        self.assertEqual(
            text,
            'backends.b.api_key_secret: the Vault secret "secret/openai" gives no secret: '
            "it is gone; the one it gave before is used",
        )
        self.carrier.given["openai"] = "sk-2"
        self.load('api_key_secret = { source = "vault", name = "openai" }', VAULT)
        self.assertEqual(resolve(source, self.environ, self.folder), Secret("sk-2"))
        self.assertEqual(([*complaints(config, self.environ)], self.environ.changes), ([], 2))

    def test_a_variable_that_went(self) -> None:
        """The same holds for files and variables."""
        folder = self.folder / "credentials"
        folder.mkdir()
        (folder / "UP").write_text("sk-1")
        variables = {"CREDENTIALS_DIRECTORY": str(folder)}
        self.environ = Environment(variables, self.carrier)
        config = self.load('api_key_env = "UP"')
        (folder / "UP").unlink()
        source = SecretSource(source="env", var="UP")
        self.assertEqual(obtain(source, self.environ, self.folder), None)
        (folder / "UP").write_text("sk-1")
        obtain(source, self.environ, self.folder)
        (folder / "UP").unlink()
        self.assertEqual(obtain(source, self.environ, self.folder), Secret("sk-1"))
        self.assertIn("backends.b.api_key_env", next(complaints(config, self.environ)))

    def test_the_documented_config(self) -> None:
        """What the documentation shows is a config, and every source in it is asked for."""
        text = (Path(__file__).parents[2] / "docs" / "secrets.md").read_text()
        blocks = [part.partition("```")[0] for part in text.split("```toml\n")[1:]]
        (self.folder / "anthropic").write_text("sk-1")
        variables = {"VAULT_SECRET_ID": "a", "INFISICAL_CLIENT_SECRET": "b"}
        self.carrier.given |= {"llm/groq": "sk-2", "MISTRAL_API_KEY": "sk-3", "": "sk-4"}
        self.environ = Environment(variables, self.carrier)
        config = self.load(more="\n".join(blocks))
        (asked,) = self.carrier.asked
        self.assertEqual([s.source for s in asked], ["vault", "infisical", "command"])
        self.assertEqual(config.secrets.refresh_seconds, 300)

    def test_described(self) -> None:
        """By its name, never by what a command is told."""
        for source, text in (
            (SecretSource(source="vault", name="a/b", mount="kv"), 'the Vault secret "kv/a/b"'),
            (SecretSource(source="infisical", name="A"), 'the Infisical secret "A"'),
            (SecretSource(source="command", command=("p", "canary")), 'the command "p"'),
        ):
            self.assertEqual(described(source), text)


def slots(source: SecretSource) -> list[tuple[tuple[str | int, ...], Settings]]:
    """Give settings with *source* in one place each: every place that there is now."""
    from lmgateway.config.schema import (
        AdminTokenSection,
        BackendSection,
        ClientSection,
        GatewaySection,
        InfisicalSection,
        VaultSection,
    )

    base = Settings(gateway=GatewaySection())
    client = ClientSection(profile="p", key_secret=source)
    vault = VaultSection(address="https://v", token_secret=source)
    infisical = InfisicalSection(client_id="c", project="p", client_secret_secret=source)
    more: list[tuple[tuple[str | int, ...], Settings]] = [
        (
            ("gateway", "admin_token_secret"),
            attrs.evolve(base, gateway=GatewaySection(admin_token_secret=source)),
        ),
        (
            ("backends", "b", "api_key_secret"),
            attrs.evolve(base, backends={"b": BackendSection(api_key_secret=source)}),
        ),
        (("clients", 0, "key_secret"), attrs.evolve(base, clients=(client,))),
        (
            ("admin_tokens", 0, "token_secret"),
            attrs.evolve(base, admin_tokens=(AdminTokenSection(name="a", token_secret=source),)),
        ),
        (
            ("secrets", "vault", "token_secret"),
            attrs.evolve(base, secrets=SecretsSection(vault=vault)),
        ),
        (
            ("secrets", "infisical", "client_secret_secret"),
            attrs.evolve(base, secrets=SecretsSection(infisical=infisical)),
        ),
    ]
    return more
