"""Judges answers of a port by its own OpenAPI document."""

from __future__ import annotations

import re
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped,unused-ignore]

from tests.harness import Got


class Judge:
    """
    Holds answers against a document.

    Args:
        document: An OpenAPI 3.1 document.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self._paths = {
            re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))): path
            for path in sorted(document["paths"], key=lambda path: path.count("{"))
        }

    def operation(self, method: str, path: str) -> dict[str, Any]:
        """Give what the document says of a method of a path."""
        bare = path.partition("?")[0]
        for pattern, template in self._paths.items():
            if pattern.fullmatch(bare) and method.lower() in self.document["paths"][template]:
                found: dict[str, Any] = self.document["paths"][template][method.lower()]
                return found
        raise AssertionError(f"{method} {path} is not documented")

    def check(self, method: str, path: str, got: Got) -> None:
        """Raise ``AssertionError`` if the answer is not as documented."""
        answers = self.operation(method, path)["responses"]
        told = answers.get(str(got.code), answers.get(f"{got.code // 100}XX"))
        if told is None:
            raise AssertionError(f"{method} {path}: {got.code} is not documented: {got.body!r}")
        kinds = told.get("content")
        if kinds is None:
            assert not got.body, f"{method} {path}: {got.code} should have no body"
            return
        kind = got.headers["content-type"].partition(";")[0]
        assert kind in kinds, f"{method} {path}: {kind} is not among {[*kinds]}"
        if kind == "application/json" and "schema" in kinds[kind]:
            schema = {**kinds[kind]["schema"], "components": self.document["components"]}
            Draft202012Validator(schema).validate(got.json)
