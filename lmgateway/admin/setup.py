"""What is still to be done or looked at: ``/admin/setup``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar, Literal

from lmgateway.admin.answers import Shape
from lmgateway.admin.declared import Call, Topic
from lmgateway.admin.status import Served
from lmgateway.classes import frozen
from lmgateway.config.schema import Config
from lmgateway.config.values import is_loopback, moment

topic = Topic("setup")

DAY = 86400.0
SOON = 14.0
"""Days before a token expires from which that is told."""


class Hint(Shape, frozen=True):
    """
    One thing to look at.

    Attributes:
        id: What kind of thing it is: a fixed word.
        text: What is the case.
        todo: What to do about it.
    """

    id: str
    level: Literal["error", "warning", "info"]
    text: str
    todo: str


class Setup(Shape, frozen=True):
    """All of them, the gravest first."""

    hints: list[Hint]


@frozen(eq=False)
class SetupRoutes:
    """
    The route.

    Attributes:
        wall: Seconds since the epoch.
        complaints: Says which secrets cannot be read any more.
    """

    config: Config
    served: Served
    wall: Callable[[], float]
    complaints: Callable[[], Iterable[str]]
    topic: ClassVar[Topic] = topic

    @topic.route("GET", "/admin/setup", role="viewer", answer=Setup, summary="What is to be done")
    def setup(self, call: Call) -> Setup:
        """List what is not in order, or could be better, and what to do about it."""
        return Setup(hints=[*self._errors(), *self._warnings(), *self._infos()])

    def _errors(self) -> Iterator[Hint]:
        if self.served.failed_at is not None:
            yield Hint(
                id="reload_failed",
                level="error",
                text=f"The last reload failed, the old one serves on: {self.served.error}",
                todo="Mend the file and reload; `lmgateway check` tells the same.",
            )

    def _warnings(self) -> Iterator[Hint]:
        gateway = self.config.gateway
        for line in self.config.warnings:
            todo = "Change it in the file named there, and reload."
            yield Hint(id="config", level="warning", text=line, todo=todo)
        for text in self.complaints():
            todo = "Put the secret back where it is read from, before the next start."
            yield Hint(id="secret", level="warning", text=text, todo=todo)
        yield from self._tokens()
        if not is_loopback(gateway.client_host) and not self.config.clients:
            yield Hint(
                id="anonymous_clients",
                level="warning",
                text="Others can reach the client port, and need no key.",
                todo="Add [[clients]] with keys.",
            )
        if gateway.traffic_log_debug:
            yield Hint(
                id="debug_capture",
                level="warning",
                text="What backends are sent, prompts too, is kept in the traffic log.",
                todo="Set traffic_log_debug = false once you have seen enough.",
            )

    def _tokens(self) -> Iterator[Hint]:
        for token in self.config.admin_tokens:
            if token.expires is None:
                continue
            days = (moment(token.expires) - self.wall()) / DAY
            if days < SOON:
                when = f"expires on {token.expires}" if days > 0 else "has expired"
                yield Hint(
                    id="admin_token_expires",
                    level="warning",
                    text=f"The admin token {token.name!r} {when}.",
                    todo="Give its holder a new one, or take it out.",
                )

    def _infos(self) -> Iterator[Hint]:
        gateway = self.config.gateway
        if gateway.admin_token_source is None and not self.config.admin_tokens:
            yield Hint(
                id="open_admin_port",
                level="info",
                text="Everyone on this machine may use the admin port.",
                todo="Set admin_token_env, or add [[admin_tokens]].",
            )
        if all(backend.provider == "mock" for backend in self.config.backends.values()):
            yield Hint(
                id="only_mock",
                level="info",
                text="Only the built-in mock backend is configured: answers are made up.",
                todo="Add a backend of a provider, and tiers that use it.",
            )
        if not gateway.traffic_log_capacity:
            yield Hint(
                id="no_traffic_log",
                level="info",
                text="No requests are kept to be shown here.",
                todo="Set traffic_log_capacity.",
            )
