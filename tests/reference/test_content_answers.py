"""What is less often answered: it arrives, and is never mangled."""

from __future__ import annotations

import json
from typing import Any

from tests import vectors
from tests.reference.three import MESSAGES, ScriptedCase, events, lines


def anthropic_says(*content: dict[str, Any], **members: Any) -> dict[str, Any]:
    """Give an Anthropic answer of some blocks."""
    return {**vectors.text("anthropic"), "content": list(content), **members}


def openai_says(**message: Any) -> dict[str, Any]:
    """Give an OpenAI answer with more in its message."""
    answer = vectors.text("openai")
    answer["choices"][0]["message"].update(message)
    return answer


class AnswerTests(ScriptedCase):
    """Tests for what is answered."""

    async def test_thinking_with_signatures_goes_round(self) -> None:
        """Signed thinking reaches a chat client, and goes back signed."""
        self.serve()
        blocks = [
            {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
            {"type": "redacted_thinking", "data": "eHh4"},
            {"type": "text", "text": "So."},
        ]
        self.backend.script = lambda r, a: anthropic_says(*blocks)
        message = (await self.chat("anthropic")).json["choices"][0]["message"]
        self.assertEqual((message["content"], message["reasoning_content"]), ("So.", "Hm."))
        await self.chat("anthropic", messages=[*MESSAGES, message, *MESSAGES])
        self.assertEqual(self.sent["messages"][1]["content"], blocks)

    async def test_reasoning_of_other_models(self) -> None:
        """Reasoning is thinking for Anthropic's and Ollama's clients, an item for Responses."""
        self.serve()
        for dialect in ("openai", "ollama"):
            if dialect == "openai":
                whole = openai_says(reasoning_content="Hm.")
            else:
                whole = vectors.text("ollama")
                whole["message"]["thinking"] = "Hm."
            self.backend.script = vectors.saying(whole)
            blocks = (await self.messages(dialect)).json["content"]
            self.assertEqual([b["type"] for b in blocks], ["thinking", "text"])
            self.assertEqual(blocks[0]["thinking"], "Hm.")
            self.assertEqual((await self.ollama(dialect)).json["message"]["thinking"], "Hm.")
            chat = (await self.chat(dialect)).json["choices"][0]["message"]
            self.assertEqual(chat["reasoning_content"], "Hm.")
            output = (await self.responses(dialect)).json["output"]
            self.assertEqual([item["type"] for item in output], ["reasoning", "message"])

    async def test_cached_tokens_both_ways(self) -> None:
        """Cached input is part of OpenAI's prompt tokens and beside Anthropic's."""
        self.serve()
        usage = {"input_tokens": 5, "output_tokens": 7}
        usage |= {"cache_read_input_tokens": 100, "cache_creation_input_tokens": 20}
        text = {"type": "text", "text": "x"}
        self.backend.script = lambda r, a: anthropic_says(text, usage=usage)
        told = (await self.chat("anthropic")).json["usage"]
        self.assertEqual((told["prompt_tokens"], told["total_tokens"]), (125, 132))
        self.assertEqual(told["prompt_tokens_details"]["cached_tokens"], 100)
        answer = vectors.text("openai")
        answer["usage"]["prompt_tokens_details"] = {"cached_tokens": 4}
        self.backend.script = lambda r, a: answer
        told = (await self.messages("openai")).json["usage"]
        self.assertEqual(told["input_tokens"], vectors.IN - 4)
        self.assertEqual(told["cache_read_input_tokens"], 4)

    async def test_refusals(self) -> None:
        """A refusal is told as each grammar tells it."""
        self.serve()
        answer = openai_says(content=None, refusal="I will not.")
        self.backend.script = lambda r, a: answer
        self.assertEqual((await self.messages("openai")).json["content"][0]["text"], "I will not.")
        self.assertEqual((await self.ollama("openai")).json["message"]["content"], "I will not.")
        item = (await self.responses("openai")).json["output"][0]["content"][0]
        self.assertEqual((item["type"], item["refusal"]), ("refusal", "I will not."))
        self.backend.script = lambda r, a: anthropic_says(
            {"type": "text", "text": ""}, stop_reason="refusal"
        )
        choice = (await self.chat("anthropic")).json["choices"][0]
        self.assertEqual(choice["finish_reason"], "content_filter")

    async def test_empty_arguments(self) -> None:
        """A call whose arguments are an empty text has an empty object for every client."""
        self.serve()
        call = {"id": "c", "type": "function", "function": {"name": "get_time", "arguments": ""}}
        whole = openai_says(content=None, tool_calls=[call])
        whole["choices"][0]["finish_reason"] = "tool_calls"
        first, begun, *rest = vectors.streamed_calls("openai")
        finish = rest[-3:]
        self.backend.script = vectors.answering(whole, [first, begun, *finish])
        made = (await self.messages("openai")).json["content"][0]["input"]
        self.assertEqual(made, {})
        made = (await self.ollama("openai")).json["message"]["tool_calls"][0]["function"]
        self.assertEqual(made["arguments"], {})
        item = (await self.responses("openai")).json["output"][0]
        self.assertEqual(item["arguments"], "{}")
        got = events((await self.responses("openai", stream=True)).body)
        done = [e for e in got if e["type"] == "response.function_call_arguments.done"]
        self.assertEqual(done[0]["arguments"], "{}")
        got = lines((await self.ollama("openai", stream=True)).body)
        calls = [c for line in got for c in line["message"].get("tool_calls", ())]
        self.assertEqual(calls[0]["function"]["arguments"], {})

    async def test_trap_15_tools_only(self) -> None:
        """An answer that only calls begins with no empty text, ends for tools, without [DONE]."""
        self.serve()
        for dialect in ("openai", "ollama"):
            self.says(dialect, "calls")
            got = events((await self.messages(dialect, stream=True)).body)
            kinds = [event["type"] for event in got]
            starts = [e for e in got if e["type"] == "content_block_start"]
            self.assertEqual([e["content_block"]["type"] for e in starts], ["tool_use"] * 2)
            self.assertEqual([e["index"] for e in starts], [0, 1])
            delta = next(e for e in got if e["type"] == "message_delta")
            self.assertEqual(delta["delta"]["stop_reason"], "tool_use")
            self.assertEqual((kinds[0], kinds[-1]), ("message_start", "message_stop"))

    async def test_trap_14_cut_between_any_bytes(self) -> None:
        """A stream that comes byte by byte is the same stream."""
        self.serve()
        for dialect in vectors.DIALECTS:
            whole = b"".join(vectors.streamed_text(dialect))
            single = [whole[n : n + 1] for n in range(len(whole))]
            self.backend.script = vectors.answering({}, single)
            got = events((await self.chat(dialect, stream=True)).body)
            text = "".join(c["delta"].get("content") or "" for e in got[:-1] for c in e["choices"])
            self.assertEqual((text, got[-1]), (vectors.SAID, "[DONE]"))

    async def test_multi_line_data_and_comments(self) -> None:
        """Comments, keep-alives and data in several lines are read as the standard says."""
        self.serve()
        parts = vectors.streamed_text("openai")
        body = json.dumps(json.loads(parts[1][6:]), indent=1)
        data = b"".join(b"data: %s\n" % line.encode() for line in body.split("\n")) + b"\n"
        sent = [b": hello\n\n", parts[0], data, b":\n\n", *parts[2:]]
        self.backend.script = vectors.answering({}, sent)
        got = await self.messages("openai", stream=True)
        said = [e["delta"]["text"] for e in events(got.body) if e["type"] == "content_block_delta"]
        self.assertEqual("".join(said), vectors.SAID)

    async def test_logprobs(self) -> None:
        """Log probabilities reach a client of completions in columns."""
        self.serve()
        answer = vectors.text("openai")
        token = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
        answer["choices"][0]["logprobs"] = {"content": [token], "refusal": None}
        self.backend.script = lambda r, a: answer
        got = (await self.chat("openai", logprobs=True)).json
        self.assertEqual(got["choices"][0]["logprobs"]["content"][0]["logprob"], -0.5)

    async def test_count_tokens_and_models(self) -> None:
        """Tokens are counted for every backend, Anthropic's by itself; models come in its shape."""
        self.serve()
        self.backend.script = lambda r, a: {"input_tokens": 42}
        asked = {"messages": MESSAGES}
        for dialect in vectors.DIALECTS:
            got = await self.ask("POST", "/v1/messages/count_tokens", {"model": dialect, **asked})
            self.assertEqual(got.code, 200)
            counted = got.json["input_tokens"]
            self.assertTrue(counted == 42 if dialect == "anthropic" else 0 < counted < 42)
        self.assertEqual([a.path for a in self.backend.asked], ["/v1/messages/count_tokens"])
        page = (await self.ask("GET", "/v1/models", anthropic_version="2023-06-01")).json
        self.assertEqual((page["data"][0]["type"], page["has_more"]), ("model", False))
        self.assertEqual(page["first_id"], page["data"][0]["id"])

    async def test_state_is_refused(self) -> None:
        """What needs stored answers is refused clearly."""
        self.serve()
        for member in ({"previous_response_id": "resp_1"}, {"store": True}):
            got = await self.responses("openai", **member)
            self.assertEqual((got.code, got.json["error"]["param"]), (400, next(iter(member))))
        self.says("openai")
        self.assertEqual((await self.responses("openai", store=False)).code, 200)
