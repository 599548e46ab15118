"""A moment by which something has to be had, and the word for not having it."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic


class Refused(Exception):
    """
    A server did not give what was asked; the text is fit for a log.

    Attributes:
        status: What it answered, if it did.
    """

    def __init__(self, text: str, status: int | None = None) -> None:
        super().__init__(text)
        self.status = status


class Deadline:
    """
    A moment by which all has to be done.

    Args:
        seconds: How far away it is.
    """

    def __init__(self, seconds: float, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._end = now() + seconds

    def left(self) -> float:
        """
        Give the seconds that are left.

        Raises:
            Refused: If there are none.
        """
        left = self._end - self._now()
        if left <= 0:
            raise Refused("it takes too long")
        return left
