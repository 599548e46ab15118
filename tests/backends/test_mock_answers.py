"""What the mock says: styles, tools, JSON mode, bounds, legacy completions."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.backend_errors import Rejected
from lmgateway.backends.mock_answers import Said, bounded, filled, spread, words
from lmgateway.backends.mock_ask import Ask
from lmgateway.chat import Document
from tests.backends.mock_calls import MockTestCase, call_of, chat


def tool(name: str, **schema: Any) -> Document:
    """Declare a function."""
    return {"type": "function", "function": {"name": name, "parameters": schema}}


WEATHER = tool(
    "get_weather",
    type="object",
    properties={
        "city": {"type": "string"},
        "unit": {"enum": ["celsius", "fahrenheit"]},
        "days": {"type": "integer", "minimum": 3},
    },
    required=["city", "unit", "days"],
)
CLOCK = tool("get-time")


class StyleTests(MockTestCase):
    """The styles."""

    def text(self, document: Document, **settings: Any) -> str:
        """Give the text that is said."""
        found: str = self.say(document, **settings)["choices"][0]["message"]["content"]
        return found

    def test_plain_says_what_it_is(self) -> None:
        """Without any setting nobody takes the mock for a real model."""
        said = self.text(chat("How are\nyou?"))
        self.assertIn("mock", said)
        self.assertIn("target", said)
        self.assertIn('"How are you?"', said)

    def test_plain_quotes_only_the_beginning(self) -> None:
        """A long question is not repeated whole."""
        self.assertLess(len(self.text(chat("word " * 1000))), 600)

    def test_plain_without_a_question(self) -> None:
        """A conversation without a user's message gets an answer too."""
        self.assertIn("nothing", self.text({"messages": [{"role": "system", "content": "x"}]}))

    def test_echo_repeats_the_last_user_message(self) -> None:
        """Of several messages and parts, the last user's text comes back."""
        messages = [
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": "second"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "third"},
                    {"type": "image_url", "image_url": {"url": "data:,"}},
                    {"type": "text", "text": "fourth"},
                ],
            },
        ]
        self.assertEqual(self.text({"messages": messages}, style="echo"), "third\nfourth")

    def test_no_answer_is_endless(self) -> None:
        """A huge question is not echoed whole, however many choices are asked for."""
        answer = self.say(chat("a " * 1_000_000, n=3), style="echo")
        for choice in answer["choices"]:
            self.assertEqual(len(choice["message"]["content"]), 65_536)
            self.assertEqual(choice["finish_reason"], "length")

    def test_lorem_is_seeded(self) -> None:
        """The same seed has the same prose; another seed, or choice, another."""
        one = self.text(chat(seed=1), style="lorem")
        self.assertEqual(one, self.text(chat(seed=1), style="lorem"))
        self.assertNotEqual(one, self.text(chat(seed=2), style="lorem"))
        self.assertEqual(self.text(chat(), style="lorem", seed=1), one)
        choices = self.say(chat(n=2), style="lorem")["choices"]
        self.assertNotEqual(choices[0]["message"], choices[1]["message"])

    def test_lorem_is_as_long_as_asked(self) -> None:
        """The output bound sets the length, up to what the mock is ready to write."""
        for bound, wanted in ((10, 10), (500, 500)):
            answer = self.say(chat(max_tokens=bound), style="lorem")
            self.assertEqual(answer["usage"]["completion_tokens"], wanted)
            self.assertEqual(answer["choices"][0]["finish_reason"], "length")
        answer = self.say(chat(max_tokens=10**9), style="lorem")
        self.assertLess(answer["usage"]["completion_tokens"], 1100)
        self.assertEqual(answer["choices"][0]["finish_reason"], "stop")

    def test_chunks_cut_the_text(self) -> None:
        """A text comes in as many chunks as configured, if it is long enough."""
        for text, wanted in (("x" * 100, 7), ("abc", 3)):
            call = call_of(chat(text, stream=True))
            answered = self.ask(self.backend(style="echo", chunks=7), call)
            self.assertEqual(answered.text, text)
            self.assertEqual(len([d for d in answered.deltas if d.get("content")]), wanted)


class BoundTests(MockTestCase):
    """Output bounds, stop words, several choices, logprobs."""

    def test_output_bound(self) -> None:
        """A bound cuts the text off, and the finish reason says so."""
        for name in ("max_tokens", "max_completion_tokens"):
            answer = self.say(chat("one two three four", **{name: 2}), style="echo")
            [choice] = answer["choices"]
            self.assertEqual(choice["message"]["content"], "one two ")
            self.assertEqual(choice["finish_reason"], "length")

    def test_gateways_bound(self) -> None:
        """The gateway's bound holds where the client has none."""
        backend = self.backend(style="echo")
        call = call_of(chat("one two three"), max_tokens=1)
        document = self.ask(backend, call).document
        self.assertEqual(document["choices"][0]["message"]["content"], "one ")

    def test_bound_splits_no_character(self) -> None:
        """What is cut off is still text."""
        said = bounded(Said(pieces=("\u20ac\u20ac\u20ac",)), Ask(model="m", max_tokens=1))
        self.assertEqual((said.text, said.finish_reason), ("\u20ac", "length"))

    def test_stop_words(self) -> None:
        """The text ends before the first stop word."""
        for stop in ("three", ["four", "three"]):
            [choice] = self.say(chat("one two three four", stop=stop), style="echo")["choices"]
            self.assertEqual(choice["message"]["content"], "one two ")
            self.assertEqual(choice["finish_reason"], "stop")

    def test_several_choices(self) -> None:
        """As many answers as asked for, numbered."""
        answer = self.say(chat(n=3))
        self.assertEqual([choice["index"] for choice in answer["choices"]], [0, 1, 2])
        for wrong in (129, 10**9):
            backend = self.backend()
            _, done = self.start(backend, call_of(chat(n=wrong)))
            self.assertEqual(self.failureResultOf(done, Rejected).value.param, "n")

    def test_logprobs(self) -> None:
        """Each token has a logarithmic probability, and alternatives on request."""
        document = chat("one two", logprobs=True, top_logprobs=2)
        [choice] = self.say(document, style="echo")["choices"]
        tokens = choice["logprobs"]["content"]
        self.assertEqual([token["token"] for token in tokens], ["one", " two"])
        self.assertEqual(bytes(tokens[1]["bytes"]), b" two")
        self.assertTrue(all(token["logprob"] < 0 for token in tokens))
        self.assertEqual(len(tokens[0]["top_logprobs"]), 2)
        answered = self.ask(self.backend(style="echo"), call_of({**document, "stream": True}))
        streamed = [
            token
            for chunk in answered.chunks
            for choice in chunk["choices"]
            for token in (choice["logprobs"] or {"content": []})["content"]
        ]
        self.assertEqual(streamed, tokens)

    def test_strange_members_are_passed_over(self) -> None:
        """What a surface did not check does no harm."""
        strange: list[Document] = [
            {"messages": None},
            {"messages": ["x", {"role": "user", "content": 5}]},
            {"messages": [{"role": "user", "content": [5, {"text": 5}]}]},
            chat(tools="x", tool_choice=5),
            chat(tools=[5, {"function": 5}, {"function": {"name": 5}}], tool_choice="required"),
            chat(tools=[tool("f")], tool_choice={"function": {"name": ["x"]}}),
            chat(response_format={"type": "json_schema", "json_schema": 5}),
            chat(stop=[5, ""], seed="x", max_tokens="x", logprobs=5),
        ]
        for document in strange:
            self.assertEqual(self.say(document)["choices"][0]["finish_reason"], "stop")


class ToolTests(MockTestCase):
    """Tool calls."""

    def calls(self, document: Document) -> list[tuple[str, Any]]:
        """Give the tool calls that are answered."""
        message = self.say(document)["choices"][0]["message"]
        return [
            (call["function"]["name"], json.loads(call["function"]["arguments"]))
            for call in message.get("tool_calls", ())
        ]

    def test_named_tool_is_called(self) -> None:
        """A text that names a tool gets a call of it that satisfies its schema."""
        answer = self.say(chat("Please get_weather for me", tools=[CLOCK, WEATHER]))
        [choice] = answer["choices"]
        self.assertEqual(choice["finish_reason"], "tool_calls")
        self.assertIsNone(choice["message"]["content"])
        [call] = choice["message"]["tool_calls"]
        self.assertEqual(call["type"], "function")
        self.assertEqual(call["function"]["name"], "get_weather")
        arguments = json.loads(call["function"]["arguments"])
        self.assertEqual(arguments, {"city": "mock", "unit": "celsius", "days": 3})

    def test_two_named_tools_are_called_in_parallel(self) -> None:
        """Two named tools are two calls, as the text orders them."""
        document = chat("get-time, then get_weather", tools=[WEATHER, CLOCK])
        self.assertEqual([name for name, _ in self.calls(document)], ["get-time", "get_weather"])
        document["parallel_tool_calls"] = False
        self.assertEqual([name for name, _ in self.calls(document)], ["get-time"])

    def test_ids_of_calls_are_unique(self) -> None:
        """Results can be told apart."""
        message = self.say(chat("get-time get_weather", tools=[WEATHER, CLOCK]))
        calls = message["choices"][0]["message"]["tool_calls"]
        self.assertEqual(len({call["id"] for call in calls}), 2)

    def test_choice_of_tools(self) -> None:
        """``tool_choice`` forces, forbids or leaves it to the text."""
        tools = [WEATHER, CLOCK]
        forced = {"type": "function", "function": {"name": "get-time"}}
        cases: list[tuple[str, Any, list[str]]] = [
            ("Hello", None, []),
            ("Hello", "auto", []),
            ("Hello mock:tool", "auto", ["get_weather"]),
            ("Hello", "required", ["get_weather"]),
            ("Hello", forced, ["get-time"]),
            ("get_weather", "none", []),
            ("get_weather_now", "auto", []),
        ]
        for text, choice, wanted in cases:
            document = chat(text, tools=tools, tool_choice=choice)
            self.assertEqual([name for name, _ in self.calls(document)], wanted, (text, choice))

    def test_tool_results_are_quoted(self) -> None:
        """After tool results comes a text, so that an agent's loop ends."""
        document = chat("get_weather", tools=[WEATHER], tool_choice="required")
        document["messages"] += [
            {"role": "assistant", "content": None, "tool_calls": []},
            {"role": "tool", "tool_call_id": "a", "content": "18 degrees"},
            {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "rain"}]},
        ]
        [choice] = self.say(document)["choices"]
        self.assertEqual(choice["finish_reason"], "stop")
        self.assertIn("18 degrees; rain", choice["message"]["content"])

    def test_usage_counts_tools(self) -> None:
        """Declared tools are part of the prompt, calls part of the output."""
        usage = self.say(chat("get_weather", tools=[WEATHER]))["usage"]
        self.assertGreater(usage["prompt_tokens"], 30)
        self.assertGreater(usage["completion_tokens"], 10)


class JSONModeTests(MockTestCase):
    """JSON mode."""

    def parsed(self, format_: Document) -> Any:
        """Give the JSON that is answered."""
        [choice] = self.say(chat("List.", response_format=format_))["choices"]
        return json.loads(choice["message"]["content"])

    def test_json_object(self) -> None:
        """JSON mode gets a JSON object."""
        self.assertEqual(self.parsed({"type": "json_object"})["asked"], "List.")

    def test_json_schema(self) -> None:
        """A schema gets a value that satisfies it."""
        schema = {
            "type": "object",
            "properties": {"names": {"type": "array", "items": {"type": "string"}, "minItems": 2}},
            "required": ["names"],
            "additionalProperties": False,
        }
        format_ = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        self.assertEqual(self.parsed(format_), {"names": ["mock", "mock"]})

    def test_text_is_text(self) -> None:
        """The plain format is no JSON."""
        [choice] = self.say(chat("Hi", response_format={"type": "text"}), style="echo")["choices"]
        self.assertEqual(choice["message"]["content"], "Hi")


class CompletionsTests(MockTestCase):
    """Legacy completions."""

    def test_whole(self) -> None:
        """Each prompt has its choices, as text completions."""
        document = {"prompt": ["one two", "three", [1, 2]], "n": 2, "max_tokens": 50}
        answered = self.ask(self.backend(style="echo"), call_of(document, "completions"))
        found = answered.document
        self.assertEqual(found["object"], "text_completion")
        self.assertTrue(found["id"].startswith("cmpl-"))
        texts = [choice["text"] for choice in found["choices"]]
        self.assertEqual(texts, ["one two"] * 2 + ["three"] * 2 + ["1 2"] * 2)
        self.assertEqual([choice["index"] for choice in found["choices"]], [*range(6)])
        self.assertEqual(found["usage"]["prompt_tokens"], 2 + 2 + 1)

    def test_streamed(self) -> None:
        """A streamed completion joins to the text, with usage and end."""
        document = {"prompt": "one two three", "stream": True, "stop": "three"}
        answered = self.ask(self.backend(style="echo"), call_of(document, "completions"))
        pieces = [c["choices"][0]["text"] for c in answered.chunks if c["choices"]]
        self.assertEqual("".join(pieces), "one two ")
        self.assertEqual({chunk["object"] for chunk in answered.chunks}, {"text_completion"})
        self.assertEqual(answered.chunks[-2]["choices"][0]["finish_reason"], "stop")
        self.assertEqual(answered.chunks[-1]["usage"]["completion_tokens"], 2)

    def test_wrong_prompts(self) -> None:
        """What is no prompt is refused, with the member's name."""
        wrong: list[Any] = [[], 5, [5.5], [[]], ["x"] * 3000]
        for prompt in wrong:
            _, done = self.start(self.backend(), call_of({"prompt": prompt}, "completions"))
            self.assertEqual(self.failureResultOf(done, Rejected).value.param, "prompt")
        _, done = self.start(
            self.backend(), call_of({"prompt": ["x"] * 99, "n": 99}, "completions")
        )
        self.assertEqual(self.failureResultOf(done, Rejected).value.param, "n")


class TextTests(SynchronousTestCase):
    """Cutting texts."""

    def test_words_join_to_the_text(self) -> None:
        """Nothing is lost or added."""
        for text in ("", " ", "a", " a  b\n\nc ", "x" * 100_000, "ab " * 50_000):
            self.assertEqual("".join(words(text)), text)

    def test_filled(self) -> None:
        """Exactly as many words as asked for."""
        for count in (0, 1, 3, 500):
            self.assertEqual(len(filled(Said(pieces=("a", " b")), count).pieces), count)

    def test_spread_loses_nothing(self) -> None:
        """Cut in any number of pieces, the text stays the same."""
        for count in range(1, 12):
            self.assertEqual(spread(Said(pieces=("abc", " def")), count).text, "abc def")
