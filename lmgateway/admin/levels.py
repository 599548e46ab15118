"""What is logged: ``/admin/log-level``."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from lmgateway.admin.answers import Order, Shape
from lmgateway.admin.declared import Call, Topic
from lmgateway.classes import frozen
from lmgateway.telemetry.levels import Levels

topic = Topic("log")
LONGEST = 86400
_LEVEL = r"([A-Za-z0-9_.]+=)?(debug|info|warn|error|critical)"
_LEVELS = Meta(
    max_length=1000,
    pattern=rf"^{_LEVEL}(,{_LEVEL})*$",
    description="`debug`, `info`, `warn`, `error` or `critical`, "
    "also by namespace as `info,lmgateway.wire=debug`",
)


class LogLevel(Shape, frozen=True):
    """
    What is logged.

    Attributes:
        level: The least level that is logged now, for all or by namespace.
        configured: What the configuration says.
        expires: When that holds again, in seconds since the epoch; ``null`` if it does now.
    """

    level: str
    configured: str
    expires: float | None


class Wanted(Order, frozen=True):
    """
    What is to be logged for a time.

    Attributes:
        level: ``debug``, ``info``, ``warn``, ``error`` or ``critical``; more exactly, for one
            namespace, ``info,lmgateway.wire=debug``.
        seconds: For how long.
    """

    level: Annotated[str, _LEVELS]
    seconds: Annotated[float, Meta(gt=0, le=LONGEST)] = 900


@frozen(eq=False)
class LevelRoutes:
    """The routes."""

    levels: Levels
    topic: ClassVar[Topic] = topic

    @topic.route(
        "GET", "/admin/log-level", role="viewer", answer=LogLevel, summary="What is logged"
    )
    def level(self, call: Call) -> LogLevel:
        """Show the least level that is logged."""
        imposed = self.levels.imposed
        return LogLevel(
            level=self.levels.text,
            configured=self.levels.configured,
            expires=None if imposed is None else round(imposed.until, 3),
        )

    @topic.route(
        "PUT", "/admin/log-level", role="operator", body=Wanted, answer=LogLevel,
        summary="Log more or less for a time",
    )  # fmt: skip
    def change(self, call: Call, body: Wanted) -> LogLevel:
        """Log more or less for a time."""
        call.note(before=self.levels.text, after=body.level, seconds=body.seconds)
        self.levels.impose(body.level, body.seconds)
        return self.level(call)

    @topic.route(
        "DELETE", "/admin/log-level", role="operator", answer=LogLevel,
        summary="Log as configured again",
    )  # fmt: skip
    def reset(self, call: Call) -> LogLevel:
        """Log as the configuration says again."""
        call.note(before=self.levels.text, after=self.levels.configured)
        self.levels.lift()
        return self.level(call)
