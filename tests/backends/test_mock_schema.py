"""Values for JSON Schemas."""

from __future__ import annotations

import json
from time import process_time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.backends.mock_schema import MAX_VALUES, example

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda child: st.lists(child, max_size=4)
    | st.dictionaries(
        st.sampled_from(
            ["type", "properties", "items", "required", "$ref", "anyOf", "allOf", "enum", "minimum",
             "maximum", "multipleOf", "exclusiveMinimum", "minLength", "maxItems", "prefixItems"]
        ),
        child | st.sampled_from(["object", "array", "integer", "number", "string", "#", "#/x"]),
        max_size=5,
    ),
    max_leaves=25,
)  # fmt: skip


class ExampleTests(SynchronousTestCase):
    """Values for schemas."""

    def test_values(self) -> None:
        """Each kind of schema gets a value that satisfies it."""
        cases: list[tuple[Any, Any]] = [
            ({}, "mock"),
            (True, "mock"),
            ({"type": "string"}, "mock"),
            ({"type": "string", "minLength": 6}, "mockxx"),
            ({"type": "string", "maxLength": 2}, "mo"),
            ({"type": "string", "format": "date"}, "2024-01-01"),
            ({"type": "string", "format": "strange"}, "mock"),
            ({"type": ["null", "string"]}, "mock"),
            ({"type": "null"}, None),
            ({"type": ["null"]}, None),
            ({"type": "boolean"}, True),
            ({"enum": ["b", "a"]}, "b"),
            ({"const": 0}, 0),
            ({"default": [], "type": "array"}, []),
            ({"examples": ["x"]}, "x"),
            ({"type": "integer"}, 1),
            ({"type": "integer", "minimum": 2.5}, 3),
            ({"type": "integer", "exclusiveMinimum": 5}, 6),
            ({"type": "integer", "maximum": -3}, -3),
            ({"type": "integer", "exclusiveMaximum": 0}, -1),
            ({"type": "integer", "minimum": 5, "multipleOf": 4}, 8),
            ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, 0.5),
            ({"type": "number", "multipleOf": 0.5}, 0.5),
            ({"type": "array"}, ["mock"]),
            ({"type": "array", "maxItems": 0}, []),
            ({"items": {"type": "integer"}, "minItems": 3}, [1, 1, 1]),
            ({"prefixItems": [{"type": "integer"}, {"type": "null"}]}, [1, None]),
            ({"properties": {"a": {"type": "null"}, "b": {}}}, {"a": None, "b": "mock"}),
            ({"properties": {"a": {"type": "null"}, "b": {}}, "required": ["b"]}, {"b": "mock"}),
            ({"type": "object", "required": ["c"]}, {"c": "mock"}),
            ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 1),
            ({"oneOf": [{"const": "x"}]}, "x"),
            (
                {
                    "allOf": [
                        {"properties": {"a": {"const": 1}}, "required": ["a"]},
                        {"properties": {"b": {"const": 2}}, "required": ["b"]},
                    ]
                },
                {"a": 1, "b": 2},
            ),
            (
                {"$defs": {"x/y": {"const": 7}}, "items": {"$ref": "#/$defs/x~1y"}},
                [7],
            ),
            ({"$ref": "https://example.com/schema"}, "mock"),
            ({"$ref": "#/nowhere"}, "mock"),
        ]
        for schema, wanted in cases:
            self.assertEqual(example(schema), wanted, schema)

    def test_text_of_strings(self) -> None:
        """A string that may be anything is the given text."""
        self.assertEqual(example({"type": "string"}, "Paris"), "Paris")

    def test_hostile_schemas_are_bounded(self) -> None:
        """Recursion and huge bounds cost little and end."""
        node: dict[str, Any] = {"type": "object", "required": [f"p{i}" for i in range(20)]}
        node["properties"] = {name: {"$ref": "#"} for name in node["required"]}
        hostile = [
            node,
            {"$ref": "#"},
            {"allOf": [{"$ref": "#"}] * 20},
            {"items": {"$ref": "#"}, "minItems": 10**9},
            {"type": "string", "minLength": 10**12},
            {"type": "number", "multipleOf": 5e-324, "minimum": 1e15},
            {"type": "integer", "minimum": 1e308, "maximum": -1e308},
        ]
        began = process_time()
        for schema in hostile:
            self.assertLess(len(json.dumps(example(schema))), 40 * MAX_VALUES)
        self.assertLess(process_time() - began, 5)

    @given(JSON)
    @settings(max_examples=200, deadline=None)
    def test_any_schema_has_a_value(self, schema: Any) -> None:
        """Whatever a client declares, the mock has an answer that is JSON."""
        json.dumps(example(schema))
