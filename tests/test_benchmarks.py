"""Tests of the benchmark runner's pure parts: reading, ratios, verdicts, the table."""

from __future__ import annotations

import contextlib
import io
import os
import socket
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from benchmarks import micro, run
from benchmarks.load import (
    Requests,
    Streams,
    read_all_open,
    read_open_loop,
    read_requests,
    read_streams,
)
from benchmarks.measure import GROUPS, Plan, Record
from benchmarks.micro_admission import KEYS, LIMITS, callers, config, entrance, let_through
from benchmarks.micro_attempts import attempt_runs
from benchmarks.micro_routing import asked, first_step, router, routing_runs, rules_text, tiers_text
from benchmarks.micro_telemetry import answered, telemetry_runs
from benchmarks.processes import BenchmarkError, cpu_ticks, free_port
from benchmarks.report import (
    FAIL,
    PASS,
    ROWS,
    Goal,
    comparison,
    medians_of,
    own_table,
    table,
    verdict,
)
from benchmarks.subjects import SUBJECTS
from benchmarks.timing import Pace, finish, microseconds
from benchmarks.translation import added_microseconds, added_over_diagonal, pairs
from lmgateway.telemetry.spans import is_recorded
from lmgateway.telemetry.traffic import entry_of

STAT = "42 (a (strange) name) S 1 42 42 0 -1 4194560 0 0 0 0 11 22 3 4 20 0 1 0 5 0 0"


class ReadingTests(SynchronousTestCase):
    def test_cpu_time_is_that_of_a_process_and_its_dead_children(self) -> None:
        """User and system time of both are summed, whatever the process is called."""
        self.assertEqual(cpu_ticks(STAT), 11 + 22 + 3 + 4)

    def test_wrk(self) -> None:
        """The line after the word JSON counts, and answers that are not 2xx are errors."""
        output = (
            "Running 2s test\n"
            'JSON {"requests":10,"us":2000,"rps":5.5,"p50_ms":0.1,"p90_ms":0.2,"p99_ms":0.3,'
            '"max_ms":1,"err":1,"non2xx":2}\n'
        )
        self.assertEqual(read_requests(output), Requests(5.5, 0.1, 0.3, 3, 1))

    def test_streams(self) -> None:
        """The last line that sseload prints counts."""
        output = (
            "ALLOPEN 5 errs 0\n"
            '{"streams":5,"errors":1,"events":50,"bytes":9,"elapsed":1.0,"events_per_s":50.0,'
            '"ttfb_p50_ms":0.25,"ttfb_p99_ms":0.5,"total_p50_ms":1.0,"total_p99_ms":2.0}\n'
        )
        self.assertEqual(read_streams(output), Streams(50, 0.25, 0.5, 1))

    def test_held_streams(self) -> None:
        """The line that says that all streams are open is understood, and no other."""
        self.assertEqual(read_all_open("ALLOPEN 1999 errs 1\n"), (1999, 1))
        with self.assertRaises(BenchmarkError):
            read_all_open('{"streams":0}\n')

    def test_open_loop(self) -> None:
        """What was asked and not answered is an error."""
        output = (
            '{"requests":90,"errors":10,"seconds":2.0,"p50_ms":1.5,"p90_ms":2.0,"p99_ms":3.0,'
            '"max_ms":4.0,"waited":7}'
        )
        self.assertEqual(read_open_loop(output), Requests(45.0, 1.5, 3.0, 10, 4.0))

    def test_a_tool_that_says_nothing_is_an_error(self) -> None:
        """What a tool said instead is part of the message."""
        for read in (read_requests, read_streams, read_open_loop):
            with self.assertRaises(BenchmarkError) as caught:
                read("unable to connect")
            self.assertIn("unable to connect", str(caught.exception))


class PortTests(SynchronousTestCase):
    def test_ports_that_no_outgoing_connection_is_given(self) -> None:
        """What will listen later finds its port free, whatever else connects meanwhile."""
        given = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
        for port in {free_port() for _ in range(20)}:
            self.assertFalse(int(given[0]) <= port <= int(given[1]))
            with socket.create_server(("127.0.0.1", port)):
                pass


class ReportTests(SynchronousTestCase):
    def test_the_median_counts(self) -> None:
        """One bad repetition of three changes nothing."""
        medians = medians_of({"stream_kb": {"ours": [20.0, 900.0, 21.0]}})
        self.assertEqual(medians, {"stream_kb": {"ours": 21.0}})

    def test_what_a_proxy_adds_is_its_time_less_the_direct_one(self) -> None:
        """Latency is shown as what the proxy adds to it."""
        samples = {"first_event_p50_ms": {"direct": [1.0], "nginx": [1.25], "ours": [1.5]}}
        added = medians_of(samples)["added_first_event_p50_ms"]
        self.assertEqual(added, {"nginx": 0.25, "ours": 0.5})

    def test_nothing_is_added_to_what_was_not_measured(self) -> None:
        """Without a direct call there is nothing to compare a latency with."""
        self.assertNotIn("added_latency_p50_ms", medians_of({"latency_p50_ms": {"ours": [1.0]}}))

    def test_verdicts(self) -> None:
        """A goal is a value, or so many times nginx's, and is reached at the limit itself."""
        self.assertEqual(verdict(Goal(8, of_nginx=True), {"nginx": 10.0, "ours": 80.0}), PASS)
        self.assertEqual(verdict(Goal(8, of_nginx=True), {"nginx": 10.0, "ours": 80.1}), FAIL)
        self.assertEqual(verdict(Goal(70), {"ours": 70.0}), PASS)
        self.assertEqual(verdict(Goal(70), {"ours": 71.0}), FAIL)

    def test_no_verdict_without_a_goal_or_a_value(self) -> None:
        """What was not measured has neither passed nor failed."""
        self.assertEqual(verdict(None, {"ours": 1.0}), "")
        self.assertEqual(verdict(Goal(8, of_nginx=True), {"ours": 1.0}), "")
        self.assertEqual(verdict(Goal(8), {"nginx": 1.0}), "")

    def test_translating_is_held_to_what_nginx_takes_to_pass_on(self) -> None:
        """Nginx translates nothing, so that its events as they are count."""
        samples = {
            "event_cpu_us_5k": {"nginx": [10.0], "ours": [20.0]},
            "event_cpu_us_5k_translated": {"ours": [40.0]},
        }
        values = medians_of(samples)["event_cpu_us_5k_translated"]
        self.assertEqual(values, {"nginx": 10.0, "ours": 40.0})

    def test_table(self) -> None:
        """Each measure is one line with its values, the ratio, the goal and the verdict."""
        text = table({"request_cpu_us_c64": {"nginx": 10.0, "ours": 50.0}})
        head, rule, line = text.splitlines()
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        self.assertEqual(
            cells,
            [
                "CPU per request, 64 connections (us)",
                "",
                "10.0",
                "",
                "50.0",
                "",
                "5.00",
                "<= 6x nginx",
                "pass",
            ],
        )
        self.assertEqual({len(head), len(rule)}, {len(line)})

    def test_comparison(self) -> None:
        """What two runs both have is set side by side, with the change in percent."""
        before = {"idle_rss_mb": {"ours": 50.0}, "stream_kb": {"ours": 9.0}}
        text = comparison(before, {"idle_rss_mb": {"ours": 55.0}})
        self.assertIn("+10.0%", text)
        self.assertNotIn("stream", text)

    def test_every_goal_of_the_issue_is_held(self) -> None:
        """The rows with a goal are those that were promised."""
        goals = {row.measure: str(row.goal) for row in ROWS if row.goal}
        self.assertEqual(
            goals,
            {
                "request_cpu_us_c64": "<= 6x nginx",
                "added_latency_p50_ms": "<= 0.25",
                "added_latency_p99_ms": "<= 1.5",
                "open_p99_ms": "<= 10",
                "event_cpu_us_2k": "<= 3x nginx",
                "event_cpu_us_5k": "<= 2.5x nginx",
                "event_cpu_us_5k_translated": "<= 4x nginx",
                "translated_event_us": "<= 15",
                "added_first_event_p50_ms": "<= 0.25",
                "added_first_event_p99_ms": "<= 1",
                "stream_kb": "<= 20",
                "stalled_kb": "<= 1024",
                "p99_beside_big": "<= 2",
                "p99_beside_slow": "<= 2",
                "idle_rss_mb": "<= 65",
                "soak_mb_per_100k": "<= 1",
                "start_answer_s": "<= 0.4",
                "growth_keys": "<= 1.15",
                "growth_tiers": "<= 1.15",
                "growth_entries": "<= 1.15",
                "growth_idle": "<= 1.15",
            },
        )


class MicroTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def test_the_least_counts(self) -> None:
        """Of several runs the fastest is what a thing takes, whatever disturbed the others."""
        ticks = iter([0, 1000, 0, 5000, 0, 2000, 0, 9000])
        took = microseconds({"it": lambda count: None}, Pace(1e-6, 3), lambda: next(ticks))
        self.assertEqual(took, {"it": 2.0})

    def test_a_run_lasts_as_long_as_it_should(self) -> None:
        """How often a thing is done in one run follows from how long it takes."""
        now, done = [0], []

        def run(count: int) -> None:
            done.append(count)
            now[0] += 10_000 * count

        took = microseconds({"it": run}, Pace(0.001, 2), lambda: now[0])
        self.assertEqual((took, done[-2:]), ({"it": 10.0}, [100, 100]))

    def test_what_waits_is_not_timed(self) -> None:
        """A step that would wait for something is a mistake of the benchmark."""

        async def forever() -> None:
            await Deferred[None]()

        self.assertRaises(RuntimeError, finish, forever())

    def test_added_is_what_a_pair_takes_more_than_its_diagonal(self) -> None:
        """The cost of translating leaves out what passing on would have cost."""
        taken = dict.fromkeys(pairs(), 5.0) | {"ollama to ollama": 2.0}
        added = added_over_diagonal(taken)
        self.assertEqual((added["ollama to openai"], added["openai to ollama"]), (3.0, 0.0))
        self.assertEqual(len(added), 12)

    def test_flatness(self) -> None:
        """The largest number of something is compared with the least."""
        values = {"a_10_us": 2.0, "a_100_us": 9.0, "a_1000_us": 3.0}
        self.assertEqual(micro.flatness(values, "a", (10, 100, 1000)), 1.5)

    def test_goals(self) -> None:
        """Events, routing, admission and memory are held to what was promised."""
        goals = {(row.measure.partition("_")[0], str(row.goal)) for row in micro.rows() if row.goal}
        self.assertEqual(
            goals,
            {
                ("event", "<= 15"),
                ("route", "<= 15"),
                ("route", "<= 1.5"),
                ("admit", "<= 10"),
                ("admit", "<= 1.5"),
                ("key", "<= 1024"),
                ("attempt", "<= 10"),
                ("telemetry", "<= 10"),
                ("scrape", "<= 5"),
            },
        )

    def test_every_row_is_measured_and_nothing_else(self) -> None:
        """The names of rows are those of what is timed."""
        names = {*micro.calibration_runs(), *routing_runs(self.folder)}
        names |= {f"admit_{limits}_{count}_us" for limits in LIMITS for count in KEYS}
        names |= {*telemetry_runs(), "telemetry_on_us", *attempt_runs(self.folder)}
        wanted = {row.measure for row in micro.rows() if row.measure.endswith("_us")}
        self.assertEqual({name for name in wanted if not name.startswith("event_")}, names)

    def test_requests_are_routed_as_the_row_says(self) -> None:
        """The first tier answers, or the only one that can, or the one of the last rule."""
        plain = router(self.folder, tiers_text(20))
        able = router(self.folder, tiers_text(20, able=True))
        ruled = router(self.folder, tiers_text(10) + rules_text(25))
        last = asked("t0", response_format={"type": "json_schema"})
        steps = [
            finish(first_step(plain, asked("t0"))),
            finish(first_step(able, last)),
            finish(first_step(ruled, asked("t0", team="team24"))),
        ]
        self.assertEqual([step.tier.name for step in steps], ["t0", "t19", "t4"])

    def test_clients_are_let_in_and_counted(self) -> None:
        """With all limits on, each scope counts the request, and lets it go in the end."""
        way = entrance(config(self.folder, "all", 3))
        head, exchange = callers(3)[0]
        finish(let_through(way, head, exchange))
        counters = way.admission.tally.counters
        used = {
            kind
            for (kind, _), each in counters.named.items()
            if each.requests and each.requests.used
        }
        self.assertEqual(used, {"client", "group", "profile"})
        self.assertEqual(len(counters.addresses), 1)
        self.assertEqual(way.admission.tally.in_flight, 0)

    def test_what_telemetry_is_given(self) -> None:
        """The exchange that is counted, logged and traced is a whole one, of a known target."""
        exchange = answered(3)
        self.assertTrue(is_recorded(exchange))
        entry = entry_of(exchange)
        self.assertEqual((entry.tier, entry.success), ("t3", True))
        self.assertIsNotNone(entry.output_ms)

    def test_own_table(self) -> None:
        """What has no other subject is shown without their columns."""
        text = own_table({"admit_none_10_us": {"ours": 12.0}}, micro.rows())
        self.assertEqual(len(text.splitlines()), 3)
        self.assertIn("| 12.0 | <= 10 | FAIL |", text)
        self.assertEqual(own_table({}, micro.rows()), "")


class CommandTests(SynchronousTestCase):
    def test_defaults_measure_everything(self) -> None:
        """Without options, all groups of all subjects are measured, within five minutes."""
        options = run.arguments([])
        self.assertEqual(options.only, list(GROUPS))
        self.assertEqual(options.subjects, list(SUBJECTS))
        self.assertEqual(options.limit, 300)

    def test_soaking_is_done_alone(self) -> None:
        """What takes three minutes is only measured when it is asked for."""
        options = run.arguments(["--soak"])
        self.assertEqual((options.only, options.subjects), (["soak"], ["ours"]))

    def test_some_groups(self) -> None:
        """Groups are measured in the runner's order, whatever order they are named in."""
        self.assertEqual(run.arguments(["--only", "first,memory"]).only, ["memory", "first"])

    def test_an_unknown_group_is_refused(self) -> None:
        """A typing error does not measure nothing in silence."""
        with contextlib.redirect_stderr(io.StringIO()) as said, self.assertRaises(SystemExit):
            run.arguments(["--only", "memroy"])
        self.assertIn("memroy", said.getvalue())

    def test_what_runs_inside_needs_no_tools(self) -> None:
        """Single steps and codecs are measured on a machine that has nothing installed."""
        self.patch(os, "environ", {"PATH": "/nonexistent"})
        self.assertEqual(run.missing(SUBJECTS, ["translation", "micro"]), [])

    def test_missing_tools_are_named_as_debian_packages(self) -> None:
        """Where there is nothing, all three packages are asked for; nginx only for itself."""
        self.patch(os, "environ", {"PATH": "/nonexistent"})
        self.assertEqual(run.missing(SUBJECTS, ["events"]), ["gcc libc6-dev", "wrk", "nginx-light"])
        self.assertEqual(run.missing(["ours"], ["events"]), ["gcc libc6-dev", "wrk"])

    def test_quick_measures_once(self) -> None:
        """The quick plan is the full one with less of it."""
        self.assertEqual(Plan.quick().repetitions, 1)
        self.assertEqual(Plan.quick().held_streams, Plan().held_streams)

    def test_a_run_that_is_late_says_so_once(self) -> None:
        """When the time is over, what is missing has a reason."""
        record = Record(deadline=0.0)
        self.assertTrue(record.late() and record.late())
        self.assertEqual(len(record.remarks), 1)


class TranslationTests(SynchronousTestCase):
    def test_every_pair_is_measured(self) -> None:
        """Three backends' grammars, each for four clients' other ones."""
        added = added_microseconds(runs=1)
        self.assertEqual(len(added), 12)
        self.assertIn("anthropic to responses", added)
