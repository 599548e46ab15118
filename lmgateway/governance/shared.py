"""
Limits and budgets that several processes keep together, to the last request and nano-dollar.

What each of them counts lies in memory that all of them see (``stores.slate``), in the place
of the attributes of ``Bucket``, ``Window``, ``Counter`` and ``Purse``; how it is counted is told
there and nowhere else.  Whoever looks at one or changes it has the lock meanwhile: that of a
whole step (admission, a reservation, a settlement), so that all or nothing is taken whoever
else asks.  No step waits for another process but for the microseconds that one takes.

A moment is the monotonic clock's, which all processes of a machine share.  One that is a
little behind what another has seen is taken for that.
"""

from __future__ import annotations

from collections.abc import Iterator

from lmgateway.governance.buckets import WINDOW, Bucket, Crowd, Rate, Window
from lmgateway.governance.counters import Counter, Counters, Scope, Used, held
from lmgateway.governance.tokens import Ask
from lmgateway.stores.slate import AT, HELD, OWN, Lock, Row, Shape, Slate, Table

_PAIRS = 64
"""Of a ring: more than the seconds of a window, and the slices of a period."""

SHAPES = (
    Shape(8, 1 << 18),  # buckets by name
    Shape(8 + 2 * _PAIRS, 1 << 16),  # windows by name
    Shape(8, 1 << 16),  # buckets by address
    Shape(8 + 2 * _PAIRS, 1 << 16),  # windows by address
    Shape(16 + 2 * _PAIRS, 1 << 17, forgets=False),  # purses
    Shape(5, 1 << 18, forgets=False),  # sums
)
"""The tables, as ``Slate`` lays them; see the cells below."""
COUNTS, CROWD, PURSES, SUMS = 0, 2, 4, 5
"""Where they are; the windows follow each table of buckets."""

USED, MARK, HEAD, COUNT = OWN, OWN + 1, OWN + 2, OWN + 3
"""Cells of buckets and windows: ``MARK`` tells the rate, the last two are of a ring."""
RING = OWN + 4


def mark_of(rate: Rate) -> int:
    """Tell a rate by a number: what counts at another one has changed."""
    return rate.per_minute * 1_000_003 + rate.capacity + 1


class Ring:
    """A bounded queue of pairs in a record: what is used of a deque."""

    __slots__ = ("_first", "_row", "_slate", "_values")

    def __init__(self, row: Row, slate: Slate, first: int, *, real: bool) -> None:
        self._row = row
        self._slate = slate
        self._first = first
        self._values = slate.real if real else slate.whole

    def __len__(self) -> int:
        return self._slate.whole[self._row.at() + COUNT]

    def __iter__(self) -> Iterator[tuple[int, float]]:
        return iter([self[place] for place in range(len(self))])

    def _cell(self, place: int) -> int:
        base = self._row.at()
        whole = self._slate.whole
        if place < 0:
            place += whole[base + COUNT]
        return base + self._first + 2 * ((whole[base + HEAD] + place) % _PAIRS)

    def __getitem__(self, place: int) -> tuple[int, float]:
        cell = self._cell(place)
        return self._slate.whole[cell], self._values[cell + 1]

    def __setitem__(self, place: int, pair: tuple[int, float]) -> None:
        cell = self._cell(place)
        self._slate.whole[cell] = pair[0]
        self._values[cell + 1] = pair[1]  # type: ignore[call-overload]  # an integer where it is to be

    def popleft(self) -> tuple[int, float]:
        """Take the oldest pair."""
        pair, base, whole = self[0], self._row.at(), self._slate.whole
        whole[base + HEAD] = (whole[base + HEAD] + 1) % _PAIRS
        whole[base + COUNT] -= 1
        return pair

    def append(self, pair: tuple[int, float]) -> None:
        """Add a pair; where there is no room for it, the oldest two become one."""
        if len(self) >= _PAIRS:
            oldest, second = self.popleft(), self[0]
            self[0] = (second[0], oldest[1] + second[1])
        base = self._row.at()
        self._slate.whole[base + COUNT] += 1
        self[-1] = pair

    def clear(self) -> None:
        """Take all pairs."""
        self._slate.whole[self._row.at() + COUNT] = 0


class _InRow:
    """What buckets and windows keep alike: what is used, and what is held."""

    __slots__ = ()
    _row: Row
    _real: memoryview[float]
    _whole: memoryview[int]

    @property
    def used(self) -> float:
        """What was taken and has not flowed off, or is not forgotten yet."""
        return self._real[self._row.at() + USED]

    @used.setter
    def used(self, amount: float) -> None:
        self._real[self._row.at() + USED] = amount

    @property
    def held(self) -> int:
        """What is set aside."""
        return self._whole[self._row.at() + HELD]

    @held.setter
    def held(self, amount: int) -> None:
        self._row.hold(amount)


class SharedBucket(_InRow, Bucket):
    """A token bucket: see there."""

    __slots__ = ("_lock", "_real", "_row", "_whole")

    def __init__(self, table: Table, key: tuple[int, int]) -> None:
        slate = table.slate
        self._row = Row(table, key)
        self._lock = slate.lock
        self._whole, self._real = slate.whole, slate.real
        self._rate = None

    def level(self, rate: Rate, now: float) -> float:
        """Say how much is used or held now."""
        row = self._row
        if row.seen != self._lock.moved:
            row.find()
        if rate is not self._rate:
            self._settle(rate, row.base)
        base, real = row.base, self._real
        elapsed, used = now - real[base + AT], real[base + USED]
        if elapsed > 0:
            real[base + AT] = now
            if used:
                used -= elapsed * rate.flow
                real[base + USED] = used = used if used > 0.0 else 0.0
        return used + self._whole[base + HELD]

    def take(self, amount: float, now: float) -> None:
        """Use *amount*, whether or not it fits."""
        row = self._row
        if row.seen != self._lock.moved:
            row.find()
        self._real[row.base + USED] += amount

    def hold(self, more: int) -> None:
        """Set so much more aside, or less."""
        row, whole = self._row, self._whole
        if row.seen != self._lock.moved:
            row.find()
        whole[row.base + HELD] += more
        whole[row.own] += more

    def _settle(self, rate: Rate, base: int) -> None:
        """Go on at a rate; where others have counted at another, as ``Bucket`` does."""
        mark, known = mark_of(rate), self._whole[base + MARK]
        if known and known != mark:
            most = float(max(rate.capacity, 0))
            self._real[base + USED] = min(self._real[base + USED], most)
        self._whole[base + MARK] = mark
        self._rate = rate


class SharedWindow(_InRow, Window):
    """A sliding window: see there."""

    __slots__ = ("_real", "_ring", "_row", "_whole")

    def __init__(self, table: Table, key: tuple[int, int]) -> None:
        self._row = Row(table, key)
        self._whole, self._real = table.slate.whole, table.slate.real
        self._ring = Ring(self._row, table.slate, RING, real=True)

    @property
    def _seconds(self) -> Ring:  # type: ignore[override]  # what is used of a deque
        return self._ring

    @property
    def at(self) -> float:
        """When it was looked at last."""
        return self._real[self._row.at() + AT]

    @at.setter
    def at(self, now: float) -> None:
        self._real[self._row.at() + AT] = now

    def level(self, rate: Rate, now: float) -> float:
        """Say how much is used or held now."""
        return Window.level(self, rate, max(now, self.at))

    def hold(self, more: int) -> None:
        """Set so much more aside, or less."""
        self.held += more

    def take(self, amount: float, now: float) -> None:
        """Use *amount*, whether or not it fits."""
        ring = self._ring
        while ring and ring[0][0] < int(now) - WINDOW:
            self.used -= ring.popleft()[1]
        Window.take(self, amount, now)


class SharedScope(Scope):
    """
    Those who share a limit: see ``Scope``.

    Requests at once are counted only where they are limited: each is a step of its own here.
    """

    __slots__ = ()

    def take(self, ask: Ask, now: float) -> None:
        """Let a request in."""
        if self.concurrent is not None:
            self.counter.concurrent += 1
        if self.requests is not None:
            self.requests[1].take(1, now)
        if self.tokens is not None:
            rate, used = self.tokens
            used.hold(held(ask, rate))  # type: ignore[union-attr]  # a shared one

    def release(self, ask: Ask, took: int, cost: int, now: float) -> None:
        """Let a request go, which took so many tokens and cost so many nano-dollars."""
        if self.concurrent is not None:
            self.counter.concurrent -= 1
        if self.tokens is not None:
            rate, used = self.tokens
            used.hold(-held(ask, rate))  # type: ignore[union-attr]  # a shared one
            if took:
                used.take(took, now)
        if cost and self.cost is not None:
            self.cost[1].take(cost, now)


class SharedCounter(Counter):
    """What one scope has used: see ``Counter``."""

    __slots__ = ("_books", "_busy", "_first", "_name", "_whole")

    def __init__(self, books: Slate, name: tuple[str, str], *, crowded: bool) -> None:
        self._books = books
        self._whole = books.whole
        self._name = name
        self._first = CROWD if crowded else COUNTS
        self._busy = Row(books.tables[self._first], books.key(*name, "concurrent"))
        self.requests = self.tokens = self.cost = None
        self.at = 0.0

    def count(self, what: str, rate: Rate) -> Used:
        """Give what counts one kind of use, made anew if it counts in another way."""
        used: Used | None = getattr(self, what)
        kind = SharedWindow if rate.sliding else SharedBucket
        if type(used) is not kind:
            table = self._books.tables[self._first + rate.sliding]
            used = kind(table, self._books.key(*self._name, what))
            setattr(self, what, used)
        assert used is not None, "made above"
        return used

    @property
    def concurrent(self) -> int:
        """How many are under way."""
        return self._whole[self._busy.at() + HELD]

    @concurrent.setter
    def concurrent(self, count: int) -> None:
        self._busy.hold(count)


class _Crowd(Crowd[Counter]):
    """Counters by address; those of one's own that were used last are remembered."""

    def __init__(self, books: Slate, kind: str) -> None:
        super().__init__(Counter)
        self._books = books
        self._kind = kind

    def get(self, name: str, now: float) -> Counter:
        """Give what counts one of them."""
        if name not in self._known:
            counter = SharedCounter(self._books, (self._kind, name), crowded=True)
            self._known[name] = counter
            counter.at = now
            self._forget(now)
        return super().get(name, now)


class SharedCounters(Counters):
    """What was used, by scope: see ``Counters``."""

    def __init__(self, books: Slate) -> None:
        super().__init__(_Crowd(books, "address"), _Crowd(books, "stranger"), {})
        self._books = books

    @property
    def lock(self) -> Lock:
        """To be held wherever one of them is looked at."""
        return self._books.lock

    def get(self, kind: str, name: str) -> Counter:
        """Give what a scope has used."""
        counter = self.named.get((kind, name))
        if counter is None:
            counter = SharedCounter(self._books, (kind, name), crowded=False)
            self.named[kind, name] = counter
        return counter
