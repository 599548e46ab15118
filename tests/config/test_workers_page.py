"""The example of ``docs/workers.md`` is a config that loads, and ``check`` says what is to be."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.config.load import load
from lmgateway.errors import ConfigError

PAGE = Path(__file__).parents[2] / "docs" / "workers.md"
REST = """
[backends.mock]
provider = "mock"
[[tiers]]
name = "t"
backend = "mock"
model = "m"
[profiles.default]
classifier = "t"
"""


class WorkersTests(SynchronousTestCase):
    """Tests for the key ``workers``."""

    def load(self, gateway: str, rest: str = REST) -> tuple[int, list[str]]:
        """Load a config; give how many workers it wants, and what is warned of."""
        path = Path(self.mktemp())
        path.write_text(gateway + rest)
        config = load(path.absolute(), {})
        return config.gateway.workers, [each for each in config.warnings if "worker" in each]

    def test_the_example(self) -> None:
        """It asks for two, and it is said what each of them keeps for itself."""
        [example] = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.S)
        count, warnings = self.load(example)
        self.assertEqual(count, 2)
        [warning] = warnings
        self.assertIn("gateway.idempotency_window_ms", warning)

    def test_one_is_the_default(self) -> None:
        """Nothing is to be said of one process."""
        self.assertEqual(self.load("[gateway]\n"), (1, []))

    def test_single_flight(self) -> None:
        """Requests that are made once are so for each worker."""
        gateway = "[gateway]\nworkers = 3\nidempotency_window_ms = 0\n"
        count, warnings = self.load(gateway, f"{REST}single_flight = true\n")
        self.assertEqual((count, len(warnings)), (3, 1))
        self.assertIn("profiles.default.single_flight", warnings[0])

    def test_bounds(self) -> None:
        """There is at least one, and no more than 32."""
        for count in (0, 33, -1):
            with self.assertRaisesRegex(ConfigError, "workers"):
                self.load(f"[gateway]\nworkers = {count}\n")
