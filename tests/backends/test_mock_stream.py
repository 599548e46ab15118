"""Cutting what a writer framed into events."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.backends.mock_stream import split
from lmgateway.chat import Event


class SplitTests(SynchronousTestCase):
    """Writers of any dialect give whole events, one or several at a time."""

    def test_one_event(self) -> None:
        """The usual case: one line of data."""
        self.assertEqual(split(b"data: {}\n\n", "sse"), [Event(b"data: {}\n\n", b"", b"{}")])

    def test_named_events(self) -> None:
        """Several named events, as Anthropic's grammar has them."""
        found = split(b"event: a\ndata: 1\n\nevent: b\ndata: 2\ndata: 3\n\n", "sse")
        self.assertEqual(
            found,
            [
                Event(b"event: a\ndata: 1\n\n", b"a", b"1"),
                Event(b"event: b\ndata: 2\ndata: 3\n\n", b"b", b"2\n3"),
            ],
        )

    def test_comment(self) -> None:
        """A comment has no data."""
        self.assertEqual(split(b": hi\n\n", "sse"), [Event(b": hi\n\n", b"", b"")])

    def test_lines(self) -> None:
        """NDJSON has an event a line."""
        self.assertEqual(
            split(b'{"a":1}\n{}\n', "ndjson"),
            [Event(b'{"a":1}\n', b"", b'{"a":1}'), Event(b"{}\n", b"", b"{}")],
        )

    def test_nothing(self) -> None:
        """A writer that has nothing to say yet makes no event."""
        self.assertEqual([split(b"", "sse"), split(b"", "ndjson")], [[], []])
