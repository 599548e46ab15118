"""Tests of what the benchmarks are made of: configs, counted calls, neighbours, growth, peers."""

from __future__ import annotations

import contextlib
import io
import json
import threading
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import check, growth, peers
from benchmarks.grown import seen_before, with_keys
from benchmarks.insides import resources
from benchmarks.neighbours import BIG_BYTES, beside, big_request
from benchmarks.processes import BenchmarkError
from benchmarks.profiles import PROFILES, Ports, config, environment
from benchmarks.soak import slope
from benchmarks.whole import MANY, Scenario, Slices
from lmgateway.config.load import load


class ProfileTests(SynchronousTestCase):
    def test_the_three_configs_are_good_ones(self) -> None:
        """Our own loader takes them all, and warns of nothing but that bodies are captured."""
        for profile in PROFILES:
            path = Path(self.mktemp())
            path.write_text(config(profile, Ports(18080, 18081, 19100, 19101)))
            warnings = load(path, environment(profile)).warnings
            self.assertEqual([text for text in warnings if "capture.file" not in text], [])


class GrowthTests(SynchronousTestCase):
    def test_the_config_with_many_tiers_and_keys(self) -> None:
        """Tiers are added to the default ones; clients replace them, each with its own key."""
        path = Path(self.mktemp())
        path.write_text(growth.config(Ports(18080, 18081, 19100, 19101), 3))
        few = load(path, environment("default"))
        many = with_keys(few, 12)
        names = [tier.name for tier in many.tiers]
        self.assertLessEqual({"mock", "tier0", "tier2"}, {*names})
        self.assertEqual(len({client.key_sha256 for client in many.clients}), 12)
        self.assertEqual(many.clients[7].budgets, few.clients[0].budgets)

    def test_requests_that_seem_to_have_been_served(self) -> None:
        """Entries are counted and kept as those of real requests are."""
        shared = resources()
        shared.traffic.resize(5)
        seen_before(shared.traffic, 12)
        self.assertEqual(shared.traffic.total, 12)
        self.assertEqual({entry.tier for entry in shared.traffic.newest(2)}, {"t0", "t1"})

    def test_slope(self) -> None:
        """The straight line nearest to what was seen tells how memory grows."""
        self.assertEqual(slope([(0.0, 50.0), (1.0, 52.0), (2.0, 54.0)]), 2.0)
        self.assertEqual(slope([(0.0, 50.0), (1.0, 50.0)]), 0.0)


class NeighbourTests(SynchronousTestCase):
    def test_the_big_request(self) -> None:
        """It is one of ten mebibytes, and whole."""
        head, _, body = big_request().partition(b"\r\n\r\n")
        self.assertIn(b"Content-Length: %d" % len(body), head)
        self.assertLess(abs(len(body) - BIG_BYTES), 1000)
        self.assertEqual(json.loads(body)["model"], "mock")

    def test_an_awkward_client_that_fails_is_told_of(self) -> None:
        """What was measured beside it would mean nothing."""

        def fail(port: int, ended: threading.Event) -> None:
            raise OSError("no route")

        with self.assertRaises(BenchmarkError) as caught, beside(fail, 1):
            pass
        self.assertIn("no route", str(caught.exception))


class PeerTests(SynchronousTestCase):
    def test_report(self) -> None:
        """Each peer is set against ours, and litellm against what was promised."""
        text = peers.report({"nginx": [10.0], "ours": [50.0, 40.0, 60.0], "litellm": [3000.0]})
        lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()[2:]]
        self.assertEqual(
            lines,
            [
                ["nginx", "10.0", "0.20", "", ""],
                ["ours", "50.0", "1.00", "", ""],
                ["litellm", "3,000.0", "60.00", ">= 60", "pass"],
            ],
        )

    def test_versions_are_pinned(self) -> None:
        """What is installed today is what was installed when it was compared."""
        folder = Path(peers.__file__).parent / "pinned"
        for line in (folder / "litellm.txt").read_text().splitlines():
            self.assertRegex(line, r"^[\w.-]+==[\w.]+$")
        wanted = json.loads((folder / "package.json").read_text())["dependencies"]
        locked = json.loads((folder / "package-lock.json").read_text())["packages"]
        for name, version in wanted.items():
            self.assertEqual(locked[f"node_modules/{name}"]["version"], version)


class CheckTests(SynchronousTestCase):
    def test_what_exceeds_its_budget_by_more_than_the_margin(self) -> None:
        """A twentieth more is let go, and so is what has no budget."""
        self.assertFalse(check.is_exceeded(105.0, 100.0, 0.05))
        self.assertTrue(check.is_exceeded(105.1, 100.0, 0.05))
        self.assertFalse(check.is_exceeded(1e9, None, 0.05))

    def test_report(self) -> None:
        """Each scenario is a line with its budget, the change, and what that means."""
        counts = {"a": 106.0, "b": 100.0, "c": 50.0, "d": 1.0}
        text = check.report(counts, {"a": 100.0, "b": 100.0, "c": 100.0}, "calls")
        lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()[2:]]
        self.assertEqual(
            lines,
            [
                ["a", "106.00", "100.00", "+6.0%", "EXCEEDED"],
                ["b", "100.00", "100.00", "+0.0%", "ok"],
                ["c", "50.00", "100.00", "-50.0%", "can be lowered"],
                ["d", "1.00", "", "", "no budget"],
            ],
        )

    def test_recording_keeps_what_others_recorded(self) -> None:
        """New budgets replace those of the same name, kind and interpreter, and no others."""
        text = check.recorded("", "calls", "3.11", {"a": 1.0, "b": 2.0})
        text = check.recorded(text, "instructions", "3.11", {"a": 7.0})
        text = check.recorded(text, "calls", "3.12", {"a": 9.0})
        text = check.recorded(text, "calls", "3.11", {"a": 3.0})
        self.assertEqual(check.budgets_of(text, "calls", "3.11"), {"a": 3.0, "b": 2.0})
        self.assertEqual(check.budgets_of(text, "calls", "3.12"), {"a": 9.0})
        self.assertEqual(check.budgets_of(text, "instructions", "3.11"), {"a": 7.0})
        self.assertEqual(check.budgets_of(text, "calls", "3.13"), {})

    def test_the_exit_status_and_the_file(self) -> None:
        """It fails where a budget is exceeded, and not once the new one was written down."""
        path = self.mktemp()
        options = check.arguments(["--budgets", path])
        record = check.arguments(["--budgets", path, "--record"])
        with contextlib.redirect_stdout(io.StringIO()) as said:
            statuses = [
                check.judged({"a": 100.0}, options),
                check.judged({"a": 100.0}, record),
                check.judged({"a": 105.1}, options),
                check.judged({"a": 105.1}, record),
                check.judged({"a": 105.1}, options),
            ]
        self.assertEqual(statuses, [0, 0, 1, 0, 0])
        self.assertIn("EXCEEDED", said.getvalue())

    def test_every_scenario_has_a_budget(self) -> None:
        """What is counted is held to something, by calls and by instructions."""
        for what in check.MARGINS:
            known = check.budgets_of(check.BUDGETS.read_text(), what, "3.11")
            self.assertEqual(known.keys(), {each.name for each in check.scenarios_of(what)})

    def test_a_request_costs_the_same_where_there_is_more_of_everything(self) -> None:
        """Ten thousand keys, a thousand tiers and what was seen before change nothing."""
        known = check.budgets_of(check.BUDGETS.read_text(), "calls", "3.11")
        usual = known[Scenario("request", "default").name]
        self.assertLessEqual(known[Scenario("request", MANY).name], 1.15 * usual)

    def test_a_whole_request_and_an_event_are_counted(self) -> None:
        """A gateway is started, asked, and stopped; what it called is told."""
        scenarios = [Scenario("request", "bare"), Scenario("event", "bare")]
        folder = Path(self.mktemp())
        folder.mkdir()
        counts = check.counted(scenarios, folder, Slices(requests=5, slices=1, warm=1))
        self.assertGreater(counts["request, bare"], counts["event, bare"])
        self.assertGreater(counts["event, bare"], 5)
