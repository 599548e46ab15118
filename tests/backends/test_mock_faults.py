"""Faults as they are written."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.backends.mock_faults import MAX_CHUNKS, Fault, fault_in, parse_fault


class FaultTests(SynchronousTestCase):
    """Reading faults."""

    def test_letters(self) -> None:
        """Each letter is one fault, and they combine."""
        cases = {
            "c100-d20-t50": Fault(chunks=100, gap_ms=20, first_token_ms=50),
            "h": Fault(hold_after=1),
            "h3": Fault(hold_after=3),
            "x5": Fault(cut_after=5),
            "g0": Fault(garbage_after=0),
            "i2": Fault(error_after=2),
            "e503": Fault(status=503),
            "r429": Fault(status=429, retry_after=1),
            "r503:30": Fault(status=503, retry_after=30),
            "w200:a-h\n": Fault(status=200, body=b"a-h\n"),
            "t5-w404:{}": Fault(status=404, body=b"{}", first_token_ms=5),
            "c9999999": Fault(chunks=MAX_CHUNKS),
        }
        for text, wanted in cases.items():
            self.assertEqual(parse_fault(text), wanted, text)
            self.assertEqual(fault_in(f"mock-{text}"), wanted, text)

    def test_not_faults(self) -> None:
        """What is no fault is refused in a config and a plain name in a model."""
        for text in ("", "e5", "e200", "c", "x", "z5", "e503-", "c1 ", "r429:", "c12345678"):
            self.assertRaises(ValueError, parse_fault, text)
            self.assertIsNone(fault_in(f"mock-{text}"), text)

    def test_real_model_names_are_no_faults(self) -> None:
        """Names of real models mean themselves."""
        for model in ("gpt-4o-mini", "text-embedding-e5", "claude-3-5-haiku", "qwen3:4b", "h", ""):
            self.assertIsNone(fault_in(model))

    def test_long_names_cost_nothing(self) -> None:
        """A hostile name is looked at only at its end."""
        self.assertIsNone(fault_in("-c1" * 1_000_000 + "-"))
