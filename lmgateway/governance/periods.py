"""
The times for which budgets hold: by the calendar of a zone, or rolling.

A calendar's day begins at its own midnight, so that it has 23 or 25 hours where
clocks are put forward or back; a week begins on Monday.  A rolling period is
kept in slices: what was spent in a slice counts until all of the slice is older
than the period, so that no period whatever holds more than the limit.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

from msgspec import Struct

SLICES = 60
"""The parts of a rolling period that are kept apart."""

_SECONDS = {"m": 60, "h": 3600, "d": 86400}


class Period(Struct, frozen=True):
    """
    One kind of period.

    Attributes:
        text: As written in the config.
        seconds: How long it is, for a rolling one; 0 for one of the calendar.
    """

    text: str
    zone: tzinfo = UTC
    seconds: float = 0.0

    @classmethod
    def of(cls, text: str, zone: str = "UTC") -> Period:
        """Read what a config says."""
        where: tzinfo = UTC
        if zone != "UTC":
            from zoneinfo import ZoneInfo  # few budgets name a zone

            where = ZoneInfo(zone)
        kind, _, length = text.partition(":")
        if kind != "rolling":
            return cls(text, where)
        return cls(text, where, float(int(length[:-1]) * _SECONDS[length[-1]]))

    @property
    def slice(self) -> float:
        """Seconds of one slice of a rolling period."""
        return self.seconds / SLICES

    def begins(self, wall: float) -> float:
        """Say from when on it matters what was spent, at a moment."""
        return wall - self.seconds - self.slice if self.seconds else self.span(wall)[0]

    def span(self, wall: float) -> tuple[float, float]:
        """Give the beginning and the end of the calendar's period that a moment is in."""
        if self.text == "total":
            return 0.0, float("inf")
        now = datetime.fromtimestamp(wall, self.zone)
        day = now.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        if self.text == "day":
            start, end = day, day + timedelta(days=1)
        elif self.text == "week":
            start = day - timedelta(days=day.weekday())
            end = start + timedelta(days=7)
        else:
            start = day.replace(day=1)
            end = (start + timedelta(days=31)).replace(day=1)
        return start.timestamp(), end.timestamp()


def moment_text(seconds: float) -> str:
    """Write a moment as RFC 3339 has it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
