"""What is kept of a request: one entry each, which can be told to somebody else."""

from __future__ import annotations

import json

from msgspec import msgpack
from msgspec.json import encode
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.exchange import Climb, Taken
from lmgateway.telemetry.traffic import Entry
from tests.telemetry.entries import attempt, entry


class EntryTests(SynchronousTestCase):
    """See ``lmgateway.telemetry.traffic.entry_of``."""

    def test_an_entry_can_be_told_to_another_process(self) -> None:
        """What is read back says the same, whatever was to be said."""
        full = entry(
            attempts=(attempt("insufficient:length"), attempt("ok", 0.25, cost=5)),
            climbs=[Climb("fast", "dear", "insufficient:length")],
            rules=(Taken("home", 0, {"@model": "x"}, "fast"),),
            over_limits=("client:tokens",),
            label="code",
        )
        for each in (full, entry("rate_limited", status=429, attempts=())):
            again = msgpack.decode(msgpack.encode(each), type=Entry)
            self.assertEqual(encode(again), encode(each))

    def test_times(self) -> None:
        """Times are milliseconds, to the microsecond; a backend's are those of all attempts."""
        told = entry(seconds=1.2345678, waited=0.05, attempts=(attempt(seconds=0.5),))
        self.assertEqual((told.latency_ms, told.waited_ms, told.upstream_ms), (1234.568, 50.0, 500))
        twice = entry(attempts=(attempt("backend_failed", 0.25), attempt(seconds=0.5)))
        self.assertEqual((twice.waited_ms, twice.upstream_ms), (0.0, 750.0))

    def test_what_there_is_nothing_to_say_of_is_left_out(self) -> None:
        """Members that few requests have are missing elsewhere; all others are always there."""
        plain, labelled = (json.loads(encode(each)) for each in (entry(), entry(label="code")))
        self.assertEqual(labelled.keys() - plain.keys(), {"class_label"})
        self.assertIsNone(plain["limit"])
        self.assertEqual(entry(wall=1.5).timestamp, "1970-01-01T00:00:01.500+00:00")
