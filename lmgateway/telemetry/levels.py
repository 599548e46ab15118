"""
What is logged: the configured levels, or for a time those that an operator wants.

A reload changes the configured ones; what was imposed holds until its time is over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from msgspec import Struct
from twisted.logger import LogLevelFilterPredicate

from lmgateway.config.values import log_levels
from lmgateway.telemetry.logs import set_levels

DEFAULT = "info"


class Timer(Protocol):
    """A deadline that was set."""

    def cancel(self) -> None:
        """Forget it."""


class ImposedLevel(Struct, frozen=True):
    """
    Levels for a time.

    Attributes:
        until: Seconds since the epoch.
    """

    text: str
    until: float


class Levels(Struct, eq=False):
    """
    Sets the levels of the log; outlives a reload.

    Attributes:
        predicate: What decides on each event.
        later: Calls something after so many seconds.
        wall: Seconds since the epoch.
        tell: Takes ``override`` events.
        configured: As the config says.
        imposed: What holds instead; ``None`` if nothing does.
    """

    predicate: LogLevelFilterPredicate
    later: Callable[[float, Callable[[], object]], Timer]
    wall: Callable[[], float]
    tell: Callable[..., None]
    configured: str = DEFAULT
    imposed: ImposedLevel | None = None
    _timer: Timer | None = None

    @property
    def text(self) -> str:
        """The levels that hold."""
        return self.configured if self.imposed is None else self.imposed.text

    def configure(self, text: str) -> None:
        """Take over what the config says."""
        self.configured = text
        self._apply()

    def impose(self, text: str, seconds: float) -> None:
        """
        Log so for a time.

        Raises:
            ValueError: If that is no level.
        """
        log_levels(text)
        self._forget()
        self.imposed = ImposedLevel(text, self.wall() + seconds)
        self._timer = self.later(seconds, self.lift)
        self._apply()
        self.tell("override", what="log_level", value=text, seconds=seconds)

    def lift(self) -> None:
        """Log as the config says again."""
        if self.imposed is not None:
            self._forget()
            self.imposed = None
            self._apply()
            self.tell("override", what="log_level", value=None, seconds=0)

    def overrides(self) -> list[dict[str, Any]]:
        """Give what is imposed, as the admin port lists it."""
        if self.imposed is None:
            return []
        left = round(max(0.0, self.imposed.until - self.wall()), 3)
        return [
            {
                "kind": "log_level",
                "target": "log",
                "value": self.imposed.text,
                "expires": round(self.imposed.until, 3),
                "seconds_left": left,
            }
        ]

    def _apply(self) -> None:
        set_levels(self.predicate, log_levels(self.text))

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
