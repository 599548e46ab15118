"""A plain config loads no more than it needs: each name here is a part of the time to start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

PLAIN = """
[gateway]
client_port = 1
admin_port = 2
[backends.b]
provider = "openai"
base_url = "http://127.0.0.1:9"
[[tiers]]
name = "fast"
backend = "b"
model = "m"
[profiles.default]
mode = "dispatch"
classifier = "fast"
"""

MADE = """
import sys
from lmgateway.service.start import makeService
makeService({"config": sys.argv[1]})
print(*sys.modules)
"""


class PlainStartTests(SynchronousTestCase):
    def loaded(self, config: str) -> set[str]:
        """Make the service of a config in a process of its own, and see what that loads."""
        path = Path(self.mktemp())
        path.write_text(config)
        made = subprocess.run(
            [sys.executable, "-c", MADE, str(path)],
            capture_output=True,
            text=True,
            timeout=100,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path))},
        )
        self.assertEqual(made.returncode, 0, made.stderr)
        return set(made.stdout.split())

    def test_what_is_not_asked_for_is_not_loaded(self) -> None:
        """Without such sections: no database, mock backend, judging, records or extras."""
        loaded = self.loaded(PLAIN)
        self.assertIn("lmgateway.service.graph", loaded)
        for name in (
            "importlib.metadata",
            "sqlite3",
            "zoneinfo",
            "lmgateway.backends.mock",
            "lmgateway.config.lines",
            "lmgateway.dialects.ollama_text_calls",
            "lmgateway.dialects.responses",
            "lmgateway.dialects.xml_tools",
            "lmgateway.governance.price_file",
            "lmgateway.governance.price_table",
            "lmgateway.routing.chaos",
            "lmgateway.routing.escalate",
            "lmgateway.routing.gates",
            "lmgateway.routing.resume",
            "lmgateway.service.metrics",
            "lmgateway.service.sinks",
            "lmgateway.surfaces.openapi",
            "lmgateway.telemetry.families",
            "lmgateway.telemetry.spans",
            "lmgateway.wire.openapi",
            "prometheus_client",
            "tiktoken",
            "genai_prices",
            "jsonschema_rs",
        ):
            self.assertNotIn(name, loaded)

    def test_admin_port_is_loaded_when_somebody_knocks(self) -> None:
        """What only answers operators waits for the first of them."""
        loaded = self.loaded(PLAIN)
        for name in ("office", "wellness"):
            self.assertNotIn(f"lmgateway.service.{name}", loaded)
        for name in ("door", "table", "declared", "keys", "usage", "traffic", "pages", "openapi"):
            self.assertNotIn(f"lmgateway.admin.{name}", loaded)

    def test_what_is_asked_for_is_loaded(self) -> None:
        """The mock backend comes with the first backend that is one."""
        loaded = self.loaded(PLAIN.replace('"openai"', '"mock"').replace("base_url", "# "))
        self.assertIn("lmgateway.backends.mock", loaded)
