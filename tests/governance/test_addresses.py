"""Whose address counts."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.governance.addresses import Proxies, neighbourhood
from lmgateway.wire.door import Head

OURS = Proxies(("10.0.0.0/8", "fd00::/8"))


def head(peer: str, *forwarded: bytes) -> Head:
    """Give a head of that peer with ``X-Forwarded-For`` lines."""
    return Head(
        method=b"POST",
        path=b"/",
        query=b"",
        headers=[(b"x-forwarded-for", line) for line in forwarded],
        peer=peer,
        secure=False,
        length=0,
    )


class ProxiesTests(SynchronousTestCase):
    """R-L07: ``X-Forwarded-For`` is believed of proxies that are trusted, and of nobody else."""

    def test_nobody_is_trusted_by_default(self) -> None:
        """The socket's address counts."""
        self.assertEqual(Proxies().client_of(head("10.0.0.1", b"1.1.1.1")), "10.0.0.1")

    def test_strangers_are_not_believed(self) -> None:
        """Whatever they write."""
        self.assertEqual(OURS.client_of(head("8.8.8.8", b"1.1.1.1")), "8.8.8.8")

    def test_the_rightmost_untrusted(self) -> None:
        """What a client wrote before our proxies did is not looked at."""
        told = OURS.client_of(head("10.0.0.1", b"6.6.6.6, 1.1.1.1, 10.2.2.2"))
        self.assertEqual(told, "1.1.1.1")

    def test_several_lines_are_one_list(self) -> None:
        """As RFC 9110 has it."""
        told = OURS.client_of(head("10.0.0.1", b"6.6.6.6", b"1.1.1.1", b"10.2.2.2"))
        self.assertEqual(told, "1.1.1.1")

    def test_only_proxies(self) -> None:
        """Then the one farthest away."""
        self.assertEqual(OURS.client_of(head("10.0.0.1", b"10.3.3.3,10.2.2.2")), "10.3.3.3")
        self.assertEqual(OURS.client_of(head("10.0.0.1")), "10.0.0.1")

    def test_rubbish_ends_the_list(self) -> None:
        """The last proxy that made sense answers for it."""
        for rubbish in (b"unknown", b"", b"1.1.1.1.1", b"a" * 5000, b"\xff"):
            told = OURS.client_of(head("10.0.0.1", b"1.1.1.1, " + rubbish + b", 10.2.2.2"))
            self.assertEqual(told, "10.2.2.2")

    def test_ports_and_brackets(self) -> None:
        """Some proxies write them."""
        self.assertEqual(OURS.client_of(head("10.0.0.1", b"1.1.1.1:4711")), "1.1.1.1")
        self.assertEqual(OURS.client_of(head("fd00::1", b"[2001:db8::1]:443")), "2001:db8::1")

    def test_long_lists_are_cut(self) -> None:
        """Only so many hops are looked at, from the right."""
        told = OURS.client_of(head("10.0.0.1", b"1.1.1.1," + b",".join([b"10.1.1.1"] * 1000)))
        self.assertEqual(told, "10.1.1.1")


class NeighbourhoodTests(SynchronousTestCase):
    """Who is limited together."""

    def test_v6_by_64(self) -> None:
        """A /64 is one household."""
        self.assertEqual(neighbourhood("2001:db8::1"), neighbourhood("2001:db8::ffff:1"))
        self.assertNotEqual(neighbourhood("2001:db8::1"), neighbourhood("2001:db8:0:1::1"))

    def test_v4(self) -> None:
        """Each by itself, in IPv6 clothes too."""
        self.assertEqual(neighbourhood("1.2.3.4"), "1.2.3.4")
        self.assertEqual(neighbourhood("::ffff:1.2.3.4"), "1.2.3.4")

    def test_local_sockets(self) -> None:
        """What has no address is one neighbour."""
        self.assertEqual(neighbourhood(""), "")
