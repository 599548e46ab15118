"""Trace context: gone on with where it is sound, begun anew where it is not."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.wire.door import Head
from lmgateway.wire.trace import MAX_STATE, PARENT, STATE, trace_of, trace_of_head

TRACE, SPAN = b"0af7651916cd43dd8448eb211c80319c", b"b7ad6b7169203331"


class TraceTests(SynchronousTestCase):
    """See ``lmgateway.wire.trace``."""

    def test_L9_2_a_trace_is_gone_on_with(self) -> None:
        """The trace stays, the client's span is the parent, and backends get spans of ours."""
        headers = {PARENT: b"00-%b-%b-01" % (TRACE, SPAN), STATE: b"a=1,b=2", b"x": b"y"}
        trace = trace_of(headers)
        self.assertEqual((trace.id, trace.parent, trace.flags), (TRACE, SPAN, 1))
        self.assertEqual(headers, {b"x": b"y"})
        (name, told), state = trace.onward(1)
        self.assertEqual((name, state), (PARENT, (STATE, b"a=1,b=2")))
        self.assertEqual(told, b"00-%b-%b-01" % (TRACE, trace.span_id(1).encode()))
        self.assertEqual(len({trace.span_id(n) for n in range(4)} | {SPAN.decode()}), 5)

    def test_a_later_version_is_read_as_far_as_it_is_known(self) -> None:
        """What a newer version adds at the end is left out."""
        trace = trace_of({PARENT: b"cc-%b-%b-03-what" % (TRACE, SPAN)})
        self.assertEqual((trace.id, trace.flags), (TRACE, 1))

    def test_what_is_unsound_begins_a_new_trace(self) -> None:
        """A header that is not as it should be is taken for none, and so is its state."""
        for parent in (
            b"",
            b"00",
            b"00-%b-%b" % (TRACE, SPAN),
            b"00-%b-%b-01-more" % (TRACE, SPAN),
            b"ff-%b-%b-01" % (TRACE, SPAN),
            b"00-%b-%b-01" % (TRACE.upper(), SPAN),
            b"00-%b-%b-01" % (b"0" * 32, SPAN),
            b"00-%b-%b-01" % (TRACE, b"0" * 16),
            b"00-%b-%b-01,00-%b-%b-01" % (TRACE, SPAN, TRACE, SPAN),
            b"00-%b-%b-01\r\nx: y" % (TRACE, SPAN),
        ):
            trace = trace_of({PARENT: parent, STATE: b"a=1"})
            self.assertNotEqual(trace.id, TRACE, parent)
            self.assertEqual((trace.parent, trace.state, trace.flags), (b"", b"", 0))
            self.assertRegex(trace.onward(1)[0][1].decode(), r"^00-[0-9a-f]{32}-[0-9a-f]{16}-00$")

    def test_state_without_a_parent(self) -> None:
        """A state that belongs to no trace goes no further."""
        headers = {STATE: b"a=1"}
        self.assertEqual(trace_of(headers).state, b"")
        self.assertEqual(headers, {})

    def test_an_unsound_state(self) -> None:
        """A state that is too long, or no text, is left out; the trace goes on."""
        for state in (b"a" * (MAX_STATE + 1), b"a=\x00", b"a=\xff"):
            trace = trace_of({PARENT: b"00-%b-%b-00" % (TRACE, SPAN), STATE: state})
            self.assertEqual((trace.id, trace.state, trace.flags), (TRACE, b"", 0))

    def test_new_traces_are_recorded_in_their_share(self) -> None:
        """All, none or about half of them."""
        for share, low, high in ((0.0, 0, 0), (1.0, 200, 200), (0.5, 40, 160)):
            recorded = sum(trace_of({}, share).flags for _ in range(200))
            self.assertTrue(low <= recorded <= high, (share, recorded))
        self.assertEqual(len({trace_of({}).id for _ in range(200)}), 200)
        self.assertTrue(re.fullmatch(rb"[0-9a-f]{32}", trace_of({}).id))

    def test_of_a_request_that_is_refused(self) -> None:
        """A request that goes no further belongs to its trace all the same."""
        head = Head(
            method=b"POST",
            path=b"/",
            query=b"",
            headers=[(PARENT, b"00-%b-%b-01" % (TRACE, SPAN))],
            peer="",
            secure=False,
            length=0,
        )
        self.assertEqual(trace_of_head(head).id, TRACE)
        self.assertNotEqual(trace_of_head(None).id, TRACE)
