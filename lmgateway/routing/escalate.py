"""
Escalate mode: from the cheapest tier up, until an answer is good enough.

Each tier is asked as the ladder asks (failures climb by themselves), its answer
is judged, and what is not good enough is put aside and the next tier asked.

A streamed answer is held back until a bounded beginning of it was judged, then
let go byte for byte; the client has seen nothing of what came before.  A stream
that ended within its hold is judged whole.  One that did not is closed when it
is not good enough, for an open one would keep its place in a queue that the
next tier may share: if all later tiers fail, its tier is asked once more.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import dropwhile, pairwise
from typing import Literal

from attrs import field

from lmgateway.backends.base import Reply
from lmgateway.chat import Document, Usage
from lmgateway.classes import define, frozen
from lmgateway.dialects.base import Dialect
from lmgateway.errors import GatewayError, Insufficient, LadderExhausted
from lmgateway.exchange import Climb, Exchange
from lmgateway.routing.gate_judge import Judge
from lmgateway.routing.gates import Finding, Gates
from lmgateway.routing.hold import Hold
from lmgateway.routing.ladder import Climber, Step
from lmgateway.routing.search import Found, Search

FOREVER = float("inf")


@frozen(kw_only=True)
class Standard:
    """
    What an answer has to reach.

    Attributes:
        judge: Who scores what passed the gates, if anybody.
        hold_tokens: How much of a stream is held back to be judged.
        hold_seconds: For how long at most, from its first output.
        on_insufficient: Whether the best answer is sent, marked, where none is good enough.
    """

    gates: Gates = field(factory=Gates)
    judge: Judge | None = None
    hold_tokens: int = 40
    hold_seconds: float = 1.5
    on_insufficient: Literal["best", "error"] = "best"


@frozen(kw_only=True)
class Escalation:
    """
    Climbs by judging.

    Attributes:
        dialects: All of them, by name: what a backend may have spoken.
    """

    climber: Climber
    dialects: Mapping[str, Dialect]
    standard: Standard

    @asynccontextmanager
    async def open(self, steps: Iterable[Step], exchange: Exchange) -> AsyncIterator[Reply]:
        """
        Enter with the first reply that is good enough, or the best there is.

        Args:
            steps: The plan, cheapest first.

        Raises:
            Insufficient: If none is good enough, and the best is not wanted either.
            GatewayError: If no tier answered at all: the last failure.
        """
        ascent = _Ascent(self, tuple(steps), exchange)
        seconds, clock = self.standard.hold_seconds, self.climber.wheel.clock
        async with AsyncExitStack() as scope:
            search = Search(ascent.find, exchange, clock, seconds, self.dialects)
            scope.push_async_exit(search.leave)
            yield await search.reply()


@frozen
class _Judged:
    """
    A judged reply.

    Attributes:
        whole: Whether all of it is in memory, so that it outlives its scope.
    """

    reply: Reply
    finding: Finding | None
    whole: bool


@frozen
class _Candidate:
    """A judged reply, and what is open for it."""

    judged: _Judged
    scope: AsyncExitStack


@frozen
class _Facts:
    """What an exchange says of the reply that it ends with."""

    tier: str
    backend: str
    model: str
    first_output: float | None
    usage: Usage | None
    finish_reason: str | None
    dropped: tuple[str, ...]

    @classmethod
    def of(cls, exchange: Exchange) -> _Facts:
        return cls(
            exchange.tier,
            exchange.backend,
            exchange.model,
            exchange.first_output,
            exchange.usage,
            exchange.finish_reason,
            exchange.dropped,
        )

    def restore(self, exchange: Exchange) -> None:
        exchange.tier = self.tier
        exchange.backend = self.backend
        exchange.model = self.model
        exchange.first_output = self.first_output
        exchange.usage = self.usage
        exchange.finish_reason = self.finish_reason
        exchange.dropped = self.dropped


@frozen
class _Kept:
    """The best answer so far: one that no longer holds anything open."""

    judged: _Judged
    finding: Finding
    facts: _Facts


@define(eq=False)
class _Ascent:
    """One exchange's way up."""

    _escalation: Escalation
    _steps: Sequence[Step]
    _exchange: Exchange
    _best: _Kept | None = None
    _failure: GatewayError | None = None
    _committed: bool = False
    _first_output: Callable[[], object] = bool

    async def find(self, first_output: Callable[[], None]) -> Found:
        """Find the reply to send, its scope open; see ``search.Find``."""
        self._first_output = first_output
        rest = self._steps
        while rest:
            try:
                candidate = await self._ask(rest)
            except GatewayError as error:
                self._failure = error
                rest = self._above(rest) if self._committed else ()
                continue
            rest = self._above(rest)
            finding = candidate.judged.finding
            if finding is None or self._is_last_word(finding, rest):
                return self._chosen(candidate)
            await self._put_aside(candidate, finding)
        return await self._fall_back()

    async def _ask(self, steps: Sequence[Step]) -> _Candidate:
        """Have the next tier answer, and judge it."""
        exchange, climber = self._exchange, self._escalation.climber
        already, self._committed = len(exchange.attempts), False
        async with AsyncExitStack() as scope:
            try:
                reply = await scope.enter_async_context(climber.climb(steps, exchange))
            finally:
                self._note_climbs(already)
            self._committed = True
            attempt = exchange.attempts[-1]
            judged = await self._judged(reply, scope)
            if judged.finding is not None:
                attempt.outcome = f"insufficient:{judged.finding.gate}"
            return _Candidate(judged, scope.pop_all())

    async def _judged(self, reply: Reply, scope: AsyncExitStack) -> _Judged:
        """Judge a reply; of a stream, the beginning is read for it."""
        assert self._exchange.request is not None, "only parsed requests are routed"
        standard, wheel = self._escalation.standard, self._escalation.climber.wheel
        if reply.answer is not None:
            hub = self._escalation.dialects[reply.dialect].decode_answer(reply.answer)
            return _Judged(reply, await self._finding(hub, FOREVER), True)
        self._first_output()
        due = wheel.now() + standard.hold_seconds
        hold = Hold(reply, wheel.clock)
        scope.push_async_callback(hold.close)
        await hold.fill(standard.hold_tokens, standard.hold_seconds)
        if hold.whole:
            finding = await self._finding(hold.assembly.answer(), due - wheel.now())
        else:
            said, request = hold.assembly, self._exchange.request
            finding = standard.gates.judge_prefix(said.text, said.has_tool_call, request)
        return _Judged(hold.release(), finding, hold.whole)

    async def _finding(self, hub_answer: Document, seconds: float) -> Finding | None:
        """Judge a complete answer by every gate; the judge may take so long at most."""
        standard, exchange = self._escalation.standard, self._exchange
        assert exchange.request is not None, "only parsed requests are routed"
        finding = standard.gates.judge_whole(hub_answer, exchange.request)
        if finding is None and standard.judge is not None:
            wheel = self._escalation.climber.wheel
            finding = await standard.judge.judge(hub_answer, exchange, wheel, seconds)
        return finding

    # What is done with a judged reply ------------------------------------------
    def _is_last_word(self, finding: Finding, rest: Sequence[Step]) -> bool:
        """Whether an answer that is not good enough is sent all the same: nothing better came."""
        best = self._best
        if rest or self._escalation.standard.on_insufficient == "error":
            return False
        return best is None or not best.judged.whole or best.finding.worth <= finding.worth

    def _chosen(self, candidate: _Candidate) -> Found:
        exchange = self._exchange
        exchange.escalated = exchange.tier != self._steps[0].tier.name
        finding = candidate.judged.finding
        exchange.insufficient = "" if finding is None else finding.gate
        return Found(candidate.judged.reply, candidate.scope)

    async def _put_aside(self, candidate: _Candidate, finding: Finding) -> None:
        """Close a reply; keep it if it is the best so far.  Of equals the dearer one is."""
        await candidate.scope.aclose()
        if self._best is None or self._best.finding.worth <= finding.worth:
            self._best = _Kept(candidate.judged, finding, _Facts.of(self._exchange))

    async def _fall_back(self) -> Found:
        """Give the best answer there was, or raise what the client is told instead."""
        best = self._best
        if best is None:
            error = self._failure or LadderExhausted()
        elif self._escalation.standard.on_insufficient == "error":
            error = Insufficient()
        elif best.judged.whole:
            best.facts.restore(self._exchange)
            return self._chosen(_Candidate(best.judged, AsyncExitStack()))
        else:
            return await self._ask_again(best)
        error.attempts = tuple(self._exchange.attempts)
        raise error

    async def _ask_again(self, best: _Kept) -> Found:
        """Have a tier answer whose stream was cut off when it was found not good enough."""
        steps = [step for step in self._steps if step.tier.name == best.facts.tier]
        async with AsyncExitStack() as scope:
            climb = self._escalation.climber.climb(steps, self._exchange)
            reply = await scope.enter_async_context(climb)
            judged = _Judged(reply, best.finding, False)
            return self._chosen(_Candidate(judged, scope.pop_all()))

    # The way up ------------------------------------------------------------------
    def _above(self, steps: Sequence[Step]) -> Sequence[Step]:
        """The steps beyond the tier that answered last."""
        tier = self._exchange.tier
        below = list(dropwhile(lambda step: step.tier.name != tier, steps))
        return list(dropwhile(lambda step: step.tier.name == tier, below))

    def _note_climbs(self, already: int) -> None:
        """Write down every change of tier among the attempts made since *already*."""
        made = [a for a in self._exchange.attempts[:already] if a.purpose == "answer"][-1:]
        made += self._exchange.attempts[already:]
        for one, other in pairwise(made):
            if one.tier != other.tier:
                self._exchange.climbs.append(Climb(one.tier, other.tier, one.outcome))
