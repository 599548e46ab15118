"""
What kind of request this is, asked of a small model.

The call is an attempt of the same exchange: reserved, settled, recorded and
shown like every other.  What is sent is plain OpenAI, and each dialect says it
in its own words; ``think`` is an override, so only a backend that takes it is
sent it.

The answer is one word, the *label*, and any number of ``key=value`` *tags*:
``deep``, ``fast-think``, ``class=command tier=fast``.  The label names a tier
of the ladder, up to the ceiling: exactly, or by what follows its last colon;
any other word means the middle one.

======================  ====================================================
when                    then
======================  ====================================================
nothing to look at      nobody is asked, and the classifier's tier answers
the classifier fails    ``classifier_fallback`` is asked once, with the same
                        time; after it, the cheapest tier answers
results of tools come   the label of the question that led to them holds
======================  ====================================================

A client can talk a classifier into a dear tier; the ceiling bounds what that
costs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from typing import Any

import msgspec
from attrs import Factory, field
from cachetools import TTLCache

from lmgateway.backends.base import Call, Reply
from lmgateway.chat import ChatRequest, Document, Overrides
from lmgateway.classes import frozen
from lmgateway.dialects.base import Dialect
from lmgateway.dialects.document import encode
from lmgateway.dialects.openai import OPENAI
from lmgateway.errors import GatewayError
from lmgateway.exchange import Attempt, Exchange
from lmgateway.routing.conversation import is_tool_turn, question_of
from lmgateway.routing.holding import aside, estimated, is_barred, placed
from lmgateway.routing.ladder import Climber, Tier
from lmgateway.routing.needs import messages_of, text_of
from lmgateway.routing.policy import Policy

CLASSIFIER_PROMPT = """\
You sort messages for a home and office assistant. Answer with one label and nothing else.

instant: a greeting, a thank-you, a plain command
instant-think: a command with a condition or a calculation in it
fast: a question with a short, well-known answer
fast-think: a short question that takes a few steps of reasoning
deep: writing, code, analysis, anything with several parts
deep-think: a hard problem: proofs, planning, debugging, comparing many things

hello there -> instant
thanks, that is all -> instant
switch off the lamp in the hall -> instant
set an alarm for 20 minutes before the film at 19:30 -> instant-think
dim the light by half of what it is now -> instant-think
which river runs through Prague? -> fast
how many grams are in an ounce? -> fast
is 2027 a leap year, and which weekday is its first of May? -> fast-think
will a 2 kW heater and a kettle trip a 16 A fuse? -> fast-think
write a polite letter to my landlord about the broken boiler -> deep
explain how vaccines work to a ten-year-old, with examples -> deep
my function returns None sometimes, here is the code: find out why -> deep-think
plan a week in Japan for four with a budget and train times -> deep-think

Answer with exactly one of: instant, instant-think, fast, fast-think, deep, deep-think."""

MAX_TOKENS = 10
MAX_THINKING_TOKENS = 1000
MAX_CHARACTERS = 8000
"""Of one message; of a longer one the classifier sees the beginning and the end."""
MAX_ANSWER = 4000

REMEMBERED = 10_000
REMEMBERED_SECONDS = 3600.0

DEFAULT_LABEL = "instant"

_UNCLASSIFIED = frozenset({"embeddings", "count_tokens"})
_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """
    A classifier's answer, read.

    Attributes:
        label: The tier that it asks for.
        tags: By folded key.
        think: Whether the request is to be thought about.
        failed: Whether it is not an answer at all: every classifier failed.
        reused: Whether it is that of an earlier request.
    """

    label: str = ""
    tags: Mapping[str, str] = msgspec.field(default_factory=dict)
    think: bool = False
    failed: bool = False
    reused: bool = False

    def label_in(self, prompts: Mapping[str, str]) -> str:
        """Give the class of the request: a ``class`` tag, a tag that has a prompt, or the label."""
        if "class" in self.tags:
            return self.tags["class"]
        return next((value for value in self.tags.values() if value in prompts), self.label)


FAILED = Reading(failed=True)


def read_label(answer: str) -> Reading | None:
    """Read a classifier's answer; ``None`` if there is no word in it."""
    tags: dict[str, str] = {}
    words: list[str] = []
    for token in _THOUGHT.sub(" ", answer[:MAX_ANSWER]).lower().split():
        key, equals, value = token.partition("=")
        if equals:
            key, value = _stripped(key, "_-"), _stripped(value, "_-")
            if key and value:
                tags[key] = value
        elif any(map(str.isalnum, token)):
            words.append(_stripped(token, "-"))
    if not tags and not words:
        return None
    label = tags.get("tier") or (words[0] if words else DEFAULT_LABEL)
    think = label.endswith("-think")
    return Reading(label=label.removesuffix("-think"), tags=tags, think=think)


def _stripped(token: str, kept: str) -> str:
    """Take off what is neither letter, digit nor *kept*, at both ends."""
    start, end = 0, len(token)
    while start < end and not (token[start].isalnum() or token[start] in kept):
        start += 1
    while end > start and not (token[end - 1].isalnum() or token[end - 1] in kept):
        end -= 1
    return token[start:end]


def classifier_input(request: ChatRequest, latest: int | None) -> str | None:
    """
    Give what the classifier is shown.

    Args:
        latest: How many of the latest messages; all if ``None``.

    Returns:
        One message verbatim, or a head line and a line for each; ``None`` if there is nothing
        of the user's to look at.
    """
    if latest == 0 or request.endpoint in _UNCLASSIFIED:
        return None
    said = [
        (message["role"], text)
        for message in messages_of(request.hub)
        if message.get("role") in ("user", "assistant") and (text := text_of(message))
    ]
    prompt = request.hub.get("prompt")
    if not said and isinstance(prompt, str) and prompt:
        said = [("user", prompt)]
    said = said if latest is None else said[-latest:]
    if all(role != "user" for role, _ in said):
        return None
    if len(said) == 1:
        return _cut(said[0][1])
    lines = [f"{role.capitalize()}: {_cut(text)}" for role, text in said]
    return "\n".join([f"[{len(said)} messages in conversation]", *lines])


def _cut(text: str) -> str:
    if len(text) <= MAX_CHARACTERS:
        return text
    half = MAX_CHARACTERS // 2
    return f"{text[:half]}\n[...]\n{text[-half:]}"


@frozen(kw_only=True)
class Classifier:
    """
    Asks classifiers, and remembers what they said of a question.

    Attributes:
        climber: Whose deadlines hold.
        dialects: What backends may have spoken, by name.
    """

    climber: Climber
    dialects: Mapping[str, Dialect]
    _remembered: MutableMapping[str, Reading] = field(
        default=Factory(
            lambda self: TTLCache(REMEMBERED, REMEMBERED_SECONDS, timer=self.climber.wheel.now),
            takes_self=True,
        ),
        alias="remembered",
    )

    async def classify(self, policy: Policy, exchange: Exchange, shown: str) -> Reading:
        """
        Say what kind of request this is.

        Args:
            shown: What the classifier is shown: see ``classifier_input``.
        """
        request = exchange.request
        assert request is not None, "only parsed requests are routed"
        known = self.recall(policy, exchange)
        if known is not None:
            return known
        for tier in (policy.fallback, policy.classifier_fallback):
            if tier is None:
                continue
            reading = await self._ask(tier, policy, exchange, shown)
            if reading is not None:
                if request.hub.get("tools"):
                    self._remembered[_key(policy, exchange)] = reading
                return reading
        return FAILED

    def recall(self, policy: Policy, exchange: Exchange) -> Reading | None:
        """Give what was said of the question that this request brings results of tools for."""
        request = exchange.request
        if request is None or not is_tool_turn(request.hub):
            return None
        known = self._remembered.get(_key(policy, exchange))
        if known is None:
            return None
        return Reading(label=known.label, tags=known.tags, think=known.think, reused=True)

    async def _ask(
        self, tier: Tier, policy: Policy, exchange: Exchange, shown: str
    ) -> Reading | None:
        """Ask one classifier; ``None`` if it may not be asked, fails, whyever, or says nothing."""
        target, wheel = tier.targets[0].of(exchange), self.climber.wheel
        if is_barred(target):
            return None
        request, now = _request(policy, shown), wheel.now()
        due = min(now + policy.classifier_seconds, self.climber.commit_by(exchange))
        try:
            async with placed(target, exchange, wheel, due - now):
                if is_barred(target):  # since it waited
                    return None
                answer = await self._answer(tier, policy, request, exchange, due)
        except GatewayError:
            return None
        return read_label(answer)

    async def _answer(
        self, tier: Tier, policy: Policy, request: ChatRequest, exchange: Exchange, due: float
    ) -> str:
        now = self.climber.wheel.now()
        attempt = Attempt(
            tier=tier.name,
            backend=tier.backend.name,
            model=tier.model,
            started=now,
            purpose="classify",
        )
        exchange.attempts.append(attempt)
        try:
            exchange.account.reserve(attempt, request)
        except GatewayError as error:
            attempt.outcome, attempt.settled = error.kind, True
            raise
        call = Call(
            request=request,
            overrides=Overrides(model=tier.model, think=policy.classifier_think),
            trace=exchange.onward(),
            request_id=exchange.id,
            commit_by=due,
            end_by=due,
        )
        try:
            target = tier.targets[0].of(exchange)
            with aside(target):
                async with target.backend.open(call) as reply:
                    attempt.status = reply.status
                    attempt.usage = reply.usage or estimated(request, reply)
                    text = self._text(reply)
            attempt.outcome = "ok"
            return text
        except BaseException as error:
            attempt.outcome = getattr(error, "kind", "cancelled")
            attempt.status = getattr(error, "upstream_status", attempt.status)
            raise
        finally:
            attempt.seconds = self.climber.wheel.now() - now
            exchange.account.settle(attempt)

    def _text(self, reply: Reply) -> str:
        assert reply.answer is not None, "a classifier is not asked for a stream"
        return _content(self.dialects[reply.dialect].decode_answer(reply.answer))


def _key(policy: Policy, exchange: Exchange) -> str:
    return f"{policy.name}\0{question_of(exchange)}"


def _content(hub: Any) -> str:
    """The text of the first choice; a backend may send anything."""
    try:
        content = hub["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        return ""
    return content if isinstance(content, str) else ""


def _request(policy: Policy, shown: str) -> ChatRequest:
    document: Document = {
        "messages": [
            {"role": "system", "content": policy.classifier_prompt or CLASSIFIER_PROMPT},
            {"role": "user", "content": shown},
        ],
        "stream": False,
        "temperature": 0,
        "max_tokens": MAX_THINKING_TOKENS if policy.classifier_think else MAX_TOKENS,
    }
    return OPENAI.parse(encode(document), "chat")


class Labels(msgspec.Struct, frozen=True):
    """
    What tiers a label can mean.

    Attributes:
        exact: By name; of several the cheapest.
        short: By what follows the last colon; of several the cheapest.
    """

    tiers: tuple[Tier, ...]
    exact: Mapping[str, Tier]
    short: Mapping[str, Tier]

    @classmethod
    def of(cls, tiers: tuple[Tier, ...]) -> Labels:
        """Index the tiers of a ladder."""
        exact: dict[str, Tier] = {}
        short: dict[str, Tier] = {}
        for tier in tiers:
            name = tier.name.lower()
            exact.setdefault(name, tier)
            short.setdefault(name.rpartition(":")[2], tier)
        return cls(tiers, exact, short)

    def tier_for(self, reading: Reading, ceiling: Tier, request: ChatRequest) -> Tier:
        """Give the tier that a reading asks for, up to the ceiling."""
        if reading.failed:
            return self.tiers[0]
        tier = self._named(reading.label, ceiling)
        if tier.index == 0 and ceiling.index and not reading.reused and _uses_tools(request.hub):
            return self.tiers[1]
        return tier

    def _named(self, label: str, ceiling: Tier) -> Tier:
        for tier in (self.exact.get(label), self.short.get(label)):
            if tier is not None and tier.index <= ceiling.index:
                return tier
        return self.tiers[(ceiling.index + 1) // 2]


def _uses_tools(hub: Document) -> bool:
    return any(message.get("role") == "tool" for message in messages_of(hub))
