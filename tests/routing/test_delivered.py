"""Tests for what was delivered of an answer, and for what may follow it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.chat import Chunk
from lmgateway.dialects import hub
from lmgateway.routing.delivered import (
    CERTAIN,
    MAX_DELIVERED,
    Again,
    Delivered,
    Diverged,
    Onward,
    Rest,
)

TEXTS = st.text(alphabet="ab ", max_size=8)


def piece(text: str = "", finish: str | None = None, **delta: Any) -> Chunk:
    """Make a chunk."""
    said = {"content": text, **delta} if text else delta
    return hub.chunk("id-1", "m", 1, said, finish)


def delivered_of(*chunks: Chunk, compared: bool = True) -> Delivered:
    """Deliver some chunks."""
    delivered = Delivered(compared=compared)
    for chunk in chunks:
        delivered.add(chunk)
    return delivered


def told(rest: Rest, chunks: Sequence[Chunk]) -> str | None:
    """Give the text that goes to the client; ``None`` if nothing may."""
    text = ""
    try:
        for chunk in chunks:
            beyond = rest.take(chunk)
            if beyond is not None:
                text += hub.text(hub.first_choice(beyond)["delta"].get("content"))
        rest.end()
    except Diverged:
        return None
    return text


class DeliveredTests(SynchronousTestCase):
    """Tests for ``Delivered``."""

    def test_text_and_thoughts_are_kept(self) -> None:
        """What can be compared is kept, with the names that the stream goes by."""
        delivered = delivered_of(
            piece(role="assistant"), piece(reasoning_content="hm"), piece("Hello"), piece(" you")
        )
        self.assertEqual((delivered.text, delivered.thoughts), ("Hello you", "hm"))
        self.assertEqual(delivered.head, {"id": "id-1", "created": 1, "model": "m"})
        self.assertTrue(delivered.has_output)
        self.assertFalse(delivered.closed)

    def test_what_cannot_be_compared_closes(self) -> None:
        """Nothing follows calls, refusals, signatures, further choices or the finish."""
        other = piece("x")
        other["choices"][0]["index"] = 1
        sure = piece("x")
        sure["choices"][0]["logprobs"] = {"content": []}
        for chunk in (
            piece(tool_calls=[{"index": 0}]),
            piece(function_call={"name": "f"}),
            piece(refusal="No."),
            piece(thinking_blocks=[{"signature": "s"}]),
            piece(audio={"data": ""}),
            piece(content=[{"type": "text"}]),
            piece(finish="stop"),
            other,
            sure,
        ):
            self.assertTrue(delivered_of(piece("a"), chunk).closed, chunk)

    def test_it_is_bounded(self) -> None:
        """More than so much is not kept, and the rest is let go."""
        delivered = delivered_of(piece("a" * MAX_DELIVERED))
        self.assertFalse(delivered.closed)
        delivered.add(piece("a"))
        self.assertTrue(delivered.closed)
        self.assertEqual(delivered.text, "")

    def test_where_nothing_is_compared_output_closes(self) -> None:
        """To begin anew it is enough to know whether anything was said."""
        self.assertFalse(delivered_of(piece(role="assistant"), compared=False).closed)
        self.assertTrue(delivered_of(piece("a"), compared=False).closed)


class AgainTests(SynchronousTestCase):
    """Tests for ``Again``."""

    @given(TEXTS, st.lists(TEXTS, max_size=5))
    def test_delivered_and_rest_are_the_answer(self, said: str, pieces: list[str]) -> None:
        """However it is cut, the client has the further answer whole, or is told nothing of it."""
        whole = "".join(pieces)
        chunks = [*map(piece, pieces), piece(finish="stop")]
        rest = told(Again(delivered_of(piece(said))), chunks)
        if whole.startswith(said):
            self.assertEqual(said + str(rest), whole)
        else:
            self.assertIsNone(rest)

    def test_thoughts_are_compared_until_there_is_text(self) -> None:
        """Half a thought is gone on with by the same thought only."""
        delivered = delivered_of(piece(reasoning_content="Let me"))
        same = [piece(reasoning_content="Let me see."), piece("Yes."), piece(finish="stop")]
        rest = Again(delivered)
        first = rest.take(same[0])
        assert first is not None
        self.assertEqual(hub.first_choice(first)["delta"], {"reasoning_content": " see."})
        self.assertEqual(told(rest, same[1:]), "Yes.")
        for other in (piece(reasoning_content="Well"), piece("Yes.")):
            self.assertIsNone(told(Again(delivered), [other]))

    def test_thoughts_before_the_text_are_left_out(self) -> None:
        """The thoughts shown are the first one's; another's are not put between its words."""
        delivered = delivered_of(piece(reasoning_content="A"), piece("Yes, "))
        chunks = [piece(reasoning_content="B"), piece("Yes, I do."), piece(finish="stop")]
        self.assertEqual(told(Again(delivered), chunks), "I do.")

    def test_a_call_in_the_middle_diverges(self) -> None:
        """A tool call before the delivered text has come is another answer."""
        call = piece(tool_calls=[{"index": 0, "function": {"name": "f"}}])
        self.assertIsNone(told(Again(delivered_of(piece("Yes"))), [piece("Y"), call]))

    def test_the_usage_passes(self) -> None:
        """What the further backend says of its tokens is told."""
        usage = {**piece(), "choices": [], "usage": {"prompt_tokens": 1}}
        self.assertEqual(Again(delivered_of(piece("Yes"))).take(usage), usage)


class OnwardTests(SynchronousTestCase):
    """Tests for ``Onward``."""

    def onward(self, said: str, *pieces: str) -> str | None:
        """Continue *said*; give what follows on it."""
        chunks = [*map(piece, pieces), piece(finish="stop")]
        return told(Onward(delivered_of(piece(said))), chunks)

    def test_the_continuation_alone(self) -> None:
        """What comes is what follows."""
        self.assertEqual(self.onward("The sky is", " bl", "ue."), " blue.")

    def test_what_was_begun_is_repeated(self) -> None:
        """Servers that repeat what they were given before it are understood."""
        begun = "The sky above the port was the colour"
        self.assertGreater(len(begun), CERTAIN)
        self.assertEqual(self.onward(begun, "The sky above", begun[13:] + " of", " TV."), " of TV.")

    def test_a_short_repetition_is_not_trusted(self) -> None:
        """``no`` after ``no`` may be either: nothing is put together."""
        self.assertIsNone(self.onward("no", "no", " more"))

    def test_blanks_at_the_end_are_not_sent(self) -> None:
        """They are taken off what is sent, and must come again."""
        onward = Onward(delivered_of(piece("One, \n")))
        self.assertEqual(onward.begun, "One,")
        self.assertEqual(told(onward, [piece(" "), piece("\ntwo"), piece(finish="stop")]), "two")
        self.assertIsNone(self.onward("One, ", "two"))

    @given(TEXTS, st.lists(TEXTS, min_size=1, max_size=5))
    def test_nothing_is_put_together_that_does_not_belong(
        self, said: str, pieces: list[str]
    ) -> None:
        """However it is cut, the whole is what was delivered and then what was said to follow."""
        whole = "".join(pieces)
        rest = self.onward(said, *pieces)
        if rest is not None:
            repeated = whole.startswith(said) and len(said) >= CERTAIN
            self.assertEqual(said + rest, whole if repeated else said.rstrip() + whole)

    def test_long_texts_in_small_pieces(self) -> None:
        """Comparing takes as long as the text is, not as its square."""
        begun = "word " * (MAX_DELIVERED // 5)
        pieces = [begun[at : at + 4] for at in range(0, len(begun), 4)]
        self.assertEqual(self.onward(begun, *pieces, "end"), "end")

    def test_a_continuation_that_begins_alike(self) -> None:
        """A short end that only looks like a repetition is the continuation."""
        self.assertEqual(self.onward("ha ho", "ha"), "ha")
