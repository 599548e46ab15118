"""What a scraper reads: ``/metrics``."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import ClassVar, Protocol

from lmgateway.admin.answers import Raw
from lmgateway.admin.declared import Call, Topic
from lmgateway.classes import frozen
from lmgateway.telemetry.exposition import OPEN, PLAIN, wants_openmetrics

topic = Topic("metrics")


class _Text(Protocol):
    def __call__(self, *, openmetrics: bool) -> Awaitable[bytes]: ...


@frozen(eq=False)
class MetricsRoutes:
    """
    The routes.

    Attributes:
        text: Gives all series.
    """

    text: _Text
    topic: ClassVar[Topic] = topic

    @topic.route(
        "GET",
        "/metrics",
        role="viewer",
        summary="Metrics for Prometheus",
        answer={"type": "string"},
        media="text/plain",
    )
    async def metrics(self, call: Call) -> Raw:
        """Give all series, as OpenMetrics to those who accept that, in text format 0.0.4 else."""
        openmetrics = wants_openmetrics(call.request.head.get(b"accept"))
        body = await self.text(openmetrics=openmetrics)
        return Raw(body, OPEN if openmetrics else PLAIN)
