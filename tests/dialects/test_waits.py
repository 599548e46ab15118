"""How long a backend asks to wait, however it says so."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.dialects.waits import LONGEST_WAIT, retry_after

NOW = 1_700_000_000.0
"""Tue, 14 Nov 2023 22:13:20 GMT"""

NAMES = (
    b"retry-after",
    b"retry-after-ms",
    b"date",
    b"x-ratelimit-reset-requests",
    b"x-ratelimit-reset-tokens",
    b"x-ratelimit-remaining-tokens",
    b"x-ratelimit-reset",
    b"ratelimit-reset",
    b"anthropic-ratelimit-tokens-reset",
)
PIECES = st.sampled_from(
    [
        "-",
        "+",
        "1",
        "9",
        "0",
        ".",
        "e",
        "E",
        "1e9",
        "NaN",
        "inf",
        "s",
        "m",
        "h",
        "ms",
        ":",
        "T",
        "Z",
        ",",
        "Tue",
        "14",
        "Nov",
        "2023",
        "22:13:20",
        "GMT",
        "9999",
        "_",
        "٣",
    ]
)
VALUES = st.one_of(
    st.lists(PIECES, max_size=12).map(lambda all_: "".join(all_).encode()),
    st.lists(PIECES, max_size=8).map(lambda all_: " ".join(all_).encode()),
    st.binary(max_size=80),
)


class WaitTests(SynchronousTestCase):
    """Tests for what is read from the headers of a refusal."""

    def told(self, *rows: tuple[dict[bytes, bytes], float | None]) -> None:
        """Compare."""
        for headers, seconds in rows:
            read = retry_after(headers, NOW)
            if seconds is None:
                self.assertIsNone(read, headers)
            else:
                self.assertIsNotNone(read, headers)
                self.assertAlmostEqual(read, seconds, 6, str(headers))

    def test_retry_after(self) -> None:
        """Seconds, whole or not; milliseconds first; dates by the backend's clock or ours."""
        self.told(
            ({b"retry-after": b"2"}, 2.0),
            ({b"retry-after": b" 0.5 "}, 0.5),
            ({b"retry-after-ms": b"250", b"retry-after": b"9"}, 0.25),
            ({b"retry-after-ms": b"?", b"retry-after": b"9"}, 9.0),
            ({b"retry-after": b"Tue, 14 Nov 2023 22:13:30 GMT"}, 10.0),
            ({b"retry-after": b"Tue, 14 Nov 2023 22:13:10 GMT"}, 0.0),
            ({b"retry-after": b"Tuesday, 14-Nov-23 22:13:30 GMT"}, 10.0),
            ({b"retry-after": b"Tue, 14 Nov 2023 22:13:30 -0000"}, 10.0),
            ({b"retry-after": b"20s"}, 20.0),
            ({}, None),
        )
        dated = {
            b"date": b"Tue, 14 Nov 2023 23:00:00 GMT",
            b"retry-after": b"Tue, 14 Nov 2023 23:00:07 GMT",
        }
        self.told((dated, 7.0))

    def test_resets(self) -> None:
        """Spans, seconds, times since the epoch; what ``Retry-After`` says goes first."""
        self.told(
            ({b"x-ratelimit-reset-requests": b"1s"}, 1.0),
            ({b"x-ratelimit-reset-requests": b"6m0s"}, 360.0),
            ({b"x-ratelimit-reset-tokens": b"20ms"}, 0.02),
            ({b"x-ratelimit-reset-tokens": b"1h2m7.5s"}, 3727.5),
            ({b"x-ratelimit-reset-tokens": b"4"}, 4.0),
            ({b"x-ratelimit-reset-requests": b"1700000012"}, 12.0),
            ({b"x-ratelimit-reset": b"1700000003500"}, 3.5),
            ({b"x-ratelimit-reset": b"1600000000"}, 0.0),
            ({b"ratelimit-reset": b"30"}, 30.0),
            ({b"anthropic-ratelimit-tokens-reset": b"2023-11-14T22:13:25Z"}, 5.0),
            ({b"anthropic-ratelimit-requests-reset": b"2023-11-14T23:13:26+01:00"}, 6.0),
            ({b"x-ratelimit-reset-requests": b"9s", b"retry-after": b"3"}, 3.0),
            ({b"x-ratelimit-reset-tokens": b"later"}, None),
            ({b"anthropic-ratelimit-tokens-reset": b"2023-99-14T22:13:25Z"}, None),
        )

    def test_which_limit(self) -> None:
        """The latest reset counts, or that of the limit that is used up."""
        both = {b"x-ratelimit-reset-requests": b"2s", b"x-ratelimit-reset-tokens": b"6m0s"}
        used_up = {**both, b"x-ratelimit-remaining-requests": b"0"}
        self.told((both, 360.0), (used_up, 2.0))
        used_up[b"x-ratelimit-remaining-tokens"] = b"0"
        self.told((used_up, 360.0))

    def test_hostile(self) -> None:
        """Row 16: what is no wait is none; what is absurdly long is a day."""
        for text in (b"-1", b"NaN", b"inf", b"soon", b"", b"1_0", b"\xff", b"--", b"1e-3"):
            self.told(({b"retry-after": text}, None), ({b"x-ratelimit-reset": text}, None))
        for text in (b"1e9", b"1e999", b"99999999999", b"Fri, 31 Dec 9999 23:59:59 GMT"):
            self.told(({b"retry-after": text}, LONGEST_WAIT))

    @given(st.dictionaries(st.sampled_from(NAMES), VALUES))
    def test_anything(self, headers: dict[bytes, bytes]) -> None:
        """Whatever the headers, it is nothing or a bounded time."""
        wait = retry_after(headers, NOW)
        self.assertTrue(wait is None or 0 <= wait <= LONGEST_WAIT, wait)
