"""
What is found out about a classifier: labelled prompts, counts, a better prompt, a report.

A prompt file has one JSON object on each line::

    {"prompt": "which port does HTTPS use?", "label": "fast"}

The label is what the classifier ought to say.  It means the tier that live
traffic would go to with it; of ``LEVELS`` those that name no tier are spread
over the ladder, so that one file fits every ladder.  A label above the ceiling
means the ceiling.  An answer is right if it leads to that tier: which word led
there makes no difference to anybody.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from math import ceil, floor, sqrt

from attrs import field

from lmgateway.chat import Document
from lmgateway.classes import frozen
from lmgateway.exchange import Attempt
from lmgateway.routing.classify import Labels, Reading, read_label
from lmgateway.routing.ladder import Tier

LEVELS = ("instant", "fast", "moderate", "deep")
"""From the cheapest tier to the ceiling."""

MAX_BYTES = 20_000_000
MAX_PROMPTS = 10_000
MAX_PROBLEMS = 20
MAX_EXAMPLES = 12
"""That are added to a classifier's prompt: it is paid for with every request."""
MAX_EXAMPLE = 160
"""Characters."""

_Z = 1.96
"""Standard deviations on either side that hold 95 % of a normal distribution."""
_ARROW = "->"


class PromptFileError(Exception):
    """A prompt file cannot be used; its text has a line for each problem."""


@frozen(kw_only=True)
class Case:
    """
    One labelled prompt.

    Attributes:
        label: As the file has it.
        tier: Where it ought to go.
    """

    prompt: str
    label: str
    tier: Tier


@frozen(kw_only=True)
class Outcome:
    """
    What became of one prompt.

    Attributes:
        reading: What the classifier said.
        tier: Where live traffic goes with that.
        attempts: The calls that were made for it.
        seconds: How long it took, with the fallback if that was asked.
    """

    case: Case
    reading: Reading
    tier: Tier
    attempts: Sequence[Attempt]
    seconds: float

    @property
    def distance(self) -> int:
        """How many tiers too high; negative if too low."""
        return self.tier.index - self.case.tier.index


# The prompt file -------------------------------------------------------------
@frozen
class Expectations:
    """What labels of a prompt file mean in one profile."""

    labels: Labels
    ceiling: Tier

    def tier_of(self, label: str) -> Tier | None:
        """Give the tier that a label means; ``None`` if it means none."""
        reading = read_label(label)
        if reading is None:
            return None
        word = reading.label
        tier = self.labels.exact.get(word) or self.labels.short.get(word)
        if tier is None and word in LEVELS:
            share = LEVELS.index(word) / (len(LEVELS) - 1)
            tier = self.labels.tiers[floor(share * self.ceiling.index + 0.5)]
        if tier is None:
            return None
        return tier if tier.index <= self.ceiling.index else self.ceiling


def read_cases(data: bytes, name: str, expectations: Expectations, limit: int | None) -> list[Case]:
    """
    Read a prompt file, or the first *limit* prompts of it.

    Raises:
        PromptFileError: With all that is wrong, each with file and line.
    """
    cases: list[Case] = []
    problems: list[str] = []
    for number, line in enumerate(data.split(b"\n"), 1):
        if len(cases) == limit or len(problems) == MAX_PROBLEMS:
            break
        if not line.strip():
            continue
        if len(cases) == MAX_PROMPTS:
            problems.append(f"{name}:{number}: there are more than {MAX_PROMPTS} prompts")
            break
        try:
            cases.append(_case(line, expectations))
        except ValueError as error:
            problems.append(f"{name}:{number}: {error}")
    if not cases and not problems:
        problems.append(f"{name}: there is no prompt in it")
    if problems:
        raise PromptFileError("\n".join(problems))
    return cases


def _case(line: bytes, expectations: Expectations) -> Case:
    try:
        document = json.loads(line.decode())
    except UnicodeDecodeError:
        raise ValueError("this is not UTF-8") from None
    except (ValueError, RecursionError):
        raise ValueError("this is not a JSON object") from None
    if not isinstance(document, dict):
        raise ValueError("this is not a JSON object")
    for key in document:
        if key not in ("prompt", "label"):
            raise ValueError(f"unknown key {key!r}; there are 'prompt' and 'label'")
    prompt, label = _text(document, "prompt"), _text(document, "label")
    tier = expectations.tier_of(label)
    if tier is None:
        raise ValueError(f"the label {one_line(label, 60)!r} names neither a tier nor a level")
    return Case(prompt=prompt, label=label, tier=tier)


def _text(document: Document, key: str) -> str:
    value = document.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{key!r} has to be text")
    if any("\ud800" <= letter <= "\udfff" for letter in value):  # which JSON lets through
        raise ValueError(f"{key!r} has half of a surrogate pair in it")
    return value


# Statistics ------------------------------------------------------------------
def wilson(hits: int, total: int) -> tuple[float, float]:
    """Give the 95 % confidence interval of a share, by Wilson's score."""
    if not total:
        return 0.0, 1.0
    share, square = hits / total, _Z * _Z
    middle = share + square / (2 * total)
    spread = _Z * sqrt(share * (1 - share) / total + square / (4 * total * total))
    scale = 1 + square / total
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


@frozen
class Quantile:
    """A quantile of what was seen, and its 95 % confidence interval, by rank."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float], share: float) -> Quantile:
        """Find it in *values*, of which there is at least one."""
        ordered, last = sorted(values), len(values) - 1
        middle, spread = share * len(values), _Z * sqrt(len(values) * share * (1 - share))
        ranks = (ceil(middle) - 1, floor(middle - spread) - 1, ceil(middle + spread))
        return cls(*(ordered[min(max(rank, 0), last)] for rank in ranks))


@frozen(kw_only=True)
class Score:
    """
    How often classifications were right.

    Attributes:
        over: That went to a tier that is too dear.
        under: That went to one that is too cheap.
        failed: Prompts of which no classifier said anything; not part of the others.
    """

    right: int = 0
    over: int = 0
    under: int = 0
    failed: int = 0

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> Score:
        """Count."""
        distances = [outcome.distance for outcome in outcomes if not outcome.reading.failed]
        return cls(
            right=distances.count(0),
            over=sum(distance > 0 for distance in distances),
            under=sum(distance < 0 for distance in distances),
            failed=len(outcomes) - len(distances),
        )

    @property
    def total(self) -> int:
        """Prompts that were classified, rightly or not."""
        return self.right + self.over + self.under


@frozen(kw_only=True)
class Bill:
    """
    What asking one tier to classify took.

    Attributes:
        errors: Failed calls, by kind.
        seconds: Of the calls that did not fail.
        told: How many answers said what tokens they took.
    """

    tier: str
    calls: int
    errors: Mapping[str, int]
    seconds: Sequence[float]
    told: int
    input_tokens: int
    output_tokens: int

    @classmethod
    def of(cls, tier: str, attempts: Sequence[Attempt]) -> Bill:
        """Add up the calls of one tier."""
        outcomes = [attempt.outcome for attempt in attempts]
        usages = [attempt.usage for attempt in attempts if attempt.usage is not None]
        return cls(
            tier=tier,
            calls=len(attempts),
            errors={kind: outcomes.count(kind) for kind in sorted({*outcomes} - {"ok"})},
            seconds=[attempt.seconds for attempt in attempts if attempt.outcome == "ok"],
            told=len(usages),
            input_tokens=sum(usage.input_tokens for usage in usages),
            output_tokens=sum(usage.output_tokens for usage in usages),
        )


def bills_of(outcomes: Sequence[Outcome]) -> list[Bill]:
    """Add up what each tier that was asked took, the first one asked first."""
    attempts = [attempt for outcome in outcomes for attempt in outcome.attempts]
    tiers = dict.fromkeys(attempt.tier for attempt in attempts)
    return [Bill.of(tier, [a for a in attempts if a.tier == tier]) for tier in tiers]


# A better prompt -------------------------------------------------------------
@frozen(kw_only=True)
class Proposal:
    """
    A classifier's prompt with more examples.

    Attributes:
        examples: The lines that are new.
        unnamed: The words that these use and the present prompt does not know.
    """

    text: str
    examples: Sequence[str] = field(factory=tuple)
    unnamed: Sequence[str] = field(factory=tuple)


def propose(
    prompt: str, outcomes: Sequence[Outcome], labels: Labels, most: int = MAX_EXAMPLES
) -> Proposal:
    """
    Add examples of what went wrong to a classifier's prompt.

    The labels take turns, and of each the shortest prompts come first: they are
    paid for with every request.
    """
    missed: dict[tuple[int, str], list[Case]] = {}
    for outcome in outcomes:
        if outcome.distance and not outcome.reading.failed:
            case = outcome.case
            missed.setdefault((case.tier.index, case.label), []).append(case)
    queues = [
        sorted(cases, key=lambda case: len(case.prompt.encode()))
        for _, cases in sorted(missed.items(), key=lambda pair: pair[0])
    ]
    turns = [case for turn in zip_longest(*queues) for case in turn if case]
    known = set(prompt.splitlines())
    lines: list[str] = []
    words: dict[str, None] = {}
    for case in turns:
        word = _word_for(case, labels, prompt)
        said = f"tier={word}" if "tier=" in prompt else word
        line = f"{one_line(case.prompt, MAX_EXAMPLE)} {_ARROW} {said}"
        if line not in known and len(lines) < most:
            known.add(line)
            lines.append(line)
            words[word] = None
    unnamed = [word for word in words if not _names(prompt, word)]
    return Proposal(text=_inserted(prompt, lines), examples=lines, unnamed=unnamed)


def _word_for(case: Case, labels: Labels, prompt: str) -> str:
    """Give a word that leads to the tier of *case*; one that the prompt knows, if there is one."""
    name = case.tier.name.lower()
    words = [
        word
        for word in (case.label.strip().lower(), name.rpartition(":")[2], name)
        if (labels.exact.get(word) or labels.short.get(word)) is case.tier
    ]
    return next((word for word in words if _names(prompt, word)), [*words, name][0])


def _names(prompt: str, word: str) -> bool:
    return re.search(rf"(?<![\w:]){re.escape(word)}(?!\w)", prompt) is not None


def _inserted(prompt: str, lines: Sequence[str]) -> str:
    """Put *lines* after the last example, or at the end."""
    if not lines:
        return prompt
    present = prompt.splitlines()
    places = [number for number, line in enumerate(present, 1) if _ARROW in line]
    if not places:
        return "\n".join([prompt.rstrip(), "", *lines])
    return "\n".join([*present[: places[-1]], *lines, *present[places[-1] :]])


def one_line(text: str, most: int) -> str:
    """Give a text as one line that no terminal minds, cut to *most* characters."""
    line = " ".join(text.split())
    line = "".join(letter if letter.isprintable() else "?" for letter in line)
    return line if len(line) <= most else f"{line[: most - 3]}..."


def fragment(profile: str, prompt: str) -> Iterator[str]:
    """Give the lines of TOML that set a profile's classifier prompt."""
    escaped = prompt.replace("\\", "\\\\")
    if '"""' in escaped or escaped.endswith('"'):
        escaped = escaped.replace('"', '\\"')
    escaped = "".join(
        letter if letter in "\n\t" or (letter >= " " and letter != "\x7f") else _escape(letter)
        for letter in escaped
    )
    bare = re.fullmatch(r"[A-Za-z0-9_-]+", profile) is not None
    yield f"# in [profiles.{profile if bare else json.dumps(profile, ensure_ascii=False)}]"
    yield from f'classifier_prompt = """\n{escaped}"""'.split("\n")


def _escape(letter: str) -> str:
    return f"\\u{ord(letter):04x}"
