"""The configuration: ``/admin/config`` and ``/admin/reload``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

from attrs import frozen

from lmgateway.admin.answers import Answer, Fault, Order, Shape
from lmgateway.admin.declared import Call, Topic
from lmgateway.errors import ConfigError

topic = Topic("config")


class Effective(Shape, frozen=True):
    """
    The configuration without secrets.

    Attributes:
        files: What was read, the main file first.
    """

    gateway: dict[str, Any]
    backends: list[dict[str, Any]]
    tiers: list[dict[str, Any]]
    aliases: dict[str, str]
    profiles: dict[str, dict[str, Any]]
    checksum: str
    files: list[str]
    warnings: list[str]


class Reload(Order, frozen=True):
    """What to apply."""


class Reloaded(Shape, frozen=True):
    """It was applied."""

    status: Literal["reloaded"]


@frozen(eq=False)
class ConfigRoutes:
    """
    The routes.

    Attributes:
        effective: Gives an ``Effective``.
        apply: Applies the files anew; raises ``ConfigError`` and changes nothing if they are bad.
    """

    effective: Callable[[], dict[str, Any]]
    apply: Callable[[], None]
    topic: ClassVar[Topic] = topic

    @topic.route("GET", "/admin/config", role="viewer", answer=Effective, summary="Configuration")
    def config(self, call: Call) -> dict[str, Any]:
        """Show the effective configuration."""
        return self.effective()

    @topic.route(
        "POST", "/admin/reload", role="operator", body=Reload, answer=Reloaded, errors=(422,),
        summary="Apply the files anew",
    )  # fmt: skip
    def reload(self, call: Call, body: Reload) -> Answer:
        """Apply the files anew, or say exactly why not; the old configuration serves on then."""
        try:
            self.apply()
        except ConfigError as error:
            fault = Fault(error=str(error), kind="config", problems=list(error.problems))
            return Answer(fault, 422)
        return Answer(Reloaded(status="reloaded"))
