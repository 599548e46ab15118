"""Whether the gateway is well: ``/healthz`` for probes, ``/admin/health`` for people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from lmgateway.admin.answers import Shape
from lmgateway.admin.declared import Call, Topic
from lmgateway.classes import frozen

topic = Topic("health")


class Alive(Shape, frozen=True):
    """The process answers."""

    status: str


class Condition(Shape, frozen=True):
    """
    Readiness and counts.

    Attributes:
        ready: Whether every backend has the key that it names.
        checksum: Of the configuration that is served.
        warnings: What in it is allowed, but probably not meant.
    """

    status: str
    ready: bool
    tiers: int
    backends: int
    checksum: str
    warnings: list[str]


@frozen(eq=False)
class HealthRoutes:
    """
    The routes.

    Attributes:
        condition: Gives a ``Condition``.
    """

    condition: Callable[[], dict[str, Any]]
    topic: ClassVar[Topic] = topic

    @topic.route("GET", "/healthz", role="public", summary="Liveness", answer=Alive)
    def healthz(self, call: Call) -> Alive:
        """Say that the process answers; needs no token."""
        return Alive(status="ok")

    @topic.route("GET", "/admin/health", role="viewer", summary="Condition", answer=Condition)
    def health(self, call: Call) -> dict[str, Any]:
        """Show readiness and counts."""
        return self.condition()
