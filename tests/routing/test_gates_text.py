"""Tests for the gates that look at words: refusal, repetition, language, and the judge's score."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.routing.gate_judge import read_score
from lmgateway.routing.gate_language import language_of, other_language, script_of
from lmgateway.routing.gate_refusal import LOOKED_AT, PHRASES, refusal_in
from lmgateway.routing.gate_repetition import repeated


class RefusalTests(SynchronousTestCase):
    """Tests for refusals."""

    def test_every_phrase(self) -> None:
        """Each phrase is found, in any case, within a sentence."""
        for phrase in PHRASES:
            for text in (phrase, phrase.upper(), f"Hm, {phrase}.", f"\n{phrase}\n"):
                self.assertIsNotNone(refusal_in(text), text)

    def test_apostrophes_and_spaces(self) -> None:
        """Typographic apostrophes and line breaks do not hide a refusal."""
        self.assertEqual(refusal_in("I don\u2019t\n  know that."), "i don't know")

    def test_whole_words_only(self) -> None:
        """A phrase within other words is none."""
        for text in ("as an aim", "was an ai", "Basking as an airman", "non lo sogno"):
            self.assertIsNone(refusal_in(text), text)

    def test_only_the_beginning_counts(self) -> None:
        """A long answer in which somebody does not know is an answer."""
        self.assertIsNone(refusal_in("word " * (LOOKED_AT // 5) + '"I don\'t know", he said.'))

    def test_own_phrases(self) -> None:
        """An operator's phrase is found as ours are, whatever signs are in it."""
        self.assertEqual(refusal_in("Sorry (no idea).", ("(no idea)", "?")), "(no idea)")
        self.assertIsNone(refusal_in("Sorry."))

    @given(st.text())
    def test_any_text(self, text: str) -> None:
        """Any text can be looked at."""
        refusal_in(text)


class RepetitionTests(SynchronousTestCase):
    """Tests for loops."""

    def test_loops(self) -> None:
        """A word, a sentence and a line that come again and again are loops."""
        for unit in ("again ", "The cat sat on the mat. ", "- item one\n"):
            self.assertIsNotNone(repeated("It began well. " + unit * 30, 5), unit)

    def test_loops_without_spaces(self) -> None:
        """So are they in scripts that put no spaces between words."""
        self.assertIsNotNone(repeated("我喜欢吃苹果。" * 12, 5))

    def test_no_loops(self) -> None:
        """Prose, emphasis, tables and numbers are none."""
        table = "| a | b |\n|---|---|\n" + "".join(f"| {i} | {i * i} |\n" for i in range(40))
        for text in ("no no no no no!", table, "0 0 0 0 0 " * 40, "-" * 500, "1, 2, 3, 4, 5, 6"):
            self.assertIsNone(repeated(text, 5), text)

    def test_fewer_times(self) -> None:
        """Less than so many times is no loop yet."""
        sentence = "The quick brown fox jumps over the lazy dog. "
        self.assertIsNone(repeated(sentence * 4, 5))
        self.assertIsNotNone(repeated(sentence * 5, 5))

    def test_only_the_end_counts(self) -> None:
        """A loop that the answer got out of long ago is not seen."""
        prose = "".join(f"{number} bottles " for number in range(2000))
        self.assertIsNone(repeated("again " * 50 + prose, 5))
        self.assertIsNotNone(repeated(prose + "again " * 50, 5))

    @given(st.text(alphabet="ab \n", max_size=300), st.integers(2, 6))
    def test_any_text(self, text: str, times: int) -> None:
        """What is found does come so often in the text."""
        phrase = repeated(text, times)
        if phrase is not None:
            words = phrase.split()
            self.assertGreaterEqual(text.split().count(words[0]), times)


class LanguageTests(SynchronousTestCase):
    """Tests for languages and scripts."""

    GERMAN = "Wie ist das Wetter in der Stadt und was soll ich mit den Kindern machen?"
    ENGLISH = "The weather is fine and you can go to the park with the children."
    FRENCH = "Le temps est beau et vous pouvez aller dans le parc avec les enfants."
    RUSSIAN = "Какая сегодня погода в городе?"
    CHINESE = "今天天气怎么样。我想去公园和朋友见面。"
    JAPANESE = "今日の天気はどうですか。公園に行けますか。"

    def test_languages(self) -> None:
        """Clear texts are told apart by their stop words."""
        self.assertEqual(language_of(self.GERMAN), "German")
        self.assertEqual(language_of(self.ENGLISH), "English")
        self.assertEqual(language_of(self.FRENCH), "French")
        self.assertIsNone(language_of("42"))

    def test_scripts(self) -> None:
        """Scripts are told apart, Japanese from Chinese by its kana."""
        self.assertEqual(script_of(self.RUSSIAN), "cyrillic")
        self.assertEqual(script_of(self.CHINESE), "han")
        self.assertEqual(script_of(self.JAPANESE), "kana")
        self.assertIsNone(script_of("1234 !?"))

    def test_other_language(self) -> None:
        """An answer in another language or script than the question is found."""
        for question, answer in (
            (self.GERMAN, self.ENGLISH),
            (self.ENGLISH, self.FRENCH),
            (self.RUSSIAN, self.ENGLISH),
            (self.ENGLISH, self.CHINESE),
            (self.JAPANESE, self.CHINESE),
        ):
            self.assertIsNotNone(other_language(question, answer), answer)
            self.assertIsNone(other_language(question, question))

    def test_what_cannot_be_told(self) -> None:
        """A short or mixed text is in no other language."""
        for answer in ("OK.", "Berlin, 1989", "12 °C"):
            self.assertIsNone(other_language(self.GERMAN, answer))

    def test_translations(self) -> None:
        """A question about languages may be answered in any."""
        self.assertIsNone(other_language(f"Translate: {self.ENGLISH}", self.FRENCH))
        self.assertIsNone(other_language("Sag das bitte auf Russisch!", self.RUSSIAN))

    def test_code_is_no_language(self) -> None:
        """What is within a code block does not count."""
        code = f"```python\n# {self.ENGLISH}\nprint('{self.ENGLISH}')\n```"
        self.assertIsNone(other_language(self.GERMAN, code))

    @given(st.text(), st.text())
    def test_any_text(self, question: str, answer: str) -> None:
        """Any two texts can be compared, and a text is in its own language."""
        other_language(question, answer)
        self.assertIsNone(other_language(question, question))


class ScoreTests(SynchronousTestCase):
    """Tests for what a judge says."""

    def test_scores(self) -> None:
        """A number from 0 to 10 is a score, with or without its scale."""
        for text, score in (("7", 7), (" 10\n", 10), ("0", 0), ("8/10", 8), ("9.", 9)):
            self.assertEqual(read_score(text), score)

    def test_no_scores(self) -> None:
        """Anything else is none."""
        for text in ("", "11", "-1", "7.5", "Score: 7", "7 because it is good", "\u0667", "70"):
            self.assertIsNone(read_score(text), text)
