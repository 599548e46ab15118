"""The report of ``lmgateway tune``: Markdown for people, with a prompt to paste."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

from lmgateway.classes import frozen
from lmgateway.commands.tuning import (
    Bill,
    Outcome,
    Proposal,
    Quantile,
    Score,
    bills_of,
    fragment,
    one_line,
    propose,
    wilson,
)
from lmgateway.routing.classify import CLASSIFIER_PROMPT, Labels
from lmgateway.routing.policy import Policy

TITLE = "# Classifier report"
"""How every report begins: nothing else is written over."""

MAX_LISTED = 200
"""Prompts that failed, in the report; all of them are counted."""
MAX_SHOWN = 100
"""Characters of each."""
MAX_WORDS = 10


@frozen(kw_only=True)
class Run:
    """
    What was measured, and of whom.

    Attributes:
        name: Of the prompt file.
    """

    policy: Policy
    labels: Labels
    name: str
    concurrency: int
    outcomes: Sequence[Outcome]


def report_of(run: Run) -> str:
    """Tell how well a profile's classifier did, and how it may do better."""
    return "\n".join(_lines(run)) + "\n"


def _lines(run: Run) -> Iterator[str]:
    prompt = run.policy.classifier_prompt or CLASSIFIER_PROMPT
    yield from (TITLE, "", *_head(run), "", f"**{verdict_of(run)}**", *_verdict(run))
    yield from ("", "## By label", "", *_by_label(run))
    yield from ("", "## By tier", "", *_by_tier(run))
    yield from ("", "## Latency and tokens", "", *_bills(run))
    yield from ("", "## Prompts that failed", "", *_failed(run))
    proposal = propose(prompt, run.outcomes, run.labels)
    yield from ("", "## Proposed prompt", "", *_proposal(run, proposal))


def _head(run: Run) -> Iterator[str]:
    policy = run.policy
    asked = [t.name for t in (policy.fallback, policy.classifier_fallback) if t is not None]
    own = "its own" if policy.classifier_prompt else "the built-in one"
    yield f"- profile: {policy.name} (prompt: {own})"
    yield f"- classifier: {', then '.join(asked)}"
    yield f"- ceiling: {policy.ceiling.name}"
    yield f"- prompts: {len(run.outcomes)} of {run.name}, {run.concurrency} at a time"


def verdict_of(run: Run) -> str:
    """Say in one line how well it did."""
    score = Score.of(run.outcomes)
    if not score.total:
        return "No classification succeeded."
    return f"Accuracy {_share(score.right, score.total)}."


def _verdict(run: Run) -> Iterator[str]:
    score = Score.of(run.outcomes)
    yield ""
    if not score.total:
        yield "Why the calls failed stands below."
        return
    yield f"- over-classified (too dear): {_share(score.over, score.total)}"
    yield f"- under-classified (too cheap): {_share(score.under, score.total)}"
    yield f"- not classified (live traffic would go to the cheapest tier): {score.failed}"
    unknown = Counter(
        one_line(outcome.reading.label, 30)
        for outcome in run.outcomes
        if not outcome.reading.failed
        and outcome.reading.label not in run.labels.exact
        and outcome.reading.label not in run.labels.short
    )
    if unknown:
        words = ", ".join(f"{word} ({n})" for word, n in unknown.most_common(MAX_WORDS))
        yield f"- words that name no tier (they mean the middle one): {words}"


def _by_label(run: Run) -> Iterator[str]:
    yield from _table("label", "ought to go to", "right", "over", "under", "not classified")
    cases = sorted((outcome.case for outcome in run.outcomes), key=lambda case: case.tier.index)
    for label, tier in dict.fromkeys((case.label, case.tier.name) for case in cases):
        score = Score.of([outcome for outcome in run.outcomes if outcome.case.label == label])
        yield _row(one_line(label, 40), tier, *_counts(score))


def _by_tier(run: Run) -> Iterator[str]:
    yield from _table("tier", "prompts for it", "sent to it", "right", "over", "under", "not cl.")
    for tier in run.labels.tiers[: run.policy.ceiling.index + 1]:
        meant = [outcome for outcome in run.outcomes if outcome.case.tier is tier]
        sent = sum(outcome.tier is tier for outcome in run.outcomes if not outcome.reading.failed)
        yield _row(tier.name, str(len(meant)), str(sent), *_counts(Score.of(meant)))


def _counts(score: Score) -> Sequence[str]:
    right = _share(score.right, score.total) if score.total else "0"
    return right, str(score.over), str(score.under), str(score.failed)


def _bills(run: Run) -> Iterator[str]:
    yield from _table("asked", "calls", "failed", "p50 ms", "p95 ms", "tokens in", "out", "a call")
    for bill in bills_of(run.outcomes):
        yield _row(
            bill.tier,
            str(bill.calls),
            ", ".join(f"{kind} {count}" for kind, count in bill.errors.items()) or "0",
            *_latencies(bill.seconds),
            *_tokens(bill),
        )
    waits = [outcome.seconds for outcome in run.outcomes if not outcome.reading.failed]
    if waits:
        middle, late = _latencies(waits)
        yield f"\nA classified prompt took p50 {middle} ms, p95 {late} ms, all calls together."
        yield "In parentheses, here and above: the 95 % confidence interval."


def _latencies(seconds: Sequence[float]) -> Sequence[str]:
    if not seconds:
        return "-", "-"
    found = (Quantile.of(seconds, share) for share in (0.5, 0.95))
    return [f"{_ms(q.value)} ({_ms(q.low)} to {_ms(q.high)})" for q in found]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f}"


def _tokens(bill: Bill) -> Sequence[str]:
    if not bill.told:
        return "not told", "not told", "not told"
    each = (bill.input_tokens + bill.output_tokens) / bill.told
    return str(bill.input_tokens), str(bill.output_tokens), f"{each:.0f}"


def _failed(run: Run) -> Iterator[str]:
    wrong = [outcome for outcome in run.outcomes if outcome.distance or outcome.reading.failed]
    if not wrong:
        yield "None."
        return
    yield from _table("prompt", "ought to go to", "went to", "said")
    for outcome in islice(wrong, MAX_LISTED):
        went = "not classified" if outcome.reading.failed else outcome.tier.name
        said = one_line(outcome.reading.label, 30)
        yield _row(one_line(outcome.case.prompt, MAX_SHOWN), outcome.case.tier.name, went, said)
    if len(wrong) > MAX_LISTED:
        yield f"\nAnd {len(wrong) - MAX_LISTED} more."


def _proposal(run: Run, proposal: Proposal) -> Iterator[str]:
    if not proposal.examples:
        yield "None: no classified prompt went to a wrong tier."
        return
    yield f"The present prompt, and as examples {len(proposal.examples)} of those that failed."
    yield "On the same file it will look better than it is: measure it with other prompts."
    if proposal.unnamed:
        yield (
            "The present prompt does not know these words, so say in it what belongs there: "
            f"{', '.join(proposal.unnamed)}."
        )
    fence = "`" * max([3, *(len(ticks) + 1 for ticks in re.findall("`+", proposal.text))])
    yield from ("", f"{fence}toml", *fragment(run.policy.name, proposal.text), fence)


def _share(hits: int, total: int) -> str:
    low, high = wilson(hits, total)
    return f"{hits / total:.1%} ({low:.1%} to {high:.1%}; {hits} of {total})"


def _table(*titles: str) -> Iterator[str]:
    yield _row(*titles)
    yield _row(*("---" for _ in titles))


def _row(*cells: str) -> str:
    escaped = (cell.replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"
