"""What a self-test found: one row for each scenario, and their sum."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, Literal

from attrs import asdict

from lmgateway.classes import frozen

Verdict = Literal["pass", "fail", "skip"]

_MARKS = {"pass": "ok  ", "fail": "FAIL", "skip": "-   "}


@frozen(kw_only=True)
class Row:
    """
    One scenario.

    Attributes:
        subject: What it is about, such as a tier.
        scenario: What goes wrong there.
        expected: What the config promises then.
        happened: What happened.
        verdict: Whether that is the same; ``skip`` where there is nothing to try.
    """

    subject: str
    scenario: str
    expected: str
    happened: str
    verdict: Verdict


def skipped(subject: str, scenario: str, why: str) -> Row:
    """Give the row of a scenario that cannot be tried."""
    return Row(subject=subject, scenario=scenario, expected="", happened=why, verdict="skip")


@frozen
class Card:
    """
    All rows.

    Attributes:
        config: The main file of the config.
    """

    config: str
    rows: Sequence[Row]

    def count(self, verdict: Verdict) -> int:
        """Say how many ended so."""
        return sum(row.verdict == verdict for row in self.rows)

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not self.count("fail")

    def json(self) -> str:
        """Give the card as a document."""
        document: dict[str, Any] = {
            "config": self.config,
            "passed": self.count("pass"),
            "failed": self.count("fail"),
            "skipped": self.count("skip"),
            "scenarios": [asdict(row) for row in self.rows],
        }
        return json.dumps(document, indent=2)

    def text(self) -> str:
        """Give the card in lines for people."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"{self.config}, with stand-ins for all backends"
        width = max((len(row.scenario) for row in self.rows), default=0)
        for subject, rows in groupby(self.rows, lambda row: row.subject):
            yield f"\n{subject}"
            for row in rows:
                line = f"  {_MARKS[row.verdict]}  {row.scenario.ljust(width)}  {row.happened}"
                if row.verdict == "fail":
                    line += f"\n        expected: {row.expected}"
                yield line
        yield (
            f"\n{self.count('pass')} passed, {self.count('fail')} failed, "
            f"{self.count('skip')} could not be tried"
        )
