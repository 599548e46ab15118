"""The example of docs/budgets.md, as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.config.load import load
from lmgateway.governance.pricing import Prices
from lmgateway.service.rehearsal import rehearse

PAGE = Path(__file__).parents[2] / "docs" / "budgets.md"
ENVIRON = {
    name: f"a-secret-of-some-length-{name}" for name in ("OPENAI_API_KEY", "ANN_KEY", "HOOK_KEY")
}


class PageTests(SynchronousTestCase):
    """Tests that the page is true."""

    def test_the_example_starts(self) -> None:
        """With a price list beside it, all that it says is found."""
        (example,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "config.toml").write_text(example)
        (folder / "model_prices.json").write_text("{}")
        config = load(folder / "config.toml", ENVIRON)
        self.assertEqual(config.warnings, ())
        rehearse(config, ENVIRON, Clock())
        self.assertEqual([*Prices.of(config).sources.values()], ["local", "config", "table"])
