"""What became of the configuration: kept from what is told of reloads."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from lmgateway.telemetry.events import Event, Events


class Served(Struct):
    """
    The configuration that is served, and the last that was not; outlives a reload.

    Attributes:
        loaded_at: Seconds since the epoch.
        generation: How often one was applied; the first is 1.
        failed_at: When a reload last failed; ``None`` if the last one did not.
        error: Why.
    """

    loaded_at: float
    generation: int = 1
    failed_at: float | None = None
    error: str | None = None

    @classmethod
    def of(cls, events: Events, wall: Callable[[], float]) -> Served:
        """Begin, with what is served from the start, and listen."""
        served = cls(wall())
        events.listen(served.note)
        return served

    def note(self, event: Event) -> None:
        """Take one event."""
        if event.kind != "reload":
            return
        if event.facts.get("ok"):
            self.loaded_at, self.generation = event.at, event.facts["generation"]
            self.failed_at = self.error = None
        else:
            self.failed_at, self.error = event.at, event.facts.get("error")
