"""How well everything did: ``/admin/analytics`` in figures, ``/admin/series`` for graphs."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from lmgateway.admin.answers import Query, Shape
from lmgateway.admin.declared import Call, Topic
from lmgateway.classes import frozen
from lmgateway.telemetry.analytics import (
    ProfileFigures,
    TargetFigures,
    profile_figures,
    target_figures,
)
from lmgateway.telemetry.history import POINTS, Point
from lmgateway.telemetry.meters import Meters

topic = Topic("analytics")

Window = Literal["1m", "5m", "1h", "24h"]
_SECONDS: dict[Window, float] = {"1m": 60, "5m": 300, "1h": 3600, "24h": 86_400}


class AnalyticsQuery(Query, frozen=True):
    """How far back; windows begin with a whole minute, that of a day with ten."""

    window: Window = "1h"


class Analytics(Shape, frozen=True):
    """How well each model and each profile did."""

    window: Window
    targets: list[TargetFigures]
    profiles: list[ProfileFigures]


class SeriesQuery(Query, frozen=True):
    """How many minutes."""

    minutes: Annotated[int, Meta(ge=1, le=POINTS)] = 60


class Series(Shape, frozen=True):
    """Minutes of all traffic, the newest last; it is not over yet."""

    step_seconds: int
    points: list[Point]


@frozen(eq=False)
class AnalyticsRoutes:
    """The routes."""

    meters: Meters
    topic: ClassVar[Topic] = topic

    @topic.route(
        "GET",
        "/admin/analytics",
        role="viewer",
        query=AnalyticsQuery,
        answer=Analytics,
        summary="Latency and quality",
    )
    def analytics(self, call: Call, query: AnalyticsQuery) -> Analytics:
        """Show percentiles, error and quality shares, and cost, by target and by profile."""
        window = self.meters.window(_SECONDS[query.window])
        return Analytics(
            window=query.window,
            targets=target_figures(window),
            profiles=profile_figures(window, self.meters.objectives),
        )

    @topic.route(
        "GET",
        "/admin/series",
        role="viewer",
        query=SeriesQuery,
        answer=Series,
        summary="Traffic by minute",
    )
    def series(self, call: Call, query: SeriesQuery) -> Series:
        """Show requests, errors, tokens, cost and latency, minute by minute."""
        return Series(step_seconds=60, points=self.meters.points(query.minutes))
