"""Splitting server-sent events."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.backend_errors import ProtocolError
from lmgateway.chat import Event
from lmgateway.wire.sse import Splitter

VECTORS = [
    b"",
    b'data: {"a":1}\n\n',
    b'data: {"a":1}\n\ndata: {"b":2}\n\ndata: [DONE]\n\n',
    b'event: message_start\ndata: {"type":"message_start"}\n\nevent: ping\ndata: {}\n\n',
    b"data:no space\n\ndata:  two spaces\n\ndata\n\ndata:\n\n",
    b"data: one\ndata: two\ndata:\ndata: four\n\n",
    b": comment\n\n:\n\n: a\n: b\ndata: x\n\n",
    b"id: 1\nretry: 5\nunknown: x\ndata: y\n\n",
    b"data: a\r\n\r\ndata: b\r\n\r\n",
    b"data: a\r\rdata: b\r\rdata: c\r\r",
    b"data: a\n\r\ndata: b\r\n\ndata: c\r\r\ndata: d\n\rdata: e\r\n\r",
    b"\xef\xbb\xbfdata: bom\n\ndata: next\n\n",
    b"\xef\xbb\xbf\n\xef\xbb\xbfdata: not a bom\n\n",
    b"\n\n\ndata: after empty lines\n\n\n\n\ndata: x\n\n\n",
    b"\r\n\r\ndata: x\r\n\r\n\r\n",
    b"\r\r\n\n\rdata: x\n\n",
    b"event: e\n\nevent: f\nevent: g\ndata: h\n\n",
    b"data: \xff\xfe invalid utf-8 \x00\n\n",
    b"data: cut",
    b"data: no empty line\n",
    b"data: no empty line\r",
    b"data: a\n\ndata: [DONE]\r\n",
]


def reference(stream: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Read *stream* as slowly and plainly as the grammar is written."""
    found = []
    raw, name, mark = b"", b"", b"\xef\xbb\xbf"
    data: list[bytes] = []
    for match in re.finditer(rb"([^\r\n]*)(\r\n|\r|\n)", stream):
        raw += match[0]
        line = match[1].removeprefix(mark)
        mark = b""
        field, _, value = line.partition(b":")
        value = value[1:] if value[:1] == b" " else value
        if not line:
            found.append((raw, name, b"\n".join(data)))
            raw, name, data = b"", b"", []
        elif field == b"event":
            name = value
        elif field == b"data":
            data.append(value)
    if raw and stream[-1:] in (b"\r", b"\n"):
        found.append((raw, name, b"\n".join(data)))
    return found


def split(*pieces: bytes) -> tuple[list[tuple[bytes, bytes, bytes]], bytes]:
    """Split pieces with a new splitter; give the events and the rest."""
    splitter = Splitter()
    events: list[Event] = []
    for piece in pieces:
        events += splitter.feed(piece)
    events += splitter.close()
    return [(event.raw, event.name, event.data) for event in events], splitter.rest


class GrammarTests(SynchronousTestCase):
    def test_the_usual(self) -> None:
        """Data, a name, and the end: what nearly every stream is made of."""
        self.assertEqual(
            Splitter().feed(b'data: {}\n\nevent: ping\ndata: {"a":1}\n\ndata: [DONE]\n\n'),
            [
                Event(b"data: {}\n\n", b"", b"{}"),
                Event(b'event: ping\ndata: {"a":1}\n\n', b"ping", b'{"a":1}'),
                Event(b"data: [DONE]\n\n", b"", b"[DONE]"),
            ],
        )

    def test_single_event(self) -> None:
        """An event that comes alone is given at once."""
        self.assertEqual(Splitter().feed(b"data: x\n\n"), [Event(b"data: x\n\n", b"", b"x")])
        self.assertEqual(Splitter().feed(b"data: \n\n"), [Event(b"data: \n\n", b"", b"")])

    def test_vectors(self) -> None:
        """Line ends, marks, comments, fields: as the grammar says, byte for byte."""
        for vector in VECTORS:
            events, rest = split(vector)
            self.assertEqual(events, reference(vector), vector)
            self.assertEqual(b"".join(raw for raw, _, _ in events) + rest, vector)

    def test_crlf_is_one_line_end(self) -> None:
        """CRLF is never taken for two, wherever it is cut."""
        splitter = Splitter()
        self.assertEqual(splitter.feed(b"data: a\r"), [])
        self.assertEqual(splitter.feed(b"\ndata: b\r\n\r"), [])
        events = splitter.feed(b"\ndata: c\r\n")
        self.assertEqual([event.data for event in events], [b"a\nb"])
        self.assertEqual(splitter.rest, b"data: c\r\n")

    def test_an_event_does_not_wait_for_the_next(self) -> None:
        """With LF or CRLF an event is given with its last byte."""
        for end in (b"\n\n", b"\r\n\r\n", b"\r\n\n"):
            self.assertEqual(len(Splitter().feed(b"data: x" + end)), 1)

    def test_unterminated_tail(self) -> None:
        """Half a line at the end is no event, and is told."""
        events, rest = split(b'data: a\n\ndata: {"cho')
        self.assertEqual([data for _, _, data in events], [b"a"])
        self.assertEqual(rest, b'data: {"cho')

    def test_too_large(self) -> None:
        """An event over the limit is an error, ended or not, however it comes."""
        big = b"data: " + b"x" * 100
        for pieces in ([big], [big + b"\n\n"], [big[:50], big[50:]], [b"x"] * 101, [b"\r" + big]):
            splitter = Splitter(max_event=100)
            with self.assertRaises(ProtocolError):
                for piece in pieces:
                    splitter.feed(piece)
        splitter = Splitter(max_event=100)
        self.assertEqual(len(splitter.feed(b"data: " + b"x" * 92 + b"\n\n")), 1)
        self.assertEqual(len(splitter.feed(b"data: x\n\n" * 100)), 100)
        self.assertEqual(len(splitter.feed(b"data: x\r\n\r\n" * 100)), 100)


class CutTests(SynchronousTestCase):
    def test_every_cut_of_every_vector(self) -> None:
        """Where a stream is cut makes no difference: same events, same bytes."""
        for vector in VECTORS:
            whole = split(vector)
            for cut in range(len(vector) + 1):
                self.assertEqual(split(vector[:cut], vector[cut:]), whole, (vector, cut))
            self.assertEqual(split(*[vector[i : i + 1] for i in range(len(vector))]), whole)

    @settings(max_examples=300, deadline=None)
    @given(
        st.lists(
            st.sampled_from(
                [
                    b"\n",
                    b"\r",
                    b"\r\n",
                    b"data: x",
                    b"data:",
                    b"event: e",
                    b":",
                    b"\xef\xbb\xbf",
                    b"y",
                ]
            ),
            max_size=14,
        ),
        st.lists(st.integers(0, 60), max_size=5),
    )
    def test_any_stream_any_cuts(self, parts: list[bytes], cuts: list[int]) -> None:
        """Any mixture, cut anywhere, is what the grammar says."""
        stream = b"".join(parts)
        edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
        pieces = [stream[a:b] for a, b in pairwise(edges)]
        events, rest = split(*pieces)
        self.assertEqual(b"".join(raw for raw, _, _ in events) + rest, stream)
        self.assertEqual((events, rest), split(stream))
        self.assertEqual(events, reference(stream))

    def test_steps_grow_with_the_input_only(self) -> None:
        """A large event in tiny pieces is joined once, not once per piece."""
        splitter = Splitter(max_event=1 << 21)
        for _ in range(20_000):
            splitter.feed(b"x" * 50)
        self.assertEqual(len(splitter.feed(b"\n\n")), 1)
