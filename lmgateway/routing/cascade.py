"""
From a request to a decision: profile, classification, rules, plan.

Live traffic and its explanation both come through here, so that the one cannot
say other than what the other does.

A profile is gone through in its own mode: ``reply`` ends with the operator's
words, ``classify`` asks what kind of request it is, and then, whatever the
mode, rules are looked at.  A rule that leads to a profile begins again there,
with that profile's prompts, mode and rules; what was asked for on the way (the
label, the wish to think) goes along.  A rule that leads to a tier is honoured
even above the ceiling, since the operator wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from attrs import field
from msgspec import Struct
from msgspec.structs import replace

from lmgateway.chat import ChatRequest
from lmgateway.classes import frozen
from lmgateway.errors import GatewayError
from lmgateway.exchange import Exchange
from lmgateway.routing.classify import Classifier, Labels, Reading, classifier_input
from lmgateway.routing.conversation import conversation_of
from lmgateway.routing.ladder import Tier
from lmgateway.routing.needs import messages_of, needs_of, text_of
from lmgateway.routing.plan import NO_DEMAND, Compared, Decision, Demand, Plan
from lmgateway.routing.policy import AUTO, Directory, Policy
from lmgateway.routing.rules import Facts, Rule
from lmgateway.routing.tokens import Counter, Estimate, output_budget, rough
from lmgateway.routing.urgency import place, priority

DEFAULT_REPLY = "This assistant is not available at the moment."


class Hint(Struct, frozen=True, kw_only=True):
    """
    What an explanation is to suppose.

    Attributes:
        ask: Whether the classifier may be asked.
        said: What it is supposed to have said.
    """

    ask: bool = False
    said: Reading | None = None


LIVE = Hint(ask=True)


@frozen(kw_only=True)
class Cascade:
    """
    Decides.

    Attributes:
        tries: How often one target is tried before the next.
    """

    directory: Directory
    classifier: Classifier
    counter: Counter
    labels: Labels
    tries: int = 1
    smallest_window: int | None = None
    choosy: bool = False
    _known: dict[tuple[str, str, bool], Decision] = field(factory=dict, eq=False, repr=False)

    @classmethod
    def of(
        cls, directory: Directory, classifier: Classifier, counter: Counter, tries: int
    ) -> Cascade:
        """Prepare what holds for every request."""
        tiers = directory.ladder.tiers
        windows = [t.max_context_tokens for t in tiers if t.max_context_tokens is not None]
        return cls(
            directory=directory,
            classifier=classifier,
            counter=counter,
            labels=Labels.of(tiers),
            tries=tries,
            smallest_window=min(windows, default=None),
            choosy=any(tier.capabilities is not None for tier in tiers),
        )

    async def decide(
        self, exchange: Exchange, policy: Policy, tier: Tier | None, hint: Hint = LIVE
    ) -> Decision:
        """
        Say what is done with a request.

        Args:
            policy: The profile to begin with.
            tier: The tier that the client named or meant.

        Raises:
            LimitError: If one of the profiles gone through has had too many.
        """
        request = exchange.request
        assert request is not None, "only parsed requests are routed"
        way = _Way(request, exchange, self.counter.estimate(request), [policy])
        while True:
            policy = way.policies[-1]
            if hint.ask:
                exchange.account.enter(policy.name)
            if policy.mode == "reply":
                return way.decision(reply=policy.reply_message or DEFAULT_REPLY)
            reading = await self._read(way, hint) if policy.mode == "classify" else None
            if way.undecided:
                demand = await self._demand(way)
                plan = self._plan(way, demand, self.directory.ladder.tiers[0])
                return way.decision(plan=plan)
            leads = await self._lead(way, reading) if policy.rules.rules else None
            if isinstance(leads, Policy):
                way.policies.append(leads)
                tier = self.directory.hinted(leads, request.model)
                continue
            demand = await self._demand(way)
            start = leads or self._start(way, reading, tier)
            return self._settled(way, self._plan(way, demand, start))

    def plain(
        self, exchange: Exchange, policy: Policy, tier: Tier | None, hint: Hint = LIVE
    ) -> Decision | None:
        """
        Say what ``decide`` would, where that depends on nothing but profile and tier.

        No rule is asked then, and every tier has room.  Such a decision is made once in the life
        of a config; of any other this says ``None``.

        Raises:
            LimitError: If the profile has had too many.
        """
        request = exchange.request
        assert request is not None, "only parsed requests are routed"
        if tier is None or request.model == AUTO:
            return None
        key = (policy.name, tier.name, request.stream)
        decision = self._known.get(key)
        if decision is None:
            if not self._is_plain(policy, tier):
                return None
            decision = self._known[key] = self._made(exchange, request, policy, tier)
        assert decision.plan is not None, "made with one"
        injected = decision.plan.injected
        if self.smallest_window is not None and not self._is_small(request, injected):
            return None
        if hint.ask:
            exchange.account.enter(policy.name)
        exchange.priority = priority(exchange, tier)
        exchange.injected = injected
        return decision

    def _is_plain(self, policy: Policy, tier: Tier) -> bool:
        return (
            policy.mode == "dispatch"
            and not policy.rules.rules
            and not self.choosy
            and tier.overflow is None
        )

    def _is_small(self, request: ChatRequest, injected: int) -> bool:
        """Whether every window has room for a request, by its size alone."""
        bound, window = self.counter.estimate(request).bound(), self.smallest_window
        if bound is None or window is None:
            return False
        return bound + injected + output_budget(request) < window

    def _made(
        self, exchange: Exchange, request: ChatRequest, policy: Policy, tier: Tier
    ) -> Decision:
        way = _Way(request, exchange, self.counter.estimate(request), [policy])
        plan = self._plan(way, NO_DEMAND, tier)
        return way.decision(plan=replace(plan, steps=tuple(plan)), choice=tier)

    async def _read(self, way: _Way, hint: Hint) -> Reading | None:
        """Classify; ``None`` if there is nothing to go by."""
        policy = way.policies[-1]
        shown = classifier_input(way.request, policy.classifier_latest)
        if shown is None:
            return None
        if hint.said is not None:
            reading = hint.said
        elif hint.ask:
            reading = await self.classifier.classify(policy, way.exchange, shown)
        else:
            known = self.classifier.recall(policy, way.exchange)
            way.undecided = known is None
            reading = known or Reading()
        way.note(reading)
        return reading

    async def _lead(self, way: _Way, reading: Reading | None) -> Policy | Tier | None:
        """Follow the first rule that matches and leads anywhere new; ``None`` if none does."""
        policy = way.policies[-1]
        classified = reading is not None and not reading.failed
        if not classified and not policy.rules.classless:
            return None
        facts = await self._facts(way, policy, classified=classified)
        skipped: set[int] = set()
        taken: Rule | None = None
        leads: Policy | Tier | None = None
        name = ""
        for rule in policy.rules.matching(facts):
            name = rule.pick(way.sticky if len(rule.destinations) > 1 else "").name
            leads = self.directory.policies.get(name) or self.directory.ladder.find(name)
            if not any(leads is passed for passed in way.policies):
                taken = rule
                break
            skipped.add(rule.position)
            leads = None
        way.compared.append(
            Compared(
                policy=policy,
                facts=facts,
                rule=taken,
                to=name,
                skipped=frozenset(skipped),
            )
        )
        return leads

    async def _facts(self, way: _Way, policy: Policy, *, classified: bool) -> Facts:
        rules, request, exchange = policy.rules, way.request, way.exchange
        texts = dict(way.tags) if classified else {}
        texts["@model"] = request.model or ""
        texts["@client"] = exchange.principal.name if exchange.principal else ""
        texts["@profile"] = policy.name
        if rules.asks_text:
            texts["@text"] = _latest_text(request)
        for name in rules.headers:
            if (value := exchange.headers.get(name)) is not None:
                texts[f"@header.{name}"] = value
        return Facts(
            texts=texts,
            classified=classified,
            needs=way.needs if rules.asks_needs else frozenset(),
            tokens=0 if rules.limit is None else await way.estimate.near(rules.limit),
        )

    async def _demand(self, way: _Way) -> Demand:
        needs = way.needs if self.choosy else frozenset()
        allowed, window = self._allowed(way), self.smallest_window
        if window is None:
            if not needs and allowed is None:
                return NO_DEMAND
            return Demand(needs=needs, allowed=allowed)
        prompt = way.system_prompt
        extra = output_budget(way.request) + (rough(prompt) if prompt else 0)
        tokens = extra + await way.estimate.near(window - extra)
        return Demand(needs=needs, tokens=tokens, allowed=allowed)

    def _start(self, way: _Way, reading: Reading | None, tier: Tier | None) -> Tier:
        policy, ladder = way.policies[-1], self.directory.ladder
        if policy.escalates(way.request.endpoint):
            return ladder.tiers[0]
        if policy.mode != "classify":
            assert tier is not None, "only a reply profile has no fallback tier"
            return tier
        if reading is not None:
            return self.labels.tier_for(reading, policy.ceiling, way.request)
        own = policy.fallback
        assert own is not None, "only a reply profile has no classifier"
        return own if own.index <= policy.ceiling.index else ladder.tiers[0]

    def _plan(self, way: _Way, demand: Demand, start: Tier) -> Plan:
        policy, prompt = way.policies[-1], way.system_prompt
        injected = way.exchange.injected = rough(prompt) if prompt else 0
        return Plan(
            ladder=self.directory.ladder,
            policy=policy,
            start=start,
            top=max(policy.ceiling.index, start.index),
            demand=demand,
            system_prompt=prompt,
            injected=injected,
            think=way.think,
            tries=self.tries,
            judged=policy.escalates(way.request.endpoint),
        )

    def _settled(self, way: _Way, plan: Plan) -> Decision:
        """
        Find out whether any tier can serve, before one is asked.

        Settles the priority too, and where the request goes if its tier's queue is too long.
        """
        try:
            tier = plan.first()
        except GatewayError as error:
            return way.decision(plan=plan, refusal=error)
        if plan.judged:
            way.exchange.priority = priority(way.exchange, tier)
            return way.decision(plan=plan, choice=tier)
        other = place(self.directory.ladder, tier, way.exchange)
        if other is not tier:
            if plan.suits(other):
                plan = replace(plan, start=other, top=max(plan.top, other.index), full=tier)
                tier = other
            else:
                way.exchange.overflowed = False
        return way.decision(plan=plan, choice=tier)

    def _allowed(self, way: _Way) -> frozenset[str] | None:
        """For ``auto``: what the client may name, if that is told name by name."""
        principal = way.exchange.principal
        if way.request.model != AUTO or principal is None or principal.allow_models is None:
            return None
        return frozenset(tier.name for tier in self.directory.visible(principal)[0])


class _Way(msgspec.Struct, eq=False):
    """What became known on the way to one decision."""

    request: ChatRequest
    exchange: Exchange
    estimate: Estimate
    policies: list[Policy]
    label: str = ""
    tags: Mapping[str, str] = msgspec.field(default_factory=dict)
    think: bool = False
    undecided: bool = False
    compared: list[Compared] = msgspec.field(default_factory=list)
    _needs: frozenset[str] | None = None
    _sticky: str | None = None

    @property
    def needs(self) -> frozenset[str]:
        if self._needs is None:
            self._needs = needs_of(self.request)
        return self._needs

    @property
    def sticky(self) -> str:
        if self._sticky is None:
            self._sticky = conversation_of(self.exchange)
        return self._sticky

    @property
    def system_prompt(self) -> str | None:
        """The class's prompt and the profile's, in this order."""
        policy = self.policies[-1]
        prompts = (policy.class_prompts.get(self.label), policy.system_prompt)
        if prompts == (None, None):
            return None
        return "\n\n".join(prompt for prompt in prompts if prompt) or None

    def note(self, reading: Reading) -> None:
        """Take over what a classifier said."""
        if reading.failed:
            return
        self.tags = reading.tags
        self.think = self.think or reading.think
        self.label = reading.label_in(self.policies[-1].class_prompts) or self.label

    def decision(
        self,
        *,
        plan: Plan | None = None,
        choice: Tier | None = None,
        reply: str | None = None,
        refusal: GatewayError | None = None,
    ) -> Decision:
        policy = self.policies[-1]
        return Decision(
            policy=policy,
            chain=tuple([policy.name for policy in self.policies]),
            mode=self._mode(policy),
            label=self.label,
            tags=self.tags,
            compared=tuple(self.compared),
            plan=plan,
            choice=choice,
            reply=reply,
            refusal=refusal,
            undecided=self.undecided,
        )

    def _mode(self, policy: Policy) -> str:
        stream = self.request.stream
        asked = "classify" in [passed.mode for passed in self.policies]
        if asked and policy.mode in ("classify", "dispatch"):
            return "classify+stream" if stream else "classify"
        if policy.mode == "dispatch":
            return "stream" if stream else "dispatch"
        return policy.mode


def _latest_text(request: ChatRequest) -> str:
    for message in reversed(messages_of(request.hub)):
        if message.get("role") == "user":
            return text_of(message)
    prompt = request.hub.get("prompt")
    return prompt if isinstance(prompt, str) else ""
