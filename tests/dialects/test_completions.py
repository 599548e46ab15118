"""OpenAI's legacy completions, as a surface and on their own diagonal."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.backend_errors import ProtocolError, Rejected
from lmgateway.chat import ChatRequest, Document, Overrides, Usage
from lmgateway.dialects import hub
from lmgateway.dialects.base import Dialect, Mark
from lmgateway.dialects.completions import COMPLETIONS
from lmgateway.dialects.ollama import OLLAMA
from lmgateway.dialects.openai import OPENAI
from lmgateway.errors import MalformedRequest, StreamInterrupted, Unsupported, UnsupportedParameter
from tests.dialects.recorded import QUIRKS, PlainQuirks, load, read_stream, sse, vector


def parse(**document: Any) -> ChatRequest:
    """Parse a document as a client would send it."""
    return COMPLETIONS.parse(msgspec.json.encode({"model": "m", **document}))


def rendered(request: ChatRequest, quirks: PlainQuirks = QUIRKS, **overrides: Any) -> Document:
    """Give the body that a backend gets."""
    return load(COMPLETIONS.render(request, Overrides(model="b", **overrides), quirks))


class RequestTests(SynchronousTestCase):
    """From a client."""

    def test_is_a_dialect(self) -> None:
        """Completions have everything that a dialect must have."""
        dialect: Dialect = COMPLETIONS
        self.assertEqual((dialect.name, dialect.framing), ("completions", "sse"))

    def test_prompt_is_a_message(self) -> None:
        """One text, alone or in a list, is what the user says."""
        for prompt in ("hi", ["hi"]):
            request = parse(prompt=prompt, max_tokens=5, stop="x", logprobs=2)
            self.assertEqual(request.hub["messages"], [{"role": "user", "content": "hi"}])
            self.assertIsNone(request.diagonal_only)
            self.assertEqual((request.hub["max_tokens"], request.hub["stop"]), (5, "x"))
            self.assertEqual((request.hub["logprobs"], request.hub["top_logprobs"]), (True, 2))

    def test_what_chat_cannot_say_is_refused_elsewhere(self) -> None:
        """Several prompts, tokens, suffixes and echoes need a backend of this grammar."""
        for name, document in (
            ("prompt", {"prompt": ["a", "b"]}),
            ("prompt", {"prompt": [1, 2]}),
            ("prompt", {"prompt": [[1], [2]]}),
            ("suffix", {"prompt": "a", "suffix": "b"}),
            ("echo", {"prompt": "a", "echo": True}),
            ("best_of", {"prompt": "a", "best_of": 3}),
        ):
            request = parse(**document)
            self.assertEqual(request.diagonal_only, name)
            error = self.assertRaises(
                UnsupportedParameter, OLLAMA.render, request, Overrides(model="b"), QUIRKS
            )
            self.assertEqual(error.param, name)
            self.assertEqual(rendered(request)[name], document[name])

    def test_what_is_wrong_is_named(self) -> None:
        """A malformed body is refused with the member at fault."""
        for param, document in (
            ("prompt", {}),
            ("prompt", {"prompt": []}),
            ("prompt", {"prompt": ["a", 1]}),
            ("max_tokens", {"prompt": "a", "max_tokens": "5"}),
            ("n", {"prompt": "a", "n": -1}),
            ("stream", {"prompt": "a", "stream": "no"}),
            ("stream_options", {"prompt": "a", "stream_options": []}),
            ("suffix", {"prompt": "a", "suffix": 3}),
        ):
            error = self.assertRaises(MalformedRequest, parse, **document)
            self.assertEqual(error.param, param)

    @given(
        st.text(),
        st.dictionaries(st.text(max_size=6).map(lambda n: "x_" + n), st.integers() | st.text()),
        st.booleans(),
    )
    def test_diagonal(self, prompt: str, extra: Document, stream: bool) -> None:
        """The backend's body is the client's, but for the model and the usage asked for."""
        document = {"prompt": prompt, **extra, "stream": stream}
        metering = {"stream_options": {"include_usage": True}} if stream else {}
        self.assertEqual(rendered(parse(**document)), {"model": "b", **document, **metering})

    def test_overrides(self) -> None:
        """Bounds, prompts and refused members are edited in."""
        body = rendered(parse(prompt=["a"]), max_tokens=7, system_prompt="P")
        self.assertEqual((body["prompt"], body["max_tokens"]), (["P\n\na"], 7))
        body = rendered(parse(prompt="a", user="u"), PlainQuirks(drop=frozenset({"user"})))
        self.assertNotIn("user", body)
        self.assertEqual(rendered(parse(prompt="a"), system_prompt="P")["prompt"], "P\n\na")
        self.assertRaises(Unsupported, rendered, parse(prompt=[1]), system_prompt="P")
        quiet = PlainQuirks(stream_usage=False)
        self.assertNotIn("stream_options", rendered(parse(prompt="a", stream=True), quiet))

    def test_no_other_grammar_is_rendered(self) -> None:
        """A conversation is not turned into a prompt."""
        raw = b'{"model":"m","messages":[{"role":"user","content":"x"}]}'
        chat = OPENAI.parse(raw, "chat")
        self.assertRaises(Unsupported, rendered, chat)
        self.assertIsNone(COMPLETIONS.path(chat))
        request = parse(prompt="a", x=1)
        self.assertEqual(COMPLETIONS.path(request), "/v1/completions")
        self.assertEqual((request.unsaid, COMPLETIONS.dropped(request)), (("x",), ()))


class AnswerTests(SynchronousTestCase):
    """Both ways."""

    def test_whole(self) -> None:
        """A chat answer is told as a text completion."""
        whole = hub.completion("chatcmpl-1", "b", 7, {"content": "hi"}, "tool_calls", Usage(1, 2))
        whole["choices"][0]["logprobs"] = {
            "content": [
                {"token": "h", "logprob": -1.0, "top_logprobs": [{"token": "H", "logprob": -2.0}]},
                {"token": "i", "logprob": -0.5},
            ]
        }
        answer = load(COMPLETIONS.write_answer(whole, parse(prompt="x")))
        self.assertEqual((answer["object"], answer["id"]), ("text_completion", "cmpl-1"))
        (choice,) = answer["choices"]
        self.assertEqual((choice["text"], choice["finish_reason"]), ("hi", "stop"))
        self.assertEqual(
            choice["logprobs"],
            {
                "tokens": ["h", "i"],
                "token_logprobs": [-1.0, -0.5],
                "top_logprobs": [{"H": -2.0}, {}],
                "text_offset": [0, 1],
            },
        )
        self.assertEqual(answer["usage"]["total_tokens"], 3)

    def test_round_trip(self) -> None:
        """What is written is read back."""
        whole = hub.completion("chatcmpl-1", "b", 7, {"content": "hi"}, "length", Usage(1, 2))
        raw = COMPLETIONS.write_answer(whole, parse(prompt="x"))
        answer = COMPLETIONS.read_answer(raw)
        self.assertEqual((answer.usage, answer.finish_reason), (Usage(1, 2), "length"))
        back = COMPLETIONS.decode_answer(answer)
        self.assertEqual(back["choices"][0]["message"], {"role": "assistant", "content": "hi"})

    def test_no_answer_is_refused(self) -> None:
        """What is no answer is a protocol error; a refusal is read as OpenAI's."""
        for body in (b"", b"{}", b'{"choices":[]}', b"[]"):
            self.assertRaises(ProtocolError, COMPLETIONS.read_answer, body)
        self.assertIsInstance(COMPLETIONS.read_error(400, {}, b"{}"), Rejected)
        error = load(COMPLETIONS.write_error(MalformedRequest("no", param="prompt"), "id"))["error"]
        self.assertEqual(error["param"], "prompt")

    def test_stream_in(self) -> None:
        """A backend's stream is read into the hub."""
        reader = COMPLETIONS.reader(QUIRKS)
        marks, chunks = read_stream(reader, sse(vector("completions.sse")))
        self.assertEqual(
            marks, [Mark.OUTPUT, Mark.QUIET, Mark.OUTPUT, Mark.QUIET, Mark.USAGE, Mark.END]
        )
        texts = [hub.first_choice(c).get("delta", {}).get("content", "") for c in chunks]
        self.assertEqual("".join(texts), "Grüß 🎩")
        self.assertEqual((reader.usage, reader.finish_reason), (Usage(3, 4), "length"))

    def test_every_cut_gives_the_same(self) -> None:
        """Wherever the network cuts the bytes, and however lines end, chunks are the same."""
        raw = vector("completions.sse")
        expected = read_stream(COMPLETIONS.reader(QUIRKS), sse(raw))
        for cut in range(len(raw) + 1):
            self.assertEqual(sse(raw, cut), sse(raw))
        crlf = raw.replace(b"\n", b"\r\n")
        for events in (sse(raw, *range(len(raw))), sse(crlf, *range(len(crlf)))):
            self.assertEqual(read_stream(COMPLETIONS.reader(QUIRKS), events), expected)

    def test_stream_out(self) -> None:
        """Chunks with text are events; the usage is told to who asked."""
        for asked in (False, True):
            options = {"stream_options": {"include_usage": True}} if asked else {}
            writer = COMPLETIONS.writer(parse(prompt="x", stream=True, **options))
            raw = b"".join(
                [
                    writer.encode(hub.chunk("chatcmpl-1", "b", 7, {"role": "assistant"})),
                    writer.encode(hub.chunk("chatcmpl-1", "b", 7, {"reasoning_content": "hm"})),
                    writer.encode(hub.chunk("chatcmpl-1", "b", 7, {"content": "hi"})),
                    writer.encode(hub.chunk("chatcmpl-1", "b", 7, {}, "stop")),
                    writer.encode(hub.usage_chunk("chatcmpl-1", "b", 7, Usage(1, 2))),
                    writer.end(),
                ]
            )
            datas = [event.data for event in sse(raw)]
            self.assertEqual(datas.pop(), b"[DONE]")
            told = [load(data) for data in datas]
            self.assertEqual([c["text"] for t in told for c in t["choices"]], ["hi", ""])
            self.assertEqual(told[1]["choices"][0]["finish_reason"], "stop")
            self.assertEqual(
                [t["usage"]["total_tokens"] for t in told if "usage" in t], [3] * asked
            )

    def test_stream_offsets(self) -> None:
        """Each token's place is counted over the whole stream."""
        writer = COMPLETIONS.writer(parse(prompt="x", stream=True))
        places = []
        for word in ("ab", "c"):
            chunk = hub.chunk("i", "b", 7, {"content": word})
            chunk["choices"][0]["logprobs"] = {"content": [{"token": word, "logprob": 0.0}]}
            (event,) = sse(writer.encode(chunk))
            places += load(event.data)["choices"][0]["logprobs"]["text_offset"]
        self.assertEqual(places, [0, 2])

    def test_error_and_keep_alive(self) -> None:
        """An error is an event with an error member; a comment keeps clients waiting."""
        writer = COMPLETIONS.writer(parse(prompt="x", stream=True))
        (event,) = sse(writer.error(StreamInterrupted()))
        self.assertEqual(load(event.data)["error"]["origin"], "upstream")
        self.assertTrue(writer.keep_alive().startswith(b":"))
