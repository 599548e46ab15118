"""Profiles and the router, from a config."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmgateway.config.schema import (
    Config,
    MidStreamPolicy,
    ProfileSection,
    RuleSection,
)
from lmgateway.governance.pricing import Prices
from lmgateway.routing.cascade import Cascade
from lmgateway.routing.classify import Classifier
from lmgateway.routing.explain import Explaining
from lmgateway.routing.ladder import Climber, Ladder
from lmgateway.routing.policy import Directory, Policy
from lmgateway.routing.router import Router
from lmgateway.routing.rules import Destination, Rule, RuleSet
from lmgateway.routing.tokens import Counter, offline_encode
from lmgateway.service.resources import Resources
from lmgateway.surfaces.grammars import BACKEND_DIALECTS

if TYPE_CHECKING:
    from lmgateway.routing.escalate import Standard
    from lmgateway.routing.resume import MidStream

FOREVER = 10 * 365 * 86400.0


def seconds(milliseconds: int) -> float:
    """Give a duration of the config; 0 means that it is off."""
    return milliseconds / 1000 if milliseconds else FOREVER


def policies_of(config: Config, ladder: Ladder) -> dict[str, Policy]:
    """Give the profiles of a config, by name."""
    return {name: _policy(name, p, config, ladder) for name, p in config.profiles.items()}


def _policy(name: str, profile: ProfileSection, config: Config, ladder: Ladder) -> Policy:
    gateway = config.gateway
    style = profile.error_style or gateway.error_style
    unknown = profile.unknown_model or gateway.unknown_model
    return Policy(
        name=name,
        mode=profile.mode,
        fallback=ladder.find(profile.classifier),
        ceiling=ladder.find(profile.max_auto_tier) or ladder.tiers[-1],
        expert_requires_flag=profile.expert_requires_flag,
        system_prompt=profile.system_prompt,
        reply_message=profile.reply_message,
        failover=_own(profile.failover, gateway.failover),
        chain=tuple(t for t in map(ladder.find, profile.fallback) if t) or None,
        reject_unknown=unknown == "reject",
        expose_routing=_own(profile.expose_routing, gateway.expose_routing),
        friendly_errors=style == "friendly",
        strict=_own(profile.strict, gateway.strict),
        standard=_standard(profile, ladder),
        single_flight=profile.single_flight,
        mid_stream=_mid_stream(profile.mid_stream or gateway.mid_stream, config),
        rules=RuleSet.of(_rule(number, rule) for number, rule in enumerate(profile.rules)),
        class_prompts={label.lower(): text for label, text in profile.class_prompts.items()},
        thinking_messages={
            tier.name: pool
            for key, pool in profile.thinking_messages.items()
            if (tier := ladder.find(key)) is not None
        },
        classifier_fallback=ladder.find(profile.classifier_fallback or ""),
        classifier_prompt=profile.classifier_prompt,
        classifier_think=profile.classifier_think,
        classifier_seconds=profile.classifier_timeout_ms / 1000,
        classifier_latest=profile.classifier_context,
    )


def _standard(profile: ProfileSection, ladder: Ladder) -> Standard | None:
    if profile.mode != "escalate":
        return None
    from lmgateway.service.escalation import standard_of  # with all that judges answers

    return standard_of(profile, ladder)


def _mid_stream(way: MidStreamPolicy, config: Config) -> MidStream | None:
    if way == "error":
        return None
    from lmgateway.routing.resume import MidStream  # with all that mends streams

    prefill = {tier.name: tier.prefill for tier in config.tiers if tier.prefill is not None}
    return MidStream(resumes=way == "resume", prefill=prefill)


def _rule(position: int, rule: RuleSection) -> Rule:
    destinations = [Destination(to.to, to.weight) for to in rule.destinations]
    return Rule.of(position, rule.when, destinations, rule.priority)


def _own(own: bool | None, inherited: bool) -> bool:
    return inherited if own is None else own


def router_of(config: Config, resources: Resources, directory: Directory, prices: Prices) -> Router:
    """Give the router of a config."""
    gateway = config.gateway
    climber = Climber(
        wheel=resources.wheel,
        random=resources.random,
        retry_seconds=gateway.retry_delay_ms / 1000,
        commit_seconds=seconds(gateway.request_timeout_ms),
        total_seconds=seconds(gateway.total_timeout_ms),
    )
    classifier = Classifier(climber=climber, dialects=BACKEND_DIALECTS)
    counter = Counter(
        encode=offline_encode() if _sizes_matter(config) else None,
        in_thread=resources.in_thread,
    )
    return Router(
        directory=directory,
        climber=climber,
        dialects=BACKEND_DIALECTS,
        cascade=Cascade.of(directory, classifier, counter, 1 + gateway.max_retries),
        explaining=Explaining(counter=counter, expected=prices.expected),
        tell=resources.events.tell,
    )


def _sizes_matter(config: Config) -> bool:
    """Whether anything depends on how large a prompt is."""
    keys = (key for p in config.profiles.values() for rule in p.rules for key in rule.when)
    windows = (tier.max_context_tokens is not None for tier in config.tiers)
    return any(key.casefold() == "@tokens" for key in keys) or any(windows)
