"""Who stands at the admin port, and what each role may do."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from lmgateway.errors import Forbidden

Role = Literal["public", "viewer", "operator", "admin"]
"""Each may do what those before it may; ``public`` is anyone at all."""

ROLES: tuple[Role, ...] = ("public", "viewer", "operator", "admin")
_RANK = {role: rank for rank, role in enumerate(ROLES)}


class Operator(Struct, frozen=True):
    """
    Who asks.

    Attributes:
        name: The name of the token that was shown; empty for a stranger.
        role: What they may do.
        via: How they showed who they are: by a ``token``, by the ``session`` of a browser, or
            not at all: ``open`` where the port asks for no token, ``none`` for a stranger.
    """

    name: str
    role: Role
    via: Literal["token", "session", "open", "none"]

    def require(self, role: Role) -> None:
        """
        Look whether this is enough.

        Raises:
            Forbidden: If not; the message names the role that is needed.
        """
        if _RANK[self.role] < _RANK[role]:
            raise Forbidden(f"This needs the role {role!r}; yours is {self.role!r}.")


STRANGER = Operator("", "public", "none")
ANYONE = Operator("anyone", "admin", "open")
"""Whoever reaches a loopback port that asks for no token."""
