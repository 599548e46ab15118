"""Tests for ``lmgateway tune``."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

from click.testing import CliRunner, Result
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.commands.cli import EX_CONFIG, main
from lmgateway.commands.tuning import Score, bills_of
from lmgateway.config.load import load
from lmgateway.dialects.document import encode
from lmgateway.dialects.openai import OPENAI
from lmgateway.exchange import Exchange
from lmgateway.principal import Principal
from lmgateway.service.graph import assemble
from lmgateway.service.resources import Resources
from tests.commands.tuned import CONFIG, TuneCase

ROOT = Path(__file__).parents[2]


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

    def test_live_traffic_goes_there_too(self) -> None:
        """The router starts at the tier that the report has, whatever the classifier said."""
        resources = Resources.of(cast(Any, Clock()), {}, write=lambda block: None)
        router = assemble(load(self.source, {}), resources).router
        for outcome in self.measure().outcomes:
            message = {"role": "user", "content": outcome.case.prompt}
            exchange = Exchange(
                id="live",
                surface="openai",
                path="/v1/chat/completions",
                peer="",
                started=0.0,
                wall=0.0,
                principal=Principal(name="", profile="default", anonymous=True),
                request=OPENAI.parse(encode({"messages": [message]}), "chat"),
            )
            decision = self.successResultOf(Deferred.fromCoroutine(router.decide(exchange)))
            assert decision.plan is not None
            self.assertEqual(decision.plan.start.name, outcome.tier.name)

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


class CommandTests(TuneCase):
    """The command line."""

    def command(self, *words: str, prompts: bool = True) -> Result:
        """Run the command line in this process, as far as the reactor is not needed."""
        own = ["--prompts", str(self.folder / "prompts.jsonl")] if prompts else []
        return CliRunner().invoke(main, ["tune", "--config", str(self.source), *own, *words])

    def spawn(self, *words: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
        """Start the whole command, with a reactor of its own, and as from a terminal.

        Tests that run in the background are run with interrupts ignored, and so would be what
        they start.
        """
        heeded = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.addCleanup(signal.signal, signal.SIGINT, heeded)
        return subprocess.Popen(
            [sys.executable, "-m", "lmgateway", "tune", "--config", str(self.source), *words],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )

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
        with socket.create_server(("127.0.0.1", 0)) as silent:
            silent.settimeout(60)
            url = f"http://127.0.0.1:{silent.getsockname()[1]}"
            text = re.sub(r'provider = "mock"\nmock .*', f'base_url = "{url}"', CONFIG)
            self.source.write_text(text % {"profile": "classifier_timeout_ms = 600000"})
            process = self.spawn("--prompts", str(self.folder / "prompts.jsonl"))
            try:
                connection, _ = silent.accept()
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=60)
            finally:
                process.kill()
            connection.close()
        self.assertEqual((process.returncode, out), (1, ""))
        self.assertIn("Aborted!", err)

    def test_progress(self) -> None:
        """A terminal is shown how far it is, and the report still is all of the output."""
        ours, theirs = pty.openpty()
        process = self.spawn("--prompts", str(self.folder / "prompts.jsonl"), stderr=theirs)
        os.close(theirs)
        out, _ = process.communicate(timeout=60)
        shown = os.read(ours, 100_000).decode()
        os.close(ours)
        self.assertTrue(out.startswith("# Classifier report\n"))
        self.assertIn("Classifying", shown)
        self.assertIn("6/6", shown)


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
