"""
Memory that several processes of one gateway share: records of numbers by name, under one lock.

The memory is a file without a name (``memfd_create``), which a process hands to those that
it starts; nothing of it is left once they have ended.  Pages that nobody touched take none.

=============  ===========================================================================
lock           a robust mutex of POSIX threads: about 1 us to take and leave, and if its
               holder is killed, the next who asks gets it
a record       found by the digest of its name in one of the tables; integers (``whole``)
               and numbers (``real``) of 8 bytes each, in the same cells
what is held   of a record is noted twice: in sum, and by who holds it (a process has one
               *place*), so that what a dead process held can be given back
=============  ===========================================================================

A store of one number is never seen by half.  A process that is killed between two of them
leaves at worst that one request is counted in some limits and not in others; what is held in
sum is reckoned anew when its place is released.

A table whose records may be *forgotten* gives the one unused for longest, of those that
nobody holds anything of, to a new name where it is full; another never does.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from collections.abc import Iterator
from hashlib import blake2b

from lmgateway.classes import frozen
from lmgateway.errors import Overloaded

PLACES = 64
"""Processes that may hold something at once."""
KEY, HELD, AT = 0, 2, 3
"""Cells that all records have: two of the name's digest, what is held, when it was looked at."""
OWN = 4
"""The first cell that is the record's own."""
_CELL = 8

_HEAD = 512
"""Cells before the first table."""
_SALT = 66
MOVED = 64
"""The cell that counts how often a record was given to another name."""
TORN = 65
"""The cell that tells that a process ended while it had the lock, maybe within a step."""
_PROBES = 64
_WORDS = 128
"""Bytes for the mutex; those of glibc and musl take 40."""
_EOWNERDEAD, _EBUSY, _ETIMEDOUT = 130, 16, 110
_PATIENCE = 5
"""Seconds after which a lock that somebody has taken and does not leave is an error."""
_CHUNK = 1 << 16


@frozen
class Shape:
    """
    The records of one table.

    Attributes:
        cells: Of each record.
        records: How many there can be; a power of two.
        forgets: Whether one that nobody uses may be given to another name.
    """

    cells: int
    records: int
    forgets: bool = True


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class Lock:
    """
    The lock; may be taken again by who has it, and only by one thread of a process.

    Args:
        memory: Where it is.
        cells: All of it.
        is_new: Whether it is to be made.

    Attributes:
        moved: How often a record was given to another name, as was seen when it was taken.
    """

    __slots__ = ("_buffer", "_cells", "_depth", "_leave", "_library", "_mutex", "_try", "moved")

    def __init__(self, memory: mmap.mmap, cells: memoryview[int], *, is_new: bool) -> None:
        self._library = library = ctypes.PyDLL(None)  # held for so short that others may wait
        self._buffer = (ctypes.c_char * _WORDS).from_buffer(memory, 0)
        self._mutex = ctypes.c_void_p(ctypes.addressof(self._buffer))
        self._depth = 0
        self._cells = cells
        self.moved = 0
        self._try = library.pthread_mutex_trylock
        self._leave = library.pthread_mutex_unlock
        if is_new:
            kind = (ctypes.c_char * _WORDS)()
            for code in (
                library.pthread_mutexattr_init(kind),
                library.pthread_mutexattr_setpshared(kind, 1),
                library.pthread_mutexattr_setrobust(kind, 1),
                library.pthread_mutex_init(self._mutex, kind),
            ):
                if code:
                    raise OSError(code, os.strerror(code))

    def __enter__(self) -> None:
        if self._depth:
            self._depth += 1
            return
        code = self._try(self._mutex)
        if code:
            self._wait(code)
        self._depth = 1
        self.moved = self._cells[MOVED]

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._leave(self._mutex)

    def _wait(self, code: int) -> None:
        if code == _EBUSY:
            until = _Timespec(int(time.time()) + _PATIENCE, 0)
            code = self._library.pthread_mutex_timedlock(self._mutex, ctypes.byref(until))
        if code == _EOWNERDEAD:
            self._library.pthread_mutex_consistent(self._mutex)
            self._cells[TORN] = 1
        elif code:
            raise Overloaded("The gateway's counters are not to be had.", retry_after=1)


class Table:
    """
    Records of one shape: see ``Slate``.

    Attributes:
        shape: Theirs.
        held: Where this process notes what it holds of each.
    """

    def __init__(self, slate: Slate, shape: Shape, start: int, columns: int) -> None:
        self.slate = slate
        self.shape = shape
        self._start = start
        self._columns = columns
        self.held = columns + slate.place * shape.records

    def find(self, key: tuple[int, int]) -> int:
        """
        Give the first cell of a record, new if there is none yet; the lock is held.

        Raises:
            Overloaded: If there is no room for it.
        """
        first, second = key
        whole, cells, records = self.slate.whole, self.shape.cells, self.shape.records
        for step in range(_PROBES):
            base = self._start + ((first + step) & (records - 1)) * cells
            known = whole[base]
            if known == first and whole[base + 1] == second:
                return base
            if not known:
                break
        else:
            base = self._freed(first)
        whole[base], whole[base + 1] = first, second
        return base

    def _freed(self, first: int) -> int:
        """Clear the record that was unused for longest, of those where a name could be."""
        slate, shape, found, oldest = self.slate, self.shape, 0, float("inf")
        for step in range(_PROBES if shape.forgets else 0):
            base = self._start + ((first + step) & (shape.records - 1)) * shape.cells
            if not slate.whole[base + HELD] and slate.real[base + AT] < oldest:
                found, oldest = base, slate.real[base + AT]
        if not found:
            raise Overloaded("There are too many to be counted.", retry_after=1)
        for cell in range(found, found + shape.cells):
            slate.whole[cell] = 0
        slate.whole[MOVED] += 1
        slate.lock.moved = slate.whole[MOVED]
        return found

    def own(self, base: int) -> int:
        """Give the cell where this process notes what it holds of a record."""
        return self.held + (base - self._start) // self.shape.cells

    def release(self, place: int) -> None:
        """Give back all that one place holds; the lock is held."""
        whole, start = self.slate.whole, self._columns + place * self.shape.records
        for record in self._used(start, self.shape.records):
            whole[self._start + record * self.shape.cells + HELD] -= whole[start + record]
            whole[start + record] = 0

    def mend(self) -> None:
        """Reckon anew what is held of each record, by what each place holds; the lock is held."""
        whole, cells, records = self.slate.whole, self.shape.cells, self.shape.records
        found = (divmod(cell, cells) for cell in self._used(self._start, records * cells))
        held = {record: 0 for record, cell in found if cell == HELD}
        for start in range(self._columns, self._columns + PLACES * records, records):
            for record in self._used(start, records):
                held[record] = held.get(record, 0) + whole[start + record]
        for record, amount in held.items():
            whole[self._start + record * cells + HELD] = amount

    def _used(self, start: int, count: int) -> Iterator[int]:
        """Give which of so many cells are not 0; untouched pages stay so."""
        size, offset = count * _CELL, start * _CELL
        nothing = bytes(_CHUNK)
        for chunk in range(0, size, _CHUNK):
            block = os.pread(self.slate.file, min(_CHUNK, size - chunk), offset + chunk)
            if block == nothing[: len(block)]:
                continue
            for index, amount in enumerate(memoryview(block).cast("q")):
                if amount:
                    yield chunk // _CELL + index


class Slate:
    """
    The shared memory, as one process sees it.

    Args:
        shapes: Of the tables; the same in every process.
        file: The descriptor of what another has made; without it, it is made.
        place: Which of the processes this is, below ``PLACES``; 0 is the one that made it.

    Attributes:
        whole: All cells, as integers.
        real: All cells, as numbers.
        lock: To be held wherever something is looked at or changed.
        tables: One for each shape.
    """

    def __init__(self, shapes: tuple[Shape, ...], file: int | None = None, place: int = 0) -> None:
        is_new = file is None
        self.file = os.memfd_create("lmgateway") if file is None else file
        self.place = place
        size = _HEAD + sum(shape.records * (shape.cells + PLACES) for shape in shapes)
        if is_new:
            os.ftruncate(self.file, size * _CELL)
        self._memory = mmap.mmap(self.file, size * _CELL)
        view = memoryview(self._memory)
        self.whole = view.cast("q")
        self.real = view.cast("d")
        self.lock = Lock(self._memory, self.whole, is_new=is_new)
        if is_new:
            view[_SALT * _CELL : (_SALT + 2) * _CELL] = os.urandom(2 * _CELL)
        self._salt = bytes(view[_SALT * _CELL : (_SALT + 2) * _CELL])
        self.tables = tuple(self._laid(shapes))

    def _laid(self, shapes: tuple[Shape, ...]) -> Iterator[Table]:
        start = _HEAD
        for shape in shapes:
            columns = start + shape.records * shape.cells
            yield Table(self, shape, start, columns)
            start = columns + shape.records * PLACES

    @property
    def moved(self) -> int:
        """How often a record was given to another name: what was found is to be found anew."""
        return self.whole[MOVED]

    def key(self, *name: str) -> tuple[int, int]:
        """Give the digest by which a name is found."""
        digest = blake2b("\0".join(name).encode(), digest_size=16, key=self._salt).digest()
        first, second = memoryview(digest).cast("q")
        return first or 1, second

    def release(self, place: int) -> None:
        """Give back all that one process holds, since it has ended."""
        with self.lock:
            for table in self.tables:
                table.release(place)
                if self.whole[TORN]:
                    table.mend()
            self.whole[TORN] = 0

    def close(self) -> None:
        """Let go of the descriptor; the memory stays while anything of it is used."""
        os.close(self.file)


class Row:
    """
    One record, wherever it is now: found when it is first used, and again if it was moved.

    ``at`` says where; whoever is in a hurry compares ``seen`` with what the lock has seen
    ``moved``, and goes on with ``base`` as long as these are the same.
    """

    __slots__ = ("_key", "_lock", "_table", "_whole", "base", "own", "seen")

    def __init__(self, table: Table, key: tuple[int, int]) -> None:
        self._table = table
        self._lock = table.slate.lock
        self._whole = table.slate.whole
        self._key = key
        self.base = 0
        self.own = 0
        self.seen = -1

    def at(self) -> int:
        """Give its first cell; the lock is held."""
        if self.seen != self._lock.moved:
            self.find()
        return self.base

    def find(self) -> None:
        """Find it anew: where it is, and where this process notes what it holds of it."""
        self.base = self._table.find(self._key)
        self.own = self._table.own(self.base)
        self.seen = self._lock.moved

    def hold(self, most: int) -> None:
        """Hold of it what makes so much in sum; the lock is held."""
        whole, base = self._whole, self.at()
        more = most - whole[base + HELD]
        whole[base + HELD] = most
        whole[self.own] += more
