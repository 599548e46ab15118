"""The example of ``docs/clients.md`` is a config that loads."""

from __future__ import annotations

import re
from pathlib import Path

from tests.config.folder import FolderTestCase

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"


class PageTests(FolderTestCase):
    """Tests for what the page shows."""

    def test_the_example_loads(self) -> None:
        """As it is, with its secrets there; and warns of nothing."""
        (text,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
        keys = {name: f"{name.lower()}-of-some-length" for name in ("ANN_KEY", "ANNS_OPENAI_KEY")}
        config = self.load(text, OPENAI_API_KEY="sk-of-some-good-length", **keys)
        (ann,) = config.clients
        self.assertEqual((ann.name, ann.limits[0].path), ("ann", "/v1/embeddings"))
        self.assertEqual(config.warnings, ())
