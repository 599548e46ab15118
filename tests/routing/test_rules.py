"""Tests for rules."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.config.patterns import MAX_TEXT
from lmgateway.config.patterns import test_of as pattern
from lmgateway.routing.rules import Destination, Facts, Rule, RuleSet


def facts(*, classified: bool = True, tokens: int = 0, needs: str = "", **texts: str) -> Facts:
    """Give facts; an underscore at the front of a name stands for ``@``."""
    return Facts(
        texts={key.replace("_", "@", 1): value for key, value in texts.items()},
        classified=classified,
        tokens=tokens,
        needs=frozenset(needs.split()),
    )


def rule(when: dict[str, str], priority: int = 0, position: int = 0) -> Rule:
    """Give a rule that leads to ``t``."""
    return Rule.of(position, when, [Destination("t")], priority)


class RuleTests(SynchronousTestCase):
    """One rule."""

    def test_why_not(self) -> None:
        """What keeps a rule from matching is said."""
        greeting = rule({"Intent": "Greeting", "@tokens": "<10"})
        self.assertIsNone(greeting.why_not(facts(intent="GREETING")))
        self.assertEqual(greeting.why_not(facts(intent="x")), "Intent is not 'Greeting'")
        self.assertEqual(
            greeting.why_not(facts(intent="greeting", tokens=10)), "@tokens is not '<10'"
        )
        self.assertEqual(
            rule({"a": "b"}).why_not(facts(classified=False)), "nothing was classified"
        )
        self.assertIsNone(rule({"@model": "m"}).why_not(facts(classified=False, _model="M")))

    def test_comparisons(self) -> None:
        """All four of them."""
        for when, hits in ((">5", {6}), (">=5", {5, 6}), ("<5", {4}), ("<= 5", {4, 5})):
            one = rule({"@tokens": when})
            self.assertEqual({n for n in (4, 5, 6) if one.why_not(facts(tokens=n)) is None}, hits)

    def test_needs(self) -> None:
        """All needs that are named must be there."""
        one = rule({"@needs": "vision, tools"})
        self.assertIsNone(one.why_not(facts(needs="vision tools audio")))
        self.assertIsNotNone(one.why_not(facts(needs="vision")))

    def test_texts(self) -> None:
        """Literal, glob, expression; never by case."""
        for when, hit, miss in (
            ("GPT-4", "gpt-4", "gpt-4o"),
            ("gpt-*", "GPT-4o", "xgpt-4"),
            ("gpt-?", "gpt-4", "gpt-4o"),
            ("~^gpt", "GPT-4", "xgpt"),
            ("~in.{0,5}voice", "an in-voice", "in the long voice"),
        ):
            self.assertTrue(pattern(when)(hit), when)
            self.assertFalse(pattern(when)(miss), when)

    def test_split(self) -> None:
        """A conversation stays where it is; weights are kept to."""
        one = Rule.of(0, {}, [Destination("a", 1), Destination("b", 3)])
        picks = [one.pick(f"c{number}").name for number in range(2000)]
        self.assertEqual(picks, [one.pick(f"c{number}").name for number in range(2000)])
        self.assertTrue(0.2 < picks.count("a") / 2000 < 0.3)


class PatternTests(SynchronousTestCase):
    """Expressions of bounded effort."""

    def test_refused(self) -> None:
        """What could take long is refused when the config is read."""
        for bad in (
            "(a+)+b",
            "a*",
            ".*x",
            "(a|a){30}",
            r"(a)\1",
            "(?=a)",
            "(?<!a)b",
            "(",
            "(" * 5000,
        ):
            with self.assertRaises(ValueError, msg=bad):
                pattern(f"~{bad}")

    def test_accepted(self) -> None:
        """What most people want is not."""
        for good in (r"\b(bill|invoice)s?\b", "[0-9]{4,8}", "^hi", "a.{0,80}b", r"\w{1,20}@"):
            pattern(f"~{good}")

    def test_only_so_much_text(self) -> None:
        """Only the beginning of a very long text is looked at."""
        self.assertFalse(pattern("~end")("x" * MAX_TEXT + "end"))


TAGS = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"), max_size=3)


class RuleSetTests(SynchronousTestCase):
    """Many rules."""

    @given(st.lists(st.tuples(TAGS, st.integers(0, 2)), max_size=12), TAGS)
    def test_index_finds_what_a_walk_finds(self, given_rules: Any, tags: dict[str, str]) -> None:
        """The index gives what looking at each rule in turn gives, in the same order."""
        rules = RuleSet.of(
            rule(when, priority, number) for number, (when, priority) in enumerate(given_rules)
        )
        known = Facts(texts=tags, classified=True)
        walked = [one for one in rules.rules if one.why_not(known) is None]
        self.assertEqual([*rules.matching(known)], walked)
        self.assertEqual(
            [one.priority for one in rules.rules],
            sorted((one.priority for one in rules.rules), reverse=True),
        )

    def test_what_is_asked(self) -> None:
        """A set knows which facts it needs at all."""
        rules = RuleSet.of(
            [rule({"@header.X-Team": "a", "@tokens": ">5"}), rule({"@TOKENS": "<3", "@text": "x"})]
        )
        self.assertEqual((rules.headers, rules.limit), ({"x-team"}, 3))
        self.assertEqual((rules.asks_text, rules.asks_needs, rules.classless), (True, False, True))
        self.assertFalse(RuleSet.of([rule({"a": "b"})]).classless)
