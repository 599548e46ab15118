"""What went through: ``/admin/traffic``."""

from __future__ import annotations

from typing import Annotated, ClassVar

from attrs import frozen
from msgspec import Meta

from lmgateway.admin.answers import Query, Shape
from lmgateway.admin.declared import Call, Topic
from lmgateway.telemetry.traffic import Entry, Stats, Traffic

topic = Topic("traffic")
DEFAULT_LIMIT = 100


class Which(Query, frozen=True):
    """Which entries."""

    limit: Annotated[int, Meta(ge=0, le=1_000_000)] = DEFAULT_LIMIT


class Page(Shape, frozen=True):
    """
    Entries, the newest first.

    Attributes:
        stats: What the whole ring says in sum, whatever was asked for.
    """

    stats: Stats
    entries: list[Entry]


@frozen(eq=False)
class TrafficRoutes:
    """The routes."""

    traffic: Traffic
    topic: ClassVar[Topic] = topic

    @topic.route(
        "GET", "/admin/traffic", role="viewer", query=Which, answer=Page, summary="Latest requests"
    )
    def page(self, call: Call, query: Which) -> Page:
        """Show the newest entries, and what the whole ring says in sum."""
        return Page(stats=self.traffic.stats(), entries=self.traffic.newest(query.limit))
