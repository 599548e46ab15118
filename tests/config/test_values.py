"""What single values may be."""

from __future__ import annotations

from typing import Any, get_args

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.config import values


def fault(kind: Any, value: object) -> str | None:
    """Say what is wrong with a value of a kind."""
    _, demand = get_args(kind)
    found: str | None = demand.fault(value)
    return found


class KindTests(SynchronousTestCase):
    """Each kind, by examples."""

    def assert_kind(self, kind: Any, good: list[object], bad: list[object]) -> None:
        """Check what a kind takes; faults never repeat the value."""
        for value in good:
            self.assertIs(fault(kind, value), None, repr(value))
        for value in bad:
            found = fault(kind, value)
            assert found is not None, repr(value)
            self.assertTrue(found.startswith("must be "))
            if isinstance(value, str) and len(value) > 3:
                self.assertNotIn(value, found)

    def test_numbers(self) -> None:
        """Both bounds are allowed; what is no number is not."""
        self.assert_kind(values.Port, [0, 65535], [-1, 65536])
        self.assert_kind(values.Milliseconds, [1], [0])
        self.assert_kind(values.Ratio, [0, 1.0], [1.1, float("nan"), float("inf"), -0.1])

    def test_hosts(self) -> None:
        """Addresses, and the one name that everyone knows."""
        self.assert_kind(
            values.ListenHost,
            ["127.0.0.1", "::", "0.0.0.0", "localhost"],
            ["", "example.org", "127.0.0.1:80", "[::1]"],
        )

    def test_origins(self) -> None:
        """As a browser writes them."""
        self.assert_kind(
            values.Origin,
            ["*", "https://chat.example", "http://localhost:3000"],
            ["chat.example", "https://chat.example/", "https://a@b", "null"],
        )

    def test_networks(self) -> None:
        """Single addresses are networks too."""
        self.assert_kind(
            values.Network, ["10.0.0.0/8", "::1", "fd00::/8"], ["10.0.0.1/8", "x", "10.0.0.0/33"]
        )

    def test_names(self) -> None:
        """Variables, headers, digests."""
        self.assert_kind(values.EnvName, ["A_1", "_"], ["", "1A", "A-B", "A B", "A\n"])
        self.assert_kind(values.HeaderName, ["X-A", "!"], ["", "X A", "X:", "é"])
        self.assert_kind(values.HeaderValue, ["", "a b", "é"[:0]], ["a\nb", " a", "é"])
        self.assert_kind(values.HexDigest, ["aB" * 32], ["a" * 63, "g" * 64])

    def test_levels(self) -> None:
        """For all, or by namespace; case does not matter."""
        self.assertEqual(values.log_levels("INFO"), {"": "info"})
        self.assertEqual(
            values.log_levels("warning, lmgateway.wire=trace"),
            {"": "warn", "lmgateway.wire": "debug"},
        )
        self.assert_kind(values.LogLevel, ["debug"], ["", "loud", "a=", "x,"])

    def test_loopback(self) -> None:
        """What only this machine can reach."""
        for host in ("localhost", "LOCALHOST", "127.1.2.3", "::1", "[::1]"):
            self.assertTrue(values.is_loopback(host), host)
        for host in ("", "0.0.0.0", "::", "10.0.0.1", "localhost.example"):
            self.assertFalse(values.is_loopback(host), host)

    def test_moments(self) -> None:
        """A date, or a time with its zone."""
        self.assert_kind(
            values.Moment,
            ["2030-01-31", "2030-01-31T18:00:00Z", "2030-01-31T18:00:00+02:00"],
            ["", "soon", "2031-01-31T18:00:00", "2030-13-01"],
        )
        self.assertEqual(values.moment("1970-01-02"), 86400)
