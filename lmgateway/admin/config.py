"""The configuration: ``/admin/config``, ``/admin/config/status`` and ``/admin/reload``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, ClassVar, Literal

from lmgateway.admin.answers import Answer, Conflict, Fault, Order, Shape
from lmgateway.admin.declared import Call, Topic
from lmgateway.admin.status import Served
from lmgateway.classes import frozen
from lmgateway.config.effective import Setting
from lmgateway.errors import ConfigError

topic = Topic("config")


class SettingRow(Shape, frozen=True):
    """
    One setting.

    Attributes:
        key: The way to it, as TOML writes it.
        value: What holds; stars for what is secret.
        origin: The file, ``$NAME`` for an environment variable, or ``default``.
    """

    key: str
    value: Any
    origin: str


class Effective(Shape, frozen=True):
    """
    The configuration without secrets.

    Attributes:
        generation: How often one was applied; the first is 1.
        files: What was read, the main file first.
        settings: Every single setting, of clients the first 200.
    """

    gateway: dict[str, Any]
    backends: list[dict[str, Any]]
    tiers: list[dict[str, Any]]
    aliases: dict[str, str]
    profiles: dict[str, dict[str, Any]]
    checksum: str
    generation: int
    files: list[str]
    warnings: list[str]
    settings: list[SettingRow]


class Failure(Shape, frozen=True):
    """
    Why the last reload failed.

    Attributes:
        at: Seconds since the epoch.
    """

    at: float
    error: str


class Status(Shape, frozen=True):
    """
    What is served.

    Attributes:
        loaded_at: Seconds since the epoch.
        last_error: Why the last reload failed; ``null`` if it did not.
    """

    source: str
    checksum: str
    generation: int
    loaded_at: float
    last_error: Failure | None


class Reload(Order, frozen=True):
    """
    What to apply.

    Attributes:
        expected_checksum: Of what is served before, as the caller knows it; 409 if it is not.
    """

    expected_checksum: str | None = None


class Reloaded(Shape, frozen=True):
    """It was applied."""

    status: Literal["reloaded"]


@frozen(kw_only=True, eq=False)
class ConfigRoutes:
    """
    The routes.

    Attributes:
        source: The main file.
        view: Gives the reference's part of an ``Effective``.
        settings: Gives every setting.
        apply: Applies the files anew; raises ``ConfigError`` and changes nothing if they are bad.
    """

    source: str
    checksum: str
    served: Served
    view: Callable[[], dict[str, Any]]
    settings: Callable[[], Iterable[Setting]]
    apply: Callable[[], Awaitable[None]]
    topic: ClassVar[Topic] = topic

    @topic.route("GET", "/admin/config", role="viewer", answer=Effective, summary="Configuration")
    def config(self, call: Call) -> dict[str, Any]:
        """Show the effective configuration, and where each setting comes from."""
        rows = [SettingRow(key=s.key, value=s.value, origin=s.origin) for s in self.settings()]
        return {**self.view(), "generation": self.served.generation, "settings": rows}

    @topic.route(
        "GET", "/admin/config/status", role="viewer", answer=Status, summary="What is served"
    )
    def status(self, call: Call) -> Status:
        """Show which configuration is served since when, and why a later one is not."""
        served, error = self.served, None
        if served.failed_at is not None:
            error = Failure(at=served.failed_at, error=served.error or "")
        return Status(
            source=self.source,
            checksum=self.checksum,
            generation=served.generation,
            loaded_at=served.loaded_at,
            last_error=error,
        )

    @topic.route(
        "POST", "/admin/reload", role="operator", body=Reload, answer=Reloaded, errors=(409, 422),
        summary="Apply the files anew",
    )  # fmt: skip
    async def reload(self, call: Call, body: Reload) -> Answer:
        """Apply the files anew, or say exactly why not; the old configuration serves on then."""
        if body.expected_checksum not in (None, self.checksum):
            raise Conflict(f"What is served has the checksum {self.checksum}.")
        call.note(before=self.checksum)
        try:
            await self.apply()
        except ConfigError as error:
            call.note(error=str(error)[:1000])
            fault = Fault(error=str(error), kind="config", problems=list(error.problems))
            return Answer(fault, 422)
        call.note(generation=self.served.generation)
        return Answer(Reloaded(status="reloaded"))
