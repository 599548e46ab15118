"""
Where a request goes by what is known of it: the first rule that matches, by priority.

A rule's ``when`` holds tags (what the classifier said, by bare key) and facts
(what the gateway knows, with ``@``):

==================  ==================================  =========================
key                 compared with                       value
==================  ==================================  =========================
``intent``          a tag of that name                  text
``@model``          the model name asked for            text
``@client``         the client's name                   text
``@profile``        the profile                         text
``@header.X-Team``  that request header                 text
``@text``           the latest user message             text
``@tokens``         the size of the prompt              ``>8000``, ``<=500``
``@needs``          what the request needs              ``vision``, ``tools,audio``
==================  ==================================  =========================

Text is literal, a glob (``gpt-*``) or, after ``~``, a regular expression of
bounded effort; case never matters.  Rules are indexed by one literal
condition each, so that a thousand of them cost what ten do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import TypeAlias

from attrs import Factory, field
from msgspec import Struct

from lmgateway.classes import frozen
from lmgateway.config.conditions import HEADER, comparison, needs_named
from lmgateway.config.patterns import Test, is_literal, test_of

_WITHOUT_INDEX = frozenset({"@tokens", "@needs", "@text"})


class Facts(Struct, kw_only=True):
    """
    What rules are compared with.

    Attributes:
        texts: Tags by folded key, and textual facts by their key with ``@``.
        classified: Whether there are tags at all: a rule that tells nothing but tags is not
            for a request that nobody classified.
        tokens: Compares with every limit that a rule names as the true count does.
    """

    texts: Mapping[str, str]
    classified: bool
    needs: frozenset[str] = frozenset()
    tokens: int = 0


class Destination(Struct, frozen=True):
    """Where a rule leads, and how often: a profile's name, or a tier's or alias's."""

    name: str
    weight: int = 1


Condition: TypeAlias = Callable[[Facts], bool]


class Rule(Struct, frozen=True, kw_only=True):
    """
    One rule, compiled.

    Attributes:
        when: As configured.
        conditions: By key, as configured.
        key: The literal condition that it is found by, if it has one.
        limits: Every number that ``@tokens`` is compared with.
        has_fact: Whether it asks for more than tags.
    """

    position: int
    when: Mapping[str, str]
    destinations: tuple[Destination, ...]
    priority: int
    conditions: Mapping[str, Condition]
    key: tuple[str, str] | None
    limits: tuple[int, ...]
    has_fact: bool

    @classmethod
    def of(
        cls,
        position: int,
        when: Mapping[str, str],
        destinations: Sequence[Destination],
        priority: int = 0,
    ) -> Rule:
        """
        Compile a rule.

        Raises:
            ValueError: If a condition makes no sense.
        """
        literals = [
            (key.casefold(), value.casefold())
            for key, value in when.items()
            if key.casefold() not in _WITHOUT_INDEX and is_literal(value)
        ]
        return cls(
            position=position,
            when=when,
            destinations=tuple(destinations),
            priority=priority,
            conditions={k: _condition(k.casefold(), value) for k, value in when.items()},
            key=literals[0] if literals else None,
            limits=tuple(
                comparison(value).limit
                for key, value in when.items()
                if key.casefold() == "@tokens"
            ),
            has_fact=any(key.startswith("@") for key in when),
        )

    def why_not(self, facts: Facts) -> str | None:
        """Say what keeps it from matching; ``None`` if it matches."""
        if not facts.classified and not self.has_fact:
            return "nothing was classified"
        for key, condition in self.conditions.items():
            if not condition(facts):
                return f"{key} is not {self.when[key]!r}"
        return None

    def pick(self, sticky: str) -> Destination:
        """Give the destination of a conversation: always the same one, each by its weight."""
        if len(self.destinations) == 1:
            return self.destinations[0]
        digest = blake2b(f"{self.position}\0{sticky}".encode(), digest_size=8).digest()
        total = sum(destination.weight for destination in self.destinations)
        place = int.from_bytes(digest) % total
        for destination in self.destinations:
            place -= destination.weight
            if place < 0:
                break
        return destination


def _condition(key: str, value: str) -> Condition:
    if key == "@tokens":
        size = comparison(value)
        return lambda facts: size.holds(facts.tokens, size.limit)
    if key == "@needs":
        wanted = needs_named(value)
        return lambda facts: wanted <= facts.needs
    return _text_condition(key, test_of(value))


def _text_condition(key: str, test: Test) -> Condition:
    def condition(facts: Facts) -> bool:
        text = facts.texts.get(key)
        return text is not None and test(text)

    return condition


@frozen(kw_only=True)
class RuleSet:
    """
    A profile's rules.

    Attributes:
        rules: In the order in which they are looked at.
        headers: The folded names of request headers that any of them asks for.
        limit: The least number that ``@tokens`` is compared with; ``None`` if it never is.
        asks_needs: Whether any asks for ``@needs``.
        asks_text: Whether any asks for ``@text``.
        classless: Whether any can match what nobody classified.
    """

    rules: tuple[Rule, ...] = ()
    headers: frozenset[str] = frozenset()
    limit: int | None = None
    asks_needs: bool = False
    asks_text: bool = False
    classless: bool = False
    _by_key: Mapping[tuple[str, str], Sequence[int]] = field(default=Factory(dict), alias="by_key")
    _unkeyed: Sequence[int] = field(default=(), alias="unkeyed")
    _facts: frozenset[str] = field(default=frozenset(), alias="facts")

    @classmethod
    def of(cls, rules: Iterable[Rule]) -> RuleSet:
        """Index rules; equal priorities keep their order."""
        ordered = sorted(rules, key=lambda rule: -rule.priority)
        by_key: dict[tuple[str, str], list[int]] = {}
        unkeyed: list[int] = []
        for place, rule in enumerate(ordered):
            (unkeyed if rule.key is None else by_key.setdefault(rule.key, [])).append(place)
        keys = {key.casefold() for rule in ordered for key in rule.when}
        return cls(
            rules=tuple(ordered),
            headers=frozenset(key.removeprefix(HEADER) for key in keys if key.startswith(HEADER)),
            limit=min((limit for rule in ordered for limit in rule.limits), default=None),
            asks_needs="@needs" in keys,
            asks_text="@text" in keys,
            classless=any(rule.has_fact for rule in ordered),
            by_key=by_key,
            unkeyed=unkeyed,
            facts=frozenset(key for key, _ in by_key if key.startswith("@")),
        )

    def matching(self, facts: Facts) -> Iterator[Rule]:
        """Give the rules that match, the first one first."""
        for place in self._places(facts):
            rule = self.rules[place]
            if rule.why_not(facts) is None:
                yield rule

    def _places(self, facts: Facts) -> Sequence[int]:
        texts, by_key = facts.texts, self._by_key
        found = [*self._unkeyed]
        for key, text in texts.items():
            if not key.startswith("@") or key in self._facts:
                found += by_key.get((key, text.casefold()), ())
        found.sort()
        return found


NO_RULES = RuleSet()
