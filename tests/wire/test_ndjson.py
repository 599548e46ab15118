"""Splitting newline-delimited JSON."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.backend_errors import ProtocolError
from lmgateway.chat import Event
from lmgateway.wire.ndjson import Splitter

VECTORS = [
    b"",
    b'{"a":1}\n',
    b'{"a":1}\n{"b":2}\n{"done":true}\n',
    b'{"a":1}\r\n{"b":2}\r\n',
    b'\n\n{"a":1}\n\n',
    b'{"a":1}\n{"last":true}',
    b'{"a":"\xff\r"}\n\r\n',
]


def split(*pieces: bytes) -> list[Event]:
    """Split pieces with a new splitter."""
    splitter = Splitter()
    events: list[Event] = []
    for piece in pieces:
        events += splitter.feed(piece)
    return events + splitter.close()


class SplitterTests(SynchronousTestCase):
    def test_lines(self) -> None:
        """Each line is an event; its line end belongs to it and not to its data."""
        self.assertEqual(
            Splitter().feed(b'{"a":1}\n{"b":2}\r\n{"c'),
            [Event(b'{"a":1}\n', b"", b'{"a":1}'), Event(b'{"b":2}\r\n', b"", b'{"b":2}')],
        )

    def test_rest(self) -> None:
        """A line that has not ended yet is told, and is an event once the stream ends."""
        splitter = Splitter()
        splitter.feed(b'{"a":1}\n{"b"')
        splitter.feed(b":2}")
        self.assertEqual(splitter.rest, b'{"b":2}')
        self.assertEqual(splitter.close(), [Event(b'{"b":2}', b"", b'{"b":2}')])
        self.assertEqual((splitter.rest, splitter.close()), (b"", []))

    def test_too_large(self) -> None:
        """A line over the limit is an error, ended or not, however it comes."""
        big = b"x" * 101
        for pieces in ([big], [big + b"\n"], [b"x"] * 101, [b"x" * 60, b"x" * 60 + b"\n"]):
            splitter = Splitter(max_event=100)
            with self.assertRaises(ProtocolError):
                for piece in pieces:
                    splitter.feed(piece)
        self.assertEqual(len(Splitter(max_event=100).feed((b"x" * 99 + b"\n") * 50)), 50)

    def test_every_cut_of_every_vector(self) -> None:
        """Where a stream is cut makes no difference: same events, same bytes."""
        for vector in VECTORS:
            whole = split(vector)
            self.assertEqual(b"".join(event.raw for event in whole), vector)
            for cut in range(len(vector) + 1):
                self.assertEqual(split(vector[:cut], vector[cut:]), whole, (vector, cut))

    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=40), st.lists(st.integers(0, 40), max_size=5))
    def test_any_bytes_any_cuts(self, stream: bytes, cuts: list[int]) -> None:
        """Any bytes, cut anywhere, come out as they went in."""
        edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
        events = split(*[stream[a:b] for a, b in pairwise(edges)])
        self.assertEqual(b"".join(event.raw for event in events), stream)
        self.assertEqual(events, split(stream))
