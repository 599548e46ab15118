"""Ollama's streams, both ways."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.backend_errors import BackendFailed, ProtocolError
from lmgateway.chat import Chunk, Event, Usage
from lmgateway.dialects import hub
from lmgateway.dialects.base import Mark, StreamReader, StreamWriter
from lmgateway.dialects.ollama import OLLAMA
from lmgateway.errors import StreamInterrupted
from tests.dialects.recorded import QUIRKS, lines, load, load_lines, read_stream, vector

CHAT = OLLAMA.parse(b'{"model":"auto:latest","messages":[]}', "chat")
GENERATE = OLLAMA.parse(b'{"model":"m","prompt":"x"}', "generate")


def reader() -> StreamReader:
    """Make a reader."""
    return OLLAMA.reader(QUIRKS)


def delta(**members: Any) -> Chunk:
    """Give a hub chunk."""
    return hub.chunk("id", "backend", 1700000000, members)


def stream(writer: StreamWriter, *chunks: Chunk) -> bytes:
    """Write a whole stream."""
    return b"".join([writer.encode(chunk) for chunk in chunks]) + writer.end()


FINISH = hub.chunk("id", "backend", 1700000000, {}, "stop")


class ReaderTests(SynchronousTestCase):
    """From a backend."""

    def test_text_and_thinking(self) -> None:
        """Lines become deltas, the last one a reason and a usage."""
        one = reader()
        marks, chunks = read_stream(one, lines(vector("ollama_text.ndjson")))
        self.assertEqual(marks, [Mark.OUTPUT] * 3 + [Mark.QUIET, Mark.END])
        deltas = [hub.first_choice(chunk).get("delta", {}) for chunk in chunks]
        self.assertEqual(deltas[0], {"role": "assistant", "reasoning_content": "Greet — bäck."})
        self.assertEqual("".join(d.get("content", "") for d in deltas), "Grüß Gott 🎩")
        self.assertEqual(chunks[-2]["choices"][0]["finish_reason"], "length")
        self.assertEqual(chunks[-1]["usage"]["prompt_tokens"], 26)
        self.assertEqual(one.usage, Usage(input_tokens=26, output_tokens=282))
        self.assertEqual((one.model, one.finish_reason), ("qwen3:8b", "length"))
        self.assertEqual(one.output_bytes, len("Greet — bäck.Grüß Gott 🎩".encode()))
        self.assertEqual(len({chunk["id"] for chunk in chunks}), 1)

    def test_R_B09_tools_in_a_stream(self) -> None:
        """Calls come whole, each with an index and an id of its own, and are the reason."""
        one = reader()
        marks, chunks = read_stream(one, lines(vector("ollama_tools.ndjson")))
        self.assertEqual(marks, [Mark.OUTPUT, Mark.OUTPUT, Mark.END])
        calls = hub.ToolCalls()
        for chunk in chunks:
            calls.add(hub.first_choice(chunk).get("delta", {}).get("tool_calls"))
        first, second = calls.whole()
        self.assertEqual(first["function"]["arguments"], '{"city":"Tokyo","days":2}')
        self.assertEqual(second["function"], {"name": "get_time", "arguments": "{}"})
        self.assertNotEqual(first["id"], second["id"])
        self.assertEqual(one.finish_reason, "tool_calls")

    def test_generate(self) -> None:
        """``/api/generate`` streams are read by the same reader."""
        _, chunks = read_stream(reader(), lines(vector("ollama_generate.ndjson")))
        texts = [hub.first_choice(c).get("delta", {}).get("content", "") for c in chunks]
        self.assertEqual("".join(texts), "Yes.")

    def test_one_line_that_says_all(self) -> None:
        """A last line with text gives its text first."""
        event = lines(b'{"message":{"content":"all"},"done":true,"eval_count":1}\n')
        marks, chunks = read_stream(reader(), event)
        self.assertEqual(marks, [Mark.END])
        self.assertEqual(chunks[0]["choices"][0]["delta"]["content"], "all")
        self.assertEqual(chunks[1]["choices"][0]["finish_reason"], "stop")

    def test_errors_in_band(self) -> None:
        """A failure is told as one, without the server's own words."""
        one = reader()
        marks, _ = read_stream(one, lines(vector("ollama_broken.ndjson")))
        self.assertEqual(marks, [Mark.OUTPUT, Mark.ERROR])
        self.assertIsInstance(one.error, BackendFailed)
        self.assertNotIn("secret", str(one.error))

    def test_what_is_no_line_is_an_error(self) -> None:
        """Garbage is a protocol error; an empty line is nothing."""
        for garbage in (b"<html>", b"3", b"{}", b'{"status":"pulling"}', b'{"message":1}', b"\xff"):
            one = reader()
            self.assertIs(one.inspect(Event(garbage, b"", garbage)), Mark.ERROR)
            self.assertIsInstance(one.error, ProtocolError)
            self.assertEqual(one.decode(Event(garbage, b"", b"")), ())
        self.assertIs(reader().inspect(Event(b"\n", b"", b"")), Mark.QUIET)

    def test_R_O10_crlf(self) -> None:
        """Lines may end in CRLF."""
        raw = vector("ollama_text.ndjson")
        _, plain = read_stream(reader(), lines(raw))
        _, crlf = read_stream(reader(), lines(raw.replace(b"\n", b"\r\n")))
        self.assertEqual([c["choices"] for c in plain], [c["choices"] for c in crlf])

    def test_every_cut_gives_the_same(self) -> None:
        """Wherever the network cuts the bytes, marks and chunks are the same."""
        for name in ("text", "tools", "generate", "broken"):
            raw = vector(f"ollama_{name}.ndjson")
            marks, chunks = read_stream(reader(), lines(raw))
            for cut in range(len(raw) + 1):
                self.assertEqual(lines(raw, cut), lines(raw))
            again, letter_by_letter = read_stream(reader(), lines(raw, *range(len(raw))))
            self.assertEqual(again, marks)
            self.assertEqual(told(letter_by_letter), told(chunks))


def told(chunks: list[Chunk]) -> list[Any]:
    """Give what chunks say, without the ids that each stream makes up."""
    choices = [hub.first_choice(chunk) for chunk in chunks]
    for choice in choices:
        for call in choice.get("delta", {}).get("tool_calls", ()):
            call["id"] = ""
    return choices


class WriterTests(SynchronousTestCase):
    """To a client."""

    def test_R_O05_deltas_then_done(self) -> None:
        """Each delta is a line, and the last one says that it is done."""
        usage = hub.usage_chunk("id", "backend", 1, Usage(3, 4))
        raw = stream(
            OLLAMA.writer(CHAT),
            delta(role="assistant", content=""),
            delta(reasoning_content="hm"),
            delta(content="a"),
            delta(content="b"),
            FINISH,
            usage,
        )
        told = load_lines(raw)
        self.assertEqual([piece["done"] for piece in told], [False, False, False, True])
        self.assertEqual(told[0]["message"], {"role": "assistant", "content": "", "thinking": "hm"})
        self.assertEqual((told[-1]["prompt_eval_count"], told[-1]["eval_count"]), (3, 4))
        self.assertEqual({piece["model"] for piece in told}, {"auto:latest"})
        self.assertEqual(told[0]["created_at"], "2023-11-14T22:13:20Z")

    def test_R_O10_last_line_does_not_repeat(self) -> None:
        """Whoever joins all lines has the text once, whatever its letters."""
        told = load_lines(
            stream(OLLAMA.writer(CHAT), delta(content="Grüß "), delta(content="🎩"), FINISH)
        )
        self.assertEqual("".join(piece["message"]["content"] for piece in told), "Grüß 🎩")

    def test_R_O06_calls_are_put_together_once(self) -> None:
        """Pieces of calls are told once, whole, as objects, on the last line."""

        def call(index: int, **function: str) -> Chunk:
            return delta(tool_calls=[{"index": index, "id": f"c{index}", "function": function}])

        raw = stream(
            OLLAMA.writer(CHAT),
            call(0, name="f", arguments=""),
            call(0, arguments='{"x"'),
            call(1, name="g", arguments="{}"),
            call(0, arguments=":1}"),
            hub.chunk("id", "b", 1, {}, "tool_calls"),
        )
        told = load_lines(raw)
        self.assertEqual(len(told), 1)
        calls = told[0]["message"]["tool_calls"]
        self.assertEqual(
            [c["function"] for c in calls],
            [{"name": "f", "arguments": {"x": 1}}, {"name": "g", "arguments": {}}],
        )
        self.assertEqual(told[0]["done_reason"], "stop")

    def test_logprobs(self) -> None:
        """Log probabilities go through in both directions."""
        chunk = delta(content="a")
        chunk["choices"][0]["logprobs"] = {"content": [{"token": "a", "logprob": -1.0}]}
        raw = stream(OLLAMA.writer(CHAT), chunk, FINISH)
        self.assertEqual(load_lines(raw)[0]["logprobs"][0]["token"], "a")
        _, chunks = read_stream(reader(), lines(raw))
        self.assertEqual(chunks[0]["choices"][0]["logprobs"], chunk["choices"][0]["logprobs"])

    def test_generate(self) -> None:
        """``/api/generate`` is told in its own members."""
        told = load_lines(stream(OLLAMA.writer(GENERATE), delta(content="a"), FINISH))
        self.assertEqual([piece["response"] for piece in told], ["a", ""])

    def test_nothing_but_an_end(self) -> None:
        """A stream without a chunk still ends properly."""
        (last,) = load_lines(OLLAMA.writer(CHAT).end())
        self.assertEqual((last["done"], last["eval_count"]), (True, 0))

    def test_error_and_keep_alive(self) -> None:
        """An error is a line of its own; a keep-alive says nothing."""
        writer = OLLAMA.writer(CHAT)
        self.assertEqual(load(writer.keep_alive())["message"]["content"], "")
        self.assertEqual(
            load(writer.error(StreamInterrupted())), {"error": str(StreamInterrupted())}
        )

    def test_calls_are_bounded(self) -> None:
        """A backend cannot make the gateway hold any amount of arguments."""
        writer = OLLAMA.writer(CHAT)
        piece = delta(tool_calls=[{"index": 0, "function": {"arguments": "x" * (1 << 20)}}])
        with self.assertRaises(ProtocolError):
            for _ in range(20):
                writer.encode(piece)

    @given(
        st.lists(
            st.tuples(st.sampled_from(["content", "reasoning_content"]), st.text()), max_size=8
        )
    )
    def test_round_trip(self, texts: list[tuple[str, str]]) -> None:
        """What is written is read back as it was said."""
        raw = stream(OLLAMA.writer(CHAT), *[delta(**{name: text}) for name, text in texts], FINISH)
        marks, chunks = read_stream(reader(), lines(raw.replace(b"\x0c", b"\\f")))
        self.assertIs(marks[-1], Mark.END)
        for name in ("content", "reasoning_content"):
            read = "".join(hub.first_choice(c).get("delta", {}).get(name, "") for c in chunks)
            self.assertEqual(read, "".join(text for kind, text in texts if kind == name))
