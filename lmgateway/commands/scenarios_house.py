"""What a self-test tries besides the routing: keys, limits, budgets, a reload, a drain."""

from __future__ import annotations

from collections.abc import AsyncIterator

from attrs import evolve
from twisted.internet.defer import Deferred

from lmgateway.classes import frozen
from lmgateway.commands.scorecard import Row, skipped
from lmgateway.commands.stage import Stage
from lmgateway.commands.trials import Trials, is_error, judged
from lmgateway.config.schema import Config
from lmgateway.errors import Overloaded, TooManyConcurrent

_NO_PLACE = (TooManyConcurrent.kind, Overloaded.kind)
_CUT = "the stream tells of the error, and is cut"


@frozen
class House:
    """Everything that is tried of the house rules and the process."""

    _trials: Trials

    async def rows(self) -> AsyncIterator[Row]:
        """Try everything, one after the other."""
        steps = (self._wrong_key, self._no_key, self._limit, self._spent)
        for step in (*steps, self._reload, self._drain):
            yield await step()

    # Clients -----------------------------------------------------------------
    async def _wrong_key(self) -> Row:
        subject, words = "clients", "a wrong key"
        if not self._trials.config.clients:
            return skipped(subject, words, "no clients are configured: no key is looked at")
        async with self._trials.stage() as stage:
            heard = await stage.ask("auto", "selftest-wrong")
        return judged(subject, words, "401", heard, is_error(heard, frozenset((401,))))

    async def _no_key(self) -> Row:
        subject, words = "clients", "no key"
        config = self._trials.config
        if not config.clients:
            return skipped(subject, words, "no clients are configured: anyone may ask")
        public = config.gateway.public_profile
        async with self._trials.stage() as stage:
            heard = await stage.ask("auto", None)
        if public is not None:
            allowed = heard.status not in (0, 401)
            return judged(subject, words, f"the profile {public}", heard, allowed)
        return judged(subject, words, "401", heard, is_error(heard, frozenset((401,))))

    async def _limit(self) -> Row:
        subject, words = "limits", "more requests than rate_limit_rpm, cut down to 2 a minute"
        limited = _limited(self._trials.served())
        if limited is None or not self._trials.askers:
            return skipped(subject, words, "no rate_limit_rpm is configured")
        name, config = limited
        asker = next((a for a in self._trials.askers if a.name == name), self._trials.askers[0])
        async with Stage(self._trials.reactor, config) as stage:
            for _ in range(4):
                heard = await stage.ask("auto", asker.key)
                if heard.error is not None:
                    break
        fits = is_error(heard, frozenset((429,))) and "retry-after" in heard.headers
        return judged(subject, words, "429 with Retry-After", heard, fits)

    # Money -------------------------------------------------------------------
    async def _spent(self) -> Row:
        subject, words = "budgets", "every budget is spent"
        served = self._trials.served()
        if not served.budgets or not self._trials.askers:
            return skipped(subject, words, "no budgets are configured")
        broke = evolve(served, budgets=tuple(evolve(b, limit_usd=0) for b in served.budgets))
        ways = [(asker, self._trials.way("auto", asker, broke)) for asker in self._trials.askers]
        refused = [(asker, way) for asker, way in ways if way is not None and "error" in way]
        asker, way = (refused or ways)[0]
        async with Stage(self._trials.reactor, broke) as stage:
            heard = await stage.ask("auto", asker.key)
        if way is not None and "error" in way:
            status = way["error"]["status"]
            fits = is_error(heard, frozenset((status,)))
            return judged(subject, words, f"{status}", heard, fits)
        return judged(subject, words, "what costs nothing answers", heard, heard.is_answer)

    # The process -------------------------------------------------------------
    async def _reload(self) -> Row:
        subject, words = "process", "a reload with the same file, during a stream"
        asker = self._trials.askers[0] if self._trials.askers else None
        if asker is None:
            return skipped(subject, words, "nobody may ask")
        async with self._trials.stage() as stage:
            begun: Deferred[None] = Deferred()
            streaming = stage.watch("auto", asker.key, lambda: begun.callback(None))
            await begun
            stage.service.reload()
            after = await stage.ask("auto", asker.key)
            during = await streaming
            if after.error in _NO_PLACE:  # the config lets in one at a time
                after = await stage.ask("auto", asker.key)
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
        asker = self._trials.askers[0] if self._trials.askers else None
        if asker is None:
            return skipped(subject, words, "nobody may ask")
        async with self._trials.stage() as stage:
            begun: Deferred[None] = Deferred()
            streaming = stage.watch("auto", asker.key, lambda: begun.callback(None))
            await begun
            drained = stage.service.drain()
            during = await streaming
            await drained
        fits = during.status != 0 and not (during.status == 200 and not during.is_answer)
        happened = "the stream ends well" if fits else during.worded()
        expected = "the stream ends well, then the process"
        if not self._trials.config.gateway.drain_timeout_ms:
            expected = (
                "the stream ends well, or tells of the error and is cut: drain_timeout_ms = 0"
            )
            told = during.tells_of_an_error and not during.is_whole_stream
            fits, happened = fits or told, _CUT if told else happened
        return Row(
            subject=subject,
            scenario=words,
            expected=expected,
            happened=happened,
            verdict="pass" if fits else "fail",
        )


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
