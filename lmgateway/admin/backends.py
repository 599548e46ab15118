"""The backends: ``/admin/backends``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from msgspec import UNSET, UnsetType

from lmgateway.admin.answers import Answer, Shape
from lmgateway.admin.declared import Call, Topic
from lmgateway.classes import frozen

topic = Topic("backends")


class Observed(Shape, frozen=True):
    """
    What attempts have shown.

    Attributes:
        backends: Breakers and places by backend, with their targets.
        queues: Who waits for which tier.
    """

    backends: list[dict[str, Any]]
    queues: list[dict[str, Any]]


class Recent(Shape, frozen=True):
    """How the latest attempts at a backend went."""

    window: int
    errors: int
    error_rate: float
    healthy: bool


class Probed(Shape, frozen=True):
    """
    What one backend said when it was asked.

    Attributes:
        status: ``ok``, ``unreachable`` or ``error``.
    """

    backend: str
    status: str
    traffic: Recent | None
    error: str | UnsetType = UNSET


class AllProbed(Shape, frozen=True):
    """What each backend said."""

    backends: list[Probed]


@frozen(eq=False)
class BackendRoutes:
    """
    The routes.

    Attributes:
        observed: Gives an ``Observed``.
        probed: Gives an ``AllProbed``, once all were asked.
    """

    observed: Callable[[], Awaitable[dict[str, Any]]]
    probed: Callable[[], Awaitable[dict[str, Any]]]
    topic: ClassVar[Topic] = topic

    @topic.route("GET", "/admin/backends", role="viewer", answer=Observed, summary="Backends")
    async def all(self, call: Call) -> dict[str, Any]:
        """Show breakers, places and queues."""
        return await self.observed()

    @topic.route(
        "GET", "/admin/backends/health", role="viewer", answer=AllProbed, also=(207,),
        summary="Ask every backend",
    )  # fmt: skip
    async def health(self, call: Call) -> Answer:
        """Ask every backend whether it is well; 207 if one is not."""
        document = await self.probed()
        well = all(backend["status"] == "ok" for backend in document["backends"])
        return Answer(document, 200 if well else 207)
