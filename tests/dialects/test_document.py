"""
Tests for strict JSON at the door, and for edits that leave the rest alone.

Row J1 of the reliability notes, and rows 38 and 39 of the fault matrix.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.dialects.document import LARGE, MAX_DEPTH, encode, read, splice
from lmgateway.errors import MalformedRequest

REFUSED_BODIES: dict[str, bytes] = {
    "nothing": b"",
    "blanks": b"  \n ",
    "an array": b"[]",
    "a string": b'"model"',
    "null": b"null",
    "a number": b"7",
    "cut short": b'{"model": "m"',
    "a trailing comma": b'{"model": "m",}',
    "bytes behind it": b'{"model": "m"} {}',
    "NaN": b'{"temperature": NaN}',
    "Infinity": b'{"temperature": Infinity}',
    "a number out of range": b'{"temperature": 1e999}',
    "4301 digits": b'{"n": ' + b"9" * 4301 + b"}",
    "a leading zero": b'{"n": 01}',
    "a comment": b'{"n": 1 /* one */}',
    "single quotes": b"{'model': 'm'}",
    "a byte order mark": b'\xef\xbb\xbf{"model": "m"}',
    "UTF-16": '{"model": "m"}'.encode("utf-16"),
    "UTF-16 without a mark": '{"model": "m"}'.encode("utf-16-le"),
    "UTF-32": '{"model": "m"}'.encode("utf-32"),
    "no UTF-8": b'{"model": "\xff"}',
    "an overlong form": b'{"model": "\xc0\xaf"}',
    "a lone surrogate": b'{"model": "\\ud800"}',
    "a surrogate in UTF-8": b'{"model": "\xed\xa0\x80"}',
    "a control character": b'{"model": "a\x01"}',
    "a bad escape": b'{"model": "\\x41"}',
    "100,000 levels of arrays": b"[" * 100_000,
    "100,000 levels of objects": b'{"a":' * 100_000,
    "too many levels": b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1),
    "a model given twice": b'{"model": "a", "model": "b"}',
    "the same value twice": b'{"model": "a", "model": "a"}',
    "a value that begins the other": b'{"n": 12, "n": 1}',
    "a value that goes on": b'{"n": 1, "n": 12}',
    "twice by an escape": b'{"model": "a", "mo\\u0064el": "b"}',
    "twice at the end": b'{"model": "a", "stream": true, "model": "b"}',
    "another case": b'{"model": "allowed", "MODEL": "forbidden"}',
    "another case alone": b'{"Model": "m"}',
    "another case of stream": b'{"model": "m", "sTREAM": true}',
    "a case-folded letter": '{"me\u017f\u017fages": []}'.encode(),
    "a blank in the name": b'{"model ": "m"}',
}


Style = tuple[str, str]


class ReadTests(SynchronousTestCase):
    """Tests for ``read``."""

    def test_J1_bad_bodies_are_refused(self) -> None:
        """Whatever could be read in two ways, or in none, is a 400 and nothing worse."""
        for what, body in REFUSED_BODIES.items():
            with self.assertRaises(MalformedRequest, msg=what) as caught:
                read(body)
            self.assertEqual(caught.exception.status, 400)
            self.assertTrue(caught.exception.param, what)

    def test_member_at_fault_is_named(self) -> None:
        """A doubled or misspelt member is the error's ``param``."""
        for body, param in ((b'{"n": 1, "n": 2}', "n"), (b'{"STREAM": true}', "STREAM")):
            with self.assertRaises(MalformedRequest) as caught:
                read(body)
            self.assertEqual(caught.exception.param, param)

    def test_depth_up_to_the_limit(self) -> None:
        """The last allowed level is allowed, and brackets in text do not count."""
        inner = b'{"a":' * (MAX_DEPTH - 1) + b"1" + b"}" * (MAX_DEPTH - 1)
        self.assertIn("x", read(b'{"x":' + inner + b"}")[0])
        read(encode({"messages": ["[" * 500]}))

    def test_large_bodies(self) -> None:
        """A body too large to be looked at twice is read as strictly, and edited alike."""
        text = "x" * LARGE
        raw = json.dumps({"model": "m", "messages": [text], "stream": False}).encode()
        document, spans = read(raw)
        edited = splice(raw, spans, {"model": b'"other"'})
        self.assertEqual(json.loads(edited), {**document, "model": "other"})
        twice = raw[:-1] + b', "model": "n"}'
        deep = raw[:-1] + b', "a": ' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}"
        for bad in (twice, deep):
            self.assertRaises(MalformedRequest, read, bad)

    def test_doubles_within_are_not_ours_to_judge(self) -> None:
        """Only the top level decides: what is within goes on as it came."""
        read(b'{"metadata": {"a": 1, "a": 2}}')

    @given(
        st.dictionaries(
            st.text(max_size=8),
            st.recursive(
                st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=8),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(st.text(max_size=5), inner, max_size=3)
                ),
                max_leaves=8,
            ),
            max_size=6,
        ),
        st.sampled_from([None, 2]),
    )
    def test_spans(self, document: dict[str, Any], indent: int | None) -> None:
        """Each span is exactly the value of its member, however the body is laid out."""
        raw = json.dumps(document, indent=indent).encode()
        try:
            parsed, spans = read(raw)
        except MalformedRequest as error:
            self.assertTrue(error.param is not None or "valid JSON" in str(error))
            return
        self.assertEqual(parsed, document)
        for name, (start, end) in spans.items():
            self.assertEqual(json.loads(raw[start:end]), document[name])
        self.assertEqual(set(spans), set(document))

    @given(
        st.lists(
            st.tuples(st.sampled_from(["a", "b", "model"]), st.sampled_from(["1", '"x"'])),
            max_size=4,
        ),
        st.sampled_from([(":", ","), (": ", ", "), (" :", " ,"), (": ", ",")]),
    )
    def test_doubles_in_every_style(self, members: list[tuple[str, str]], style: Style) -> None:
        """A member that is there twice is refused, however the body is laid out."""
        colon, comma = style
        text = comma.join(f'"{name}"{colon}{value}' for name, value in members)
        names = [name for name, _ in members]
        raw = f"{{{text}}}".encode()
        if len({*names}) < len(names):
            self.assertRaises(MalformedRequest, read, raw)
        else:
            spans = read(raw)[1]
            told = {name: raw[start:end].decode() for name, (start, end) in spans.items()}
            self.assertEqual(told, dict(members))


class SpliceTests(SynchronousTestCase):
    """Tests for ``splice``."""

    raw = b' { "model" : "a", "x": [1.50, {"y" : 1e2}] , "n":1 } '

    def spliced(self, **changes: bytes | None) -> bytes:
        """Edit the body of these tests."""
        return splice(self.raw, read(self.raw)[1], changes)

    def test_replaced(self) -> None:
        """A value is replaced, and the others keep their very bytes."""
        edited = self.spliced(model=b'"b"')
        self.assertEqual(json.loads(edited), {"model": "b", "x": [1.5, {"y": 100}], "n": 1})
        self.assertIn(b'[1.50, {"y" : 1e2}]', edited)

    def test_added_and_removed(self) -> None:
        """Members are added at the end, and removed; absent ones may be removed too."""
        self.assertEqual(
            json.loads(self.spliced(n=None, z=b"true", nothing=None)),
            {"model": "a", "x": [1.5, {"y": 100}], "z": True},
        )
        self.assertEqual(self.spliced(model=None, x=None, n=None), b"{}")
        empty = splice(b"{}", read(b"{}")[1], {"a": b"1"})
        self.assertEqual(msgspec.json.decode(empty), {"a": 1})
