"""
When the mock's tokens come: the only place where it waits.

Nothing is scheduled unless something has to be waited for, and never more than
one timer at a time: the earlier of what is waited for and the deadline.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from twisted.internet.task import deferLater

from lmgateway.backend_errors import BackendTimeout
from lmgateway.classes import frozen

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

NEVER = float("inf")


@frozen(kw_only=True)
class Tempo:
    """
    How fast one answer comes, in seconds.

    Attributes:
        first: Before the first token.
        gap: Between tokens.
        jitter: Up to this much more, drawn for each token.
        silence: How long a committed stream may be silent.
    """

    first: float = 0.0
    gap: float = 0.0
    jitter: float = 0.0
    silence: float = NEVER


class Pace:
    """
    Waits for the tokens of one answer, and never past its deadline.

    Args:
        clock: Whose time counts.
        tempo: How fast the answer comes.
        random: Where jitter is drawn from.
        commit_by: Reactor seconds by which the first output must be there.
        end_by: Reactor seconds by which all of it must be there.
    """

    def __init__(
        self, clock: IReactorTime, tempo: Tempo, random: Random, *, commit_by: float, end_by: float
    ) -> None:
        self._clock = clock
        self._tempo = tempo
        self._random = random
        self._due = clock.seconds() + tempo.first
        self._deadline = min(commit_by, end_by)
        self._end_by = end_by
        self._silence = NEVER
        self._sleep: Deferred[None] | None = None

    def begin(self) -> None:
        """
        Start to answer.

        Raises:
            BackendTimeout: If there is no time left for it.
        """
        if self._deadline <= self._clock.seconds():
            raise BackendTimeout("The model backend had no time to answer.")

    def next(self) -> float:
        """Give the time of the next token; 0 if it need not be waited for."""
        due, tempo = self._due, self._tempo
        if not (tempo.gap or tempo.jitter or tempo.first):
            return 0.0
        now = self._clock.seconds()
        self._due = max(due, now) + tempo.gap
        if tempo.jitter:
            due += self._random.uniform(0, tempo.jitter)
        return due if due > now else 0.0

    def last(self, tokens: int) -> float:
        """Give the time at which an answer of so many tokens is whole."""
        tempo = self._tempo
        late = self._random.uniform(0, tempo.jitter) if tempo.jitter else 0.0
        return self._due + late + max(0, tokens - 1) * tempo.gap

    def commit(self) -> None:
        """Note that the first output was there in time: from here on, silence counts."""
        self._deadline = self._end_by
        self._silence = self._tempo.silence

    async def until(self, when: float) -> None:
        """
        Wait.

        Raises:
            BackendTimeout: If a deadline comes first.
        """
        now = self._clock.seconds()
        limit = min(self._deadline, now + self._silence)
        if when > now:
            self._sleep = deferLater(self._clock, min(when, limit) - now)
            try:
                await self._sleep
            finally:
                self._sleep = None
        if when > limit:
            raise BackendTimeout("The model backend was silent for too long.")

    def stop(self) -> None:
        """Wait no longer: whoever waits is cancelled."""
        if self._sleep is not None:
            self._sleep.cancel()
