"""What is less often said: it arrives, or is refused, and is never mangled."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tests import vectors
from tests.reference.three import MESSAGES, TOOLS, ScriptedCase

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
DATA = f"data:image/png;base64,{PIXEL}"
URL = "https://example.org/cat.png"
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def part(url: str) -> dict[str, Any]:
    """Give an image as OpenAI has it."""
    return {"type": "image_url", "image_url": {"url": url}}


def user(*parts: Any) -> list[dict[str, Any]]:
    """Give a conversation of one message."""
    return [{"role": "user", "content": [{"type": "text", "text": "Look."}, *parts]}]


def at(document: Any, path: Sequence[str]) -> Any:
    """Give the member at a path."""
    for name in path:
        document = document[name]
    return document


class RequestTests(ScriptedCase):
    """Tests for what is asked."""

    async def test_several_systems(self) -> None:
        """System messages, as text and as parts, anywhere: none is lost."""
        self.serve()
        asked = [
            {"role": "system", "content": "One."},
            {"role": "developer", "content": [{"type": "text", "text": "Two."}]},
            *MESSAGES,
            {"role": "system", "content": "Three."},
            {"role": "user", "content": "more"},
        ]
        for dialect in vectors.DIALECTS:
            self.says(dialect)
            self.assertEqual((await self.chat(dialect, messages=asked)).code, 200)
            text = json.dumps(self.sent)
            for word in ("One.", "Two.", "Three."):
                self.assertEqual(text.count(word), 1, dialect)

    async def test_profile_prompt_before_array_content(self) -> None:
        """A profile's prompt keeps a system message that is an array (section 8, item 11)."""
        self.serve(profile='system_prompt = "House."')
        asked = [{"role": "system", "content": [{"type": "text", "text": "Own."}]}, *MESSAGES]
        for dialect in vectors.DIALECTS:
            self.says(dialect)
            await self.chat(dialect, messages=asked)
            text = json.dumps(self.sent)
            self.assertLess(text.index("House."), text.index("Own."), dialect)

    async def test_prefill(self) -> None:
        """An assistant's beginning is the last message everywhere."""
        self.serve()
        asked = [*MESSAGES, {"role": "assistant", "content": "So"}]
        for dialect in vectors.DIALECTS:
            self.says(dialect)
            self.assertEqual((await self.chat(dialect, messages=asked)).code, 200)
            self.assertEqual(self.sent["messages"][-1]["role"], "assistant")
            self.assertEqual((await self.messages(dialect, messages=asked)).code, 200)
            self.assertEqual(self.sent["messages"][-1]["role"], "assistant")

    async def test_images(self) -> None:
        """Data URIs reach every backend, URLs those that fetch; nothing is fetched here."""
        self.serve()
        block = {"type": "base64", "media_type": "image/png", "data": PIXEL}
        by_url = {"type": "image", "source": {"type": "url", "url": URL}}
        for dialect in vectors.DIALECTS:
            self.says(dialect)
            image = {"type": "image", "source": block}
            told = [{"role": "user", "content": "Look.", "images": [PIXEL]}]
            item = {"role": "user", "content": [{"type": "input_image", "image_url": DATA}]}
            for asking in (
                self.chat(dialect, messages=user(part(DATA))),
                self.messages(dialect, messages=user(image)),
                self.ollama(dialect, messages=told),
                self.responses(dialect, input=[item]),
            ):
                self.assertEqual((await asking).code, 200, dialect)
                self.assertIn(PIXEL, json.dumps(self.sent))
            chat = await self.chat(dialect, messages=user(part(URL)))
            messages = await self.messages(dialect, messages=user(by_url))
            want = 422 if dialect == "ollama" else 200
            self.assertEqual((chat.code, messages.code), (want, want), chat.body)
            if want == 200:
                self.assertIn(URL, json.dumps(self.sent))

    async def test_files_and_audio(self) -> None:
        """A PDF reaches who reads it; what a backend cannot hear is refused, with the place."""
        self.serve()
        pdf = "data:application/pdf;base64,JVBERi0="
        file = {"type": "file", "file": {"filename": "a.pdf", "file_data": pdf}}
        sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
        source = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
        document = {"type": "document", "source": source}
        for dialect, file_code, sound_code in (
            ("openai", 200, 200),
            ("anthropic", 200, 422),
            ("ollama", 422, 422),
        ):
            self.says(dialect)
            self.assertEqual((await self.chat(dialect, messages=user(file))).code, file_code)
            self.assertEqual(
                (await self.messages(dialect, messages=user(document))).code, file_code
            )
            if file_code == 200:
                self.assertIn("JVBERi0=", json.dumps(self.sent))
            got = await self.chat(dialect, messages=user(sound))
            self.assertEqual(got.code, sound_code, got.body)
            if sound_code == 422:
                self.assertIn("messages[0].content[1]", got.json["error"]["param"])

    async def test_stops(self) -> None:
        """A stop is a string or a list; each backend gets what it takes."""
        self.serve()
        where = {
            "openai": ("stop",),
            "anthropic": ("stop_sequences",),
            "ollama": ("options", "stop"),
        }
        for dialect, path in where.items():
            self.says(dialect)
            await self.chat(dialect, stop=["END", "STOP"])
            self.assertEqual(at(self.sent, path), ["END", "STOP"])
            await self.chat(dialect, stop="END")
            self.assertEqual(at(self.sent, path), "END" if dialect == "openai" else ["END"])

    async def test_trap_23_bounds_and_temperature_together(self) -> None:
        """Neither takes the other's place, for any backend."""
        self.serve()
        where = {
            "openai": (("max_completion_tokens",), ("temperature",)),
            "anthropic": (("max_tokens",), ("temperature",)),
            "ollama": (("options", "num_predict"), ("options", "temperature")),
        }
        for dialect, paths in where.items():
            self.says(dialect)
            await self.chat(dialect, max_completion_tokens=5, temperature=0.25)
            self.assertEqual([at(self.sent, path) for path in paths], [5, 0.25])

    async def test_response_format(self) -> None:
        """JSON mode and schemas become what the backend has."""
        self.serve()
        wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
        where = {
            "openai": ("response_format", "json_schema", "schema"),
            "anthropic": ("output_config", "format", "schema"),
            "ollama": ("format",),
        }
        for dialect, path in where.items():
            self.says(dialect)
            await self.chat(dialect, response_format=wanted)
            self.assertEqual(at(self.sent, path), SCHEMA)
            await self.ollama(dialect, format=SCHEMA)
            self.assertEqual(at(self.sent, path), SCHEMA)
            text = {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}}
            await self.responses(dialect, text=text)
            self.assertEqual(at(self.sent, path), SCHEMA)
            form = {"format": {"type": "json_schema", "schema": SCHEMA}}
            await self.messages(dialect, output_config=form)
            self.assertEqual(at(self.sent, path), SCHEMA)
            await self.chat(dialect, response_format={"type": "json_object"})
        self.assertEqual(self.sent["format"], "json")

    async def test_several_answers(self) -> None:
        """``n`` goes where it is known; elsewhere it is refused, not ignored."""
        self.serve()
        self.says("openai")
        await self.chat("openai", n=2)
        self.assertEqual(self.sent["n"], 2)
        for dialect in ("anthropic", "ollama"):
            self.says(dialect)
            got = await self.chat(dialect, n=2)
            self.assertEqual((got.code, got.json["error"]["param"]), (422, "n"))

    async def test_old_calls_and_spoken_answers(self) -> None:
        """Functions of old and audio answers are refused where there are none."""
        self.serve()
        old = {"functions": [{"name": "f", "parameters": {}}]}
        spoken = {"modalities": ["text", "audio"], "audio": {"voice": "a", "format": "wav"}}
        for dialect in ("anthropic", "ollama"):
            self.says(dialect)
            for members in (old, spoken):
                got = await self.chat(dialect, **members)
                param = got.json["error"]["param"]
                self.assertEqual((got.code, param), (422, next(iter(members))))
        self.assertEqual(self.backend.asked, [])

    async def test_tool_choices(self) -> None:
        """Each form of ``tool_choice`` reaches Anthropic in its own words, and OpenAI back."""
        self.serve()
        self.says("anthropic")
        chosen = {"type": "function", "function": {"name": "get_time"}}
        for choice, want in (
            ("auto", {"type": "auto"}),
            ("required", {"type": "any"}),
            ("none", {"type": "none"}),
            (chosen, {"type": "tool", "name": "get_time"}),
        ):
            await self.chat("anthropic", tools=TOOLS, tool_choice=choice)
            self.assertEqual(self.sent["tool_choice"], want)
        await self.chat("anthropic", tools=TOOLS, parallel_tool_calls=False)
        self.assertIs(self.sent["tool_choice"]["disable_parallel_tool_use"], True)

    async def test_trap_16_every_result_of_a_turn(self) -> None:
        """Several results in one Anthropic turn are several messages elsewhere, all kept."""
        self.serve()
        turn = [
            {"type": "tool_use", "id": f"t{n}", "name": "get_time", "input": {}} for n in (1, 2)
        ]
        results = [
            {"type": "tool_result", "tool_use_id": f"t{n}", "content": f"told {n}"} for n in (1, 2)
        ]
        asked = [
            *MESSAGES,
            {"role": "assistant", "content": turn},
            {"role": "user", "content": [*results, {"type": "text", "text": "And?"}]},
        ]
        tools = [{"name": "get_time", "input_schema": {"type": "object"}}]
        for dialect in ("openai", "ollama"):
            self.says(dialect)
            self.assertEqual((await self.messages(dialect, messages=asked, tools=tools)).code, 200)
            roles = [message["role"] for message in self.sent["messages"]]
            self.assertEqual(roles, ["user", "assistant", "tool", "tool", "user"])
            told = [m["content"] for m in self.sent["messages"][2:4]]
            self.assertEqual(told, ["told 1", "told 2"])

    async def test_cache_marks(self) -> None:
        """Prompt-cache marks reach Anthropic from either grammar, and no other backend."""
        self.serve()
        mark = {"type": "ephemeral"}
        text = {"type": "text", "text": "Long.", "cache_control": mark}
        asked = [{"role": "user", "content": [text]}]
        self.says("anthropic")
        await self.chat("anthropic", messages=asked)
        self.assertEqual(self.sent["messages"][0]["content"][0]["cache_control"], mark)
        await self.messages("anthropic", messages=asked, system=[text])
        self.assertEqual(self.sent["system"][0]["cache_control"], mark)
        for dialect in ("openai", "ollama"):
            self.says(dialect)
            self.assertEqual((await self.messages(dialect, messages=asked)).code, 200)
            self.assertNotIn("cache_control", json.dumps(self.sent))

    async def test_reasoning_wishes(self) -> None:
        """How hard to think is said to each backend in its own words."""
        self.serve()
        self.says("anthropic")
        await self.chat("anthropic", reasoning_effort="low", max_tokens=9000)
        self.assertEqual(self.sent["thinking"], {"type": "enabled", "budget_tokens": 2048})
        self.says("ollama")
        await self.chat("ollama", reasoning_effort="low")
        self.assertEqual(self.sent["think"], "low")
        thinking = {"type": "enabled", "budget_tokens": 4096}
        await self.messages("ollama", thinking=thinking, max_tokens=9000)
        self.assertEqual(self.sent["think"], "medium")
        self.says("openai")
        await self.messages("openai", thinking=thinking, max_tokens=9000)
        self.assertEqual(self.sent["reasoning_effort"], "medium")
        self.assertNotIn("thinking", self.sent)
