"""Tests that the examples of docs/streams.md and docs/idempotency.md are good configs."""

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

    def test_idempotency(self) -> None:
        """The keys have the values that the page shows."""
        window, single = re.findall(
            r"```toml\n(.*?)```", (DOCS / "idempotency.md").read_text(), re.S
        )
        (streams,) = re.findall(r"```toml\n(.*?)```", (DOCS / "streams.md").read_text(), re.S)
        text = BACKENDS.replace("[gateway]\n", window) + streams + single.partition("\n")[2]
        path = Path(self.mktemp())
        path.write_text(text)
        config = load(path, {})
        self.assertEqual(config.gateway.idempotency_window_ms, 600_000)
        self.assertEqual(config.gateway.idempotency_max_bytes, 64 * 1024 * 1024)
        self.assertTrue(config.profiles["default"].single_flight)

    def test_prefill_without_resume(self) -> None:
        """A tier that says how to continue, where nothing ever is, is warned of."""
        (example,) = re.findall(r"```toml\n(.*?)```", (DOCS / "streams.md").read_text(), re.S)
        path = Path(self.mktemp())
        path.write_text(BACKENDS + example.replace('"resume"', '"restart"'))
        (warning,) = load(path, {}).warnings
        self.assertIn("prefill", warning)
