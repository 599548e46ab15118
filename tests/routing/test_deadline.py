"""The client's own deadline, as it writes it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.errors import MalformedRequest
from lmgateway.routing.deadline import deadline


class DeadlineTests(SynchronousTestCase):
    """Tests for ``X-LMG-Deadline``."""

    def test_forms(self) -> None:
        """Bare numbers are milliseconds; with a unit fractions are allowed too."""
        for text, seconds in (
            ("1500", 1.5),
            (" 1500ms ", 1.5),
            ("0.5ms", 0.0005),
            ("1.5s", 1.5),
            ("30s", 30.0),
            ("2m", 120.0),
        ):
            self.assertEqual(deadline(text), seconds, text)

    def test_malformed(self) -> None:
        """Everything else is refused, and the refusal names the header."""
        for text in ("", "0", "0s", "-1", "1.5", "1 s", "1h", "soon", "NaN", "1e3", "٣", "9" * 10):
            error = self.assertRaises(MalformedRequest, deadline, text)
            self.assertEqual((error.status, error.param), (400, "X-LMG-Deadline"))
