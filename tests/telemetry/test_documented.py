"""What ``docs/telemetry.md`` shows can be used as it stands."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.config.load import load

PAGE = Path(__file__).parents[2] / "docs" / "telemetry.md"

BASE = """
[gateway]
[backends.m]
provider = "mock"
[[tiers]]
name = "t"
backend = "m"
model = "m"
[profiles.default]
classifier = "t"
"""


class ExampleTests(SynchronousTestCase):
    """See ``docs/telemetry.md``."""

    def test_every_example_is_read(self) -> None:
        """All tables of the page together are a good configuration."""
        examples = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
        self.assertEqual(len(examples), 5)
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "config.toml").write_text(BASE + "".join(examples))
        environ = {"OTEL_AUTH": "Bearer 0123456789", "EXPORT_AUTH": "Bearer 0123456789"}
        config = load(folder / "config.toml", environ)
        assert config.otel is not None and config.capture is not None
        self.assertEqual((config.otel.sample, config.capture.expire_hours), (0.1, 24))
        self.assertIn("all that is asked", str(config.warnings))
