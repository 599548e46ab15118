"""Tests for the statistics, the proposal and the report of ``lmgateway tune``."""

from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.commands.tuning import (
    MAX_EXAMPLES,
    Proposal,
    Quantile,
    fragment,
    one_line,
    propose,
    wilson,
)
from lmgateway.commands.tuning_report import MAX_LISTED, report_of
from tests.commands.tuned import TuneCase


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
