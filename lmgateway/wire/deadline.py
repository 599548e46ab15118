"""A deadline that is moved often and met seldom."""

from __future__ import annotations

from collections.abc import Callable

from lmgateway.wire.timers import Timer, Wheel, nothing

_NEVER = float("inf")


class Deadline:
    """
    One deadline at a time, over one timer.

    The timer is moved only when it would fire too late, and looks at the deadline when it
    fires: a request served between two looks costs no timer at all.

    Args:
        wheel: Whose time counts.
        expire: Called when a deadline has passed.
    """

    __slots__ = ("_due", "_expire", "_fires", "_timer", "_wheel")

    def __init__(self, wheel: Wheel, expire: Callable[[], object]) -> None:
        self._wheel = wheel
        self._expire = expire
        self._timer: Timer | None = None
        self._due = _NEVER
        self._fires = _NEVER

    def set(self, seconds: float) -> None:
        """Replace the deadline by one *seconds* from now."""
        wheel = self._wheel
        self._due = due = wheel.now() + seconds
        if self._timer is not None:
            if self._fires <= due:
                return
            self._timer.cancel()
        self._fires = due
        self._timer = wheel.start(seconds, self._look)

    def lift(self) -> None:
        """Have no deadline, for now."""
        self._due = _NEVER

    def stop(self) -> None:
        """Have no deadline for long: keep no timer either."""
        self._due = _NEVER
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Have no deadline any more, and let go of whoever had it."""
        self.stop()
        self._expire = nothing

    def _look(self) -> None:
        self._timer = None
        left = self._due - self._wheel.now()
        if left == _NEVER:
            return
        if left > 0:
            self.set(left)
        else:
            self._due = _NEVER
            self._expire()
