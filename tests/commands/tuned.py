"""A classifier that is the built-in mock, and labelled prompts for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.commands.tune import Tuning, trial_of
from lmgateway.commands.tuning_report import Run
from lmgateway.config.load import load
from lmgateway.service.resources import Resources

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
