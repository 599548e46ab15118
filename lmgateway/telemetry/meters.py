"""
What exchanges add up to: counters and spreads, taken from the one entry of each.

An entry falls into a *cell*: all exchanges alike in their labels.  The labels are names of the
config or of ours, never a client's; were there ever more than ``MAX_CELLS`` combinations, the
rest falls into one cell named ``other``.  Entries wait until there are ``BATCH`` of them, or
somebody asks: what is alike is added up in one go, which costs each a microsecond or two and no
lock.  Prometheus' own counters cost that much a piece.

The cells that entries fall into are those of the time since they were last *folded*: into the
sums since the start, which Prometheus is shown, and into the current minute of the history,
which percentiles and graphs are drawn from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
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
BATCH = 64
NONE = "none"
OTHER = "other"

Climbs = dict[tuple[str, str, str], int]
_Labels = tuple[str, str, str, str, str, str, bool, Result]
_Step = tuple[str, str, str, str, str]


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
        self._waiting: list[Entry] = []
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
        self._waiting.append(entry)
        if len(self._waiting) >= BATCH:
            self._count()

    def _count(self) -> None:
        """Add what waits to the cells."""
        waiting, self._waiting = self._waiting, []
        alike: dict[_Labels, list[Entry]] = {}
        for entry in waiting:
            alike.setdefault(_labels(entry), []).append(entry)
            if entry.climbs or entry.overflowed or entry.limit is not None or entry.over_limits:
                self._take_rarities(entry)
        for labels, entries in alike.items():
            # A plain tuple finds what a named one does, and is made in a third of the time.
            cell = self._fresh.get(labels)  # type: ignore[call-overload]  # equal, of any class
            self._take(self._begin(ExchangeKey(*labels)) if cell is None else cell, entries)
        self._take_attempts(waiting)

    def _take(self, cell: ExchangeCell, entries: Sequence[Entry]) -> None:
        """Add entries that are alike."""
        cell.count += len(entries)
        cell.seconds.add_all([entry.latency_ms for entry in entries])
        if entries[0].outcome == "ok":
            _take_answers(cell, entries)
            if self.objectives:
                self._judge(cell, entries)
        else:
            for entry in entries:
                ending = (entry.status, entry.outcome)
                cell.endings[ending] = cell.endings.get(ending, 0) + 1
        _take_usage(cell, entries)

    def _judge(self, cell: ExchangeCell, entries: Sequence[Entry]) -> None:
        """See whether answers began in the time that their profile promises."""
        objective = self.objectives.get(entries[0].profile or "")
        if objective is not None:
            most = objective.latency_ms
            cell.slow += sum([_beginning(entry) > most for entry in entries])

    def _begin(self, key: ExchangeKey) -> ExchangeCell:
        if key not in self.exchanges and len(self.exchanges) >= MAX_CELLS:
            other = (OTHER,) * 6
            key = ExchangeKey(*other, key.stream, key.result)
        self.exchanges.setdefault(key, ExchangeCell())
        return self._fresh.setdefault(key, ExchangeCell())

    def _take_attempts(self, entries: Sequence[Entry]) -> None:
        alike: dict[_Step, list[float]] = {}
        for attempt in [attempt for entry in entries for attempt in entry.attempts]:
            alike.setdefault(_step(attempt), []).append(attempt.ms)
        for step, milliseconds in alike.items():
            cell = self._attempts_of(step)
            cell.count += len(milliseconds)
            cell.seconds.add_all(milliseconds)
        for entry in entries:
            if len(entry.attempts) > 1:
                self._take_repeats(entry.attempts)

    def _take_repeats(self, attempts: Sequence[AttemptEntry]) -> None:
        answers = [attempt for attempt in attempts if attempt.purpose == "answer"]
        for before, attempt in pairwise(answers):
            _take_repeat(self._attempts_of(_step(attempt)), before, attempt)
            self._attempts_of(_step(before)).climbs += before.tier != attempt.tier

    def _attempts_of(self, step: _Step) -> AttemptCell:
        cell = self._tried.get(step)  # type: ignore[call-overload]  # as above
        return self._begin_attempt(AttemptKey(*step)) if cell is None else cell

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
        self._count()
        fresh, self._fresh = self._fresh, {}
        tried, self._tried = self._tried, {}
        for key, cell in fresh.items():
            self.exchanges[key].merge(cell)
        for step, attempt in tried.items():
            self.attempts[step].merge(attempt)
        self._until = self.history.take(fresh, tried)


_What = TypeVar("_What")


def _count(counts: dict[_What, int], what: _What, other: _What) -> None:
    if what not in counts and len(counts) >= MAX_CELLS:
        what = other
    counts[what] = counts.get(what, 0) + 1


def _labels(entry: Entry) -> _Labels:
    tier, backend, model = entry.tier, entry.backend, entry.model
    if model is None and entry.attempts:
        last = entry.attempts[-1]
        tier, backend, model = last.tier, last.backend, last.model
    return (
        entry.surface,
        entry.profile or NONE,
        tier or NONE,
        backend or NONE,
        model or NONE,
        entry.routing_mode or NONE,
        entry.stream,
        _RESULTS.get(entry.outcome, "failed"),
    )


def _step(attempt: AttemptEntry) -> _Step:
    return (attempt.tier, attempt.backend, attempt.model, attempt.purpose, attempt.outcome)


def _beginning(entry: Entry) -> float:
    """When the answer began: a stream's first output, or the whole of any other."""
    return entry.latency_ms if entry.ttft_ms is None else entry.ttft_ms


def _take_answers(cell: ExchangeCell, entries: Sequence[Entry]) -> None:
    """Take the times of exchanges that ended well."""
    if cell.overhead is None:
        cell.overhead = Spread()
    ours = [_beginning(each) - (each.upstream_ms or 0.0) - each.waited_ms for each in entries]
    cell.overhead.add_all([max(0.0, milliseconds) for milliseconds in ours])
    first = [entry.ttft_ms for entry in entries if entry.ttft_ms is not None]
    if first:
        if cell.first is None:
            cell.first = Spread()
        cell.first.add_all(first)
        _take_paces(cell, entries)


def _take_paces(cell: ExchangeCell, entries: Sequence[Entry]) -> None:
    """Take how fast streams went on after their first token."""
    paces = [
        (entry.output_ms, entry.output_tokens - 1)
        for entry in entries
        if entry.output_ms and entry.output_tokens and entry.output_tokens > 1
    ]
    if not paces:
        return
    if cell.between is None or cell.pace is None:
        cell.between, cell.pace = Spread(), Spread()
    cell.between.add_all([milliseconds / tokens for milliseconds, tokens in paces])
    cell.pace.add_all([tokens * 1000.0 / milliseconds for milliseconds, tokens in paces])


def _take_usage(cell: ExchangeCell, entries: Sequence[Entry]) -> None:
    cell.input += sum([entry.input_tokens or 0 for entry in entries])
    cell.output += sum([entry.output_tokens or 0 for entry in entries])
    cell.cached += sum([entry.cached_tokens for entry in entries])
    cell.reasoning += sum([entry.reasoning_tokens for entry in entries])
    cell.estimated += sum([entry.usage_estimated for entry in entries])
    costs = [entry.cost_usd for entry in entries if entry.cost_usd is not None]
    cell.cost += sum(costs)
    cell.unpriced += len(entries) - len(costs)
    cell.saved += sum([entry.saved_usd or 0.0 for entry in entries])


def _take_repeat(cell: AttemptCell, before: AttemptEntry, attempt: AttemptEntry) -> None:
    """Tell a retry of the same target from another's turn; a climb for want of quality is none."""
    if before.outcome == "ok" or before.outcome.startswith("insufficient"):
        return
    same = (before.tier, before.backend, before.model)
    if same == (attempt.tier, attempt.backend, attempt.model):
        cell.retries += 1
    else:
        cell.fallbacks += 1
