"""The clients of the config, and how each stands: ``/admin/clients``."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from lmgateway.admin.answers import Shape
from lmgateway.admin.declared import Call, Topic
from lmgateway.classes import frozen
from lmgateway.governance.sheet import Sheet

topic = Topic("clients")


class Clients(Shape, frozen=True):
    """All clients of the config, as it names them; keys made at run time are elsewhere."""

    clients: list[Sheet]


@frozen(eq=False)
class ClientRoutes:
    """
    The routes.

    Attributes:
        sheets: Says how each client stands now.
    """

    sheets: Callable[[], list[Sheet]]
    topic: ClassVar[Topic] = topic

    @topic.route("GET", "/admin/clients", role="viewer", answer=Clients, summary="Clients")
    def all(self, call: Call) -> Clients:
        """Show each client's limits, budgets and spending."""
        return Clients(clients=self.sheets())
