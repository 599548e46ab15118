"""Tests for ``lmgateway tune``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, cast

from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.commands.cli import EX_CONFIG, main
from lmgateway.commands.tune import Tuning, trial_of
from lmgateway.commands.tuning import (
    MAX_EXAMPLES,
    Proposal,
    Quantile,
    Score,
    bills_of,
    fragment,
    one_line,
    propose,
    wilson,
)
from lmgateway.commands.tuning_report import MAX_LISTED, Run, report_of
from lmgateway.config.load import load
from lmgateway.service.resources import Resources

ROOT = Path(__file__).parents[2]

CONFIG = """
[gateway]

[backends.small]
provider = "mock"
mock = { style = "scripted", fixtures = "script.toml", first_token_ms = %(wait)d }

[backends.large]
provider = "mock"

[[tiers]]
name = "local:fast"
backend = "small"
model = "small"

[[tiers]]
name = "cloud:moderate"
backend = "large"
model = "middle"

[[tiers]]
name = "cloud:deep"
backend = "large"
model = "large"

[profiles.default]
mode = "classify"
classifier = "local:fast"
%(profile)s

[profiles.plain]
classifier = "local:fast"

[profiles.blind]
mode = "classify"
classifier = "local:fast"
classifier_context = 0
"""

SAID = {
    "on": "fast",
    "capital?": "deep",
    "letter": "moderate-think",
    "proof": "fast",
    "essay": "dunno",
}
PROMPTS = [
    ("on", "instant"),
    ("capital?", "fast"),
    ("letter", "moderate"),
    ("proof", "deep"),
    ("essay", "cloud:deep"),
    ("lost", "deep"),
]


class TuneCase(SynchronousTestCase):
    """Runs a profile's classifier, which is the built-in mock, on a clock."""

    def setUp(self) -> None:
        """Write a config, a script for its mock, and prompts."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.write()
        fixtures = [
            f"[[fixtures]]\ntext = {json.dumps(text)}\nanswers = [{{ text = {json.dumps(said)} }}]"
            for text, said in SAID.items()
        ]
        lost = '[[fixtures]]\ntext = "lost"\nanswers = [{ status = 503, text = "Away." }]'
        (self.folder / "script.toml").write_text("\n".join([*fixtures, lost]))
        self.prompts(*PROMPTS)

    def write(self, profile: str = "", wait: int = 0) -> None:
        """Write the config."""
        self.source = self.folder / "config.toml"
        self.source.write_text(CONFIG % {"profile": profile, "wait": wait})

    def prompts(self, *pairs: tuple[str, str]) -> None:
        """Write the prompt file."""
        lines = [json.dumps({"prompt": prompt, "label": label}) for prompt, label in pairs]
        (self.folder / "prompts.jsonl").write_text("\n".join(lines) + "\n")

    def measure(self, **options: Any) -> Run:
        """Run all prompts, on a clock that goes on by itself."""
        clock = Clock()
        tuning = Tuning(profile="default", prompts=self.folder / "prompts.jsonl", **options)
        resources = Resources.of(cast(Any, clock), {}, write=lambda block: None)
        trial = trial_of(tuning, load(self.source, {}), resources)
        self.ticks: list[float] = []
        running = Deferred.fromCoroutine(trial.run(0.0, lambda: self.ticks.append(clock.seconds())))
        for _ in range(1000):
            if running.called:
                break
            clock.advance(0.01)
        resources.wheel.stop()
        return self.successResultOf(running)

    def command(self, *words: str, prompts: bool = True) -> Result:
        """Run the command line in this process, as far as the reactor is not needed."""
        own = ["--prompts", str(self.folder / "prompts.jsonl")] if prompts else []
        return CliRunner().invoke(main, ["tune", "--config", str(self.source), *own, *words])

    def spawn(self, *words: str) -> subprocess.Popen[str]:
        """Start the whole command, with a reactor of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "lmgateway", "tune", "--config", str(self.source), *words],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


class TrialTests(TuneCase):
    """Prompts go through the classifier."""

    def test_where_prompts_go(self) -> None:
        """Each prompt goes where live traffic would go with the same answer."""
        run = self.measure()
        self.assertEqual(
            [(o.case.prompt, o.case.tier.name, o.tier.name) for o in run.outcomes],
            [
                ("on", "local:fast", "local:fast"),
                ("capital?", "local:fast", "cloud:deep"),
                ("letter", "cloud:moderate", "cloud:moderate"),
                ("proof", "cloud:deep", "local:fast"),
                ("essay", "cloud:deep", "cloud:moderate"),
                ("lost", "cloud:deep", "local:fast"),
            ],
        )
        self.assertEqual(Score.of(run.outcomes), Score(right=2, over=1, under=2, failed=1))
        self.assertEqual(len(self.ticks), 6)

    def test_failures_are_counted(self) -> None:
        """A backend that fails is no answer, and its kind of failure is told."""
        (bill,) = bills_of(self.measure().outcomes)
        self.assertEqual((bill.tier, bill.calls, len(bill.seconds)), ("local:fast", 6, 5))
        self.assertEqual(bill.errors, {"backend_overloaded": 1})
        self.assertEqual(bill.told, 5)
        self.assertGreater(bill.input_tokens, 0)

    def test_the_fallback_is_asked_too(self) -> None:
        """As in live traffic; its calls are billed to its own tier."""
        self.write('classifier_fallback = "cloud:moderate"')
        run = self.measure()
        self.assertEqual(Score.of(run.outcomes).failed, 0)
        self.assertEqual([b.tier for b in bills_of(run.outcomes)], ["local:fast", "cloud:moderate"])

    def test_some_at_a_time(self) -> None:
        """Never more calls are open than asked for, and the order is that of the file."""
        self.write(wait=1000)
        self.prompts(*[("on", "instant")] * 5)
        run = self.measure(concurrency=2)
        self.assertEqual([round(at) for at in self.ticks], [1, 1, 2, 2, 3])
        self.assertEqual([round(o.seconds) for o in run.outcomes], [1] * 5)

    def test_a_slow_classifier_has_its_deadline(self) -> None:
        """What live traffic would not wait for is not waited for here."""
        self.write("classifier_timeout_ms = 500", wait=3000)
        run = self.measure(limit=1)
        self.assertEqual(Score.of(run.outcomes), Score(failed=1))

    def test_the_ceiling_bounds_what_is_expected(self) -> None:
        """A label above the ceiling means the ceiling; the levels are spread below it."""
        self.write('max_auto_tier = "cloud:moderate"')
        self.assertEqual(
            [outcome.case.tier.name for outcome in self.measure().outcomes],
            ["local:fast", "local:fast", *["cloud:moderate"] * 4],
        )


class ReportTests(TuneCase):
    """The report and the prompt that it proposes."""

    def test_report(self) -> None:
        """Accuracy with its interval, counts, latency, tokens and what failed."""
        self.write(wait=20)
        report = report_of(self.measure())
        for line in (
            "**Accuracy 40.0% (11.8% to 76.9%; 2 of 5).**",
            "- over-classified (too dear): 20.0% (3.6% to 62.4%; 1 of 5)",
            "- under-classified (too cheap): 40.0% (11.8% to 76.9%; 2 of 5)",
            "- words that name no tier (they mean the middle one): dunno (1)",
            "| instant | local:fast | 100.0% (20.7% to 100.0%; 1 of 1) | 0 | 0 | 0 |",
            "| local:fast | 2 | 2 | 50.0% (9.5% to 90.5%; 1 of 2) | 1 | 0 | 0 |",
            "| proof | cloud:deep | local:fast | fast |",
            "| lost | cloud:deep | not classified |  |",
        ):
            self.assertIn(f"\n{line}\n", report)
        self.assertIn(
            "| local:fast | 6 | backend_overloaded 1 | 20 (20 to 20) | 20 (20 to 20) |", report
        )

    def test_proposal(self) -> None:
        """Failed prompts become examples after the present ones, in a form to paste."""
        report = report_of(self.measure())
        toml = report.partition("```toml\n")[2].partition("\n```")[0]
        lines = tomllib.loads(toml)["classifier_prompt"].splitlines()
        place = lines.index(
            "plan a week in Japan for four with a budget and train times -> deep-think"
        )
        self.assertEqual(
            lines[place + 1 : place + 5],
            ["capital? -> fast", "essay -> deep", "proof -> deep", ""],
        )
        self.assertNotIn("lost", toml)
        self.assertNotIn("does not know", report)

    def test_words_that_the_prompt_does_not_know(self) -> None:
        """An example alone does not tell a classifier what a word means: that is said."""
        self.prompts(("capital?", "moderate"), ("proof", "deep"))
        self.assertIn(
            "does not know these words, so say in it what belongs there: moderate.\n",
            report_of(self.measure()),
        )

    def test_nothing_failed(self) -> None:
        """Then nothing is proposed, and nothing is listed."""
        self.prompts(("on", "fast"))
        report = report_of(self.measure())
        self.assertIn("\n## Prompts that failed\n\nNone.\n", report)
        self.assertIn("None: no classified prompt went to a wrong tier.", report)

    def test_nothing_succeeded(self) -> None:
        """That is said, and there is still a report."""
        self.prompts(("lost", "deep"))
        report = report_of(self.measure())
        self.assertIn("**No classification succeeded.**", report)
        self.assertIn("| local:fast | 1 | backend_overloaded 1 | - | - | not told |", report)

    def test_lists_are_bounded(self) -> None:
        """Not more prompts are listed than anybody reads, nor more examples than help."""
        self.prompts(*[("proof", "deep"), ("capital?", "instant")] * MAX_LISTED)
        run = self.measure(concurrency=8)
        report = report_of(run)
        self.assertEqual(report.count("| proof |") + report.count("| capital? |"), MAX_LISTED)
        self.assertIn(f"\nAnd {MAX_LISTED} more.\n", report)

    def proposed(self, prompt: str, *pairs: tuple[str, str], most: int = MAX_EXAMPLES) -> Proposal:
        """Propose after *pairs* all were said to be moderate."""
        backend = '[backends.small]\nprovider = "mock"\nmock = { style = "scripted"'
        text = self.source.read_text().replace(backend, backend.replace("scripted", "plain"))
        self.source.write_text(text.replace('fixtures = "script.toml", ', ""))
        self.prompts(*pairs)
        run = self.measure()
        self.assertEqual({outcome.tier.name for outcome in run.outcomes}, {"cloud:moderate"})
        return propose(prompt, run.outcomes, run.labels, most)

    def test_labels_take_turns(self) -> None:
        """However many of one label failed, each has its share of the examples."""
        pairs = [(f"hello number {n:02}", "instant") for n in range(30)]
        proposal = self.proposed("Sort.", *pairs, ("why?", "fast"), ("x" * 999, "deep"))
        self.assertEqual(len(proposal.examples), MAX_EXAMPLES)
        self.assertEqual(
            proposal.examples[:4],
            [
                "why? -> fast",
                "hello number 00 -> fast",
                f"{'x' * 157}... -> deep",
                "hello number 01 -> fast",
            ],
        )
        self.assertEqual(proposal.text.splitlines()[:3], ["Sort.", "", "why? -> fast"])
        self.assertEqual(proposal.unnamed, ["fast", "deep"])

    def test_tags_and_known_examples(self) -> None:
        """A prompt that asks for tags gets them, and no example that it has already."""
        prompt = "Say class=... tier=...\nhello -> tier=fast\nThat is all."
        proposal = self.proposed(prompt, ("hello", "fast"), ("bye\n now", "fast"))
        self.assertEqual(
            proposal.text,
            "Say class=... tier=...\nhello -> tier=fast\nbye now -> tier=fast\nThat is all.",
        )


class StatisticsTests(SynchronousTestCase):
    """Shares, quantiles and texts."""

    def test_wilson(self) -> None:
        """The interval is that of the books, and stays within 0 and 1."""
        for hits, total, low, high in (
            (0, 0, 0.0, 1.0),
            (0, 10, 0.0, 0.2775),
            (10, 10, 0.7225, 1.0),
            (50, 100, 0.4038, 0.5962),
        ):
            found = wilson(hits, total)
            self.assertAlmostEqual(found[0], low, places=4)
            self.assertAlmostEqual(found[1], high, places=4)

    def test_quantile(self) -> None:
        """Ranks give the value and its interval; one value is all three."""
        values = [float(n) for n in range(100, 0, -1)]
        self.assertEqual(Quantile.of(values, 0.5), Quantile(50.0, 40.0, 61.0))
        self.assertEqual(Quantile.of(values, 0.95), Quantile(95.0, 90.0, 100.0))
        self.assertEqual(Quantile.of([3.0], 0.95), Quantile(3.0, 3.0, 3.0))

    @given(st.text(st.characters(exclude_categories=["Cs"])))
    def test_fragment(self, text: str) -> None:
        """Whatever a prompt is, TOML gives the same again."""
        text = text.replace("\r", "")
        toml = "\n".join(fragment("a b", text))
        self.assertEqual(tomllib.loads(toml), {"classifier_prompt": text})

    def test_one_line(self) -> None:
        """A text cannot move the cursor of the terminal that shows it."""
        self.assertEqual(one_line("a\n\x1b[2Jb\u202e", 20), "a ?[2Jb?")
        self.assertEqual(one_line("abcdefgh", 6), "abc...")


class CommandTests(TuneCase):
    """The command line."""

    def test_mistakes(self) -> None:
        """What cannot be measured ends with one line, before any call."""
        for words, said in (
            (["--profile", "x"], "There is no profile 'x'; there are: blind, default, plain."),
            (["--profile", "plain"], "The profile 'plain' has mode 'dispatch'"),
            (["--profile", "blind"], "The profile 'blind' has classifier_context = 0"),
            (["--prompts", "/nowhere.jsonl"], "/nowhere.jsonl: No such file or directory"),
            (["--report", "/no/where/r.md"], "/no/where/r.md: there is no folder /no/where."),
        ):
            result = self.command(*words)
            self.assertEqual(result.exit_code, 1, result.output)
            self.assertIn(f"Error: {said}", result.stderr)
        self.assertEqual(self.command("--concurrency", "0").exit_code, 2)

    def test_nothing_is_written_over(self) -> None:
        """A file that is no report stays as it is, above all the config."""
        before = self.source.read_text()
        result = self.command("--report", str(self.source))
        self.assertEqual(result.exit_code, 1)
        self.assertIn("is there already and is not a report", result.stderr)
        self.assertEqual(self.source.read_text(), before)

    def test_a_backend_that_is_missing(self) -> None:
        """A classifier without a backend is a config that cannot be used."""
        text = self.source.read_text().replace('backend = "small"', 'backend = "smal"')
        self.source.write_text(text)
        result = self.command()
        self.assertEqual(result.exit_code, EX_CONFIG)
        self.assertIn("smal", result.stderr)

    def test_bad_lines(self) -> None:
        """All bad lines are told at once, with file and line."""
        file = self.folder / "prompts.jsonl"
        file.write_bytes(
            b'{"prompt": "a", "label": "fast"}\n\n[1]\n{"prompt": "a"\n\xff\n'
            b'{"prompt": "", "label": "fast"}\n{"prompt": "a", "label": "huge"}\n'
            b'{"prompt": "a", "lable": "fast"}\n{"prompt": "\\ud800", "label": "fast"}\n'
        )
        result = self.command()
        self.assertEqual(result.exit_code, 1)
        self.assertEqual(
            result.stderr.replace(str(file), "F").splitlines(),
            [
                "Error: F:3: this is not a JSON object",
                "F:4: this is not a JSON object",
                "F:5: this is not UTF-8",
                "F:6: 'prompt' has to be text",
                "F:7: the label 'huge' names neither a tier nor a level",
                "F:8: unknown key 'lable'; there are 'prompt' and 'label'",
                "F:9: 'prompt' has half of a surrogate pair in it",
            ],
        )
        file.write_text("\n")
        self.assertIn("there is no prompt in it", self.command().stderr)

    def test_whole_command(self) -> None:
        """The shipped prompts, a report in a file, and one line about it."""
        report = self.folder / "report.md"
        text = self.source.read_text().replace('style = "scripted"', 'style = "echo"')
        self.source.write_text(text.replace('fixtures = "script.toml", ', ""))
        for _ in range(2):  # a report may be written over
            process = self.spawn("--report", str(report))
            out, err = process.communicate(timeout=60)
            self.assertEqual((process.returncode, err), (0, ""))
            self.assertEqual(
                out, f"Accuracy 25.0% (16.0% to 36.8%; 16 of 64). The report is in {report}.\n"
            )
        self.assertIn("- prompts: 64 of prompts.jsonl, 4 at a time\n", report.read_text())

    def test_no_success_is_a_failure(self) -> None:
        """Exit status 1 if no classification succeeded; the report is printed all the same."""
        self.prompts(("lost", "deep"))
        process = self.spawn("--prompts", str(self.folder / "prompts.jsonl"))
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 1)
        self.assertIn("**No classification succeeded.**", out)
        self.assertIn("Error: No classification succeeded", err)

    def test_interrupted(self) -> None:
        """An interrupt ends it at once, without a report."""
        self.write("classifier_timeout_ms = 600000", wait=600_000)
        process = self.spawn("--prompts", str(self.folder / "prompts.jsonl"))
        try:
            with self.assertRaises(subprocess.TimeoutExpired):
                process.communicate(timeout=5)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
        self.assertEqual((process.returncode, out), (1, ""))
        self.assertIn("Aborted!", err)


class ShippedTests(SynchronousTestCase):
    """The prompts that come with the package."""

    def test_balanced(self) -> None:
        """The four levels take turns, so that a limit keeps them balanced; none is twice."""
        text = (ROOT / "lmgateway" / "commands" / "prompts.jsonl").read_text()
        rows = [json.loads(line) for line in text.splitlines()]
        self.assertEqual(
            [row["label"] for row in rows], ["instant", "fast", "moderate", "deep"] * 16
        )
        self.assertEqual(len({row["prompt"] for row in rows}), 64)
