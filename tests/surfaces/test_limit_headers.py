"""How limits stand, in headers."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.dialects.waits import retry_after
from lmgateway.errors import RateLimited, TooManyConcurrent
from lmgateway.principal import Standing
from lmgateway.surfaces.limit_headers import limit_headers, refusal_headers


class HeaderTests(SynchronousTestCase):
    """Tests for both spellings."""

    def test_durations(self) -> None:
        """As OpenAI writes them, and as we read them."""
        for seconds, text in (
            (0, b"0ms"),
            (0.0171, b"18ms"),
            (0.9995, b"1s"),
            (1, b"1s"),
            (8.64, b"8.64s"),
            (59.9999, b"1m0s"),
            (360, b"6m0s"),
            (3600, b"1h0m0s"),
            (3725.5, b"1h2m5.5s"),
        ):
            told = dict(limit_headers("openai", [Standing("requests", "ip", 60, 1, seconds)], 0))
            self.assertEqual(told[b"x-ratelimit-reset-requests"], text)
            read = retry_after(told)
            assert read is not None
            self.assertLess(abs(read - seconds), 0.001)

    def test_times(self) -> None:
        """Anthropic's clients get a moment, never one before the reset."""
        told = limit_headers("anthropic", [Standing("tokens", "client", 9, 3, 1.5)], 0.25)
        self.assertEqual(
            told,
            [
                (b"anthropic-ratelimit-tokens-limit", b"9"),
                (b"anthropic-ratelimit-tokens-remaining", b"3"),
                (b"anthropic-ratelimit-tokens-reset", b"1970-01-01T00:00:02Z"),
            ],
        )

    def test_concurrency_has_no_header(self) -> None:
        """No API has a name for it."""
        self.assertEqual(
            limit_headers("openai", [Standing("concurrency", "client", 1, 0, 0)], 0), []
        )

    def test_refusals(self) -> None:
        """A rate has a window; a number at once has none."""
        limited, crowded = RateLimited("Slower."), TooManyConcurrent("Fewer.")
        limited.standings = [Standing("tokens", "profile", 4, 0, 15)]
        crowded.standings = [Standing("concurrency", "client", 2, 0, 0)]
        self.assertIn((b"x-ratelimit-policy", b"4;w=60"), refusal_headers(limited))
        self.assertEqual(
            refusal_headers(crowded),
            [(b"x-ratelimit-limit", b"2"), (b"x-ratelimit-scope", b"client")],
        )
        self.assertEqual(refusal_headers(TooManyConcurrent("A queue is full.")), [])
