"""
What answers at the admin port: its door, and every topic with what it shows.

With all that it imports, this is a tenth of the time to start, so it comes in
with the first request to that port (``service.admin_port``).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import TYPE_CHECKING

from lmgateway.admin.access import Tokens
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
from lmgateway.admin.workers import REPORTED, WorkerRoutes
from lmgateway.classes import frozen
from lmgateway.config.effective import effective
from lmgateway.config.redact import redacted
from lmgateway.config.sources import complaints
from lmgateway.dialects.document import encode
from lmgateway.governance.addresses import Proxies
from lmgateway.service.client_port import client_description
from lmgateway.service.metrics import Scrape
from lmgateway.service.reports import own_report
from lmgateway.service.tiers import queue_limits
from lmgateway.service.wellness import Wellness
from lmgateway.wire.routes import Routes

if TYPE_CHECKING:
    from lmgateway.service.admin_port import AdminParts
    from lmgateway.service.together import Crew


@frozen
class Office:
    """Who lets operators in, and what answers them."""

    door: AdminDoor
    routes: Routes

    @classmethod
    def of(cls, parts: AdminParts, tokens: Tokens) -> Office:
        """Open it; *tokens*: what may be shown at the door."""
        config, gateway, resources = parts.config, parts.config.gateway, parts.resources
        proxies = Proxies(gateway.trusted_proxies)
        cookies = Cookies(proxies)
        login = LoginRoutes(tokens, resources.guesses, resources.sessions, cookies)
        table: RouteTable
        described = DocumentRoutes(
            cache(lambda: encode(admin_document(table.declared, is_open=not tokens))),
            partial(client_description, config.is_open),
        )
        table = RouteTable([login, described, *_routed(parts)])
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
        return cls(door, Routes(table.apps, Fallback()))


def _routed(parts: AdminParts) -> Sequence[Routed]:
    """Make every topic: a new one is added here, and nowhere else."""
    config, resources, together = parts.config, parts.resources, parts.resources.together
    scrape = Scrape(config=config, resources=resources, budgets=parts.budgets)
    crew = None if together is None else together.crew
    wellness = Wellness(
        backends=parts.backends.by_name,
        health=resources.health,
        probes=resources.probes,
        queues=resources.queues,
        bulkheads=resources.bulkheads,
        queue_names=[*queue_limits(config.tiers)],
        wall=resources.wall,
        crew=crew,
    )
    return [
        PageRoutes(),
        HealthRoutes(lambda: _condition(parts)),
        TrafficRoutes(resources.traffic),
        InFlightRoutes(resources.traffic, resources.wheel.now, crew),
        EventRoutes(resources.feed),
        ConfigRoutes(
            source=str(config.source),
            checksum=config.checksum,
            served=resources.served,
            view=lambda: redacted(config, resources.environ),
            settings=lambda: effective(config),
            apply=parts.reload,
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
        ClientRoutes(parts.sheets),
        BudgetRoutes(parts.budgets),
        KeyRoutes(resources.issued, resources.ledger, config.is_open),
        MetricsRoutes(scrape.text),
        UsageRoutes(resources.ledger),
        AuditRoutes(resources.audit),
        AnalyticsRoutes(resources.meters),
        WorkerRoutes(lambda: _processes(parts, crew)),
    ]


def _condition(parts: AdminParts) -> dict[str, object]:
    config = parts.config
    return {
        "status": "ok",
        "ready": not parts.backends.missing_keys(),
        "tiers": len(config.tiers),
        "backends": len(config.backends),
        "checksum": config.checksum,
        "warnings": [*config.warnings, *complaints(config, parts.resources.environ)],
    }


async def _processes(parts: AdminParts, crew: Crew | None) -> dict[str, object]:
    reports = [] if crew is None else await crew.reports()
    own = own_report(parts.resources, serves=crew is None)
    deaths = 0 if crew is None else crew.deaths
    named = [{name: each[name] for name in REPORTED if name in each} for each in reports]
    wanted = parts.config.gateway.workers
    return {"wanted": wanted, "deaths": deaths, "processes": [own, *named]}
