"""Budgets that several processes keep together, and the counts of all requests: see ``shared``."""

from __future__ import annotations

from collections.abc import Callable, Collection
from zlib import crc32

from lmgateway.governance.admission import Tally
from lmgateway.governance.bills import Spending
from lmgateway.governance.periods import Period
from lmgateway.governance.purses import Owner, Purse, Purses
from lmgateway.governance.shared import PURSES, SUMS, Ring, SharedCounters
from lmgateway.stores.slate import HELD, OWN, Row, Slate

SPENT, OVERRUN, START, END, KIND = OWN, OWN + 4, OWN + 5, OWN + 6, OWN + 7
"""Cells of purses, whose ring is told of as a window's is."""
PURSE_RING = 16
SUM = OWN


class SharedPurse(Purse):
    """
    What went of a budget: see ``Purse``.

    Its record is never given to another name, so it is looked for once.  Marks that were told
    of are each process's own.
    """

    __slots__ = ("_base", "_mark", "_own", "_real", "_ring", "_slate", "_whole")

    def __init__(self, books: Slate, owner: Owner) -> None:
        self._slate = books
        self._whole, self._real = books.whole, books.real
        row = Row(books.tables[PURSES], books.key(*owner))
        with books.lock:
            row.find()
        self._base, self._own = row.base, row.own
        self._ring = Ring(row, books, PURSE_RING, real=False)
        self._mark = 0
        self._period = None
        self.told = {}

    @property
    def _slices(self) -> Ring:  # type: ignore[override]  # what is used of a deque
        return self._ring

    @property
    def spent(self) -> int:
        """What was spent in the period."""
        return self._whole[self._base + SPENT]

    @spent.setter
    def spent(self, amount: int) -> None:
        self._whole[self._base + SPENT] = amount

    @property
    def reserved(self) -> int:
        """What is set aside for attempts under way."""
        return self._whole[self._base + HELD]

    @reserved.setter
    def reserved(self, amount: int) -> None:
        whole, cell = self._whole, self._base + HELD
        whole[self._own] += amount - whole[cell]
        whole[cell] = amount

    @property
    def overrun(self) -> int:
        """What attempts cost beyond what was reserved for them."""
        return self._whole[self._base + OVERRUN]

    @overrun.setter
    def overrun(self, amount: int) -> None:
        self._whole[self._base + OVERRUN] = amount

    @property
    def start(self) -> float:
        """When the period began."""
        return self._real[self._base + START]

    @start.setter
    def start(self, wall: float) -> None:
        self._real[self._base + START] = wall

    @property
    def end(self) -> float:
        """When anything spent is forgotten next."""
        return self._real[self._base + END]

    @end.setter
    def end(self, wall: float) -> None:
        self._real[self._base + END] = wall

    def turn(self, period: Period, wall: float) -> None:
        """Forget what was spent in a period that is over; of another kind, what it left out."""
        base, whole = self._base, self._whole
        same = period is self._period and whole[base + KIND] == self._mark
        if same and wall < self._real[base + END]:
            return
        with self._slate.lock:
            if whole[base + KIND] != self._mark:  # somebody has gone over to another
                self._period = None
            if period is not self._period:
                self._learn(period, base)
            Purse.turn(self, period, wall)
            self._period = period  # an equal one, if it was another

    def spend(self, amount: int, period: Period, wall: float) -> None:
        """Note what was spent now; the purse was turned."""
        self._whole[self._base + SPENT] += amount
        if period.seconds and amount:
            self._put(amount, period, wall)

    def _learn(self, period: Period, base: int) -> None:
        """Go over to a period, unless another process has done so."""
        mark = crc32(f"{period.text} {period.zone}".encode()) + 1
        known = self._whole[base + KIND]
        if known == mark:
            self._period = period
        elif not known:
            self._period = None
        elif self._period is None or known != self._mark:
            self._period = _ANOTHER
        self._whole[base + KIND] = self._mark = mark

    def free_at(self, needed: int, period: Period) -> float | None:
        """Say when so much of what was spent is forgotten; ``None`` if never."""
        with self._slate.lock:
            return Purse.free_at(self, needed, period)

    def forget(self) -> None:
        """Begin anew: its budget is gone; what is set aside stays so until it is settled."""
        with self._slate.lock:
            self._ring.clear()
            self.spent = self.overrun = 0
            self.start = self.end = 0.0
            self._whole[self._base + KIND] = 0
            self._period = None


_ANOTHER = Period("total")
"""Stands for a kind of period that only another process knew: all that it spent counts."""


class SharedPurses(Purses):
    """
    What was spent, by budget: see ``Purses``.

    Args:
        tell: Told the budget and whose share it is of each purse that is new here.
        main: Whether this process forgets for all what is not configured any more.
    """

    def __init__(
        self,
        books: Slate,
        tell: Callable[[str, str], object] = lambda name, owner: None,
        *,
        main: bool = True,
    ) -> None:
        super().__init__()
        self._books = books
        self._tell = tell
        self._main = main

    def get(self, owner: Owner) -> Purse:
        """Give what went of a budget."""
        purse = self.purses.get(owner)
        if purse is None:
            purse = self.purses[owner] = SharedPurse(self._books, owner)
            self._tell(*owner)
        return purse

    def keep_only(self, names: Collection[str]) -> None:
        """Forget the budgets that are no longer configured."""
        for owner in [owner for owner in self.purses if owner[0] not in names]:
            purse = self.purses.pop(owner)
            if self._main and isinstance(purse, SharedPurse):
                purse.forget()


class _Sums(dict[str, int]):
    """Sums by name, of which all processes add to the same; what is used of a mapping."""

    def __init__(self, books: Slate, what: str) -> None:
        super().__init__()
        self._books = books
        self._what = what
        self._cells: dict[str, int] = {}

    def _cell(self, name: str) -> int:
        cell = self._cells.get(name)
        if cell is None:
            row = Row(self._books.tables[SUMS], self._books.key(self._what, name))
            with self._books.lock:
                cell = self._cells[name] = row.at() + SUM
        return cell

    def get(self, name: str, default: int = 0) -> int:  # type: ignore[override]  # the same use
        """Give a sum."""
        return self._books.whole[self._cell(name)]

    def __setitem__(self, name: str, amount: int) -> None:
        self._books.whole[self._cell(name)] = amount


class SharedTally(Tally):
    """What is counted of all requests, whoever serves them: see ``Tally``."""

    def __init__(
        self,
        books: Slate,
        tell: Callable[[str, str], object] = lambda name, owner: None,
        *,
        main: bool = True,
    ) -> None:
        sums = Spending(_Sums(books, "spent"), _Sums(books, "saved"))
        purses = SharedPurses(books, tell, main=main)
        self.counters: SharedCounters
        self.held = 0.0
        self.books = books
        row = Row(books.tables[SUMS], books.key("in flight"))
        with books.lock:
            row.find()
        self._under_way, self._own = row.base + HELD, row.own
        self.counters, self.spending, self.purses = SharedCounters(books), sums, purses

    @property
    def in_flight(self) -> int:
        """How many requests now."""
        return self.books.whole[self._under_way]

    @in_flight.setter
    def in_flight(self, count: int) -> None:
        whole, cell = self.books.whole, self._under_way
        whole[self._own] += count - whole[cell]
        whole[cell] = count
