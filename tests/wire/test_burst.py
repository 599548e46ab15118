"""What is written in a turn of the reactor leaves at its end, in order."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.wire.burst import SMALL, Burst, burst_of


class Pipe:
    """Notes what it sends, on a list that it shares with others."""

    def __init__(self, name: str, sent: list[tuple[str, bytes]]) -> None:
        self.name = name
        self.sent = sent
        self.burst: Burst | None = None

    def send(self, data: bytes) -> None:
        """Send; what begins with "again" leads to one write more."""
        if data == b"fail":
            raise ValueError("told to")
        self.sent.append((self.name, data))
        if data == b"again" and self.burst is not None:
            self.burst.send(self, b"more")


class BurstTests(SynchronousTestCase):
    """Two pipes write in one turn."""

    def setUp(self) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self.a, self.b = Pipe("a", self.sent), Pipe("b", self.sent)
        self.burst = Burst()
        self.burst.is_open = True

    def test_nothing_leaves_before_the_end(self) -> None:
        """What is written is held, and then sent in its order."""
        self.burst.send(self.a, b"1")
        self.burst.send(self.b, b"2")
        self.burst.send(self.a, b"3")
        self.assertEqual(self.sent, [])
        self.burst.end()
        self.assertEqual(self.sent, [("a", b"1"), ("b", b"2"), ("a", b"3")])
        self.assertFalse(self.burst.is_open)

    def test_what_one_writes_piece_by_piece_is_sent_as_one(self) -> None:
        """Pieces in a row of the same sender take one call."""
        self.burst.send(self.a, b"1")
        self.burst.send(self.a, b"2")
        self.burst.end()
        self.assertEqual(self.sent, [("a", b"12")])

    def test_much_is_not_held(self) -> None:
        """A large write leaves at once, after what was written before it."""
        large = b"x" * (SMALL + 1)
        self.burst.send(self.a, b"1")
        self.burst.send(self.b, large)
        self.assertEqual(self.sent, [("a", b"1"), ("b", large)])
        self.assertTrue(self.burst.is_open)

    def test_pieces_are_not_gathered_without_end(self) -> None:
        """Many small pieces of one sender leave once they are much together."""
        for _ in range(100):
            self.burst.send(self.a, b"x" * 1000)
        self.assertGreaterEqual(sum(len(data) for _, data in self.sent), 100_000 - SMALL)

    def test_many_are_not_held(self) -> None:
        """A long turn sends what it has now and then."""
        for number in range(100):
            self.burst.send((self.a, self.b)[number % 2], b"x")
        self.assertGreater(len(self.sent), 50)
        self.burst.end()
        self.assertEqual(len(self.sent), 100)

    def test_what_is_written_while_sending_comes_last(self) -> None:
        """Nobody's bytes overtake others of theirs that are held."""
        self.a.burst = self.burst
        self.burst.send(self.a, b"again")
        self.burst.send(self.b, b"2")
        self.burst.send(self.a, b"3")
        self.burst.end()
        self.assertEqual(self.sent, [("a", b"again"), ("b", b"2"), ("a", b"3"), ("a", b"more")])

    def test_one_that_fails_keeps_nobody_from_sending(self) -> None:
        """A failure is logged; the rest leaves."""
        self.burst.send(self.a, b"fail")
        self.burst.send(self.b, b"2")
        self.burst.end()
        self.assertEqual(self.sent, [("b", b"2")])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_no_burst_without_a_turn(self) -> None:
        """A transport of no reactor, or of one that is as Twisted made it, holds nothing."""
        self.assertFalse(burst_of(object()).is_open)
