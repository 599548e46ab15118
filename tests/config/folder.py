"""A folder of config files on disk, for tests."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.config.load import load
from lmgateway.config.schema import Config
from lmgateway.errors import ConfigError

BASE = """
[gateway]
[backends.mock]
base_url = "http://127.0.0.1:9000"
[[tiers]]
name = "local:fast"
backend = "mock"
model = "fast-model"
[[tiers]]
name = "cloud:economy"
backend = "mock"
model = "economy-model"
[aliases]
"hint:fast" = "local:fast"
[profiles.default]
mode = "dispatch"
classifier = "local:fast"
max_auto_tier = "cloud:economy"
"""
"""The reference's acceptance set-up; tables may be appended to it."""


class FolderTestCase(SynchronousTestCase):
    """Has a folder with a ``config.toml`` to load."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.source = self.folder / "config.toml"

    def write(self, name: str, text: str) -> Path:
        """Write a file of the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def load(self, text: str | None = None, **environ: str) -> Config:
        """Load the folder, with *text* as the main file."""
        if text is not None:
            self.write("config.toml", text)
        return load(self.source, environ)

    def problems(self, text: str | None = None, **environ: str) -> list[str]:
        """Give the problems of the folder, without the folder's name."""
        error = self.assertRaises(ConfigError, self.load, text, **environ)
        return [problem.replace(f"{self.folder}/", "") for problem in error.problems]

    def problem(self, text: str, **environ: str) -> str:
        """Give the one problem of *text*."""
        (problem,) = self.problems(text, **environ)
        return problem

    def warnings(self, text: str, **environ: str) -> list[str]:
        """Give the warnings about *text*, without the folder's name."""
        return [w.replace(f"{self.folder}/", "") for w in self.load(text, **environ).warnings]


def based(gateway: str = "", more: str = "") -> str:
    """Give ``BASE`` with keys in ``[gateway]`` and tables at its end."""
    return BASE.replace("[gateway]\n", f"[gateway]\n{gateway}\n") + more
