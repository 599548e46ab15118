"""The places in queues and at backends that one worker asked for: see ``routing.away``."""

from __future__ import annotations

from twisted.internet.defer import Deferred, ensureDeferred

from lmgateway.routing.queues import Permit
from lmgateway.service.resources import Resources


class Desk:
    """Gives places of the supervisor's gates to one worker."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._waiting: dict[int, Deferred[Permit]] = {}
        self._given: dict[int, Permit] = {}
        self._closed = False

    async def enter(self, number: int, kind: str, name: str, priority: int, seconds: float) -> None:
        """
        Wait for a place.

        Args:
            number: What the worker calls it.
            kind: ``tier`` or ``backend``.

        Raises:
            TooManyConcurrent: If the queue is full, or no place became free in time.
        """
        resources = self._resources
        gates = resources.queues if kind == "tier" else resources.bulkheads
        waiting = ensureDeferred(gates.gate(name).enter(priority, seconds))
        self._waiting[number] = waiting
        try:
            permit = await waiting
        finally:
            self._waiting.pop(number, None)
        if self._closed:
            permit.release()
        else:
            self._given[number] = permit

    def leave(self, number: int) -> None:
        """Take a place back, or let nobody wait for it any more."""
        waiting, given = self._waiting.pop(number, None), self._given.pop(number, None)
        if given is not None:
            given.release()
        if waiting is not None:
            waiting.cancel()

    def close(self) -> None:
        """Take all back: the worker is gone."""
        self._closed = True
        for number in (*self._waiting, *self._given):
            self.leave(number)
