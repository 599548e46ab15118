"""The processes that the gateway consists of: ``/admin/workers``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from lmgateway.admin.answers import Shape
from lmgateway.admin.declared import Call, Topic
from lmgateway.classes import frozen

topic = Topic("workers")


class Process(Shape, frozen=True):
    """
    One process, as it does now.

    Attributes:
        worker: Its number; 0 is the process that was started, which serves clients only where
            there are no others.
        state: ``starting``, ``serving`` or ``draining``.
        pid: Of the operating system; ``null`` while it is not known.
        cpu_seconds: What it has used.
        generation: The configuration that it serves, counted from the start.
        connections: Open client connections.
        in_flight: Requests under way.
        served: Requests that have ended.
        loop_lag_ms: How late its event loop was when it was due, on average.
        dropped: What it could not tell the first process in time.
    """

    worker: int
    state: str
    pid: int | None = None
    uptime_seconds: float | None = None
    cpu_seconds: float | None = None
    resident_bytes: int | None = None
    generation: int | None = None
    connections: int = 0
    in_flight: int = 0
    served: int = 0
    loop_lag_ms: float = 0.0
    dropped: int = 0


REPORTED = Process.__struct_fields__
"""What is shown of each."""


class Processes(Shape, frozen=True):
    """
    All processes.

    Attributes:
        wanted: How many are to serve clients.
        deaths: How many have ended by themselves since the start, and were started anew.
    """

    wanted: int
    deaths: int
    processes: list[Process]


@frozen(eq=False)
class WorkerRoutes:
    """
    The routes.

    Attributes:
        listed: Gives a ``Processes``.
    """

    listed: Callable[[], Awaitable[dict[str, Any]]]
    topic: ClassVar[Topic] = topic

    @topic.route("GET", "/admin/workers", role="viewer", answer=Processes, summary="Processes")
    async def processes(self, call: Call) -> dict[str, Any]:
        """Show each process and how it does."""
        return await self.listed()
