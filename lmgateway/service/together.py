"""What is different where several processes serve one gateway: see ``docs/workers.md``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from lmgateway.classes import frozen
from lmgateway.governance.admission import Admission
from lmgateway.governance.limits import Limits
from lmgateway.governance.together import SharedAdmission, SharedLimits
from lmgateway.telemetry.sinks import Opened
from lmgateway.telemetry.traffic import Stats

if TYPE_CHECKING:
    from lmgateway.admin.inflight import InFlight

Document = dict[str, Any]


class Crew(Protocol):
    """The workers, as the supervisor's admin port asks for them."""

    async def reports(self) -> Sequence[Document]:
        """Give how each of them does now."""

    @property
    def deaths(self) -> int:
        """How many have ended by themselves."""

    async def under_way(self, limit: int) -> InFlight:
        """Give what is under way at all of them, the oldest first."""

    async def cancel(self, identity: str) -> list[str | None]:
        """End an exchange, wherever it is; gives whose it was, of each that was found."""

    @property
    def latest(self) -> Sequence[Document]:
        """How each of them did when it told last."""


@frozen(kw_only=True)
class Together:
    """
    The parts of a graph that are others than in one process alone.

    Attributes:
        stats: In a worker: what all of them have served.
        sink: In a worker: takes what is recorded of exchanges for one of the sinks.
        crew: In the supervisor: the workers.
    """

    limits: type[Limits] = SharedLimits
    admission: type[Admission] = SharedAdmission
    stats: Callable[[], Awaitable[Stats]] | None = None
    sink: Callable[[str, object], Opened] | None = None
    crew: Crew | None = None
