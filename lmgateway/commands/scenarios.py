"""
What a self-test tries for each profile and each tier.

What is expected is what the routing of the config itself says: who may ask for a tier, and which
tiers are tried in which order, is found by the code that ``lmgateway explain`` uses.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from lmgateway.classes import frozen
from lmgateway.commands.scorecard import Row, skipped
from lmgateway.commands.standin import RETRY_AFTER, Fault
from lmgateway.commands.trials import Asker, Trials, is_error, judged
from lmgateway.config.schema import TierSection

MOST_TIERS = 12
"""Tiers that are tried one by one; the first of the ladder."""
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
class Routes:
    """Everything that is tried of the routing."""

    _trials: Trials

    async def rows(self) -> AsyncIterator[Row]:
        """Try everything, one after the other."""
        for profile in self._trials.config.profiles:
            async for row in self._profile(profile):
                yield row
        for tier in self._trials.config.tiers[:MOST_TIERS]:
            async for row in self._tier(tier):
                yield row

    # Profiles ----------------------------------------------------------------
    async def _profile(self, name: str) -> AsyncIterator[Row]:
        subject, answers = f"profile {name}", "every backend answers"
        asker = self._asker_of_profile(name)
        if asker is None:
            yield skipped(subject, answers, "nobody may ask for it")
            return
        for stream in (False, True):
            async with self._trials.stage() as stage:
                heard = await stage.ask(name, asker.key, stream=stream)
            words = f"{answers}, {'as a stream' if stream else 'whole'}"
            yield judged(subject, words, "an answer", heard, heard.is_answer)
        if self._trials.config.profiles[name].mode == "classify":
            yield await self._classifier_down(subject, name, asker)
        yield await self._all_down(subject, name, asker)

    def _asker_of_profile(self, name: str) -> Asker | None:
        for asker in self._trials.askers:
            way = self._trials.way(name, asker)
            if way is not None and "error" not in way and name in way["profile_chain"]:
                return asker
        return None

    async def _classifier_down(self, subject: str, model: str, asker: Asker) -> Row:
        config = self._trials.config
        tiers = {tier.name: tier for tier in config.tiers}
        backend = tiers[config.profiles[model].classifier].all_targets[0].backend
        async with self._trials.stage({backend: Fault.DOWN}) as stage:
            heard = await stage.ask(model, asker.key)
        fits = heard.is_answer or is_error(heard, frozenset((502, 503)))
        words = f"the classifier's backend ({backend}) refuses connections"
        return judged(subject, words, "an answer, or 502 or 503", heard, fits)

    async def _all_down(self, subject: str, model: str, asker: Asker) -> Row:
        words = "every backend refuses connections"
        replies = self._trials.config.profiles[model].mode == "reply"
        async with self._trials.stage(
            dict.fromkeys(self._trials.config.backends, Fault.DOWN)
        ) as stage:
            heard = await stage.ask(model, asker.key)
        if replies:
            return judged(subject, words, "the configured reply", heard, heard.is_answer)
        fits = is_error(heard, frozenset((502, 503))) and heard.seconds < _LATE_SECONDS
        return judged(subject, words, "502 or 503, at once", heard, fits)

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
        for asker in self._trials.askers:
            way = self._trials.way(name, asker)
            if way is not None and way["plan"][:1] == [name]:
                return asker, way["plan"]
        return None

    def _others(self, plan: Sequence[str], backend: str) -> list[str]:
        """Give the tiers of a plan that do without a backend, in order."""
        tiers = {tier.name: tier for tier in self._trials.config.tiers}
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
        async with self._trials.stage({backend: trouble.fault}) as stage:
            heard = await stage.ask(tier.name, asker.key, stream=trouble.stream)
        if others:
            fits = heard.is_answer and heard.tier in others
            expected = f"{others[0]} answers"
            if self._judges(asker):
                return judged(subject, trouble.words, expected, heard, fits)
            return judged(subject, trouble.words, expected, heard, fits and heard.tier == others[0])
        expected = f"{' or '.join(map(str, sorted(trouble.statuses)))}: nothing else may answer"
        fits = is_error(heard, trouble.statuses)
        if trouble.fault is Fault.LIMITED:
            fits = fits and "retry-after" in heard.headers
        return judged(subject, trouble.words, expected, heard, fits)

    def _judges(self, asker: Asker) -> bool:
        """Whether answers are judged, so that a later tier may be the one that answers."""
        config = self._trials.config
        names = [client.profile for client in config.clients if client.name == asker.name]
        names = names or [config.gateway.public_profile or "default"]
        return any(
            config.profiles[name].mode == "escalate" for name in names if name in config.profiles
        )

    async def _cut(self, subject: str, tier: TierSection, asker: Asker, plan: Sequence[str]) -> Row:
        words = "its backend breaks a stream off"
        backend = tier.all_targets[0].backend
        async with self._trials.stage({backend: Fault.CUT}) as stage:
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
        config = self._trials.config
        names = {client.name: client.profile for client in config.clients}
        name = names.get(asker.name or "", config.gateway.public_profile or "default")
        profile = config.profiles.get(name)
        own = None if profile is None else profile.mid_stream
        return own or config.gateway.mid_stream
