"""Tool calls written as tagged text."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.chat import Chunk, Document, Event, Usage
from lmgateway.dialects import hub, xml_tools
from lmgateway.dialects.base import Mark
from lmgateway.dialects.document import encode
from lmgateway.dialects.openai_stream import OpenAIReader
from lmgateway.dialects.xml_tools import (
    Call,
    Extractor,
    schemas_of,
    with_xml_calls,
)
from lmgateway.dialects.xml_tools_stream import XmlToolReader, XmlTools
from tests.dialects.recorded import load

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "f",
            "parameters": {
                "type": "object",
                "properties": {"s": {"type": "string"}, "n": {"type": "integer"}},
            },
        },
    },
    {"type": "function", "function": {"name": "g"}},
]
SCHEMAS = schemas_of(TOOLS)

QWEN = (
    "<tool_call>\n<function=f>\n<parameter=s>\n12 < 13 </b>\n</parameter>\n"
    "<parameter=n>\n3\n</parameter>\n<parameter=list>[1, 2]</parameter>\n"
    "</function>\n</tool_call>"
)
QWEN_CALL = ("f", {"s": "12 < 13 </b>", "n": 3, "list": [1, 2]})
HERMES = '<tool_call>\n{"name": "g", "arguments": {"x": "ü"}}\n</tool_call>'
HERMES_CALL = ("g", {"x": "ü"})


def pieces(*texts: str) -> tuple[str, list[tuple[str, Document]]]:
    """Give the text and the calls of a text that comes in pieces."""
    extractor = Extractor(SCHEMAS)
    out: list[str | Call] = []
    for text in texts:
        out += extractor.feed(text)
    out += extractor.finish()
    text = "".join(piece for piece in out if isinstance(piece, str))
    return text, [(c[0], load(c[1].encode())) for c in out if isinstance(c, tuple)]


class ExtractorTests(SynchronousTestCase):
    """In a text."""

    def test_both_forms(self) -> None:
        """Functions with parameters, and JSON, are calls; nothing of the tags is left."""
        self.assertEqual(pieces(QWEN), ("", [QWEN_CALL]))
        self.assertEqual(pieces(HERMES), ("", [HERMES_CALL]))

    def test_text_round_calls(self) -> None:
        """Text before and after stays, white space at the blocks goes."""
        text, calls = pieces(f"Sure. \n\n{QWEN}\n{HERMES}\n")
        self.assertEqual((text, calls), ("Sure.", [QWEN_CALL, HERMES_CALL]))
        self.assertEqual(pieces(f"a {HERMES}\nb ")[0], "a\nb ")

    def test_L2_7_cut_anywhere(self) -> None:
        """Wherever the text is cut in two, and letter by letter, the outcome is the same."""
        whole = f"Sure ü <b>.\n{QWEN}\n{HERMES} <tool_ca done <tool_call>"
        expected = pieces(whole)
        self.assertEqual(expected[1], [QWEN_CALL, HERMES_CALL])
        for cut in range(len(whole)):
            self.assertEqual(pieces(whole[:cut], whole[cut:]), expected)
        self.assertEqual(pieces(*whole), expected)

    def test_undeclared_tools_are_text(self) -> None:
        """Only declared tools count; a block that names another stays as it is."""
        for block in (
            QWEN.replace("=f>", "=rm>"),
            HERMES.replace('"g"', '"rm"'),
            '<tool_call>{"name": 3}</tool_call>',
            '<tool_call>{"name": "g", "arguments": [1]}</tool_call>',
            "<tool_call>{oops}</tool_call>",
            "<tool_call></tool_call>",
            "<tool_call><function=f>stray</function></tool_call>",
            "<tool_call>words</tool_call>",
        ):
            self.assertEqual(pieces(f"a {block} b"), (f"a {block} b", []))

    def test_unterminated_is_text(self) -> None:
        """A block that the answer breaks off in is never lost, and is counted."""
        for cut in range(len("<tool_call>"), len(QWEN) - 1):
            extractor = Extractor(SCHEMAS)
            out = [*extractor.feed(QWEN[:cut]), *extractor.finish()]
            self.assertEqual("".join(map(str, out)), QWEN[:cut])
            self.assertEqual(extractor.unterminated, 1)

    def test_a_stray_tag_hides_no_call(self) -> None:
        """A call after a tag that opened nothing is still found."""
        stray = "<tool_call><function=f> never closed "
        self.assertEqual(pieces(stray + HERMES), (stray.rstrip(), [HERMES_CALL]))

    def test_tags_within_values(self) -> None:
        """A value may talk of the tags themselves."""
        said = 'print("</tool_call>")'
        block = f"<tool_call><function=f><parameter=s>{said}</parameter></function></tool_call>"
        self.assertEqual(pieces(block), ("", [("f", {"s": said})]))
        block = '<tool_call>{"name": "g", "arguments": {"x": "</tool_call>"}}</tool_call>'
        self.assertEqual(pieces(block), ("", [("g", {"x": "</tool_call>"})]))
        block = (
            "<tool_call><function=f><parameter=s>a</parameter>b</parameter></function></tool_call>"
        )
        self.assertEqual(pieces(block)[1], [("f", {"s": "a</parameter>b"})])

    def test_several_functions_in_one_block(self) -> None:
        """A block may call more than once."""
        block = "<tool_call><function=f></function>\n<function=g></function></tool_call>"
        self.assertEqual(pieces(block), ("", [("f", {}), ("g", {})]))

    def test_held_text_is_bounded(self) -> None:
        """A block that never ends is let go as text."""
        self.patch(xml_tools, "MAX_BLOCK", 50)
        long = "<tool_call>" + "x" * 100
        for texts in ((long,), tuple(long), (long + "</tool_call>",)):
            self.assertEqual(pieces(*texts)[0], "".join(texts))

    def test_hostile_text(self) -> None:
        """Tags without end, in any number, are text, and cost no more than a moment."""
        for text in (
            "<tool_call>" * 50_000,
            "<tool_call>" * 50_000 + "</tool_call>",
            '<tool_call>{"' + "</tool_call>" * 50_000,
            "<tool_call><function=f>" + "</tool_call>" * 50_000,
            "<tool_call><function=f>" + "</function> " * 50_000 + "x</tool_call>",
            "<tool_call>{" * 50_000 + "</tool_call>" * 50_000,
        ):
            self.assertEqual(pieces(text), (text, []))

    @given(
        st.lists(
            st.sampled_from(
                [
                    QWEN,
                    HERMES,
                    "<tool_call>",
                    "</tool_call>",
                    "<function=f>",
                    "</function>",
                    "<parameter=s>",
                    "</parameter>",
                    '{"name": "g"',
                    "}",
                    "<",
                    " ",
                    "\n",
                    "word",
                ]
            ),
            max_size=12,
        ),
        st.lists(st.integers(1, 30), min_size=1),
    )
    def test_cutting_changes_nothing(self, texts: list[str], sizes: list[int]) -> None:
        """Whatever a model writes, how it is cut does not matter, and no word is lost."""
        whole = "".join(texts)
        cut: list[str] = []
        place = 0
        while place < len(whole):
            size = sizes[len(cut) % len(sizes)]
            cut.append(whole[place : place + size])
            place += size
        text, calls = pieces(whole)
        self.assertEqual(pieces(*cut), (text, calls))
        if not calls:
            self.assertEqual(text, whole)


def delta(**members: Any) -> Chunk:
    """Give a hub chunk."""
    return hub.chunk("id", "m", 1, members)


class StreamTests(SynchronousTestCase):
    """In hub chunks."""

    def told(self, *chunks: Chunk) -> list[Document]:
        """Give the choices that come out."""
        tools = XmlTools(SCHEMAS)
        out = [told for chunk in chunks for told in tools.feed(chunk)] + tools.finish()
        return [choice for chunk in out for choice in chunk["choices"]]

    def test_calls_become_deltas(self) -> None:
        """Blocks become calls with indices and ids, and the reason says so."""
        choices = self.told(
            delta(role="assistant", content=""),
            delta(reasoning_content="<tool_call>"),
            *[delta(content=letter) for letter in f"Hi. {QWEN}{HERMES}"],
            hub.chunk("id", "m", 1, {}, "stop"),
        )
        deltas = [choice["delta"] for choice in choices]
        self.assertEqual("".join(d.get("content") or "" for d in deltas), "Hi.")
        self.assertEqual(deltas[0], {"role": "assistant"})
        self.assertEqual(deltas[1], {"reasoning_content": "<tool_call>"})
        calls = [call for d in deltas for call in d.get("tool_calls", ())]
        self.assertEqual([call["index"] for call in calls], [0, 1])
        self.assertEqual([call["function"]["name"] for call in calls], ["f", "g"])
        self.assertNotEqual(calls[0]["id"], calls[1]["id"])
        self.assertEqual(choices[-1]["finish_reason"], "tool_calls")

    def test_text_goes_through(self) -> None:
        """Without blocks nothing changes but where white space is told."""
        choices = self.told(
            delta(content="a "), delta(content="b "), hub.chunk("id", "m", 1, {}, "stop")
        )
        self.assertEqual("".join(c["delta"].get("content", "") for c in choices), "a b ")
        self.assertEqual(choices[-1]["finish_reason"], "stop")

    def test_usage_stays_and_is_told_once(self) -> None:
        """A usage on a chunk of its own, or on the last one, is told once."""
        tools = XmlTools(SCHEMAS)
        usage = hub.usage_chunk("id", "m", 1, Usage(1, 2))
        self.assertEqual(tools.feed(usage), [usage])
        last = {**hub.chunk("id", "m", 1, {"content": "x"}, "stop"), "usage": usage["usage"]}
        self.assertEqual([("usage" in chunk) for chunk in tools.feed(last)], [False, True])

    def test_end_without_a_reason(self) -> None:
        """What was held back is told at the end."""
        choices = self.told(delta(content="a <tool_call>"))
        self.assertEqual("".join(c["delta"]["content"] for c in choices), "a <tool_call>")

    def test_proper_calls_keep_their_place(self) -> None:
        """A backend's own calls are counted before those of the text."""
        own = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
        choices = self.told(delta(tool_calls=[own]), delta(content=HERMES))
        indices = [call["index"] for c in choices for call in c["delta"].get("tool_calls", ())]
        self.assertEqual(indices, [0, 1])

    def test_reader(self) -> None:
        """A reader wrapped round a backend's own gives the calls and the right reason."""
        reader = XmlToolReader(OpenAIReader(), SCHEMAS)
        events = [
            Event(b"", b"", encode(chunk))
            for chunk in (
                delta(content=HERMES),
                hub.chunk("id", "m", 1, {}, "stop"),
                hub.usage_chunk("id", "m", 1, Usage(1, 2)),
            )
        ] + [Event(b"", b"", b"[DONE]")]
        marks: list[Mark] = []
        chunks: list[Chunk] = []
        for event in events:
            marks.append(reader.inspect(event))
            chunks += reader.decode(event)
        self.assertEqual(marks, [Mark.OUTPUT, Mark.QUIET, Mark.USAGE, Mark.END])
        self.assertEqual(chunks[0]["choices"][0]["delta"]["tool_calls"][0]["index"], 0)
        self.assertEqual((reader.finish_reason, reader.usage), ("tool_calls", Usage(1, 2)))
        self.assertEqual((reader.model, reader.error, reader.unterminated), ("m", None, 0))
        self.assertGreater(reader.output_bytes, 0)


class WholeTests(SynchronousTestCase):
    """In whole answers."""

    def test_message(self) -> None:
        """Calls are taken out of the text of a message."""
        whole = hub.completion("i", "m", 1, {"content": f"Hi.\n{QWEN}"}, "stop", None)
        choice = with_xml_calls(whole, SCHEMAS)["choices"][0]
        self.assertEqual(choice["message"]["content"], "Hi.")
        self.assertEqual(choice["finish_reason"], "tool_calls")
        self.assertEqual(choice["message"]["tool_calls"][0]["function"]["name"], "f")
        self.assertEqual(whole["choices"][0]["message"]["content"], f"Hi.\n{QWEN}")

    def test_nothing_to_take(self) -> None:
        """Other answers stay as they are."""
        for content in ("text", None, "<tool_call>", f"{QWEN.replace('=f>', '=rm>')}"):
            whole = hub.completion("i", "m", 1, {"content": content}, "stop", None)
            self.assertEqual(with_xml_calls(whole, SCHEMAS), whole)

    def test_answer(self) -> None:
        """Why it ended changes with what it says."""
        whole = hub.completion("i", "m", 1, {"content": HERMES}, "stop", None)
        found = with_xml_calls(whole, SCHEMAS)
        self.assertEqual(hub.first_choice(found)["finish_reason"], "tool_calls")
