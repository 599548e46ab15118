"""``lmgateway config schema``: the config file's format, for editors and other tools."""

from __future__ import annotations

import json

from lmgateway.config.json_schema import json_schema


def schema_text() -> str:
    """Give the JSON Schema as text."""
    return json.dumps(json_schema(), indent=2)
