"""
What a self-test tries: for each profile and each tier what may go wrong, and then the rest.

What is expected is what the routing of the config itself says: who may ask for a tier, and which
tiers are tried in which order, is found by the code that ``lmgateway explain`` uses.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from fnmatch import fnmatchcase
from typing import Any

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred

from lmgateway.chat import Document
from lmgateway.commands.explain import Asking, explained_under
from lmgateway.commands.scorecard import Row, skipped
from lmgateway.commands.selftest_config import PATIENCE_MS, Substituted
from lmgateway.commands.stage import PATH, Heard, Stage
from lmgateway.commands.standin import RETRY_AFTER, Fault, StandIns
from lmgateway.config.schema import Config, TierSection
from lmgateway.errors import GatewayError
from lmgateway.service.resources import Resources

MOST_TIERS = 12
"""Tiers that are tried one by one; the first of the ladder."""
MOST_ASKERS = 50
SLOW_MS = 800
"""How long a backend is waited for where it is meant to be too slow."""
_LATE_SECONDS = 10.0
"""What may come on top of all deadlines."""


@frozen(kw_only=True)
class _Trouble:
    """A fault, in words, and the statuses that fit it where nobody else can answer."""

    fault: Fault
    words: str
    statuses: frozenset[int]
    stream: bool = False


TROUBLES = (
    _Trouble(
        fault=Fault.DOWN, words="its backend refuses connections", statuses=frozenset((502, 503))
    ),
    _Trouble(fault=Fault.BROKEN, words="its backend answers 500", statuses=frozenset((502, 503))),
    _Trouble(
        fault=Fault.LIMITED,
        words=f"its backend answers 429, Retry-After: {RETRY_AFTER}",
        statuses=frozenset((429,)),
    ),
    _Trouble(
        fault=Fault.SLOW,
        words="its backend does not begin a stream",
        statuses=frozenset((504,)),
        stream=True,
    ),
    _Trouble(
        fault=Fault.GARBAGE, words="its backend answers broken JSON", statuses=frozenset((502,))
    ),
    _Trouble(fault=Fault.PAGE, words="its backend answers a web page", statuses=frozenset((502,))),
)


@frozen
class Asker:
    """
    Who asks.

    Attributes:
        name: A client's, or ``None`` for whoever shows no key.
        key: Its key.
    """

    name: str | None
    key: str | None


@define(eq=False)
class Scenarios:
    """
    All that is tried with one config.

    Args:
        reactor: What everything runs on.
        subject: The config.
        stand_ins: Its backends; open already.
    """

    _reactor: Any
    _subject: Substituted
    _stand_ins: StandIns
    _askers: list[Asker] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        config = self._subject.config
        if config.is_open or config.gateway.public_profile is not None:
            self._askers.append(Asker(None, None))
        alike: dict[object, Asker] = {}
        for client in config.clients:
            paths = client.allow_endpoints
            if paths is not None and not any(fnmatchcase(PATH, glob) for glob in paths):
                continue
            what = (client.profile, client.expert, client.allow_profiles, client.allow_models)
            alike.setdefault(what, Asker(client.name, self._subject.keys[client.name]))
        self._askers += [*alike.values()][:MOST_ASKERS]

    async def rows(self) -> AsyncIterator[Row]:
        """Try everything, one after the other."""
        for profile in self._subject.config.profiles:
            async for row in self._profile(profile):
                yield row
        for tier in self._subject.config.tiers[:MOST_TIERS]:
            async for row in self._tier(tier):
                yield row
        for step in (self._wrong_key, self._no_key, self._limit, self._reload, self._drain):
            yield await step()

    @asynccontextmanager
    async def _stage(
        self, faults: Mapping[str, Fault] | None = None, patience_ms: int = PATIENCE_MS
    ) -> AsyncIterator[Stage]:
        config = self._subject.on(self._stand_ins.origins(faults or {}), patience_ms)
        async with Stage(self._reactor, config) as stage:
            yield stage

    def _way(self, model: str, asker: Asker) -> Document | None:
        """Give how a request is routed; ``None`` if it is refused."""
        config = self._subject.on(self._stand_ins.origins({}))
        resources = Resources.of(self._reactor, {}, write=lambda block: None)
        try:
            way = explained_under(config, resources, Asking(model=model, client=asker.name))
        except GatewayError:
            return None
        finally:
            resources.wheel.stop()
        return None if "error" in way else way

    # Profiles ----------------------------------------------------------------
    async def _profile(self, name: str) -> AsyncIterator[Row]:
        subject, answers = f"profile {name}", "every backend answers"
        asker = self._asker_of_profile(name)
        if asker is None:
            yield skipped(subject, answers, "nobody may ask for it")
            return
        for stream in (False, True):
            async with self._stage() as stage:
                heard = await stage.ask(name, asker.key, stream=stream)
            words = f"{answers}, {'as a stream' if stream else 'whole'}"
            yield _judged(subject, words, "an answer", heard, heard.is_answer)
        if self._subject.config.profiles[name].mode == "classify":
            yield await self._classifier_down(subject, name, asker)
        yield await self._all_down(subject, name, asker)

    def _asker_of_profile(self, name: str) -> Asker | None:
        for asker in self._askers:
            way = self._way(name, asker)
            if way is not None and name in way["profile_chain"]:
                return asker
        return None

    async def _classifier_down(self, subject: str, model: str, asker: Asker) -> Row:
        config = self._subject.config
        tiers = {tier.name: tier for tier in config.tiers}
        backend = tiers[config.profiles[model].classifier].all_targets[0].backend
        async with self._stage({backend: Fault.DOWN}) as stage:
            heard = await stage.ask(model, asker.key)
        fits = heard.is_answer or _is_error(heard, frozenset((502, 503)))
        words = f"the classifier's backend ({backend}) refuses connections"
        return _judged(subject, words, "an answer, or 502 or 503", heard, fits)

    async def _all_down(self, subject: str, model: str, asker: Asker) -> Row:
        words = "every backend refuses connections"
        replies = self._subject.config.profiles[model].mode == "reply"
        async with self._stage(dict.fromkeys(self._subject.config.backends, Fault.DOWN)) as stage:
            heard = await stage.ask(model, asker.key)
        if replies:
            return _judged(subject, words, "the configured reply", heard, heard.is_answer)
        fits = _is_error(heard, frozenset((502, 503))) and heard.seconds < _LATE_SECONDS
        return _judged(subject, words, "502 or 503, at once", heard, fits)

    # Tiers -------------------------------------------------------------------
    async def _tier(self, tier: TierSection) -> AsyncIterator[Row]:
        first = tier.all_targets[0]
        subject = f"tier {tier.name} ({first.model} at {first.backend})"
        found = self._asker_of_tier(tier.name)
        if found is None:
            why = "no request that names it goes there first"
            yield skipped(subject, "its backend fails", why)
            return
        asker, plan = found
        for trouble in TROUBLES:
            yield await self._troubled(subject, tier, asker, plan, trouble)
        yield await self._cut(subject, tier, asker, plan)

    def _asker_of_tier(self, name: str) -> tuple[Asker, Sequence[str]] | None:
        for asker in self._askers:
            way = self._way(name, asker)
            if way is not None and way["plan"][:1] == [name]:
                return asker, way["plan"]
        return None

    def _others(self, plan: Sequence[str], backend: str) -> list[str]:
        """Give the tiers of a plan that do without a backend, in order."""
        tiers = {tier.name: tier for tier in self._subject.config.tiers}
        return [
            name
            for name in plan
            if any(target.backend != backend for target in tiers[name].all_targets)
        ]

    async def _troubled(
        self,
        subject: str,
        tier: TierSection,
        asker: Asker,
        plan: Sequence[str],
        trouble: _Trouble,
    ) -> Row:
        backend = tier.all_targets[0].backend
        others = self._others(plan, backend)
        patience = SLOW_MS if trouble.fault is Fault.SLOW else PATIENCE_MS
        async with self._stage({backend: trouble.fault}, patience) as stage:
            heard = await stage.ask(tier.name, asker.key, stream=trouble.stream)
        if others:
            fits = heard.is_answer and heard.tier in others
            expected = f"{others[0]} answers"
            if self._judges(asker):
                return _judged(subject, trouble.words, expected, heard, fits)
            return _judged(
                subject, trouble.words, expected, heard, fits and heard.tier == others[0]
            )
        expected = f"{' or '.join(map(str, sorted(trouble.statuses)))}: nothing else may answer"
        fits = _is_error(heard, trouble.statuses)
        if trouble.fault is Fault.LIMITED:
            fits = fits and "retry-after" in heard.headers
        return _judged(subject, trouble.words, expected, heard, fits)

    def _judges(self, asker: Asker) -> bool:
        """Whether answers are judged, so that a later tier may be the one that answers."""
        config = self._subject.config
        names = [client.profile for client in config.clients if client.name == asker.name]
        names = names or [config.gateway.public_profile or "default"]
        return any(
            config.profiles[name].mode == "escalate" for name in names if name in config.profiles
        )

    async def _cut(self, subject: str, tier: TierSection, asker: Asker, plan: Sequence[str]) -> Row:
        words = "its backend breaks a stream off"
        backend = tier.all_targets[0].backend
        async with self._stage({backend: Fault.CUT}) as stage:
            heard = await stage.ask(tier.name, asker.key, stream=True)
        told = heard.tells_of_an_error and not heard.is_whole_stream
        resumed = heard.is_answer and not heard.tells_of_an_error
        happened = "the stream tells of the error, and is cut" if told else heard.worded()
        may_resume = self._mid_stream(asker) != "error" and bool(self._others(plan, backend))
        if resumed and may_resume:
            happened = "another target takes over, and the stream is whole"
        return Row(
            subject=subject,
            scenario=words,
            expected="an error in the stream, which does not look whole",
            happened=happened,
            verdict="pass" if told or (resumed and may_resume) else "fail",
        )

    def _mid_stream(self, asker: Asker) -> str:
        config = self._subject.config
        names = {client.name: client.profile for client in config.clients}
        name = names.get(asker.name or "", config.gateway.public_profile or "default")
        profile = config.profiles.get(name)
        own = None if profile is None else profile.mid_stream
        return own or config.gateway.mid_stream

    # Clients -----------------------------------------------------------------
    async def _wrong_key(self) -> Row:
        subject, words = "clients", "a wrong key"
        if not self._subject.config.clients:
            return skipped(subject, words, "no clients are configured: no key is looked at")
        async with self._stage() as stage:
            heard = await stage.ask("auto", "selftest-wrong")
        return _judged(subject, words, "401", heard, _is_error(heard, frozenset((401,))))

    async def _no_key(self) -> Row:
        subject, words = "clients", "no key"
        config = self._subject.config
        if not config.clients:
            return skipped(subject, words, "no clients are configured: anyone may ask")
        public = config.gateway.public_profile
        async with self._stage() as stage:
            heard = await stage.ask("auto", None)
        if public is not None:
            allowed = heard.status not in (0, 401)
            return _judged(subject, words, f"the profile {public}", heard, allowed)
        return _judged(subject, words, "401", heard, _is_error(heard, frozenset((401,))))

    async def _limit(self) -> Row:
        subject, words = "limits", "more requests than rate_limit_rpm, cut down to 2 a minute"
        config = self._subject.on(self._stand_ins.origins({}))
        limited = _limited(config)
        if limited is None or not self._askers:
            return skipped(subject, words, "no rate_limit_rpm is configured")
        name, config = limited
        asker = next((a for a in self._askers if a.name == name), self._askers[0])
        async with Stage(self._reactor, config) as stage:
            for _ in range(4):
                heard = await stage.ask("auto", asker.key)
                if heard.error is not None:
                    break
        fits = _is_error(heard, frozenset((429,))) and "retry-after" in heard.headers
        return _judged(subject, words, "429 with Retry-After", heard, fits)

    # The process -------------------------------------------------------------
    async def _reload(self) -> Row:
        subject, words = "process", "a reload with the same file, during a stream"
        asker = self._askers[0] if self._askers else None
        if asker is None:
            return skipped(subject, words, "nobody may ask")
        async with self._stage() as stage:
            begun: Deferred[None] = Deferred()
            streaming = stage.watch("auto", asker.key, lambda: begun.callback(None))
            await begun
            stage.service.reload()
            after = await stage.ask("auto", asker.key)
            during = await streaming
        fits = after.status == during.status and not (during.status == 200 and not during.is_answer)
        happened = "both are answered" if fits else f"{during.worded()}; then {after.worded()}"
        return Row(
            subject=subject,
            scenario=words,
            expected="the stream ends well, and the next request is answered",
            happened=happened,
            verdict="pass" if fits else "fail",
        )

    async def _drain(self) -> Row:
        subject, words = "process", "a drain during a stream"
        asker = self._askers[0] if self._askers else None
        if asker is None:
            return skipped(subject, words, "nobody may ask")
        async with self._stage() as stage:
            begun: Deferred[None] = Deferred()
            streaming = stage.watch("auto", asker.key, lambda: begun.callback(None))
            await begun
            drained = stage.service.drain()
            during = await streaming
            await drained
        fits = during.status != 0 and not (during.status == 200 and not during.is_answer)
        happened = "the stream ends well" if fits else during.worded()
        return Row(
            subject=subject,
            scenario=words,
            expected="the stream ends well, then the process",
            happened=happened,
            verdict="pass" if fits else "fail",
        )


def _judged(subject: str, scenario: str, expected: str, heard: Heard, fits: bool) -> Row:
    return Row(
        subject=subject,
        scenario=scenario,
        expected=expected,
        happened=f"{heard.worded()}, after {heard.seconds * 1000:.0f} ms",
        verdict="pass" if fits else "fail",
    )


def _is_error(heard: Heard, statuses: frozenset[int]) -> bool:
    """Whether it is an error of one of *statuses*, or a friendly one, which is told with 200."""
    if heard.status == 200:
        return heard.error is not None
    return heard.status in statuses


def _limited(config: Config) -> tuple[str | None, Config] | None:
    """Cut the first limit on requests that there is; give whose it is."""
    for position, client in enumerate(config.clients):
        if client.rate_limit_rpm:
            cut = evolve(client, rate_limit_rpm=2, burst=None)
            clients = (*config.clients[:position], cut, *config.clients[position + 1 :])
            return client.name, evolve(config, clients=clients)
    if config.gateway.rate_limit_rpm:
        return None, evolve(config, gateway=evolve(config.gateway, rate_limit_rpm=2))
    return None
