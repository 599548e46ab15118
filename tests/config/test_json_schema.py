"""The JSON Schema of the config file."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from lmgateway.config import schema
from lmgateway.config.json_schema import Schema, descriptions, json_schema
from lmgateway.config.providers import PROVIDERS
from tests.config.test_load import REFERENCE

ETC = Path(__file__).parents[2] / "etc"
SAMPLES = [ETC / "config.toml", *sorted(ETC.glob("examples/**/config.toml"))]
SAMPLES += sorted(ETC.glob("examples/*.toml"))
TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}


def faults(value: Any, rule: Schema, root: Schema, path: str = "$") -> Iterator[str]:
    """Validate by the few keywords that our schema has."""
    if "$ref" in rule:
        rule = root["$defs"][rule["$ref"].rpartition("/")[2]]
    kind = rule.get("type", "")
    if kind and not isinstance(value, TYPES[kind]):
        yield f"{path} is no {kind}"
        return
    if "enum" in rule and value not in rule["enum"]:
        yield f"{path} is not one of the words"
    if "pattern" in rule and not re.search(rule["pattern"], value):
        yield f"{path} is spelt otherwise"
    if "minimum" in rule and not rule["minimum"] <= value <= rule["maximum"]:
        yield f"{path} is out of range"
    for number, item in enumerate(value if kind == "array" else ()):
        yield from faults(item, rule["items"], root, f"{path}[{number}]")
    if kind == "object":
        yield from table_faults(value, rule, root, path)


def table_faults(value: Any, rule: Schema, root: Schema, path: str) -> Iterator[str]:
    """Validate the keys of a table."""
    known = rule.get("properties", {})
    others = rule.get("additionalProperties", {})
    for key in rule.get("required", ()):
        if key not in value:
            yield f"{path}.{key} is missing"
    for key, item in value.items():
        yield from faults(key, rule.get("propertyNames", {}), root, f"{path}.{key} (name)")
        if key not in known and others is False:
            yield f"{path}.{key} is unknown"
        else:
            yield from faults(item, known.get(key, others), root, f"{path}.{key}")


class JsonSchemaTests(SynchronousTestCase):
    """It says what the loader does."""

    def test_our_samples_are_valid(self) -> None:
        """All that we ship, and all keys of the reference."""
        rule = json_schema()
        for path in SAMPLES:
            tree = tomllib.loads(path.read_text())
            self.assertEqual([*faults(tree, rule, rule)], [], str(path))
        self.assertEqual([*faults(tomllib.loads(REFERENCE), rule, rule)], [])

    def test_a_stock_validator_agrees(self) -> None:
        """If there is one."""
        try:
            import jsonschema  # type: ignore[import-untyped,unused-ignore]  # not one of ours
        except ImportError as missing:
            raise SkipTest("jsonschema is not installed") from missing
        rule = json_schema()
        jsonschema.Draft202012Validator.check_schema(rule)
        validator = jsonschema.Draft202012Validator(rule)
        for path in SAMPLES:
            validator.validate(tomllib.loads(path.read_text()))

    def test_mistakes_are_found(self) -> None:
        """Unknown and missing keys, wrong types, ranges, words and names."""
        rule = json_schema()
        text = """
            [gateway]
            client_port = 70000
            admin_port = "x"
            prot = 1
            error_style = "rude"
            [backends.b]
            provider = "nope"
            headers = { "a b" = "c" }
            api_key_env = "no-name"
            [[tiers]]
            backend = "b"
        """
        self.assertEqual(
            [*faults(tomllib.loads(text), rule, rule)],
            [
                "$.gateway.client_port is out of range",
                "$.gateway.admin_port is no integer",
                "$.gateway.prot is unknown",
                "$.gateway.error_style is not one of the words",
                "$.backends.b.provider is not one of the words",
                "$.backends.b.headers.a b (name) is spelt otherwise",
                "$.backends.b.api_key_env is spelt otherwise",
                "$.tiers[0].name is missing",
            ],
        )

    def test_every_key_is_described(self) -> None:
        """And nothing is described that is no key."""
        for name in (
            "Gateway",
            "Backend",
            "Tier",
            "Target",
            "Profile",
            "Client",
            "Rule",
            "Price",
            "Tls",
        ):
            cls = getattr(schema, f"{name}Section")
            keys = {attribute.name for attribute in attrs.fields(cls)}
            self.assertEqual({*descriptions(cls)}, keys)

    def test_defaults_and_providers_are_told(self) -> None:
        """For editors that complete them."""
        definitions = json_schema()["$defs"]
        gateway = definitions["GatewaySection"]["properties"]
        self.assertEqual(gateway["max_body_bytes"]["default"], 33554432)
        self.assertEqual(gateway["failover"]["default"], True)
        provider = definitions["BackendSection"]["properties"]["provider"]
        self.assertEqual(provider["enum"], [*PROVIDERS])

    def test_it_is_json(self) -> None:
        """All of it."""
        self.assertIn('"additionalProperties": false', json.dumps(json_schema()))
