"""Tests of the bodies for backends that speak Anthropic's grammar."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.chat import Overrides
from lmgateway.dialects.anthropic import ANTHROPIC, Anthropic, dropped
from lmgateway.errors import Unsupported
from tests.dialects.anthropic_vectors import (
    MODEL,
    QUIRKS,
    Ordinary,
    asked,
    foreign,
    parsed,
    rendered,
    said,
    vectors,
)

USER = {"role": "user", "content": "Hi"}
FUNCTION = {"type": "function", "function": {"name": "f"}}
SYSTEM = {"role": "system", "content": "S"}


class VectorTests(SynchronousTestCase):
    """The vectors, from the hub to Anthropic."""

    def test_requests(self) -> None:
        """Each hub request of the vectors is said as its Anthropic form says."""
        for name, vector in vectors("requests"):
            if vector.get("only", "render") != "render":
                continue
            with self.subTest(name):
                self.assertEqual(rendered(vector["hub"]), vector["anthropic"])

    def test_dropped(self) -> None:
        """What was left out of each is named."""
        for name, vector in vectors("requests"):
            if vector.get("only", "render") == "render":
                with self.subTest(name):
                    self.assertEqual(dropped(vector["hub"]), tuple(vector.get("dropped", ())))


class HubTests(SynchronousTestCase):
    """What the vectors do not show."""

    def test_R_B02_system_and_defaults(self) -> None:
        """System texts move to the top, joined by a blank line; 8192 unless the caller says."""
        two = said(SYSTEM, {"role": "system", "content": "T"}, USER, temperature=0.3)
        self.assertEqual(
            rendered(two),
            {
                "model": MODEL,
                "max_tokens": 8192,
                "temperature": 0.3,
                "system": "S\n\nT",
                "messages": [USER],
            },
        )
        self.assertEqual(rendered(said(max_tokens=5))["max_tokens"], 5)
        self.assertEqual(rendered(said(max_tokens=None), max_tokens=7)["max_tokens"], 7)

    def test_R_B06_stop_string_is_a_list(self) -> None:
        """A stop string becomes a list, null none, and blank ones are left out."""
        self.assertEqual(rendered(said(stop="x"))["stop_sequences"], ["x"])
        for nothing in (None, [], "\n", [" "]):
            self.assertNotIn("stop_sequences", rendered(said(stop=nothing)))
        self.assertEqual(rendered(said(stop=["\n", "x"]))["stop_sequences"], ["x"])
        self.assertEqual(dropped(said(stop=["\n", "x"])), ("stop",))

    def test_section_8_item_11_array_system_is_kept(self) -> None:
        """A system message in parts is not lost, nor are the texts beside it."""
        parts = [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]
        body = rendered(said({"role": "system", "content": parts}, SYSTEM, USER))
        self.assertEqual(body["system"], [*parts, {"type": "text", "text": "S"}])

    def test_section_8_item_12_tools_and_images(self) -> None:
        """Tools, calls, results and images are all said."""
        part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
        call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
        body = rendered(
            said(
                {"role": "user", "content": [part]},
                {"role": "assistant", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c1", "content": "r"},
                tools=[FUNCTION],
            )
        )
        blocks = [block["type"] for turn in body["messages"] for block in turn["content"]]
        self.assertEqual(blocks, ["image", "tool_use", "tool_result"])
        self.assertEqual(body["messages"][1]["content"][0]["input"], {"a": 1})
        self.assertEqual(body["tools"][0]["input_schema"], {"type": "object", "properties": {}})

    def test_system_prompt_of_the_gateway(self) -> None:
        """It comes first, as text or as a block."""
        self.assertEqual(rendered(said(), system_prompt="P")["system"], "P")
        self.assertEqual(rendered(said(SYSTEM, USER), system_prompt="P")["system"], "P\n\nS")
        parts = [{"type": "text", "text": "A"}]
        body = rendered(said({"role": "system", "content": parts}, USER), system_prompt="P")
        self.assertEqual(body["system"], [{"type": "text", "text": "P"}, *parts])

    def test_spelling_of_arguments_is_kept(self) -> None:
        """The numbers in a call's arguments stay as the model wrote them."""
        function = {"name": "f", "arguments": '{"a": 1.0, "b": 12345678901234567890123}'}
        call = {"id": "c", "type": "function", "function": function}
        hub = said(USER, {"role": "assistant", "tool_calls": [call]})
        body = ANTHROPIC.render(foreign(hub), Overrides(model=MODEL), QUIRKS)
        self.assertIn(b'"input":{"a": 1.0, "b": 12345678901234567890123}', body)

    def test_temperature_is_clamped(self) -> None:
        """Anthropic's scale ends at 1."""
        self.assertEqual(rendered(said(temperature=1.9))["temperature"], 1)
        self.assertEqual(rendered(said(temperature=0))["temperature"], 0)

    def test_trap_23_temperature_and_max_tokens_together(self) -> None:
        """One does not replace the other; only the pair that Anthropic refuses is thinned."""
        body = rendered(said(temperature=0.1, max_tokens=3, top_p=0.2, top_k=4, stop="x"))
        self.assertEqual(body["temperature"], 0.1)
        self.assertEqual(body["max_tokens"], 3)
        self.assertEqual(body["top_k"], 4)
        self.assertNotIn("top_p", body)
        self.assertEqual(rendered(said(top_p=0.2))["top_p"], 0.2)

    def test_tool_choices(self) -> None:
        """Every form of a tool choice has its counterpart, with tools only."""
        named = {"type": "function", "function": {"name": "f"}}
        for choice, wanted in (
            ("auto", {"type": "auto"}),
            ("required", {"type": "any"}),
            ("none", {"type": "none"}),
            (named, {"type": "tool", "name": "f"}),
        ):
            hub = said(tools=[FUNCTION], tool_choice=choice)
            self.assertEqual(rendered(hub)["tool_choice"], wanted)
            self.assertNotIn("tool_choice", rendered(said(tool_choice=choice)))
        self.assertNotIn("tool_choice", rendered(said(tools=[FUNCTION])))

    def test_one_call_at_a_time(self) -> None:
        """Calls one after the other are asked for beside any choice but none."""
        alone = {"type": "auto", "disable_parallel_tool_use": True}
        self.assertEqual(
            rendered(said(tools=[FUNCTION], parallel_tool_calls=False))["tool_choice"], alone
        )
        hub = said(tools=[FUNCTION], parallel_tool_calls=False, tool_choice="none")
        self.assertEqual(rendered(hub)["tool_choice"], {"type": "none"})

    def test_json_mode(self) -> None:
        """JSON mode is asked for in words, after all other system text."""
        body = rendered(said(SYSTEM, USER, response_format={"type": "json_object"}))
        self.assertTrue(body["system"].startswith("S\n\nAnswer with one JSON object"))
        self.assertNotIn("system", rendered(said(response_format={"type": "text"})))

    def test_thinking_by_budget(self) -> None:
        """Models before 4.6 are given a budget, always below the output bound."""
        for model, bound, effort, budget in (
            ("claude-3-7-sonnet-20250219", 64000, "low", 2048),
            ("claude-sonnet-4-20250514", 64000, "medium", 8192),
            ("claude-opus-4-5-20251101", 64000, "high", 24576),
            ("claude-opus-4-5", 64000, "xhigh", 32768),
            ("some-name", 64000, "minimal", 1024),
            ("some-name", 2000, "high", 1999),
        ):
            body = rendered(said(reasoning_effort=effort, max_tokens=bound), model=model)
            self.assertEqual(body["thinking"], {"type": "enabled", "budget_tokens": budget}, model)

    def test_thinking_adaptive(self) -> None:
        """Models from 4.6 on take an effort, beside an output schema too."""
        schema = {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}
        for model, effort, told in (
            ("claude-opus-4-6", "medium", "medium"),
            ("claude-opus-4.7-fast", "minimal", "low"),
            ("anthropic/claude-sonnet-5", "xhigh", "xhigh"),
            ("claude-fable-5-1", "max", "max"),
        ):
            hub = said(reasoning_effort=effort, response_format=schema)
            body = rendered(hub, model=model)
            self.assertEqual(body["thinking"], {"type": "adaptive"})
            self.assertEqual(body["output_config"]["effort"], told)
            self.assertIn("format", body["output_config"])

    def test_thinking_has_no_place(self) -> None:
        """No thinking where none is asked for, where the bound is small, or a tool is forced."""
        for members in (
            {"reasoning_effort": "none"},
            {"think": False},
            {"reasoning_effort": "high", "max_tokens": 1024},
            {"reasoning_effort": "high", "tools": [FUNCTION], "tool_choice": "required"},
        ):
            self.assertNotIn("thinking", rendered(said(**members)))

    def test_thinking_begins_with_a_turn(self) -> None:
        """A turn that did not begin with signed thinking is not gone on with thinking."""
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        turn: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": [call]}
        result = {"role": "tool", "tool_call_id": "c", "content": "r"}
        hub = said(USER, turn, result, reasoning_effort="low", temperature=0.5)
        body = rendered(hub)
        self.assertNotIn("thinking", body)
        self.assertEqual(body["temperature"], 0.5)
        self.assertEqual(dropped(hub), ("reasoning_effort",))
        self.assertIn("thinking", rendered(hub, model="claude-opus-4-6"))
        self.assertIn("thinking", rendered(said(USER, turn, result, USER, reasoning_effort="low")))
        signed = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
        hub = said(USER, {**turn, "thinking_blocks": [signed]}, result, reasoning_effort="low")
        self.assertIn("thinking", rendered(hub))
        prefill = {"role": "assistant", "content": "So"}
        self.assertNotIn("thinking", rendered(said(USER, prefill, reasoning_effort="low")))

    def test_one_answer_only(self) -> None:
        """Several answers are refused rather than one given."""
        with self.assertRaises(Unsupported):
            rendered(said(n=2))

    def test_thinking_excludes_sampling(self) -> None:
        """Sampling members that Anthropic refuses beside thinking are dropped, and named."""
        hub = said(think=True, temperature=0.5, top_k=3)
        body = rendered(hub)
        self.assertEqual(body["thinking"]["budget_tokens"], 8191)
        self.assertNotIn("temperature", body)
        self.assertNotIn("top_k", body)
        self.assertEqual(dropped(hub), ("temperature", "top_k"))

    def test_dropped_means_something(self) -> None:
        """Defaults and nulls are no loss; what has no word is."""
        hub = said(n=1, logprobs=False, logit_bias={}, seed=None, modalities=["text"])
        self.assertEqual(dropped(hub), ())
        hub = said(logprobs=True, top_logprobs=2, seed=1, verbosity="low", metadata={"a": "b"})
        self.assertEqual(dropped(hub), tuple(sorted(hub.keys() - {"messages"})))
        self.assertEqual(Anthropic().dropped(foreign(hub)), dropped(hub))
        self.assertEqual(Anthropic().dropped(asked(container="c")), ())

    def test_quirks_drop(self) -> None:
        """What a provider refuses is left out."""
        quirks = Ordinary(drop=frozenset({"top_k", "metadata"}))
        body = rendered(said(top_k=1, user="u"), quirks)
        self.assertEqual(set(body), {"model", "max_tokens", "messages"})

    def test_path(self) -> None:
        """Each call has its path."""
        self.assertEqual(Anthropic().path(asked()), "/v1/messages")
        counted = parsed({"messages": [USER]}, "count_tokens")
        self.assertEqual(Anthropic().path(counted), "/v1/messages/count_tokens")

    def test_stream(self) -> None:
        """Streaming is asked for, usage is not: Anthropic always tells it."""
        body = rendered(said(stream=True, stream_options={"include_usage": True}))
        self.assertIs(body["stream"], True)
        self.assertNotIn("stream_options", body)
        self.assertNotIn("stream", rendered(said(stream=False)))

    def test_a_pdf_as_an_image_is_a_document(self) -> None:
        """Some clients send a PDF where an image goes."""
        part = {"type": "image_url", "image_url": "data:application/pdf;base64,JVBERi0="}
        body = rendered(said({"role": "user", "content": [part]}))
        self.assertEqual(body["messages"][0]["content"][0]["type"], "document")

    def test_a_file_without_a_name(self) -> None:
        """A document need not have a title."""
        part = {"type": "file", "file": {"file_data": "data:text/plain;base64,YQ=="}}
        body = rendered(said({"role": "user", "content": [part]}))
        self.assertNotIn("title", body["messages"][0]["content"][0])

    def test_turns_that_say_nothing(self) -> None:
        """Empty messages make no turn, and their neighbours one."""
        silence: list[Any] = ["", None, [], " \n"]
        for nothing in silence:
            hub = said(USER, {"role": "assistant", "content": nothing}, USER)
            text = {"type": "text", "text": "Hi"}
            turn = {"role": "user", "content": [text, text]}
            self.assertEqual(rendered(hub)["messages"], [turn])
        hub = said(USER, {"role": "assistant", "content": [{"type": "text", "text": "a"}]})
        self.assertEqual(rendered(hub)["messages"][1]["content"], "a")

    def test_tool_result_without_content(self) -> None:
        """A tool that returned nothing still returned."""
        body = rendered(said(USER, {"role": "tool", "tool_call_id": "c", "content": ""}))
        self.assertEqual(
            body["messages"][0]["content"][0], {"type": "tool_result", "tool_use_id": "c"}
        )
