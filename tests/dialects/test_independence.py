"""The dialects do not know each other: N grammars need N modules, not N times N."""

from __future__ import annotations

import ast
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import lmgateway.dialects

GRAMMARS = ("openai", "anthropic", "ollama")


def grammar_of(module: str) -> str | None:
    """Say which grammar *module* is a part of, if any (``openai_stream``: ``openai``)."""
    return next((name for name in GRAMMARS if module.split("_")[0] == name), None)


def imported(source: str) -> set[str]:
    """List the modules of ``lmgateway.dialects`` that *source* imports."""
    package = "lmgateway.dialects"
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [alias.name for alias in node.names] if node.module == package else []
            found.update(names or [node.module.removeprefix(package + ".")])
        elif isinstance(node, ast.Import):
            found.update(alias.name.removeprefix(package + ".") for alias in node.names)
    return found


class IndependenceTests(SynchronousTestCase):
    def test_no_dialect_imports_another(self) -> None:
        """No part of a grammar imports a part of another grammar."""
        wrong: list[str] = []
        for path in sorted(Path(lmgateway.dialects.__file__ or "").parent.glob("*.py")):
            own = grammar_of(path.stem)
            others = {grammar_of(name) for name in imported(path.read_text())} - {None, own}
            wrong.extend(f"{path.stem} imports {other}" for other in others if own)
        self.assertEqual(wrong, [])

    def test_both_ways_of_importing_are_seen(self) -> None:
        """``from package import module`` is an import of the module too."""
        source = "from lmgateway.dialects import openai, base\nimport lmgateway.dialects.ollama"
        self.assertEqual(imported(source), {"openai", "base", "ollama"})
