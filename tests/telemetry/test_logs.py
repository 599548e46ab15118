"""Operational events as pipelines want them: one JSON object a line, whatever is in it."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

from twisted.logger import Logger, LogLevel, LogLevelFilterPredicate, LogPublisher
from twisted.python import log as legacy
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.telemetry.logs import line, observer, set_levels


class LinesTests(SynchronousTestCase):
    """See ``lmgateway.telemetry.logs``."""

    def setUp(self) -> None:
        """Log to a file of lines."""
        self.file = StringIO()
        self.levels = LogLevelFilterPredicate()
        set_levels(self.levels, {"": "info"})
        self.publisher = LogPublisher(observer(self.file, self.levels))

    def lines(self) -> list[dict[str, Any]]:
        """Give what was logged."""
        return [json.loads(each) for each in self.file.getvalue().splitlines()]

    def test_L8_1_fields(self) -> None:
        """A line says when, how bad, where from and what, and the values that it is about."""
        log = Logger("lmgateway.x", observer=self.publisher)
        log.warn("{backend} is down", backend="gpu", tries=3, thing=object(), request_id="r1")
        (found,) = self.lines()
        self.assertRegex(found.pop("timestamp"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$")
        self.assertEqual(
            found,
            {
                "level": "warn",
                "namespace": "lmgateway.x",
                "message": "gpu is down",
                "request_id": "r1",
                "fields": {"backend": "gpu", "tries": 3},
            },
        )

    def test_L8_4_levels_by_namespace(self) -> None:
        """The level of one namespace changes while the gateway runs, and no other."""
        one = Logger("lmgateway.one", observer=self.publisher)
        other = Logger("lmgateway.other", observer=self.publisher)
        one.debug("a")
        set_levels(self.levels, {"": "info", "lmgateway.one": "debug"})
        one.debug("b")
        other.debug("c")
        self.assertEqual([found["message"] for found in self.lines()], ["b"])

    def test_what_the_older_logger_tells(self) -> None:
        """What goes well is told at debug only, or where it is asked for; failures always."""
        older = legacy.LogPublisher(publishPublisher=self.publisher)
        for wanted in ({"": "info"}, {"": "debug"}, {"": "info", "log_legacy": "info"}):
            set_levels(self.levels, wanted)
            older.msg("Site starting on 8080")
            older.msg("No good.", isError=True, why="It broke", failure=Failure(ValueError("x")))
        told = [(found["namespace"], found["level"]) for found in self.lines()]
        good, bad = ("log_legacy", "info"), ("log_legacy", "critical")
        self.assertEqual(told, [bad, good, bad, good, bad])

    def test_O14_nobody_can_forge_a_line(self) -> None:
        """Line ends, escapes and unsound characters in a name stay within its string."""
        log = Logger("lmgateway.x", observer=self.publisher)
        log.error("{name} failed", name='a\r\n{"level":"info"}\x1b[2J\ud800' + "x" * 20_000)
        self.assertEqual(len(self.file.getvalue().splitlines()), 1)
        self.assertNotIn("\x1b", self.file.getvalue())
        self.assertLess(len(self.file.getvalue()), 30_000)

    def test_failures(self) -> None:
        """A failure comes with its traceback."""
        log = Logger("lmgateway.x", observer=self.publisher)
        try:
            raise ValueError("no")
        except ValueError:
            log.failure("it went wrong")
        self.assertIn("ValueError: no", self.lines()[0]["traceback"])

    def test_an_event_of_twisted_s_own(self) -> None:
        """What older code logs has no fields of ours."""
        event = {"log_time": 0.0, "log_level": LogLevel.info, "format": "x", "system": "-"}
        self.assertNotIn("fields", json.loads(line(event)))
