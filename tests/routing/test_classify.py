"""Tests for classification."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.chat import ChatRequest
from lmgateway.routing.classify import (
    CLASSIFIER_PROMPT,
    FAILED,
    MAX_CHARACTERS,
    REMEMBERED_SECONDS,
    Labels,
    Reading,
    classifier_input,
    read_label,
)
from lmgateway.routing.rules import Destination, Rule, RuleSet
from tests.routing.routers import Memory, exchange_of, ladder_of, policy_of, router_of


def chat(*messages: tuple[str, Any], **members: Any) -> ChatRequest:
    """Give a chat request."""
    listed = [{"role": role, "content": content} for role, content in messages]
    request = exchange_of({"messages": listed, **members}).request
    assert request is not None
    return request


class ReadingTests(SynchronousTestCase):
    """What a classifier's answer means."""

    def test_labels(self) -> None:
        """One word, whatever surrounds it, or a tag."""
        for answer, label, think in (
            ("fast", "fast", False),
            ("COMPLEX.", "complex", False),
            ("[deep]", "deep", False),
            ('"fast-think"!', "fast", True),
            ("deep tier=fast", "fast", False),
            ("tier=deep-think", "deep", True),
            ("intent=greeting", "instant", False),
            ("- deep", "deep", False),
        ):
            reading = read_label(answer)
            assert reading is not None
            self.assertEqual((reading.label, reading.think), (label, think), answer)

    def test_tags(self) -> None:
        """Tags are stripped and folded; empty ones dropped; the first ``=`` counts."""
        reading = read_label("(Class=Code), a_b=c=d; x= =y fast")
        assert reading is not None
        self.assertEqual(reading.tags, {"class": "code", "a_b": "c=d"})
        self.assertEqual(reading.label, "fast")

    def test_nothing(self) -> None:
        """An answer without a word is none."""
        for answer in ("", "  ", "...", "= =x", "<think>fast</think>", "<think>fast"):
            self.assertIsNone(read_label(answer), answer)

    @given(st.text())
    def test_anything_can_be_read(self, answer: str) -> None:
        """No answer breaks it."""
        read_label(answer)

    def test_class(self) -> None:
        """The class: its own tag, a tag with a prompt, or the label."""
        for answer, label in (
            ("class=a intent=b tier=c", "a"),
            ("intent=b tier=c", "b"),
            ("intent=z tier=c", "c"),
        ):
            reading = read_label(answer)
            assert reading is not None
            self.assertEqual(reading.label_in({"b": "B"}), label)


class InputTests(SynchronousTestCase):
    """What a classifier is shown."""

    def test_one_message_verbatim(self) -> None:
        """One message is shown as it is."""
        self.assertEqual(classifier_input(chat(("system", "s"), ("user", " hi ")), None), " hi ")

    def test_several(self) -> None:
        """Several are counted and listed in order."""
        request = chat(("user", "a"), ("assistant", "b"), ("tool", "t"), ("user", "c"))
        self.assertEqual(
            classifier_input(request, None),
            "[3 messages in conversation]\nUser: a\nAssistant: b\nUser: c",
        )
        self.assertEqual(
            classifier_input(request, 2),
            "[2 messages in conversation]\nAssistant: b\nUser: c",
        )

    def test_nothing(self) -> None:
        """Without text of the user's there is nothing to show."""
        self.assertIsNone(classifier_input(chat(("user", "a")), 0))
        self.assertIsNone(classifier_input(chat(("assistant", "a")), None))
        self.assertIsNone(classifier_input(chat(("user", "")), None))
        self.assertIsNone(classifier_input(chat(("user", "a"), ("assistant", "b")), 1))

    def test_long_messages_are_cut(self) -> None:
        """Of a very long message the classifier sees both ends."""
        shown = classifier_input(chat(("user", "A" * MAX_CHARACTERS + "B" * MAX_CHARACTERS)), None)
        assert shown is not None
        self.assertLess(len(shown), MAX_CHARACTERS + 20)
        self.assertEqual((shown[0], shown[-1]), ("A", "B"))

    def test_own_prompt_gives_every_label_by_example(self) -> None:
        """The built-in prompt shows each label twice at least, and asks for one word."""
        for label in ("instant", "instant-think", "fast", "fast-think", "deep", "deep-think"):
            self.assertGreaterEqual(CLASSIFIER_PROMPT.count(f"-> {label}\n"), 2)


class LabelsTests(SynchronousTestCase):
    """From a label to a tier."""

    def setUp(self) -> None:
        """Make a ladder of four."""
        names = ("local:Fast", "cloud:fast", "fast", "deep")
        self.ladder = ladder_of(Memory(), *({"name": name} for name in names))
        self.labels = Labels.of(self.ladder.tiers)

    def tier(self, label: str, ceiling: int = 3, **values: Any) -> int:
        """Give the index of a label's tier."""
        reading = Reading(label=label, **values)
        request = values.pop("request", chat(("user", "hi")))
        return self.labels.tier_for(reading, self.ladder.tiers[ceiling], request).index

    def test_exact_then_suffix_then_middle(self) -> None:
        """The exact name, the cheapest with that suffix, the middle; never above the ceiling."""
        self.assertEqual(self.tier("fast"), 2)
        self.assertEqual(self.tier("fast", 1), 0)
        self.assertEqual(self.tier("deep"), 3)
        self.assertEqual(self.tier("deep", 2), 1)
        self.assertEqual([self.tier("?", top) for top in range(4)], [0, 1, 1, 2])

    def test_failure_is_the_cheapest(self) -> None:
        """Not the middle one."""
        tier = self.labels.tier_for(FAILED, self.ladder.tiers[3], chat(("user", "hi")))
        self.assertEqual(tier.index, 0)

    def test_tool_results(self) -> None:
        """With tool results the cheapest means the next one up, unless the label is an old one."""
        request = chat(("user", "hi"), ("tool", "42"))
        top = self.ladder.tiers[3]
        fresh, old = Reading(label="local:fast"), Reading(label="local:fast", reused=True)
        self.assertEqual(self.labels.tier_for(fresh, top, request).index, 1)
        self.assertEqual(self.labels.tier_for(old, top, request).index, 0)
        self.assertEqual(self.labels.tier_for(fresh, self.ladder.tiers[0], request).index, 0)


class MemoryTests(SynchronousTestCase):
    """Labels are kept for a question, for a time."""

    def test_forgotten_in_time(self) -> None:
        """A label is kept for an hour, and for that client and question only."""
        clock, backend = Clock(), Memory(label="1")
        ladder = ladder_of(backend, {}, {}, {})
        router = router_of(ladder, policy_of(ladder, mode="classify"), clock=clock)
        tools = [{"type": "function", "function": {"name": "f"}}]
        ask = [{"role": "user", "content": "what is f?"}]
        turn = [*ask, {"role": "tool", "content": "42"}]

        def calls(messages: list[Any], **values: Any) -> int:
            before = len(backend.calls)
            exchange = exchange_of({"messages": messages, "tools": tools}, **values)
            self.successResultOf(Deferred.fromCoroutine(router.decide(exchange)))
            return len(backend.calls) - before

        self.assertEqual(calls(ask), 1)
        self.assertEqual(calls(turn), 0)
        self.assertEqual(calls(turn, peer="127.0.0.2"), 1)
        self.assertEqual(calls([{"role": "user", "content": "else"}, *turn[1:]]), 1)
        clock.advance(REMEMBERED_SECONDS + 1)
        self.assertEqual(calls(turn), 1)


class CascadeTests(SynchronousTestCase):
    """Ways that no config file can have, for its circles are refused there."""

    def test_R_K17_visited_profile_is_skipped(self) -> None:
        """A rule that leads back is passed over, and the next one followed."""
        backend = Memory(label="a=b")
        ladder = ladder_of(backend, {}, {}, {})
        rules = RuleSet.of(
            [
                Rule.of(0, {"a": "b"}, [Destination("default")], 9),
                Rule.of(1, {"a": "b"}, [Destination("t:2")]),
            ]
        )
        router = router_of(ladder, policy_of(ladder, mode="classify", rules=rules))
        exchange = exchange_of()
        decision = self.successResultOf(Deferred.fromCoroutine(router.decide(exchange)))
        assert decision.choice is not None
        self.assertEqual(decision.choice.name, "t:2")
        explained = Deferred.fromCoroutine(router.explaining.document(decision, exchange))
        document = self.successResultOf(explained)
        self.assertEqual(
            [one["why_not"] for one in document["rules"]],
            ["leads back to a profile gone through", None],
        )
