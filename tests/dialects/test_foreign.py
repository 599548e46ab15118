"""Tests for members that would choose a host or a credential."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.dialects.anthropic import ANTHROPIC
from lmgateway.dialects.base import SurfaceDialect
from lmgateway.dialects.completions import COMPLETIONS
from lmgateway.dialects.document import encode, read
from lmgateway.dialects.foreign import FOREIGN, NESTS, POLICY
from lmgateway.dialects.ollama import OLLAMA
from lmgateway.dialects.openai import OPENAI
from lmgateway.dialects.responses import RESPONSES
from lmgateway.errors import MalformedRequest

PROVIDERS_OWN = (
    "aws_access_key_id",
    "aws_bedrock_runtime_endpoint",
    "aws_role_name",
    "aws_sts_endpoint",
    "azure_ad_token",
    "azure_endpoint",
    "langfuse_host",
    "vertex_credentials",
    "vertex_project",
    "watsonx_url",
)
OTHERWISE_SPELT = ("API_BASE", "apiBase", "api-base", " api_key ", "baseURL", "BaseUrl", "AWS-Key")


class ForeignTests(SynchronousTestCase):
    """Tests for ``refuse_member``, by way of what reads every body."""

    def refused(self, body: dict[str, Any]) -> str | None:
        """Give what a refusal names; ``None`` if the body is let in."""
        try:
            read(encode(body))
        except MalformedRequest as error:
            self.assertEqual(error.status, 400)
            return error.param
        return None

    def test_N9_hosts_and_credentials_are_refused_by_name(self) -> None:
        """No client chooses where a request goes, or with whose key."""
        for name in (*FOREIGN, *PROVIDERS_OWN):
            self.assertEqual(self.refused({"model": "m", name: "x"}), name)

    def test_N9_other_spellings_are_refused_too(self) -> None:
        """Readers differ about case and underscores; the gateway takes no chances."""
        for name in OTHERWISE_SPELT:
            self.assertEqual(self.refused({"model": "m", name: "x"}), name)

    def test_N9_nested_ones_are_refused_where_servers_read_them(self) -> None:
        """What some servers lift to the top is looked through, however deep."""
        for nest in NESTS:
            self.assertEqual(self.refused({nest: {"api_base": "x"}}), f"{nest}.api_base")
            within = {nest: [{"a": [{"API_KEY": "x"}]}]}
            self.assertEqual(self.refused(within), f"{nest}[0].a[0].API_KEY")
        self.assertEqual(self.refused({"Extra-Body": {"base_url": 1}}), "Extra-Body.base_url")

    def test_N9_what_is_decided_on_is_not_said_elsewhere(self) -> None:
        """Another model, or a longer answer, than the one that is let in and paid for."""
        for name in POLICY:
            self.assertEqual(self.refused({"extra_body": {name: 1}}), f"extra_body.{name}")
        self.assertEqual(self.refused({"extra_body": {"MaxTokens": 1}}), "extra_body.MaxTokens")
        self.assertEqual(self.refused({"model": "m", "models": ["dear"]}), "models")

    def test_names_elsewhere_are_data(self) -> None:
        """A tool's parameter, a label and ordinary members are nobody's address."""
        parameters = {"type": "object", "properties": {"endpoint": {"type": "string"}}}
        tool = {"type": "function", "function": {"name": "call", "parameters": parameters}}
        for body in (
            {"tools": [tool]},
            {"metadata": {"endpoint": "/checkout", "host": "shop"}},
            {"extra_body": {"top_k": 3, "guided_json": {"properties": {"model": {}}}}},
            {"provider": {"order": ["a"]}, "service_tier": "auto", "user": "x"},
        ):
            self.assertIsNone(self.refused({"model": "m", **body}))

    def test_a_long_name_is_judged_and_not_remembered(self) -> None:
        """Blanks before a name hide nothing, and long names cost no memory."""
        name = " " * 500 + "api_base"
        self.assertEqual(self.refused({name: "x"}), name[:256])

    def test_N9_every_grammar_refuses(self) -> None:
        """What one surface refuses no other lets through."""
        surfaces: tuple[tuple[SurfaceDialect, Any], ...] = (
            (OPENAI, "chat"),
            (OPENAI, "embeddings"),
            (COMPLETIONS, "completions"),
            (RESPONSES, "responses"),
            (ANTHROPIC, "chat"),
            (ANTHROPIC, "count_tokens"),
            (OLLAMA, "chat"),
            (OLLAMA, "generate"),
            (OLLAMA, "embeddings"),
        )
        for dialect, endpoint in surfaces:
            with self.assertRaises(MalformedRequest) as caught:
                dialect.parse(encode({"model": "m", "Api_Base": "x"}), endpoint)
            self.assertEqual(caught.exception.param, "Api_Base", dialect.name)
