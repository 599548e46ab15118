"""Tests of what the hub carries beyond OpenAI's words."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.dialects.hub_extensions import plain
from tests.dialects.anthropic_vectors import (
    parsed,
    vectors,
)


class ExtensionTests(SynchronousTestCase):
    """What goes from an Anthropic client to a backend that knows OpenAI's words alone."""

    def test_plain(self) -> None:
        """No extension is left in what a strict provider is sent, and the hub is not changed."""
        for name, vector in vectors("requests"):
            request = parsed(vector["anthropic"]) if "only" not in vector else None
            if request is None:
                continue
            with self.subTest(name):
                text = json.dumps(plain(request.hub))
                for extension in ("cache_control", "thinking_blocks", "is_error", "top_k"):
                    self.assertNotIn(extension, text)
                self.assertEqual(request.hub, vector["hub"])

    def test_kept(self) -> None:
        """A provider that takes an extension is sent it."""
        hub = parsed(dict(vectors("requests"))["system_blocks"]["anthropic"]).hub
        self.assertEqual(plain(hub, frozenset({"cache_control"})), hub)
