"""What the operator imposes on backends, for a time: ``/admin/backends/<name>/...``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from lmgateway.admin.answers import Order, Shape
from lmgateway.admin.declared import Call, Topic
from lmgateway.classes import frozen

topic = Topic("backends")

LONGEST = 7 * 86400
"""Seconds that anything may be imposed for: what is to stay belongs into the config."""

ForcedState = Literal["forced_open", "forced_closed"]
Seconds = Annotated[float, Meta(gt=0, le=LONGEST)]


class Force(Order, frozen=True):
    """
    How a breaker is to be.

    Attributes:
        state: ``auto`` lets it be as it is by itself again.
        seconds: For how long.
        model: Of which target; of all targets of the backend if not given.
    """

    state: Literal["forced_open", "forced_closed", "auto"]
    seconds: Seconds = 600
    model: str | None = None


class Drain(Order, frozen=True):
    """
    No new attempts for a time; those in flight end.

    Attributes:
        seconds: For how long.
    """

    seconds: Seconds = 3600


class Now(Order, frozen=True):
    """Nothing more is to be said."""


class Standing(Shape, frozen=True):
    """How the backend is then: as in ``/admin/backends``."""

    backend: str
    state: str
    drained: bool
    targets: list[dict[str, Any]]


class Checked(Shape, frozen=True):
    """
    What a probe found.

    Attributes:
        at: Seconds since the epoch.
        well: Whether the backend answered as one that is alive.
        status: The HTTP status, if one came.
        error: The kind of what went wrong.
    """

    backend: str
    at: float
    ms: float
    well: bool
    status: int | None
    error: str | None


class Imposed(Shape, frozen=True):
    """
    One thing that was imposed.

    Attributes:
        kind: ``breaker``, ``drain`` or ``log_level``.
        target: The backend, or ``backend/model``; ``log`` for a level.
        expires: Seconds since the epoch.
    """

    kind: str
    target: str
    value: str
    expires: float
    seconds_left: float


class Overrides(Shape, frozen=True):
    """All that holds now."""

    overrides: list[Imposed]


@frozen(eq=False)
class ImposingRoutes:
    """
    The routes.

    Attributes:
        force: Forces the breakers of a backend, or of one of its models, to a state for so many
            seconds; gives how the backend is then.
        drain: Drains a backend for so many seconds; 0 ends that.
        probe: Probes a backend.
        listed: Gives all that holds.
    """

    force: Callable[[str, str | None, ForcedState | None, float], Awaitable[dict[str, Any]]]
    drain: Callable[[str, float], Awaitable[dict[str, Any]]]
    probe: Callable[[str], Awaitable[dict[str, Any]]]
    listed: Callable[[], Sequence[dict[str, Any]]]
    topic: ClassVar[Topic] = topic

    @topic.route(
        "POST", "/admin/backends/<name>/breaker", role="operator", body=Force, answer=Standing,
        errors=(404,), summary="Force breakers",
    )  # fmt: skip
    async def breaker(self, call: Call, body: Force, name: str) -> dict[str, Any]:
        """Force the breakers of a backend open or closed for a time, from the next request on."""
        call.note(backend=name, model=body.model, state=body.state, seconds=body.seconds)
        state = None if body.state == "auto" else body.state
        return await self.force(name, body.model, state, body.seconds)

    @topic.route(
        "POST", "/admin/backends/<name>/drain", role="operator", body=Drain, answer=Standing,
        errors=(404,), summary="Drain a backend",
    )  # fmt: skip
    async def drained(self, call: Call, body: Drain, name: str) -> dict[str, Any]:
        """Let no new attempts go to a backend for a time; those in flight end."""
        call.note(backend=name, seconds=body.seconds)
        return await self.drain(name, body.seconds)

    @topic.route(
        "POST", "/admin/backends/<name>/undrain", role="operator", body=Now, answer=Standing,
        errors=(404,), summary="Let attempts go to a backend again",
    )  # fmt: skip
    async def undrained(self, call: Call, body: Now, name: str) -> dict[str, Any]:
        """Let new attempts go to a backend again."""
        call.note(backend=name)
        return await self.drain(name, 0)

    @topic.route(
        "POST", "/admin/backends/<name>/check", role="operator", body=Now, answer=Checked,
        errors=(404, 502), summary="Probe a backend",
    )  # fmt: skip
    async def check(self, call: Call, body: Now, name: str) -> dict[str, Any]:
        """Probe a backend now: a free question, which counts towards its breakers."""
        call.note(backend=name)
        return await self.probe(name)

    @topic.route(
        "GET", "/admin/overrides", role="viewer", answer=Overrides, summary="What is imposed"
    )
    def overrides(self, call: Call) -> dict[str, Any]:
        """Show what operators have imposed for a time, and until when."""
        return {"overrides": [*self.listed()]}
