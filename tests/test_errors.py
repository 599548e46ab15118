"""Tests for the error classes, and for the page that lists them."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from lmgateway import backend_errors, errors
from lmgateway.errors import GatewayError

PAGE = Path(__file__).parent.parent / "docs" / "errors.md"


def kinds() -> dict[str, tuple[int, str]]:
    """Give status and origin of every kind that a class declares."""
    found: dict[str, tuple[int, str]] = {}
    for value in (vars(errors) | vars(backend_errors)).values():
        if isinstance(value, type) and issubclass(value, GatewayError) and "kind" in vars(value):
            found[value.kind] = (value.status, value.origin)
    return found


class ErrorPageTests(SynchronousTestCase):
    """Tests for docs/errors.md."""

    def test_every_kind_is_listed_truly(self) -> None:
        """The page lists exactly the kinds that the code has, with status and origin."""
        rows = re.findall(r"^\| `(\w+)` \| (\d+)[^|]* \| (\w+) \|", PAGE.read_text(), re.MULTILINE)
        listed = {kind: (int(status), origin) for kind, status, origin in rows}
        self.assertEqual(listed, kinds())

    def test_messages_are_sentences(self) -> None:
        """Every error has something to say of itself."""
        for value in (vars(errors) | vars(backend_errors)).values():
            if isinstance(value, type) and issubclass(value, GatewayError):
                self.assertTrue(value.default_message().endswith("."))
