"""
Profiles, compiled: what a name asked for means to whom.

A client is bound to one profile.  The model it names may be a profile (its
own, or one that it is allowed), an alias, a tier, or ``auto``; whatever it may
not see is as unknown to it as what does not exist.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal

import msgspec
from attrs import field

from lmgateway.chat import ChatRequest, Endpoint
from lmgateway.classes import frozen
from lmgateway.errors import Forbidden, LadderExhausted, UnknownModel
from lmgateway.exchange import Exchange
from lmgateway.principal import Principal
from lmgateway.routing.ladder import Ladder, Tier
from lmgateway.routing.rules import NO_RULES, RuleSet

if TYPE_CHECKING:
    from lmgateway.routing.escalate import Standard
    from lmgateway.routing.resume import MidStream

Mode = Literal["dispatch", "escalate", "classify", "reply"]

Wish = tuple[str, bool, str | None, bool, Endpoint]
"""Profile and expert right of who asks; model, expert wish and call of what is asked."""

AUTO = "auto"
UNJUDGED = frozenset({"embeddings", "count_tokens"})
"""Calls whose answers say nothing that could be judged: they go where the name says."""

DEFAULT = "default"
MAX_NAME = 256
"""Characters of an unknown name that its refusal repeats."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """
    One profile, with every name in it resolved.

    Attributes:
        fallback: The tier for unknown names; ``None`` only in reply mode.
        ceiling: The highest tier that is climbed to unasked.
        chain: Tiers to fail over to, in this order; ``None`` is the rest of the ladder.
        rules: Where requests go by what is known of them.
        class_prompts: System text by class, in lower case.
        thinking_messages: By tier, the words one of which a stream begins with.
        classifier_fallback: Who classifies when ``fallback`` cannot.
        classifier_latest: How many messages the classifier is shown; ``None``: all.
        standard: What an answer has to reach; only in ``escalate`` mode.
        single_flight: Whether identical requests of one client at one time are made once.
        mid_stream: What is done about streams that break off; ``None``: the client is told.
    """

    name: str
    mode: Mode
    fallback: Tier | None
    ceiling: Tier
    expert_requires_flag: bool = False
    system_prompt: str | None = None
    reply_message: str | None = None
    failover: bool = True
    chain: tuple[Tier, ...] | None = None
    reject_unknown: bool = False
    expose_routing: bool = True
    friendly_errors: bool = False
    strict: bool = False
    rules: RuleSet = NO_RULES
    class_prompts: Mapping[str, str] = msgspec.field(default_factory=dict)
    thinking_messages: Mapping[str, Sequence[str]] = msgspec.field(default_factory=dict)
    classifier_fallback: Tier | None = None
    classifier_prompt: str | None = None
    classifier_think: bool = False
    classifier_seconds: float = 10.0
    classifier_latest: int | None = None
    standard: Standard | None = None
    single_flight: bool = False
    mid_stream: MidStream | None = None

    def escalates(self, endpoint: Endpoint) -> bool:
        """Say whether answers to such a call are judged, whatever model is named."""
        return self.mode == "escalate" and endpoint not in UNJUDGED


@frozen(kw_only=True)
class Directory:
    """
    All names that a client can say.

    Attributes:
        open: Whether no clients are configured, so that everything is allowed.
    """

    ladder: Ladder
    policies: Mapping[str, Policy]
    open: bool
    _chosen: dict[Wish, tuple[Policy, Tier | None]] = field(
        factory=dict, init=False, eq=False, repr=False
    )

    def policy(self, name: str) -> Policy:
        """
        Give a profile, or ``default`` where there is none of that name.

        Raises:
            LadderExhausted: If there is no ``default`` either.
        """
        policy = self.policies.get(name) or self.policies.get(DEFAULT)
        if policy is None:
            raise LadderExhausted("There is no routing profile for this request.")
        return policy

    def choose(
        self,
        principal: Principal,
        requested: str | None,
        *,
        expert: bool,
        endpoint: Endpoint = "chat",
    ) -> tuple[Policy, Tier | None]:
        """
        Say which profile routes a request and which tier it named.

        Args:
            principal: Who asks.
            requested: The model named, if any.
            expert: Whether the request carries ``X-LMG-Expert: true``.
            endpoint: Which call it is.

        Returns:
            The profile, and the tier named or meant; ``None`` only in reply mode.

        Raises:
            UnknownModel: If the name is unknown, or not for this client.
            Forbidden: If the tier is behind the expert gate.
        """
        wish = (principal.profile, principal.expert, requested, expert, endpoint)
        chosen = self._chosen.get(wish)
        if chosen is not None and principal.is_plain:
            return chosen
        chosen = self._choose(principal, requested, expert=expert, endpoint=endpoint)
        named = requested in self.policies or self._known(requested) is not None
        if principal.is_plain and named:  # clients may make up any number of other names
            self._chosen[wish] = chosen
        return chosen

    def _choose(
        self, principal: Principal, requested: str | None, *, expert: bool, endpoint: Endpoint
    ) -> tuple[Policy, Tier | None]:
        own = self.policy(principal.profile)
        named = self.profile_named(principal, requested)
        if named is not None:
            return named, named.fallback
        if own.mode == "reply":
            return own, None
        tier = self._tier(own, principal, requested)
        if not own.escalates(endpoint):
            self._permit(own, principal, tier, requested, expert=expert)
        return own, tier

    def profile_named(self, principal: Principal, requested: str | None) -> Policy | None:
        """Give the profile that a model name means to this client, if it means one."""
        if requested is None:
            return None
        policy = self.policies.get(requested.removesuffix(":latest"))
        if policy is None or not self._may_use(principal, policy.name):
            return None
        return policy

    def meaning(self, principal: Principal, requested: str | None) -> tuple[str, str]:
        """Give the tier and the profile that a model name means; no tier where that depends."""
        named = self.profile_named(principal, requested)
        if named is not None:
            tier = named.fallback if named.mode == "dispatch" else None
            return "" if tier is None else tier.name, named.name
        own = self.policy(principal.profile)
        tier = self.ladder.find(self._known(requested) or "")
        if tier is None and own.mode == "dispatch":
            with suppress(UnknownModel):
                tier = self._tier(own, principal, requested)
        return "" if tier is None else tier.name, own.name

    def visible(self, principal: Principal) -> tuple[list[Tier], list[str], list[str]]:
        """Give the tiers, aliases and profiles that a client may name."""
        own = self.policy(principal.profile)
        tiers = [tier for tier in self.ladder.tiers if self._within(own, principal, tier)]
        names = {tier.name for tier in tiers}
        aliases = [
            alias
            for alias, name in self.ladder.aliases.items()
            if name in names or self._within(own, principal, self.ladder.by_name[name], alias)
        ]
        profiles = [name for name in self.policies if self._may_use(principal, name)]
        profiles.sort(key=lambda name: (name != DEFAULT, name))
        return tiers, aliases, profiles

    def is_single(self, exchange: Exchange, request: ChatRequest) -> bool:
        """
        Tell whether identical requests like this one are made once.

        Raises:
            GatewayError: If it is not for this client at all.
        """
        assert exchange.principal is not None, "the door names everyone who asks"
        endpoint = request.endpoint
        return self.choose(exchange.principal, request.model, expert=True, endpoint=endpoint)[
            0
        ].single_flight

    def hinted(self, policy: Policy, requested: str | None) -> Tier | None:
        """Give the tier of a request that a rule led to *policy*: as named, or its own."""
        tier = self.ladder.find(requested or "")
        if tier is not None and tier.index <= policy.ceiling.index:
            return tier
        return policy.fallback

    def _tier(self, policy: Policy, principal: Principal, requested: str | None) -> Tier:
        tier = self.ladder.find(self._known(requested) or "")
        if tier is None and (requested or "").removesuffix(":latest") == AUTO:
            tiers = self.ladder.tiers
            return next((t for t in tiers if self._within(policy, principal, t)), tiers[0])
        if tier is None and policy.reject_unknown:
            raise _unknown(requested)
        tier = tier or policy.fallback
        assert tier is not None, "only a reply profile has no fallback tier"
        return tier

    def _permit(
        self, policy: Policy, principal: Principal, tier: Tier, name: str | None, *, expert: bool
    ) -> None:
        gated = policy.expert_requires_flag and tier.index > policy.ceiling.index
        if gated and self.open and not expert:
            raise Forbidden(f"The tier {tier.name!r} needs the header 'X-LMG-Expert: true'.")
        if not self._within(policy, principal, tier, self._known(name)):
            raise _unknown(name)

    def _known(self, requested: str | None) -> str | None:
        """Give the tier or alias that is named; ``None`` where it is neither."""
        name = requested or ""
        names = (name, name.removesuffix(":latest"))
        return next((each for each in names if self.ladder.find(each) is not None), None)

    def _within(
        self, policy: Policy, principal: Principal, tier: Tier, name: str | None = None
    ) -> bool:
        above = tier.index > policy.ceiling.index
        if above and policy.expert_requires_flag and not (self.open or principal.expert):
            return False
        if principal.allow_models is not None:
            names = (tier.name, name or tier.name)
            return any(fnmatchcase(n, glob) for n in names for glob in principal.allow_models)
        return self.open or principal.expert or not above

    def _may_use(self, principal: Principal, profile: str) -> bool:
        if self.open or profile == principal.profile:
            return True
        return any(fnmatchcase(profile, glob) for glob in principal.allow_profiles or ())


def _unknown(name: str | None) -> UnknownModel:
    if not name:
        return UnknownModel("No model is named.", param="model")
    return UnknownModel(f"There is no model {name[:MAX_NAME]!r} here.", param="model")
