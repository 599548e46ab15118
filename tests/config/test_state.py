"""Where state is kept, as the config says it."""

from __future__ import annotations

from pathlib import Path

from lmgateway.config.state import place_of
from tests.config.folder import BASE, FolderTestCase


class StateTests(FolderTestCase):
    """Tests for the ``[state]`` table."""

    def test_nothing_by_default(self) -> None:
        """And then everyone may ask."""
        config = self.load(BASE)
        self.assertIsNone(config.state.keys)
        self.assertTrue(config.is_open)

    def test_places(self) -> None:
        """Memory, or a file; either closes the client port."""
        for place in ("memory", "sqlite:keys.sqlite", "sqlite:/var/lib/lmgateway/keys"):
            config = self.load(f'{BASE}[state]\nkeys = "{place}"')
            self.assertEqual(config.state.keys, place)
            self.assertFalse(config.is_open)

    def test_other_places(self) -> None:
        """Are refused, with what is allowed."""
        for place in ("", "sqlite:", "sqlite:folder/", "redis:x", "/file"):
            (problem,) = self.problems(f'{BASE}[state]\nkeys = "{place}"')
            self.assertIn('state.keys: must be "memory", or "sqlite:"', problem)

    def test_files(self) -> None:
        """A name is relative to the config file's folder."""
        folder = Path("/etc/lm-gateway")
        self.assertEqual(place_of("sqlite:keys", folder), ("sqlite", folder / "keys"))
        self.assertEqual(place_of("jsonl:/var/log/a", folder), ("jsonl", Path("/var/log/a")))
        self.assertIsNone(place_of("memory", folder))
        self.assertIsNone(place_of(None, folder))
