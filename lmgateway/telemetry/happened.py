"""What happened to backends, budgets and the configuration, counted: a listener to events."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from lmgateway.telemetry.events import Event
from lmgateway.telemetry.exposition import Family

MAX_COUNTED = 2000


class Happened:
    """
    Counts events by what they were about.

    Attributes:
        reloaded: When the configuration was last read well, in seconds since the epoch.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[str, ...], int] = defaultdict(int)
        self._reloads = {"ok": 0, "failed": 0}
        self.reloaded = 0.0

    def __call__(self, event: Event) -> None:
        """Take one event."""
        facts = event.facts
        if event.kind == "reload":
            self._reloads["ok" if facts.get("ok") else "failed"] += 1
            if facts.get("ok"):
                self.reloaded = event.at
        elif event.kind in _COUNTED:
            labels = tuple([_text(facts.get(name)) for name in _COUNTED[event.kind][1]])
            key = (event.kind, *labels)
            if key in self._counts or len(self._counts) < MAX_COUNTED:
                self._counts[key] += 1

    def families(self) -> Iterator[Family]:
        """Give what was counted."""
        yield Family(
            "lmg_config_reloads",
            "counter",
            "Reloads of the configuration, by result.",
            ("result",),
            [((result,), count) for result, count in self._reloads.items()],
        )
        yield Family(
            "lmg_config_last_reload_success_timestamp_seconds",
            "gauge",
            "When the configuration that is served was read.",
            (),
            [((), self.reloaded)],
        )
        for kind, (name, labels, text) in _COUNTED.items():
            samples = [(key[1:], count) for key, count in self._counts.items() if key[0] == kind]
            yield Family(name, "counter", text, labels, samples)


_COUNTED = {
    "breaker": (
        "lmg_breaker_transitions",
        ("backend", "model", "to"),
        "Changes of a breaker's state, by what it became.",
    ),
    "budget": (
        "lmg_budget_events",
        ("budget", "what", "threshold"),
        "Marks of budgets that were reached, and requests that found one spent (the first of a "
        "period).",
    ),
    "key": (
        "lmg_key_changes",
        ("action",),
        "Keys that were made, changed or deleted at run time.",
    ),
    "override": (
        "lmg_overrides",
        ("what",),
        "What operators imposed for a time, and took back.",
    ),
    "alarm": (
        "lmg_alarms",
        ("what",),
        "Things that an operator should look at, such as guesses at the admin port's tokens.",
    ),
    "mid_stream": (
        "lmg_mid_stream",
        ("backend", "model", "outcome"),
        "Streams that broke off and were not only told so, by who answered last and what came "
        "of it.",
    ),
}
"""By kind of event: the name of the family, the facts that are its labels, and its text."""


def _text(fact: Any) -> str:
    return "none" if fact is None else str(fact)
