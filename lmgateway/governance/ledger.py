"""
The ledger: what every settled attempt took and cost.

In memory always: sums by day, client, group, tier and model, and the newest
records.  In a file too where one is configured, from which the sums are read
back at the next start.  Writing never holds up a request.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from os import urandom
from pathlib import Path
from typing import NamedTuple, Protocol

from msgspec import Struct
from twisted.logger import Logger

from lmgateway.chat import Usage
from lmgateway.classes import define
from lmgateway.exchange import Attempt, Exchange
from lmgateway.stores.spool import Archive, Spool
from lmgateway.stores.usage import Record

DAY = 86_400
MAX_ROWS = 100_000
"""Sums that are kept; beyond it those of the oldest day are forgotten."""
MAX_RECORDS = 1_000
"""Newest records that are kept."""
_OTHERS = "(others)"
_NOTHING = Usage()


class Key(NamedTuple):
    """What a sum is kept for; the day in UTC, since the epoch."""

    day: int
    client: str
    group: str
    tier: str
    model: str


@define
class Sum:
    """
    What some attempts took and cost.

    Attributes:
        requests: How many of them gave the client's answer, or the beginning of one.
        attempts: How many there were.
        estimated: How many backends told no usage, so that we counted.
        unpriced: How many had no price.
        cost: Nano-dollars of those that had one.
        saved: Nano-dollars less than the baseline.
        compared: How many had a baseline.
    """

    requests: int = 0
    attempts: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_read: int = 0
    cached_write: int = 0
    reasoning: int = 0
    estimated: int = 0
    unpriced: int = 0
    cost: int = 0
    saved: int = 0
    compared: int = 0

    def count(self, record: Record) -> None:
        """Add one attempt."""
        self.attempts += 1
        if record.answered:
            self.requests += 1
        self.input_tokens += record.input_tokens
        self.output_tokens += record.output_tokens
        if record.cached_read or record.cached_write:
            self.cached_read += record.cached_read
            self.cached_write += record.cached_write
        if record.reasoning:
            self.reasoning += record.reasoning
        if record.estimated:
            self.estimated += 1
        if record.cost is None:
            self.unpriced += 1
        else:
            self.cost += record.cost
        if record.saved is not None:
            self.saved += record.saved
            self.compared += 1

    def add(self, other: Sum) -> None:
        """Add another sum."""
        for name in _SUMMED:
            setattr(self, name, getattr(self, name) + getattr(other, name))


_SUMMED = tuple(attribute.name for attribute in Sum.__attrs_attrs__)


class History(Archive[Record], Protocol):
    """A file of records."""

    torn: int

    def read(self, since: float = 0.0) -> Iterator[Record]:
        """Go through the records since a moment, oldest first; blocks."""


class Keeping(Struct, frozen=True, kw_only=True):
    """
    Where records are kept.

    Attributes:
        path: The file.
        archive: What writes and reads it.
    """

    path: Path
    archive: History


Told = Callable[[OSError | None], object]


class Ledger:
    """
    Records attempts.

    Args:
        wall: Seconds since the epoch.

    Attributes:
        sums: By day, client, group, tier and model.
        newest: The latest records.
        since: The first day of which nothing was forgotten.
        torn: Unreadable lines that were found when the file was read.
    """

    _log = Logger()

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._run = urandom(6).hex()
        self._number = 0
        self._keeping: Keeping | None = None
        self._spool: Spool[Record] | None = None
        self._lost = 0
        self._crowded = -1
        self.sums: dict[Key, Sum] = {}
        self.newest: deque[Record] = deque(maxlen=MAX_RECORDS)
        self.since = 0
        self.torn = 0

    # Each attempt ------------------------------------------------------------
    def record(self, exchange: Exchange, attempt: Attempt) -> None:
        """Take down a settled attempt of an exchange."""
        self._number += 1
        principal, request, now = exchange.principal, exchange.request, self._wall()
        usage = told = attempt.usage
        if usage is None or request is None or request.endpoint == "count_tokens":
            usage = _NOTHING
        client, group = ("", "") if principal is None else (principal.name, principal.group)
        tier, model, outcome = attempt.tier, attempt.model, attempt.outcome
        chain, attempts = exchange.profile_chain, exchange.attempts
        record = Record(
            f"{self._run}-{self._number}",
            now,
            exchange.id,
            len(attempts) if attempts and attempts[-1] is attempt else _place(attempts, attempt),
            client,
            group,
            chain[-1] if chain else "",
            tier,
            attempt.backend,
            model,
            attempt.purpose,
            outcome,
            told is not None
            and attempt.purpose == "answer"
            and (outcome == "ok" or not _is_set_aside(exchange, outcome)),
            usage.input_tokens,
            usage.output_tokens,
            usage.cached_read,
            usage.cached_write,
            usage.reasoning,
            usage.estimated,
            attempt.cost,
            attempt.saved,
        )
        key = (int(now) // DAY, client, group, tier, model)
        total = self.sums.get(key)  # type: ignore[call-overload]  # an equal tuple is the same key
        if total is None:
            total = self._new_sum(Key(*key))
        total.count(record)
        self.newest.append(record)
        if self._spool is not None:
            self._spool.put(record)

    def take(self, record: Record) -> None:
        """Take down an attempt that another process has settled."""
        self._count(record)
        if self._spool is not None:
            self._spool.put(record)

    def _count(self, record: Record) -> None:
        key = Key(int(record.at) // DAY, record.client, record.group, record.tier, record.model)
        total = self.sums.get(key)
        (self._new_sum(key) if total is None else total).count(record)
        self.newest.append(record)

    def _new_sum(self, key: Key) -> Sum:
        if len(self.sums) >= MAX_ROWS and self._crowded != key.day:
            self._forget(key.day)
        if len(self.sums) >= MAX_ROWS:
            key = Key(key.day, _OTHERS, "", "", "")
        return self.sums.setdefault(key, Sum())

    def _forget(self, today: int) -> None:
        """Forget the oldest day, unless it is today."""
        oldest = min(key.day for key in self.sums)
        if oldest >= today:
            self._crowded = today
        else:
            self.sums = {key: total for key, total in self.sums.items() if key.day != oldest}
            self.since = max(self.since, oldest + 1)

    # The file ------------------------------------------------------------------
    def keep(self, keeping: Keeping | None, told: Told) -> None:
        """
        Keep records there from now on; blocks to read what is there, the first time.

        Args:
            told: Called from a thread when writing begins to fail, and when it goes on.
        """
        if keeping is not None and self._keeping is not None and keeping.path == self._keeping.path:
            self._keeping = keeping
            self.reopen()
            return
        is_first = self._spool is None and not self._number
        if self._spool is not None:
            self.close()
        self._keeping = keeping
        if keeping is None:
            return
        if is_first:
            self._recall(keeping)
        self._spool = Spool(keeping.archive, changed=told)

    def _recall(self, keeping: Keeping) -> None:
        try:
            for record in keeping.archive.read():
                self._count(record)
        except OSError as error:
            self._log.error(
                "Usage of earlier runs is not known: {path}: {error}",
                path=str(keeping.path),
                error=error,
            )
        self.torn = keeping.archive.torn
        if self.torn:
            self._log.warn(
                "{torn} torn lines were skipped in {path}.", torn=self.torn, path=str(keeping.path)
            )

    def history(self, since: float = 0.0) -> Iterator[Record]:
        """
        Go through the records since a moment, oldest first.

        From the file if there is one, which blocks: at start-up only.  What this run
        recorded is not in it for sure.
        """
        if self._keeping is None:
            yield from (record for record in self.newest if record.at >= since)
        else:
            yield from self._keeping.archive.read(since)

    def reopen(self) -> None:
        """Write to whatever is at the path now: the old file was moved."""
        if self._spool is not None:
            self._spool.reopen()

    def close(self) -> None:
        """Write what is left, and end; blocks for some seconds at most."""
        if self._spool is not None:
            spool, self._spool = self._spool, None
            spool.close()
            self._lost += spool.dropped

    @property
    def kept(self) -> bool:
        """Whether there is a file to be closed."""
        return self._spool is not None

    @property
    def dropped(self) -> int:
        """How many records are in no file although they should be."""
        return self._lost + (0 if self._spool is None else self._spool.dropped)

    @property
    def failing(self) -> bool:
        """Whether the file takes no records now."""
        return self._spool is not None and (self._spool.failing or self._spool.full)


def _is_set_aside(exchange: Exchange, outcome: str) -> bool:
    """Say whether an answer was not good enough, and is not sent for want of a better."""
    return outcome.startswith("insufficient") and not exchange.insufficient


def _place(attempts: list[Attempt], attempt: Attempt) -> int:
    """Say which one it is, from 1."""
    place = len(attempts)
    while place > 1 and attempts[place - 1] is not attempt:
        place -= 1
    return place


# What is shown ---------------------------------------------------------------
def day_text(day: int) -> str:
    """Write a day as ISO 8601 has it."""
    return datetime.fromtimestamp(day * DAY, UTC).strftime("%Y-%m-%d")


def grouped(
    sums: Mapping[Key, Sum], by: tuple[str, ...], wanted: Callable[[Key], bool]
) -> list[tuple[tuple[str, ...], Sum]]:
    """
    Add up sums by some of the parts of their keys, in the order of these.

    Args:
        by: Names of parts.
        wanted: Which keys to count at all.
    """
    places = [Key._fields.index(name) for name in by]
    totals: dict[tuple[str | int, ...], Sum] = {}
    for key, total in sums.items():
        if wanted(key):
            short = tuple([key[place] for place in places])
            totals.setdefault(short, Sum()).add(total)
    return [
        (tuple(day_text(part) if isinstance(part, int) else part for part in short), totals[short])
        for short in sorted(totals)
    ]
