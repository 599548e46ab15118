"""Tests for schemas, which come from clients: they need the ``schema`` extra."""

from __future__ import annotations

import socket
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from lmgateway.routing.gate_schema import can_validate, schema_fault
from lmgateway.routing.gates import Gates
from tests.routing.test_gates import answer, gate, request

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


class SchemaTests(SynchronousTestCase):
    """Tests for what satisfies a schema."""

    def setUp(self) -> None:
        """Only with the extra."""
        if not can_validate():
            raise SkipTest("jsonschema-rs is not installed")

    def test_answer(self) -> None:
        """An answer has to satisfy the schema that was asked for."""
        wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
        for text, expected in (('{"city":"Rome"}', None), ('{"town":"Rome"}', "json_valid")):
            finding = Gates().judge_whole(answer(text), request(response_format=wanted))
            self.assertEqual(gate(finding), expected)

    def test_arguments(self) -> None:
        """The arguments of a call have to satisfy the tool's schema."""
        tools = [{"type": "function", "function": {"name": "go", "parameters": SCHEMA}}]
        for arguments, expected in (('{"city":"Rome"}', None), ("{}", "tool_valid")):
            call = {"type": "function", "function": {"name": "go", "arguments": arguments}}
            finding = Gates().judge_whole(answer(None, tool_calls=[call]), request(tools=tools))
            self.assertEqual(gate(finding), expected)

    def test_nothing_is_fetched(self) -> None:
        """A schema that points elsewhere is not followed: not to a host, not to a file."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            listener.settimeout(0.1)
            host = f"http://127.0.0.1:{listener.getsockname()[1]}/s.json"
            for place in (host, "file:///etc/passwd", "s.json"):
                self.assertIsNone(schema_fault({}, {"$ref": place}, "it"))
                self.assertIsNone(schema_fault({}, {"$schema": place, "type": "array"}, "it"))
            self.assertRaises(TimeoutError, listener.accept)

    def test_patterns_take_linear_time(self) -> None:
        """A pattern that would never end with backtracking is matched."""
        schema = {"type": "string", "pattern": "^(a+)+$"}
        self.assertIsNotNone(schema_fault("a" * 5000 + "!", schema, "it"))

    def test_schemas_that_are_none(self) -> None:
        """What is no schema is not checked, and breaks nothing."""
        deep: dict[str, Any] = {}
        for _ in range(500):
            deep = {"not": deep}
        schemas: list[dict[str, Any]] = [{"type": 7}, {"pattern": "("}, {"$ref": "#"}, deep]
        for schema in schemas:
            schema_fault("x", schema, "it")
