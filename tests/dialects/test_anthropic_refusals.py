"""Tests of what cannot be said to a backend in Anthropic's grammar."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.chat import Document, Overrides
from lmgateway.dialects.anthropic import ANTHROPIC
from lmgateway.errors import MalformedRequest, Unsupported, UnsupportedParameter
from tests.dialects.anthropic_vectors import (
    QUIRKS,
    foreign,
    rendered,
    said,
)

USER = {"role": "user", "content": "Hi"}
FUNCTION = {"type": "function", "function": {"name": "f"}}
SYSTEM = {"role": "system", "content": "S"}


class RefusalTests(SynchronousTestCase):
    """What cannot be said is refused, by its path."""

    def refused(self, kind: type[Exception], param: str | None, hub: Document) -> None:
        """Check that a hub request is refused, how and where."""
        error: Any = self.assertRaises(kind, rendered, hub)
        self.assertEqual(error.param, param)

    def part(self, kind: type[Exception], path: str, part: Any) -> None:
        """Check that a part of a message is refused."""
        hub = said({"role": "user", "content": [part]})
        self.refused(kind, f"messages[0].content[0]{path}", hub)

    def test_unsupported_parts(self) -> None:
        """Audio, files that are elsewhere, and what nobody knows."""
        self.part(Unsupported, ".type", {"type": "input_audio", "input_audio": {}})
        self.part(Unsupported, ".type", {"type": "video_url"})
        self.part(Unsupported, ".file", {"type": "file", "file": {"file_id": "f"}})
        zipped = {"type": "file", "file": {"file_data": "data:application/zip;base64,AA=="}}
        self.part(Unsupported, ".file.file_data", zipped)

    def test_malformed_parts(self) -> None:
        """Parts that are not what they say they are."""
        self.part(MalformedRequest, "", "text")
        self.part(MalformedRequest, ".text", {"type": "text"})
        self.part(MalformedRequest, ".image_url", {"type": "image_url"})
        self.part(MalformedRequest, ".image_url.url", {"type": "image_url", "image_url": {}})
        for url in ("ftp://x", "data:image/png,AA", "file:///etc/passwd"):
            part = {"type": "image_url", "image_url": {"url": url}}
            self.part(MalformedRequest, ".image_url.url", part)
        self.part(MalformedRequest, ".file", {"type": "file"})
        for data in (5, "AA==", "data:text/plain;base64,/w==", "data:text/plain;base64,!"):
            part = {"type": "file", "file": {"file_data": data}}
            self.part(MalformedRequest, ".file.file_data", part)
        self.part(MalformedRequest, ".file.file_url", {"type": "file", "file": {"file_url": 1}})
        named = {"file_data": "data:text/plain;base64,AA==", "filename": 7}
        self.part(MalformedRequest, ".file.filename", {"type": "file", "file": named})

    def test_messages(self) -> None:
        """Messages that are none, or of a role that is gone."""
        cases: list[tuple[Any, type[Exception], str]] = [
            ("Hi", MalformedRequest, ""),
            ({"content": "x"}, MalformedRequest, ".role"),
            ({"role": "function", "name": "f", "content": "x"}, Unsupported, ".role"),
            ({"role": "user", "content": 5}, MalformedRequest, ".content"),
            ({"role": "tool", "content": "x"}, MalformedRequest, ".tool_call_id"),
            (
                {"role": "tool", "tool_call_id": "", "content": "x"},
                MalformedRequest,
                ".tool_call_id",
            ),
            (
                {"role": "assistant", "function_call": {"name": "f"}},
                Unsupported,
                ".function_call",
            ),
            ({"role": "assistant", "refusal": 5}, MalformedRequest, ".refusal"),
            ({"role": "assistant", "thinking_blocks": 5}, MalformedRequest, ".thinking_blocks"),
            ({"role": "assistant", "tool_calls": ["f"]}, MalformedRequest, ".tool_calls[0]"),
        ]
        for message, kind, path in cases:
            with self.subTest(path):
                self.refused(kind, f"messages[0]{path}", {"messages": [message]})

    def test_system_is_text(self) -> None:
        """A system prompt with an image cannot be said."""
        image = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
        hub = said({"role": "system", "content": [image]}, USER)
        self.refused(Unsupported, "messages[0].content", hub)

    def test_conversations_only(self) -> None:
        """A prompt without messages, or a system prompt alone, is no conversation."""
        self.refused(Unsupported, "messages", {"prompt": "Once"})
        self.refused(Unsupported, None, said(SYSTEM))
        self.refused(Unsupported, None, said({"role": "assistant", "content": " "}))

    def test_calls(self) -> None:
        """Calls that are no calls of functions with an object."""
        odd: list[Any] = [None, {}, "{", "[]", "5", '{"a":1}}']
        cases: list[tuple[Document, type[Exception], str]] = [
            ({"type": "custom", "id": "c", "custom": {}}, Unsupported, ".type"),
            ({"id": "c"}, MalformedRequest, ".function"),
            ({"function": {"name": "f", "arguments": "{}"}}, MalformedRequest, ".id"),
            ({"id": "c", "function": {}}, MalformedRequest, ".function.name"),
            *(
                (
                    {"id": "c", "function": {"name": "f", "arguments": arguments}},
                    MalformedRequest,
                    ".function.arguments",
                )
                for arguments in odd
            ),
        ]
        for call, kind, path in cases:
            hub = said(USER, {"role": "assistant", "tool_calls": [call]})
            with self.subTest(path):
                self.refused(kind, f"messages[1].tool_calls[0]{path}", hub)

    def test_members(self) -> None:
        """Members of the wrong type, or that must not be silently ignored."""
        custom = {"type": "custom", "custom": {"name": "g"}}
        cases: list[tuple[type[Exception], str, dict[str, Any]]] = [
            (MalformedRequest, "temperature", {"temperature": "hot"}),
            (MalformedRequest, "top_p", {"top_p": "x"}),
            (MalformedRequest, "max_tokens", {"max_tokens": "x"}),
            (MalformedRequest, "stop", {"stop": 5}),
            (MalformedRequest, "stop", {"stop": [5]}),
            (MalformedRequest, "user", {"user": 5}),
            (MalformedRequest, "tools", {"tools": "f"}),
            (Unsupported, "tools[1].type", {"tools": [FUNCTION, custom]}),
            (MalformedRequest, "tools[0].function", {"tools": [{}]}),
            (MalformedRequest, "tools[0].function.name", {"tools": [{"function": {}}]}),
            (Unsupported, "functions", {"functions": [{"name": "f"}]}),
            (MalformedRequest, "tool_choice", {"tools": [FUNCTION], "tool_choice": "maybe"}),
            (
                Unsupported,
                "tool_choice.type",
                {"tools": [FUNCTION], "tool_choice": {"type": "allowed_tools"}},
            ),
            (MalformedRequest, "response_format", {"response_format": "json"}),
            (MalformedRequest, "response_format.type", {"response_format": {"type": "xml"}}),
            (
                MalformedRequest,
                "response_format.json_schema",
                {"response_format": {"type": "json_schema"}},
            ),
            (MalformedRequest, "reasoning_effort", {"reasoning_effort": 5}),
        ]
        for kind, param, members in cases:
            with self.subTest(param):
                self.refused(kind, param, said(**members))

    def test_another_grammars_own(self) -> None:
        """A request that only its own grammar can express is refused."""
        hub = said()
        request = replace(foreign(hub), diagonal_only="suffix")
        self.assertRaises(
            UnsupportedParameter, ANTHROPIC.render, request, Overrides(model="m"), QUIRKS
        )
