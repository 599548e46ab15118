"""The admin port's half of a graph: who may come in, and every topic with what it shows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import cache, partial

from lmgateway.admin.access import Token, Tokens
from lmgateway.admin.analytics import AnalyticsRoutes
from lmgateway.admin.answers import Fallback
from lmgateway.admin.audit import AuditRoutes
from lmgateway.admin.backends import BackendRoutes
from lmgateway.admin.budgets import BudgetRoutes
from lmgateway.admin.clients import ClientRoutes
from lmgateway.admin.config import ConfigRoutes
from lmgateway.admin.cookies import Cookies
from lmgateway.admin.documents import DocumentRoutes
from lmgateway.admin.door import AdminDoor
from lmgateway.admin.events import EventRoutes
from lmgateway.admin.health import HealthRoutes
from lmgateway.admin.hosts import Hosts
from lmgateway.admin.imposing import ImposingRoutes
from lmgateway.admin.inflight import InFlightRoutes
from lmgateway.admin.keys import KeyRoutes
from lmgateway.admin.levels import LevelRoutes
from lmgateway.admin.login import LoginRoutes
from lmgateway.admin.metrics import MetricsRoutes
from lmgateway.admin.openapi import admin_document
from lmgateway.admin.pages import PageRoutes
from lmgateway.admin.setup import SetupRoutes
from lmgateway.admin.table import Routed, RouteTable
from lmgateway.admin.traffic import TrafficRoutes
from lmgateway.admin.usage import UsageRoutes
from lmgateway.classes import frozen
from lmgateway.config.admin import AdminTokenSection
from lmgateway.config.check_admin import admin_port_unguarded
from lmgateway.config.effective import effective
from lmgateway.config.redact import redacted
from lmgateway.config.schema import Config
from lmgateway.config.sources import complaints
from lmgateway.config.values import moment
from lmgateway.dialects.document import encode
from lmgateway.errors import ConfigError
from lmgateway.governance.addresses import Proxies
from lmgateway.governance.keys import digest
from lmgateway.governance.sheet import Sheet
from lmgateway.service.backends import Backends
from lmgateway.service.client_port import client_description
from lmgateway.service.metrics import Scrape
from lmgateway.service.port import Place, Port, limits_of, secret_of
from lmgateway.service.resources import Resources
from lmgateway.service.tiers import queue_limits
from lmgateway.service.wellness import Wellness
from lmgateway.wire.routes import Routes

MAX_OPERATORS = 256
"""Connections to the admin port at once."""


@frozen(kw_only=True)
class AdminParts:
    """
    What the admin port is made of.

    Attributes:
        reload: Applies the files anew.
        sheets: Says how each client stands.
        scrape: Gives the metrics.
    """

    config: Config
    resources: Resources
    backends: Backends
    reload: Callable[[], Awaitable[None]]
    scrape: Scrape
    sheets: Callable[[], list[Sheet]]

    def port(self) -> Port:
        """
        Put the port together.

        Raises:
            ConfigError: If a token resolves to nothing.
        """
        gateway, resources = self.config.gateway, self.resources
        proxies = Proxies(gateway.trusted_proxies)
        tokens, cookies = self._tokens(), Cookies(proxies)
        login = LoginRoutes(tokens, resources.guesses, resources.sessions, cookies)
        table: RouteTable
        described = DocumentRoutes(
            cache(lambda: encode(admin_document(table.declared, is_open=not tokens))),
            partial(client_description, self.config.is_open),
        )
        table = RouteTable([login, described, *self._routed()])
        door = AdminDoor(
            table=table,
            tokens=tokens,
            guesses=resources.guesses,
            sessions=resources.sessions,
            hosts=Hosts(frozenset(gateway.admin_hosts), gateway.admin_host),
            cookies=cookies,
            proxies=proxies,
            tell=resources.events.tell,
        )
        return Port(
            place=Place(gateway.admin_host, gateway.admin_port, gateway.admin_listen),
            unguarded=admin_port_unguarded(self.config),
            tls=gateway.admin_tls,
            routes=Routes(table.apps, Fallback()),
            door=door,
            limits=limits_of(self.config, MAX_OPERATORS),
        )

    def _routed(self) -> Sequence[Routed]:
        """Make every topic: a new one is added here, and nowhere else."""
        config, resources = self.config, self.resources
        wellness = Wellness(
            backends=self.backends.by_name,
            health=resources.health,
            probes=resources.probes,
            queues=resources.queues,
            bulkheads=resources.bulkheads,
            queue_names=[*queue_limits(config.tiers)],
            wall=resources.wall,
        )
        return [
            PageRoutes(),
            HealthRoutes(self._condition),
            TrafficRoutes(resources.traffic),
            InFlightRoutes(resources.traffic, resources.wheel.now),
            EventRoutes(resources.feed),
            ConfigRoutes(
                source=str(config.source),
                checksum=config.checksum,
                served=resources.served,
                view=lambda: redacted(config, resources.environ),
                settings=lambda: effective(config),
                apply=self.reload,
            ),
            LevelRoutes(resources.log_levels),
            SetupRoutes(
                config,
                resources.served,
                resources.wall,
                lambda: complaints(config, resources.environ),
            ),
            BackendRoutes(wellness.observed, wellness.probed),
            ImposingRoutes(
                wellness.force,
                wellness.drain,
                wellness.check,
                lambda: [*wellness.overrides(), *resources.log_levels.overrides()],
            ),
            ClientRoutes(self.sheets),
            BudgetRoutes(self.scrape.budgets),
            KeyRoutes(resources.issued, resources.ledger, config.is_open),
            MetricsRoutes(self.scrape.text),
            UsageRoutes(resources.ledger),
            AuditRoutes(resources.audit),
            AnalyticsRoutes(resources.meters),
        ]

    def _condition(self) -> dict[str, object]:
        config = self.config
        return {
            "status": "ok",
            "ready": not self.backends.missing_keys(),
            "tiers": len(config.tiers),
            "backends": len(config.backends),
            "checksum": config.checksum,
            "warnings": [*config.warnings, *complaints(config, self.resources.environ)],
        }

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
