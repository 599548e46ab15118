"""A Deferred that one coroutine waits for."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.wire.awaited import Awaited
from lmgateway.wire.request import Request
from lmgateway.wire.running import Running


class AwaitedTests(SynchronousTestCase):
    """What becomes of its result."""

    def setUp(self) -> None:
        self.told: list[Any] = []
        self.cancelled: list[Any] = []
        self.awaited: Awaited[int] = Awaited(self.cancelled.append)

    def _result(self) -> Any:
        return self.told[0].value if isinstance(self.told[0], Failure) else self.told[0]

    def test_result(self) -> None:
        """Who is to be told is told once; nothing is left for others."""
        self.awaited.tell(self.told.append)
        self.awaited.callback(7)
        self.assertEqual(self.told, [7])
        self.assertIsNone(self.successResultOf(self.awaited))

    def test_result_that_is_there(self) -> None:
        """It may be there before anybody asks."""
        self.awaited.callback(7)
        self.awaited.tell(self.told.append)
        self.assertEqual(self.told, [7])

    def test_failure(self) -> None:
        """A failure is told, and handled thereby."""
        self.awaited.tell(self.told.append)
        self.awaited.errback(ValueError("told to"))
        self.assertIsInstance(self._result(), ValueError)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_cancelled(self) -> None:
        """To cancel it tells whoever makes the result, and whoever waits for it."""
        self.awaited.tell(self.told.append)
        self.awaited.cancel()
        self.assertEqual(self.cancelled, [self.awaited])
        self.assertIsInstance(self._result(), CancelledError)

    def test_others(self) -> None:
        """Others may add to it as to any Deferred, and come after."""
        self.awaited.tell(lambda result: self.told.append(("first", result)))
        self.awaited.addBoth(lambda result: self.told.append(("then", result)))
        self.awaited.callback(7)
        self.assertEqual(self.told, [("first", 7), ("then", None)])

    def test_after_others(self) -> None:
        """Whoever asks after others is told what they left."""
        self.awaited.addCallback(lambda result: result + 1)
        self.awaited.tell(self.told.append)
        self.awaited.callback(7)
        self.assertEqual(self.told, [8])

    def test_routes(self) -> None:
        """A route that waits for it goes on with its result, or fails with it."""

        async def route(awaited: Deferred[int]) -> None:
            try:
                self.told.append(await awaited)
            except ValueError as error:
                self.told.append(str(error))

        request = cast("Request", object())
        for result in (7, Failure(ValueError("no"))):
            self.setUp()
            run = Running(route(self.awaited), request, self.told.append, lambda *_: self.fail())
            run.start()
            self.assertEqual(self.told, [])
            self.awaited.callback(cast("int", result))
            self.assertEqual(self.told, [7 if result == 7 else "no", request])

    def test_any_coroutine(self) -> None:
        """What drives other coroutines takes it for a Deferred."""

        async def wait() -> int:
            return await self.awaited

        waiting = Deferred.fromCoroutine(wait())
        self.awaited.callback(7)
        self.assertEqual(self.successResultOf(waiting), 7)
