"""
How much load retries may add to a backend that is failing.

Counted per backend, over the last ten seconds, all of its targets together:
every attempt, and how many of those were retries.  A retry is a further try of
the same target for the same request.  An attempt that comes from another
target or tier that failed is not one: it is load like any first try, and
allows retries like any.  A retry may be made while retries are at most a fifth
(``retry_budget``) of the other attempts, or fewer than ``FLOOR`` of them, so
that a quiet gateway may retry too.  What the wire repeats by itself, as its
kept connection was closed before a byte of the request was read, is not seen
here.
"""

from __future__ import annotations

RETRY_RATIO = 0.2
FLOOR = 3
"""Retries that are always allowed in ``SECONDS``, unless the ratio is 0."""
SECONDS = 10


class RetryBudget:
    """
    The retries of one backend.

    Attributes:
        ratio: Retries for each other attempt.
    """

    __slots__ = ("_again", "_ahead", "_all", "_place", "_second", "again", "every", "ratio")

    def __init__(self, ratio: float = RETRY_RATIO) -> None:
        self.ratio = ratio
        self.every = 0
        self.again = 0
        self._second = self._place = 0
        self._ahead = 0
        self._all = [0] * SECONDS
        self._again = [0] * SECONDS

    def note(self, now: float) -> None:
        """Count an attempt, unless it is a retry that was counted when it was taken out."""
        second = int(now)
        if second != self._second:
            self._turn(second)
        if self._ahead:
            self._ahead -= 1
            return
        self._all[self._place] += 1
        self.every += 1

    def take(self, now: float) -> bool:
        """Take one retry out, if there is one, and count it although it is only made later."""
        second = int(now)
        if second != self._second:
            self._turn(second)
        most = max(FLOOR, self.ratio * (self.every - self.again)) if self.ratio else 0
        if self.again + 1 > most:
            return False
        for counts in (self._all, self._again):
            counts[self._place] += 1
        self.every += 1
        self.again += 1
        self._ahead += 1
        return True

    def counts(self, now: float) -> tuple[int, int]:
        """Give how many attempts there were lately, and how many of them were retries."""
        if int(now) != self._second:
            self._turn(int(now))
        return self.every, self.again

    def _turn(self, second: int) -> None:
        """Forget what is no longer among the last seconds."""
        if second - self._second >= SECONDS:
            self._ahead = 0  # retries that were taken out, and never made
        for gone in range(max(self._second + 1, second - SECONDS + 1), second + 1):
            place = gone % SECONDS
            self.every -= self._all[place]
            self.again -= self._again[place]
            self._all[place] = self._again[place] = 0
        self._second, self._place = second, second % SECONDS
