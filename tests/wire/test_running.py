"""Tests of ``lmgateway.wire.running``."""

from __future__ import annotations

import gc
from typing import Any, cast
from weakref import ref

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.wire.request import Request
from lmgateway.wire.running import Running

_REQUEST = cast("Request", object())


class RunningTests(SynchronousTestCase):
    """A coroutine that is driven step by step."""

    def setUp(self) -> None:
        """Note what is told of the end."""
        self.told: list[object] = []

    def run_(self, coroutine: Any) -> Running:
        """Start one."""

        def failed(failure: Failure, request: Request) -> None:
            self.assertIs(request, _REQUEST)
            self.told.append(failure.type)

        running = Running(coroutine, _REQUEST, self.told.append, failed)
        running.start()
        return running

    def test_ends_at_once(self) -> None:
        """What waits for nothing is over when it was started."""

        async def route() -> None:
            pass

        self.run_(route())
        self.assertEqual(self.told, [_REQUEST])

    def test_waits(self) -> None:
        """It goes on with what it waited for, as often as it waits."""
        first: Deferred[int] = Deferred()
        second: Deferred[int] = Deferred()
        sums: list[int] = []

        async def route() -> None:
            sums.append(await first + await second)

        self.run_(route())
        first.callback(1)
        self.assertEqual(self.told, [])
        second.callback(2)
        self.assertEqual((sums, self.told), ([3], [_REQUEST]))

    def test_fails(self) -> None:
        """What it raises is told, be it its own or what it waited for."""
        waited: Deferred[None] = Deferred()

        async def route() -> None:
            try:
                await waited
            except KeyError:
                raise ValueError from None

        self.run_(route())
        waited.errback(KeyError())
        self.assertEqual(self.told, [ValueError])

    def test_cancelled_while_it_waits(self) -> None:
        """What it waits for is cancelled, and it may still say something."""
        waited: Deferred[None] = Deferred()
        said: list[str] = []

        async def route() -> None:
            try:
                await waited
            except CancelledError:
                said.append("bye")
                raise

        running = self.run_(route())
        running.cancel()
        self.assertEqual((said, self.told), (["bye"], [CancelledError]))

    def test_nothing_of_a_cancelled_one_is_kept(self) -> None:
        """What it had at hand is free at once, without anybody looking for cycles."""
        seen: list[ref[Deferred[None]]] = []

        async def route() -> None:
            held: Deferred[None] = Deferred()
            seen.append(ref(held))
            await Deferred[None]()

        gc.disable()
        self.addCleanup(gc.enable)
        self.run_(route()).cancel()
        self.assertEqual((self.told, seen[0]()), ([CancelledError], None))

    def test_cancelled_while_it_runs(self) -> None:
        """It learns of it where it waits next."""
        kept: list[Running] = []
        starting: Deferred[None] = Deferred()

        async def route() -> None:
            await starting
            kept[0].cancel()
            await Deferred[None]()

        kept.append(self.run_(route()))
        starting.callback(None)
        self.assertEqual(self.told, [CancelledError])

    def test_cancelled_when_it_is_over(self) -> None:
        """That is harmless."""

        async def route() -> None:
            pass

        self.run_(route()).cancel()
        self.assertEqual(self.told, [_REQUEST])
