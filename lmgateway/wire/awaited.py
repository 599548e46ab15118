"""A Deferred that, nearly always, one coroutine waits for and nobody else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred

T = TypeVar("T")


class Awaited(Deferred[T]):
    """
    Does what any Deferred does; ``tell`` is the short way to hear of its result.

    Whoever is told comes first, and the result is ``None`` for all others: nobody else
    is to handle what was told.
    """

    _told: Callable[[object], object] | None = None

    def tell(self, told: Callable[[object], object]) -> None:
        """Call *told* with the result, or its ``Failure``; it must not raise."""
        if self.called or self._callbacks:
            self.addBoth(told)
        else:
            self._told = told

    def _startRunCallbacks(self, result: object) -> None:  # noqa: N802  # twisted's own name
        told = self._told
        if told is None or self.called:
            super()._startRunCallbacks(result)
            return
        self._told = self._canceller = None
        self.called = True
        self.result = result  # where a coroutine that is told looks for it
        told(result)
        self.result = None
        if self._callbacks:
            self._runCallbacks()
