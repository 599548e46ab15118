"""R-B: what backends are asked, and what is made of their answers."""

from __future__ import annotations

import json
from typing import Any

from treq.content import collect
from twisted.internet.error import ConnectionLost
from twisted.web.client import ResponseFailed

from tests import vectors
from tests.reference.three import MESSAGES, TOOLS, ScriptedCase, events, lines


def openai_says(**message: Any) -> dict[str, Any]:
    """Give an OpenAI answer with more in its message."""
    answer = vectors.text("openai")
    answer["choices"][0]["message"].update(message)
    return answer


_HI: dict[str, Any] = {"messages": MESSAGES}
_ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": _HI,
    "/v1/completions": {"prompt": "hi"},
    "/v1/responses": {"input": "hi"},
    "/v1/messages": {"max_tokens": 9, **_HI},
    "/api/chat": _HI,
    "/api/generate": {"prompt": "hi"},
}


class BackendCases(ScriptedCase):
    """Tests for one backend at a time."""

    async def test_R_B01_key_or_none(self) -> None:
        """A key goes as a bearer token; without one there is no such header."""
        self.serve()
        self.says("openai")
        await self.chat("openai")
        self.assertEqual(self.backend.asked[-1].headers["authorization"], "Bearer sk-upstream")
        self.says("ollama")
        await self.chat("ollama", Authorization="Bearer of-a-client")
        self.assertNotIn("authorization", self.backend.asked[-1].headers)

    async def test_R_B02_anthropic_request(self) -> None:
        """Systems are joined at the top; the output bound has a default; the key has its header."""
        self.serve()
        self.says("anthropic")
        asked = [
            {"role": "system", "content": "One."},
            {"role": "system", "content": "Two."},
            {"role": "user", "content": "hi"},
        ]
        got = await self.chat("anthropic", messages=asked, temperature=0.5)
        self.assertEqual(got.code, 200)
        sent = self.backend.asked[-1]
        self.assertEqual(sent.body["system"], "One.\n\nTwo.")
        self.assertEqual(sent.body["max_tokens"], 8192)
        self.assertEqual(sent.body["temperature"], 0.5)
        self.assertEqual(sent.headers["x-api-key"], "sk-upstream")
        self.assertEqual(sent.headers["anthropic-version"], "2023-06-01")
        self.assertNotIn("authorization", sent.headers)
        for name in ("max_tokens", "max_completion_tokens"):
            await self.chat("anthropic", **{name: 17})
            self.assertEqual(self.sent["max_tokens"], 17)

    async def test_R_B03_finish_and_usage(self) -> None:
        """Reasons are translated, the usage is summed, the id is kept."""
        self.serve()
        for reason in ("stop", "length"):
            self.backend.script = vectors.saying(vectors.text("anthropic", reason))
            body = (await self.chat("anthropic")).json
            self.assertEqual(body["choices"][0]["finish_reason"], reason)
        self.assertEqual(body["usage"]["total_tokens"], vectors.IN + vectors.OUT)
        self.assertEqual(body["id"], "msg_01XFDUDYJgAACzvnptvVoYEL")

    async def test_R_B04_stream(self) -> None:
        """Role, text, finish, end; pings say nothing; the model is what the backend said."""
        self.serve()
        self.says("anthropic")
        *chunks, last = events((await self.chat("anthropic", stream=True)).body)
        deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
        self.assertEqual(deltas[0]["role"], "assistant")
        self.assertEqual([d["content"] for d in deltas[1:-1]], list(vectors.PIECES))
        self.assertEqual((deltas[-1], last), ({}, "[DONE]"))
        self.assertEqual({chunk["model"] for chunk in chunks}, {"claude-sonnet-4-5-20250929"})

    async def test_R_B05_no_key_is_an_error_of_one_backend(self) -> None:
        """Without its key Anthropic refuses; the others answer."""
        self.serve(anthropic='headers = { "x-note" = "a" }')
        self.backend.script = vectors.refusing("anthropic", 401)
        got = await self.chat("anthropic")
        self.assertEqual((got.code, got.json["error"]["origin"]), (502, "upstream"))
        self.assertNotIn("refused with", got.body.decode())
        self.says("openai")
        self.assertEqual((await self.chat("openai")).code, 200)

    async def test_R_B06_tools_go_round(self) -> None:
        """Calls and their results, of one turn, reach Anthropic in its order."""
        self.serve()
        self.says("anthropic", "calls")
        message = (await self.chat("anthropic", tools=TOOLS, stop="END")).json["choices"][0]
        self.assertEqual(message["finish_reason"], "tool_calls")
        self.assertEqual(self.sent["stop_sequences"], ["END"])
        made = message["message"]["tool_calls"]
        self.assertEqual([c["function"]["arguments"] for c in made], ['{"city":"Paris"}', "{}"])
        results = [
            {"role": "tool", "tool_call_id": call["id"], "content": f"result {n}"}
            for n, call in reversed([*enumerate(made)])
        ]
        history = [{"role": "user", "content": "hi"}, message["message"], *results]
        self.says("anthropic")
        self.assertEqual((await self.chat("anthropic", tools=TOOLS, messages=history)).code, 200)
        _, assistant, user = self.sent["messages"]
        self.assertEqual([b["type"] for b in assistant["content"]], ["tool_use", "tool_use"])
        self.assertEqual({b["tool_use_id"] for b in user["content"]}, {"toolu_00", "toolu_01"})

    async def test_R_B06_errors_in_a_stream_are_told(self) -> None:
        """What Anthropic reports in band reaches the client in band, and nothing ends well."""
        self.serve()
        fault = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"}}\n\n'
        parts = [*vectors.streamed_text("anthropic")[:5], fault]
        self.backend.script = vectors.answering({}, parts)
        for path, body in _ASKED.items():
            response = await self.cut(path, {"model": "anthropic", "stream": True, **body})
            self.assertIn(b"error", response)
            for end in (b"[DONE]", b"message_stop", b'"done":true', b"response.completed"):
                self.assertNotIn(end, response)

    async def cut(self, path: str, body: Any) -> bytes:
        """Give what came of an answer that ended early."""
        response = await self.begin("POST", path, body)
        got: list[bytes] = []
        try:
            await collect(response, got.append)
        except (ResponseFailed, ConnectionLost):
            return b"".join(got)
        raise AssertionError(f"{path}: the answer looks whole")

    async def test_R_B07_keep_alive(self) -> None:
        """Ollama keeps a model for ever, unless the caller says how long."""
        self.serve()
        self.says("ollama")
        await self.chat("ollama")
        self.assertEqual(self.sent["keep_alive"], -1)
        await self.ollama("ollama")
        self.assertEqual(self.sent["keep_alive"], -1)
        await self.ollama("ollama", keep_alive="5m")
        self.assertEqual(self.sent["keep_alive"], "5m")

    async def test_keep_alive_of_the_operator(self) -> None:
        """The config may say how long, and the caller still has the last word."""
        self.serve(ollama='keep_alive = "30m"')
        self.says("ollama")
        await self.chat("ollama")
        self.assertEqual(self.sent["keep_alive"], "30m")
        await self.ollama("ollama", keep_alive=0)
        self.assertEqual(self.sent["keep_alive"], 0)

    async def test_R_B08_tools_of_ollama(self) -> None:
        """Arguments are objects there and text here."""
        self.serve()
        self.says("ollama", "calls")
        answer = (await self.chat("ollama", tools=TOOLS)).json["choices"][0]
        self.assertEqual(self.backend.asked[-1].path, "/api/chat")
        self.assertEqual(answer["finish_reason"], "tool_calls")
        made = answer["message"]["tool_calls"]
        self.assertEqual([c["function"]["arguments"] for c in made], ['{"city":"Paris"}', "{}"])
        self.assertEqual(len({call["id"] for call in made}), 2)
        results = [
            {"role": "tool", "tool_call_id": call["id"], "content": "so"} for call in made[::-1]
        ]
        history = [{"role": "user", "content": "hi"}, answer["message"], *results]
        await self.chat("ollama", tools=TOOLS, messages=history)
        _, assistant, *told = self.sent["messages"]
        self.assertEqual(
            [call["function"]["arguments"] for call in assistant["tool_calls"]],
            [{"city": "Paris"}, {}],
        )
        self.assertEqual([m["tool_name"] for m in told], ["get_time", "get_weather"])
        self.assertNotIn("tool_call_id", json.dumps(self.sent))

    async def test_R_B09_streamed_tools_of_ollama(self) -> None:
        """The same in a stream."""
        self.serve()
        self.says("ollama", "calls")
        *chunks, last = events((await self.chat("ollama", tools=TOOLS, stream=True)).body)
        self.assertIs(self.sent["stream"], True)
        calls = [
            call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls", ())
        ]
        self.assertEqual([call["index"] for call in calls], [0, 1])
        self.assertEqual(chunks[-1]["choices"][0]["finish_reason"], "tool_calls")
        self.assertEqual(last, "[DONE]")

    async def test_R_B10_calls_in_text(self) -> None:
        """A call of a declared tool that the model wrote as text is a call; prose stays prose."""
        self.serve()
        for text, want in (
            ('get_weather(city="Paris, (the) city")', [{"city": "Paris, (the) city"}]),
            ('print(x="y")', None),
        ):
            answer = vectors.text("ollama")
            answer["message"]["content"] = text
            self.backend.script = vectors.saying(answer)
            message = (await self.chat("ollama", tools=TOOLS)).json["choices"][0]["message"]
            made = message.get("tool_calls")
            got = made and [json.loads(call["function"]["arguments"]) for call in made]
            self.assertEqual(got, want)

    async def test_R_B10_tagged_calls(self) -> None:
        """Tags split anywhere make a call, for every client, where the backend writes them."""
        self.serve(openai='tool_format = "xml"')
        text = (
            "Well. <tool_call><function=get_weather><parameter=city>Paris</parameter>"
            "</function></tool_call>"
        )
        first, *_, finish, usage, done = vectors.streamed_text("openai")
        said = [
            first.replace(b'"content": ""', b'"content": %s' % json.dumps(c).encode()) for c in text
        ]
        parts = [first, *said, finish, usage, done]
        self.backend.script = vectors.answering(openai_says(content=text), parts)
        whole = (await self.chat("openai", tools=TOOLS)).json["choices"][0]
        call = whole["message"]["tool_calls"][0]["function"]
        self.assertEqual(call, {"name": "get_weather", "arguments": '{"city":"Paris"}'})
        tools = [{"name": "get_weather", "input_schema": {"type": "object"}}]
        got = await self.messages("openai", tools=tools, stream=True)
        self.assertIn("input_json_delta", got.body.decode())
        self.assertNotIn("tool_call>", got.body.decode())
        streamed = lines((await self.ollama("openai", tools=TOOLS, stream=True)).body)
        made = [call for line in streamed for call in line["message"].get("tool_calls", ())]
        self.assertEqual(made[0]["function"]["arguments"], {"city": "Paris"})


class HeaderTests(ScriptedCase):
    """Tests for headers, and for what a backend has no word for."""

    async def test_versions_and_betas_on_the_diagonal(self) -> None:
        """They are the grammar's own: forwarded to it, and to no other."""
        self.serve()
        anthropic = {"Anthropic_Version": "2024-01-01", "Anthropic_Beta": "files-1"}
        self.says("anthropic")
        await self.messages("anthropic", **anthropic)
        asked = self.backend.requests[-1].requestHeaders
        self.assertEqual(asked.getRawHeaders("anthropic-version"), ["2024-01-01"])
        self.assertEqual(asked.getRawHeaders("anthropic-beta"), ["files-1"])
        self.says("openai")
        await self.messages("openai", **anthropic)
        self.assertNotIn("anthropic-version", self.backend.asked[-1].headers)
        self.assertNotIn("anthropic-beta", self.backend.asked[-1].headers)
        await self.chat("openai", Openai_Beta="assistants=v2")
        self.assertEqual(self.backend.asked[-1].headers["openai-beta"], "assistants=v2")
        await self.completions("openai")
        self.says("anthropic")
        await self.chat("anthropic", Openai_Beta="assistants=v2")
        self.assertNotIn("openai-beta", self.backend.asked[-1].headers)
        self.assertEqual(self.backend.asked[-1].headers["anthropic-version"], "2023-06-01")

    async def test_several_betas(self) -> None:
        """Betas that come in several headers are all forwarded."""
        self.serve()
        self.says("anthropic")
        body = {
            "model": "anthropic",
            "max_tokens": 9,
            "messages": [{"role": "user", "content": "x"}],
        }
        await self.ask("POST", "/v1/messages", body, Anthropic_Beta=["one", "two"])
        asked = self.backend.requests[-1].requestHeaders
        sent = ",".join(asked.getRawHeaders("anthropic-beta", []))
        self.assertEqual(sent.replace(" ", ""), "one,two")

    async def test_request_ids_both_ways(self) -> None:
        """The client's id is sent on and echoed."""
        self.serve()
        for dialect in vectors.DIALECTS:
            self.says(dialect)
            got = await self.chat(dialect, X_Request_ID="abc-1")
            self.assertEqual(got.headers["x-request-id"], "abc-1")
            self.assertEqual(self.backend.asked[-1].headers["x-request-id"], "abc-1")

    async def test_dropped_is_named(self) -> None:
        """What the backend has no word for is named; on the diagonal nothing is dropped."""
        self.serve()
        self.says("anthropic")
        got = await self.chat("anthropic", seed=1, logit_bias={"1": 2}, made_up=1)
        self.assertEqual(got.headers["x-lmg-dropped"], "logit_bias, made_up, seed")
        self.says("ollama")
        got = await self.chat("ollama", user="x", seed=1)
        self.assertEqual(got.headers["x-lmg-dropped"], "user")
        self.says("openai")
        got = await self.ollama("openai", think=False, options={"num_ctx": 9, "top_k": 3})
        self.assertEqual(got.headers["x-lmg-dropped"], "options, top_k, think")
        got = await self.chat("openai", made_up=1, top_k=1)
        self.assertNotIn("x-lmg-dropped", got.headers)
        self.assertEqual((self.sent["made_up"], self.sent["top_k"]), (1, 1))

    async def test_what_a_provider_refuses_is_named(self) -> None:
        """A member that a provider is known to refuse is left out and named, of any client."""
        self.serve(openai='provider = "groq"')
        self.says("openai")
        got = await self.chat("openai", logit_bias={"1": 2}, logprobs=True)
        self.assertNotIn("logit_bias", self.sent)
        self.assertEqual(got.headers["x-lmg-dropped"], "logit_bias, logprobs")

    async def test_strict_refuses(self) -> None:
        """With strict nothing is left out: the request is refused, naming the member."""
        for where in ("gateway", "profile"):
            self.serve(**{where: "strict = true"})
            self.says("anthropic")
            got = await self.chat("anthropic", seed=1)
            self.assertEqual(got.code // 100, 4)
            self.assertEqual(got.json["error"]["param"], "seed")
            self.assertEqual(self.backend.asked, [])
            self.assertEqual((await self.chat("anthropic")).code, 200)
            self.backend.asked.clear()
            if where == "gateway":
                await self.tearDown()
                self.setUp()
