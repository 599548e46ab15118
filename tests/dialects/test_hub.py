"""The makers and readers of hub documents."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.backend_errors import ProtocolError
from lmgateway.chat import Usage
from lmgateway.dialects import hub


class ValueTests(SynchronousTestCase):
    """Values of hostile documents."""

    def test_what_is_none_is_nothing(self) -> None:
        """Whatever is not of the kind asked for is empty."""
        nothing: tuple[Any, ...] = (None, True, "3", -1, 1.5, [], {})
        for value in nothing:
            self.assertEqual(hub.count(value), 0)
        self.assertEqual((hub.count(3), hub.text(3), hub.mapping([])), (3, "", {}))
        self.assertEqual(hub.objects([1, {}, "x"]), [{}])
        self.assertEqual(hub.plain_text([{"text": "a"}, {"image": 1}, {"text": "b"}]), "a\nb")

    def test_objects_are_read(self) -> None:
        """Bytes that are no UTF-8 are read as far as they go; nesting is bounded."""
        self.assertEqual(hub.read_object(b'{"a":"\xff"}'), {"a": "\ufffd"})
        for garbage in (b"[]", b"x", b'{"a":' * 100_000):
            self.assertRaises(ProtocolError, hub.read_object, garbage)

    def test_arguments(self) -> None:
        """Arguments are an object, or none at all."""
        self.assertEqual(hub.arguments_object(' {"a":1}'), {"a": 1})
        self.assertEqual((hub.arguments_object(""), hub.arguments_object({})), ({}, {}))
        for value in ("[1]", "{", None, 3, "[" * 100_000):
            self.assertIsNone(hub.arguments_object(value))

    def test_stamp(self) -> None:
        """A sensible time is kept; without one it is now."""
        self.assertEqual(hub.stamp({"created": 7.5}), 7)
        for value in (None, "7", -1, 1e300):
            self.assertGreater(hub.stamp({"created": value}), 1_600_000_000)


class ImageTests(SynchronousTestCase):
    """Images."""

    def test_data_uris(self) -> None:
        """The type and the data of base64 URIs are told apart; others are none."""
        self.assertEqual(hub.split_data_uri("data:image/PNG;base64,AA=="), ("image/png", "AA=="))
        self.assertEqual(hub.split_data_uri("data:image/png;a=b;base64,AA"), ("image/png", "AA"))
        for url in ("https://x/y.png", "data:image/png,abc", "data:,x", ""):
            self.assertIsNone(hub.split_data_uri(url))

    def test_sniffing(self) -> None:
        """The first bytes tell the type; unknown ones are taken for PNG, garbage is none."""
        self.assertEqual(hub.sniff_image(b64encode(b"GIF87a....").decode()), "image/gif")
        self.assertEqual(hub.sniff_image(b64encode(b"????").decode()), "image/png")
        for data in ("", "\u00e9\u00e9\u00e9\u00e9", "%"):
            self.assertIsNone(hub.sniff_image(data))


class AnswerTests(SynchronousTestCase):
    """Answers."""

    def test_usage_round_trip(self) -> None:
        """A usage written is the usage read."""
        usage = Usage(input_tokens=9, output_tokens=8, cached_read=3, cached_write=2, reasoning=1)
        self.assertEqual(hub.usage_of(hub.usage_document(usage)), usage)
        self.assertIsNone(hub.usage_of([]))

    def test_first_choice(self) -> None:
        """The first choice is the one with index 0, wherever it stands."""
        one, two = {"index": 1}, {"index": 0}
        self.assertIs(hub.first_choice({"choices": [one, two]}), two)
        self.assertEqual(hub.first_choice({"choices": [one]}), {})
        self.assertEqual(hub.first_choice({"choices": None}), {})

    def test_calls_in_pieces(self) -> None:
        """Pieces with or without indices, and with repeated names, are put together."""
        calls = hub.ToolCalls()
        calls.add([{"id": "a", "function": {"name": "f", "arguments": "{"}}])
        calls.add([{"function": {"name": "f", "arguments": "}"}}])
        calls.add([{"id": "b", "function": {"name": "g"}}])
        self.assertEqual(
            calls.whole(), [hub.tool_call("a", "f", "{}"), hub.tool_call("b", "g", "")]
        )

    def test_names_of_tools(self) -> None:
        """Declared tools are told by name."""
        tools = [{"function": {"name": "f"}}, {"function": 3}, {}, 4]
        self.assertEqual(hub.tool_names({"tools": tools}), {"f"})
