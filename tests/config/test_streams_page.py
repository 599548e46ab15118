"""Tests that the examples of docs/streams.md are good configs."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.config.load import load

DOCS = Path(__file__).parent.parent.parent / "docs"
BACKENDS = """
[gateway]
[backends.first]
base_url = "http://127.0.0.1:9001"
[backends.second]
base_url = "http://127.0.0.1:9002"
[backends.vllm]
provider = "vllm"
base_url = "http://127.0.0.1:9003"
"""


class PageTests(SynchronousTestCase):
    """Tests for what operators copy."""

    def test_streams(self) -> None:
        """The example is served as it stands, and means what the page says."""
        (example,) = re.findall(r"```toml\n(.*?)```", (DOCS / "streams.md").read_text(), re.S)
        path = Path(self.mktemp())
        path.write_text(BACKENDS + example)
        config = load(path, {})
        self.assertEqual(config.warnings, ())
        self.assertEqual(config.profiles["default"].mid_stream, "resume")
        self.assertEqual(config.tiers[1].prefill, "continue_final_message")

    def test_prefill_without_resume(self) -> None:
        """A tier that says how to continue, where nothing ever is, is warned of."""
        (example,) = re.findall(r"```toml\n(.*?)```", (DOCS / "streams.md").read_text(), re.S)
        path = Path(self.mktemp())
        path.write_text(BACKENDS + example.replace('"resume"', '"restart"'))
        (warning,) = load(path, {}).warnings
        self.assertIn("prefill", warning)
