"""The admin port's half of a graph: who may come in, and what is built when the first does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import TYPE_CHECKING

from msgspec import Struct

from lmgateway.admin.access import Token, Tokens
from lmgateway.config.admin import AdminTokenSection
from lmgateway.config.check_admin import admin_port_unguarded
from lmgateway.config.schema import Config
from lmgateway.config.values import moment
from lmgateway.errors import ConfigError, GatewayError
from lmgateway.governance.budgets import Budgets
from lmgateway.governance.keys import digest
from lmgateway.governance.sheet import Sheet
from lmgateway.service.backends import Backends
from lmgateway.service.port import Place, Port, limits_of, secret_of
from lmgateway.service.resources import Resources
from lmgateway.wire.door import Head, Pass, Refusal
from lmgateway.wire.request import Request

if TYPE_CHECKING:
    from lmgateway.service.office import Office

MAX_OPERATORS = 256
"""Connections to the admin port at once."""


class Reception:
    """
    The door and the routes of the admin port, which are only built when somebody knocks.

    Nothing in the config can make that fail: tokens are looked up before.
    """

    def __init__(self, parts: AdminParts, tokens: Tokens) -> None:
        self._parts = parts
        self._tokens = tokens

    @cached_property
    def office(self) -> Office:
        """What stands behind it."""
        from lmgateway.service.office import Office  # a tenth of the time to start

        return Office.of(self._parts, self._tokens)

    def admit(self, head: Head) -> Pass:
        """Let a request in: see ``wire.door.Door``."""
        return self.office.door.admit(head)

    def refuse(self, head: Head | None, error: GatewayError) -> Refusal:
        """Give the answer to a request that is not let in."""
        return self.office.door.refuse(head, error)

    def refused(self, head: Head | None, peer: str, error: GatewayError) -> None:
        """Take note that a request was not let in."""
        self.office.door.refused(head, peer, error)

    def dispatch(self, request: Request) -> None:
        """Have a request answered."""
        self.office.routes.dispatch(request)


class AdminParts(Struct, frozen=True, kw_only=True):
    """
    What the admin port is made of.

    Attributes:
        reload: Applies the files anew.
        sheets: Says how each client stands.
    """

    config: Config
    resources: Resources
    backends: Backends
    reload: Callable[[], Awaitable[None]]
    budgets: Budgets
    sheets: Callable[[], list[Sheet]]

    def port(self) -> Port:
        """
        Put the port together.

        Raises:
            ConfigError: If a token resolves to nothing.
        """
        gateway = self.config.gateway
        reception = Reception(self, self._tokens())
        return Port(
            place=Place(gateway.admin_host, gateway.admin_port, gateway.admin_listen),
            unguarded=admin_port_unguarded(self.config),
            tls=gateway.admin_tls,
            routes=reception,
            door=reception,
            limits=limits_of(self.config, MAX_OPERATORS),
        )

    def _tokens(self) -> Tokens:
        config, gateway = self.config, self.config.gateway
        tokens = [self._token(section) for section in config.admin_tokens]
        if gateway.admin_token_source is not None:
            token = secret_of(gateway.admin_token_source, config, self.resources)
            if token is None:
                raise ConfigError(["gateway: the admin token resolves to nothing"])
            tokens.append(Token(name="admin", role="admin", digest=digest(token.reveal())))
        return Tokens(tuple(tokens), self.resources.wall)

    def _token(self, section: AdminTokenSection) -> Token:
        if section.token_sha256 is not None:
            kept = bytes.fromhex(section.token_sha256)
        else:
            secret = secret_of(section.token_source, self.config, self.resources)
            if secret is None:
                raise ConfigError([f"admin_tokens: {section.name!r} resolves to nothing"])
            kept = digest(secret.reveal())
        expires = None if section.expires is None else moment(section.expires)
        return Token(name=section.name, role=section.role, digest=kept, expires=expires)
