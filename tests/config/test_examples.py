"""Every config that we ship loads as it is."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.config.load import load
from lmgateway.config.schema import Config

ETC = Path(__file__).parents[2] / "etc"
ENVIRON = {
    name: f"a-secret-of-some-length-{name.lower()}"
    for name in (
        "ANTHROPIC_API_KEY",
        "GROQ_API_KEY",
        "LMG_ADMIN_TOKEN",
        "LMG_KEY_ALICE",
        "LMG_KEY_BOB",
        "MISTRAL_API_KEY",
        "OPENAI_API_KEY",
        "OPENROUTER_API_KEY",
    )
}


def example(name: str) -> Config:
    """Load an example, with the secrets that it names."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "anthropic").write_text("a-secret-of-some-length")
        (Path(folder) / "anthropic").chmod(0o600)
        return load(ETC / "examples" / name, {**ENVIRON, "CREDENTIALS_DIRECTORY": folder})


class DefaultConfigTests(SynchronousTestCase):
    """``etc/config.toml``: the first thing that anyone runs."""

    def setUp(self) -> None:
        self.config = load(ETC / "config.toml", {})

    def test_it_needs_no_key_and_no_network(self) -> None:
        """All of it is the built-in mock, and nothing is worth a warning."""
        self.assertEqual({b.provider for b in self.config.backends.values()}, {"mock"})
        self.assertEqual(self.config.clients, ())
        self.assertEqual(self.config.warnings, ())

    def test_it_is_short(self) -> None:
        """Under 50 lines, comments included."""
        self.assertLess(len((ETC / "config.toml").read_text().splitlines()), 50)

    def test_it_has_the_six_hints(self) -> None:
        """The names that clients of the reference ask for."""
        hints = ("instant", "fast", "moderate", "deep", "max", "expert")
        self.assertEqual({*self.config.aliases}, {f"hint:{hint}" for hint in hints})
        self.assertEqual(self.config.profiles["default"].mode, "dispatch")


class ExampleTests(SynchronousTestCase):
    """``etc/examples``."""

    def test_every_example_loads(self) -> None:
        """With its variables set, none warns of anything but missing files and extras."""
        names = [path.name for path in sorted(ETC.glob("examples/*.toml"))]
        self.assertGreaterEqual(len(names), 5)
        for name in (*names, "reference/config.toml"):
            config = example(name)
            expected = ("/run/secrets", "install lmgateway[")
            others = [w for w in config.warnings if not any(text in w for text in expected)]
            self.assertEqual(others, [], name)

    def test_the_homelab_opens_only_where_it_is_told_to(self) -> None:
        """The address is taken from the environment."""
        self.assertEqual(example("ollama-homelab.toml").gateway.client_host, "127.0.0.1")
        environ = ENVIRON | {"LMG_LAN_HOST": "192.168.1.2"}
        config = load(ETC / "examples" / "ollama-homelab.toml", environ)
        self.assertEqual(config.gateway.client_host, "192.168.1.2")
        self.assertEqual(config.profiles["voice"].error_style, "friendly")

    def test_the_team_is_known_by_its_keys(self) -> None:
        """Two by variables, one by a digest."""
        clients = example("cloud-team.toml").clients
        self.assertEqual([client.name for client in clients], ["alice", "bob", "nightly"])

    def test_the_reference_layout_is_read_whole(self) -> None:
        """The overlay's backend and tier, and the profiles of the folder."""
        config = example("reference/config.toml")
        self.assertEqual(len(config.files), 4)
        self.assertEqual(config.backends["ollama"].base_url, "http://192.168.1.20:11434")
        self.assertEqual([tier.model for tier in config.tiers][1], "qwen3:8b")
        self.assertEqual(
            {*config.profiles}, {"default", "agent-escalate", "ha-auto", "ha-auto:fast"}
        )
        priorities = [rule.priority for rule in config.profiles["ha-auto"].rules]
        self.assertEqual(priorities, [100, 90, 70, 50, -10])
