"""
What exchanges add up to: counters and spreads, taken from the one entry of each.

An entry falls into a *cell*: all exchanges alike in their labels.  The labels are names of the
config or of ours, never a client's; were there ever more than ``MAX_CELLS`` combinations, the
rest falls into one cell named ``other``.  Taking an entry costs a few microseconds and no
lock: Prometheus' own counters cost that much a piece.

The cells that entries fall into are those of the time since they were last *folded*: into the
sums since the start, which Prometheus is shown, and into the current minute of the history,
which percentiles and graphs are drawn from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from lmgateway.config.telemetry import SloSection
from lmgateway.errors import GatewayError
from lmgateway.telemetry.cells import (
    AttemptCell,
    AttemptKey,
    Attempts,
    ExchangeCell,
    ExchangeKey,
    Exchanges,
    Result,
)
from lmgateway.telemetry.history import History, Point, Quality, QualityKey
from lmgateway.telemetry.spread import Spread
from lmgateway.telemetry.traffic import AttemptEntry, Entry

MAX_CELLS = 2000
NONE = "none"
OTHER = "other"

Climbs = dict[tuple[str, str, str], int]


def _results() -> dict[str, Result]:
    """Give what each kind of error makes of an exchange."""
    found: dict[str, Result] = {"ok": "ok", "client_closed": "closed"}
    waiting: list[type[GatewayError]] = [GatewayError]
    while waiting:
        error = waiting.pop()
        theirs = error.origin == "upstream" and error.retryable
        found[error.kind] = "failed" if theirs or error.status >= 500 else "refused"
        waiting += error.__subclasses__()
    return found


_RESULTS = _results()


class Meters:
    """
    Takes entries: a sink of ``Traffic``.

    Args:
        now: Reactor seconds.
        wall: Seconds since the epoch.

    Attributes:
        exchanges: All since the start.
        attempts: All since the start.
        climbs: By tier left, tier reached and reason.
        refusals: By limit.
        shadowed: Those that there would have been, by limits that are not enforced.
        overflowed: Exchanges that went elsewhere because of a queue.
        history: The last day.
        objectives: What profiles promise, by name.
    """

    def __init__(self, now: Callable[[], float], wall: Callable[[], float]) -> None:
        self._now = now
        self.history = History(now, wall)
        self._fresh: Exchanges = {}
        self._tried: Attempts = {}
        self._until = 0.0
        self.exchanges: Exchanges = {}
        self.attempts: Attempts = {}
        self.climbs: Climbs = {}
        self.refusals: dict[str, int] = {}
        self.shadowed: dict[str, int] = {}
        self.overflowed = 0
        self.objectives: Mapping[str, SloSection] = {}

    def __call__(self, entry: Entry) -> None:
        """Take one entry."""
        if self._now() >= self._until:
            self.fold()
        cell = self._cell_of(entry)
        cell.count += 1
        cell.seconds.add(entry.latency_ms)
        if entry.outcome == "ok":
            _take_answer(cell, entry)
            if self.objectives:
                self._judge(cell, entry)
        else:
            ending = (entry.status, entry.outcome)
            cell.endings[ending] = cell.endings.get(ending, 0) + 1
        _take_usage(cell, entry)
        if entry.attempts:
            self._take_attempts(entry)
        if entry.climbs or entry.overflowed or entry.limit is not None or entry.over_limits:
            self._take_rarities(entry)

    def _judge(self, cell: ExchangeCell, entry: Entry) -> None:
        """See whether an answer began in the time that its profile promises."""
        objective = self.objectives.get(entry.profile or "")
        began = entry.latency_ms if entry.ttft_ms is None else entry.ttft_ms
        if objective is not None and began > objective.latency_ms:
            cell.slow += 1

    def _cell_of(self, entry: Entry) -> ExchangeCell:
        tier, backend, model = entry.tier, entry.backend, entry.model
        if model is None and entry.attempts:
            last = entry.attempts[-1]
            tier, backend, model = last.tier, last.backend, last.model
        # A plain tuple finds what a named one does, and is made in a third of the time.
        names = (
            entry.surface,
            entry.profile or NONE,
            tier or NONE,
            backend or NONE,
            model or NONE,
            entry.routing_mode or NONE,
            entry.stream,
            _RESULTS.get(entry.outcome, "failed"),
        )
        cell = self._fresh.get(names)  # type: ignore[call-overload]  # equal, whatever its class
        return self._begin(ExchangeKey(*names)) if cell is None else cell

    def _begin(self, key: ExchangeKey) -> ExchangeCell:
        if key not in self.exchanges and len(self.exchanges) >= MAX_CELLS:
            other = (OTHER,) * 6
            key = ExchangeKey(*other, key.stream, key.result)
        self.exchanges.setdefault(key, ExchangeCell())
        return self._fresh.setdefault(key, ExchangeCell())

    def _take_attempts(self, entry: Entry) -> None:
        before: AttemptEntry | None = None
        last: AttemptCell | None = None
        for attempt in entry.attempts:
            names = (attempt.tier, attempt.backend, attempt.model, attempt.purpose, attempt.outcome)
            cell = self._tried.get(names)  # type: ignore[call-overload]
            if cell is None:
                cell = self._begin_attempt(AttemptKey(*names))
            cell.count += 1
            cell.seconds.add(attempt.ms)
            if attempt.purpose == "answer":
                if before is not None and last is not None:
                    _take_repeat(cell, before, attempt)
                    last.climbs += before.tier != attempt.tier
                before, last = attempt, cell

    def _begin_attempt(self, key: AttemptKey) -> AttemptCell:
        if key not in self.attempts and len(self.attempts) >= MAX_CELLS:
            key = AttemptKey(OTHER, OTHER, OTHER, key.purpose, key.outcome)
        self.attempts.setdefault(key, AttemptCell())
        return self._tried.setdefault(key, AttemptCell())

    def _take_rarities(self, entry: Entry) -> None:
        for climb in entry.climbs:
            step = (climb.from_tier, climb.to_tier, climb.reason)
            _count(self.climbs, step, (OTHER, OTHER, OTHER))
        if entry.limit is not None:
            _count(self.refusals, entry.limit, OTHER)
        for limit in entry.over_limits or ():
            _count(self.shadowed, limit, OTHER)
        self.overflowed += entry.overflowed

    def window(self, seconds: float) -> dict[QualityKey, Quality]:
        """Say how well each target did in the last so many seconds: see ``History``."""
        self.fold()
        return self.history.window(seconds)

    def points(self, count: int) -> list[Point]:
        """Give the last so many minutes: see ``History``."""
        self.fold()
        return self.history.points(count)

    def fold(self) -> None:
        """Add what was taken since the last time to the sums and to the history."""
        fresh, self._fresh = self._fresh, {}
        tried, self._tried = self._tried, {}
        for key, cell in fresh.items():
            self.exchanges[key].merge(cell)
        for step, attempt in tried.items():
            self.attempts[step].merge(attempt)
        self._until = self.history.take(fresh, tried)


_Step = TypeVar("_Step")


def _count(counts: dict[_Step, int], step: _Step, other: _Step) -> None:
    if step not in counts and len(counts) >= MAX_CELLS:
        step = other
    counts[step] = counts.get(step, 0) + 1


def _take_answer(cell: ExchangeCell, entry: Entry) -> None:
    """Take the times of an exchange that ended well."""
    first = entry.ttft_ms
    ours = (entry.latency_ms if first is None else first) - (entry.upstream_ms or 0.0)
    overhead = cell.overhead
    if overhead is None:
        overhead = cell.overhead = Spread()
    overhead.add(max(0.0, ours - entry.waited_ms))
    if first is None:
        return
    if cell.first is None:
        cell.first = Spread()
    cell.first.add(first)
    rest = (entry.output_tokens or 0) - 1
    if rest > 0 and entry.output_ms:
        _take_pace(cell, entry.output_ms, rest)


def _take_pace(cell: ExchangeCell, milliseconds: float, tokens: int) -> None:
    if cell.between is None or cell.pace is None:
        cell.between, cell.pace = Spread(), Spread()
    cell.between.add(milliseconds / tokens)
    cell.pace.add(tokens * 1000.0 / milliseconds)


def _take_usage(cell: ExchangeCell, entry: Entry) -> None:
    if entry.input_tokens is not None:
        cell.input += entry.input_tokens
        cell.output += entry.output_tokens or 0
        if entry.usage_estimated:
            cell.estimated += 1
        if entry.cached_tokens:
            cell.cached += entry.cached_tokens
        if entry.reasoning_tokens:
            cell.reasoning += entry.reasoning_tokens
    if entry.cost_usd is None:
        cell.unpriced += 1
    else:
        cell.cost += entry.cost_usd
    if entry.saved_usd is not None:
        cell.saved += entry.saved_usd


def _take_repeat(cell: AttemptCell, before: AttemptEntry, attempt: AttemptEntry) -> None:
    """Tell a retry of the same target from another's turn; a climb for want of quality is none."""
    if before.outcome == "ok" or before.outcome.startswith("insufficient"):
        return
    same = (before.tier, before.backend, before.model)
    if same == (attempt.tier, attempt.backend, attempt.model):
        cell.retries += 1
    else:
        cell.fallbacks += 1
