"""Scripted answers from files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lmgateway.backend_errors import BackendLimited, Rejected
from lmgateway.backends.mock_ask import fixture_key
from lmgateway.backends.mock_fixtures import load_fixtures
from lmgateway.errors import ConfigError
from tests.backends.mock_calls import Answered, MockTestCase, call_of, chat, request_of

SCRIPT = """
[[fixtures]]
text = "What is 2 + 2?"
answers = [{ text = "4" }, { chunks = ["fo", "ur"], reasoning = "2 and 2", finish_reason = "stop" }]

[[fixtures]]
model = "busy"
answers = [{ status = 429, retry_after = 2.5, text = "Slow down." }]

[[fixtures]]
model = "agent"
answers = [
    { tool_calls = [{ name = "add", arguments = { a = 2 } }], usage = { completion_tokens = 99 } },
]
"""


class FixtureTests(MockTestCase):
    """Answers from fixtures."""

    def script(self, text: str, name: str = "script.toml") -> str:
        """Write a fixture file."""
        path = Path(self.mktemp())
        path.mkdir()
        (path / name).write_text(text)
        return str(path / name)

    def scripted(self, document: Any, model: str = "target", **settings: Any) -> Answered:
        """Ask a mock with the script."""
        fixtures = self.script(SCRIPT)
        backend = self.backend(**{"style": "scripted", "fixtures": fixtures, **settings})
        return self.ask(backend, call_of(document, model=model))

    def test_L15_2_answers_come_in_turn(self) -> None:
        """A fixture's answers are given one after the other, the last one again."""
        backend = self.backend(style="scripted", fixtures=self.script(SCRIPT))
        call = call_of(chat("What is 2 + 2?"))
        messages = [self.ask(backend, call).document["choices"][0]["message"] for _ in range(3)]
        self.assertEqual([message["content"] for message in messages], ["4", "four", "four"])
        self.assertEqual(messages[1]["reasoning_content"], "2 and 2")

    def test_chunks_and_reasoning_are_streamed(self) -> None:
        """A stream has the fixture's chunks, after the reasoning."""
        backend = self.backend(style="scripted", fixtures=self.script(SCRIPT))
        call = call_of(chat("What is 2 + 2?", stream=True))
        self.ask(backend, call)
        answered = self.ask(backend, call)
        self.assertEqual(
            [d.get("reasoning_content") or d["content"] for d in answered.deltas[1:-1]],
            ["2 and 2", "fo", "ur"],
        )
        usage = answered.chunks[-1]["usage"]
        self.assertEqual(usage["completion_tokens_details"], {"reasoning_tokens": 2})

    def test_tool_calls_and_usage(self) -> None:
        """Tool calls and token counts are as written."""
        document = self.scripted(chat(), "agent").document
        [choice] = document["choices"]
        [call] = choice["message"]["tool_calls"]
        self.assertEqual(call["function"], {"name": "add", "arguments": '{"a":2}'})
        self.assertEqual(choice["finish_reason"], "tool_calls")
        self.assertEqual(document["usage"]["completion_tokens"], 99)

    def test_status(self) -> None:
        """An error is told as a real backend would."""
        backend = self.backend(style="scripted", fixtures=self.script(SCRIPT))
        for stream in (False, True):
            _, done = self.start(backend, call_of(chat(stream=stream), model="busy"))
            error = self.failureResultOf(done, BackendLimited).value
            self.assertEqual((error.retry_after, error.upstream_status), (2.5, 429))

    def test_L15_2_missing_fixture_is_404_naming_the_key(self) -> None:
        """What is not scripted is refused, with the key to script it by, and without the prompt."""
        backend = self.backend(style="scripted", fixtures=self.script(SCRIPT))
        document = chat("Something secret")
        _, done = self.start(backend, call_of(document))
        error = self.failureResultOf(done, Rejected).value
        self.assertEqual((error.status, error.code), (404, "fixture_not_found"))
        self.assertIn(fixture_key(request_of(document)), str(error))
        self.assertIn("target", str(error))
        self.assertNotIn("secret", str(error))

    def test_other_styles_fall_back(self) -> None:
        """In another style, what is not scripted is answered in that style."""
        answered = self.scripted(chat("Hi"), style="echo")
        self.assertEqual(answered.document["choices"][0]["message"]["content"], "Hi")

    def test_L15_2_folder_of_fixtures_by_hash(self) -> None:
        """A folder holds fixtures in both forms, found by the request's hash."""
        document = chat("Hi", temperature=0)
        script = self.script(SCRIPT)
        fixture = {"hash": fixture_key(request_of(document)), "answers": [{"text": "By hash"}]}
        folder = Path(script).parent
        (folder / "a.json").write_text(json.dumps({"fixtures": [fixture]}))
        (folder / "notes.md").write_text("no fixture")
        backend = self.backend(style="scripted", fixtures=str(folder))
        answer = self.ask(backend, call_of(document)).document
        self.assertEqual(answer["choices"][0]["message"]["content"], "By hash")
        answer = self.ask(backend, call_of(chat("What is 2 + 2?"))).document
        self.assertEqual(answer["choices"][0]["message"]["content"], "4")

    def test_bad_files_are_named(self) -> None:
        """All that is wrong with fixtures is told, with the file."""
        empty = Path(self.mktemp())
        empty.mkdir()
        wrong = [
            ("not toml at all [", "script.toml"),
            ('[[fixtures]]\nanswers = [{ txt = "x" }]', "txt"),
            ("[[fixtures]]\nanswers = []", "no answers"),
            ("[[fixtures]]\nanswers = [{ status = 302 }]", "302"),
            ("fixtures = 5", "fixtures"),
        ]
        paths = [(self.script(text), hint) for text, hint in wrong]
        paths += [(str(empty), "no .json"), ("/nonexistent/x.toml", "x.toml")]
        for path, hint in paths:
            error = self.assertRaises(ConfigError, load_fixtures, path)
            self.assertIn(path, str(error))
            self.assertIn(hint, str(error))
