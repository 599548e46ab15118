"""Tests for ``lmgateway explain``."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.commands.cli import main

CONFIG = """
[gateway]

[backends.here]
provider = "mock"

[backends.there]
base_url = "http://models.example"

[[tiers]]
name = "local:fast"
backend = "here"
model = "small"
capabilities = []

[[tiers]]
name = "cloud:pro"
backend = "there"
model = "large"
price = { input = 1, output = 2 }

[profiles.default]
mode = "classify"
classifier = "local:fast"

[[profiles.default.rules]]
when = { intent = "greeting" }
route_to = "closed"

[profiles.closed]
mode = "reply"
reply_message = "Closed."

[profiles.plain]
classifier = "local:fast"
max_auto_tier = "local:fast"

[profiles.dear]
classifier = "cloud:pro"

[[clients]]
name = "anna"
key_sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
profile = "plain"

[[clients]]
name = "bob"
key_sha256 = "1111111111111111111111111111111111111111111111111111111111111111"
profile = "dear"
budgets = ["nothing"]

[[budgets]]
name = "nothing"
period = "day"
limit_usd = 0
"""


class ExplainTests(SynchronousTestCase):
    """The command tells where a request would go, and asks nobody."""

    def run_with(self, *arguments: str, body: object = None) -> Result:
        """Run the command on the config above."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "config.toml").write_text(CONFIG)
        more: list[str] = []
        if body is not None:
            (folder / "request.json").write_text(json.dumps(body))
            more = ["--file", str(folder / "request.json")]
        source = ["--config", str(folder / "config.toml")]
        return CliRunner().invoke(main, ["explain", *source, *more, *arguments])

    def test_label(self) -> None:
        """With a label supposed, the tier and every other one's reason is told."""
        result = self.run_with("--label", "fast")
        self.assertEqual(result.exit_code, 0, result.output)
        self.assertIn("goes to local:fast (small at here)", result.output)
        self.assertIn("default[0] to closed: intent is not 'greeting'", result.output)
        self.assertIn("cloud:pro: tried (at most $", result.output)

    def test_undecided(self) -> None:
        """Without one it all depends on the classifier."""
        self.assertIn("depends on the classifier", self.run_with().output)

    def test_reply(self) -> None:
        """The operator's own answer is told."""
        output = self.run_with("--label", "intent=greeting").output
        self.assertIn("is answered by the gateway: Closed.", output)
        self.assertIn("default -> closed (reply)", output)

    def test_file_client_and_refusal(self) -> None:
        """A request from a file, as a client of ours would ask it."""
        body = {
            "model": "local:fast",
            "messages": [{"role": "user", "content": "hi"}],
            "tools": [{"type": "function", "function": {"name": "f"}}],
        }
        output = self.run_with("--client", "anna", body=body).output
        self.assertIn("is refused: No model that this request may use takes tools.", output)
        self.assertIn("needs    tools", output)
        self.assertIn("cloud:pro: over the ceiling", output)

    def test_the_budgets_of_a_client_count(self) -> None:
        """What a client cannot pay for is told, as it would be told the client."""
        output = self.run_with("--client", "bob", "--model", "cloud:pro").output
        self.assertIn("is refused: This request may cost up to", output)

    def test_json(self) -> None:
        """The whole document, for programs."""
        document = json.loads(self.run_with("--label", "pro", "--json").output)
        self.assertEqual(document["choice"]["tier"], "cloud:pro")

    def test_mistakes(self) -> None:
        """What cannot be explained ends with one line."""
        for arguments, said in (
            (["--client", "nobody"], "There is no client 'nobody'."),
            (["--client", "anna", "--model", "cloud:pro"], "There is no model 'cloud:pro' here."),
        ):
            result = self.run_with(*arguments)
            self.assertEqual((result.exit_code, result.output), (1, f"Error: {said}\n"))
