"""Tests for ``lmgateway.stores.spool``."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.stores.spool import Spool

PATIENCE = 10.0


@define
class Shelf:
    """An archive in memory that can be made to fail, or to wait."""

    written: list[int] = field(factory=list)
    held: list[int] = field(factory=list)
    error: OSError | None = None
    free: Event = field(factory=Event)
    flushed: Event = field(factory=Event)
    asked: Event = field(factory=Event)
    moved: int = 0
    closed: bool = False

    def __attrs_post_init__(self) -> None:
        self.free.set()

    def take(self, items: Sequence[int]) -> None:
        """Hold numbers."""
        self.held += items

    def flush(self) -> None:
        """Write them."""
        self.asked.set()
        self.free.wait(PATIENCE)
        if self.error is not None:
            raise self.error
        self.written += self.held
        self.held.clear()
        self.flushed.set()

    def reopen(self) -> None:
        """Count."""
        self.moved += 1

    def close(self) -> None:
        """Note it."""
        self.closed = True


class SpoolTests(SynchronousTestCase):
    """Tests for ``Spool``."""

    def spool(self, shelf: Shelf, **options: float) -> Spool[int]:
        """Make one that does not wait long."""
        self.told: list[OSError | None] = []
        self.heard = Event()

        def changed(error: OSError | None) -> None:
            self.told.append(error)
            self.heard.set()

        capacity = int(options.get("capacity", 100))
        spool = Spool(shelf, changed=changed, capacity=capacity, interval=0.01)
        self.addCleanup(spool.close)
        return spool

    def test_all_is_written_in_order(self) -> None:
        """Whatever was put is written, and nothing twice."""
        shelf = Shelf()
        spool = self.spool(shelf)
        for number in range(50):
            self.assertTrue(spool.put(number))
        spool.close()
        self.assertEqual(shelf.written, [*range(50)])
        self.assertTrue(shelf.closed)
        self.assertEqual(spool.dropped, 0)

    def test_nothing_put_starts_no_thread(self) -> None:
        """A spool that is not used does nothing at all."""
        shelf = Shelf()
        self.spool(shelf).close()
        self.assertFalse(shelf.closed)

    def test_a_slow_disk_holds_up_nobody(self) -> None:
        """What finds no room is dropped and counted; the rest is written in the end."""
        shelf = Shelf()
        shelf.free.clear()
        spool = self.spool(shelf, capacity=10)
        spool.put(0)
        self.assertTrue(shelf.asked.wait(PATIENCE))
        put = [spool.put(number) for number in range(1, 21)]
        self.assertEqual((put.count(True), spool.dropped, spool.full), (10, 10, True))
        shelf.free.set()
        spool.close()
        self.assertEqual(shelf.written, [*range(11)])

    def test_a_failure_is_tried_again(self) -> None:
        """It is told once when writing begins to fail, and once when it goes on."""
        shelf = Shelf(error=OSError(28, "No space left on device"))
        spool = self.spool(shelf)
        spool.put(1)
        self.assertTrue(self.heard.wait(PATIENCE))
        self.assertTrue(spool.failing)
        self.heard.clear()
        shelf.error = None
        self.assertTrue(self.heard.wait(PATIENCE))
        self.assertFalse(spool.failing)
        spool.put(2)
        spool.close()
        self.assertEqual(shelf.written, [1, 2])
        self.assertEqual([error is None for error in self.told], [False, True])

    def test_what_cannot_be_written_at_the_end_is_counted(self) -> None:
        """The process ends all the same."""
        shelf = Shelf(error=OSError(5, "Input/output error"))
        spool = self.spool(shelf)
        for number in range(5):
            spool.put(number)
        spool.close()
        self.assertEqual((shelf.written, spool.dropped), ([], 5))

    def test_reopen(self) -> None:
        """The archive is told that its file was moved, before the next is written."""
        shelf = Shelf()
        spool = self.spool(shelf)
        spool.reopen()
        spool.put(1)
        spool.close()
        self.assertEqual((shelf.moved, shelf.written), (1, [1]))
