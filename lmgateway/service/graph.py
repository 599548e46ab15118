"""
The composition root: from one frozen config to one graph of objects.

A reload builds a new graph and swaps one reference; what is in flight ends on
the graph on which it began.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from attrs import frozen

from lmgateway.config.schema import Config
from lmgateway.governance.admission import Admission
from lmgateway.governance.budgets import Budgets
from lmgateway.governance.limits import Limits
from lmgateway.governance.pricing import Prices
from lmgateway.governance.sheet import sheet_of
from lmgateway.routing.policy import Directory
from lmgateway.routing.router import Router
from lmgateway.service.admin_port import AdminParts
from lmgateway.service.backends import Backends
from lmgateway.service.client_port import ClientParts
from lmgateway.service.clients import Clients
from lmgateway.service.metrics import Scrape
from lmgateway.service.port import Port
from lmgateway.service.reporting import Reporting
from lmgateway.service.resources import Resources
from lmgateway.service.routing import policies_of, router_of
from lmgateway.service.state import Records
from lmgateway.service.tiers import Tiers
from lmgateway.service.webhooks import Hooks


@frozen(kw_only=True)
class Graph:
    """
    Everything that a config becomes.

    Attributes:
        settle: Makes what outlives every graph fit this one; called once it is served.
    """

    config: Config
    router: Router
    admission: Admission
    client: Port
    admin: Port
    settle: Callable[[], None]


async def unmoved() -> None:
    """What is only looked at, and not served, is not applied anew."""


def assemble(
    config: Config, resources: Resources, reload: Callable[[], Awaitable[None]] = unmoved
) -> Graph:
    """
    Build the graph of a config.

    Args:
        reload: What the admin port's reload does.

    Raises:
        ConfigError: If a secret or a file that the config names cannot be used.
    """
    backends = Backends(config, resources)
    clients = Clients(config, resources)
    prices = Prices.of(config, resources.wall())
    tiers = Tiers(config, backends.by_name, resources, prices, backends.private)
    ladder = tiers.ladder
    directory = Directory(ladder=ladder, policies=policies_of(config, ladder), open=config.is_open)
    budgets = Budgets.of(
        config,
        resources.tally.purses,
        resources.wall,
        lambda facts: resources.events.tell("budget", **facts),
    )
    limits = Limits.of(
        config,
        resources.tally.counters,
        resources.wheel.now,
        directory.meaning,
        resources.events.tell,
    )
    records = Records.of(config, resources)
    reporting = Reporting.of(config, resources)
    hooks = Hooks(config, resources)

    objectives = {name: p.slo for name, p in config.profiles.items() if p.slo is not None}

    def settle() -> None:
        resources.traffic.resize(config.gateway.traffic_log_capacity)
        resources.meters.objectives = objectives
        backends.settle(hooks.clients)
        hooks.settle()
        tiers.settle()
        limits.keep_only(clients.names())
        budgets.settled()
        gateway = config.gateway
        resources.flights.settle(
            gateway.idempotency_window_ms / 1000, gateway.idempotency_max_bytes
        )
        records.settle()
        records.restore(budgets)
        clients.settle()
        reporting.settle()

    router = router_of(config, resources, directory, prices)
    admission = Admission(
        tally=resources.tally,
        limits=limits,
        prices=prices,
        budgets=budgets,
        max_in_flight=config.gateway.max_in_flight,
        now=resources.wheel.now,
        ledger=resources.ledger,
        fail_closed=config.state.fail_closed,
    )
    client = ClientParts(
        config=config,
        resources=resources,
        router=router,
        keys=clients.keys,
        admission=admission,
        limits=limits,
        missing_keys=backends.missing_keys,
    )
    scrape = Scrape(config=config, resources=resources, budgets=budgets)
    admin = AdminParts(
        config=config,
        resources=resources,
        backends=backends,
        reload=reload,
        scrape=scrape,
        sheets=lambda: [sheet_of(each, admission) for each in clients.keys.principals.values()],
    )
    return Graph(
        config=config,
        router=router,
        admission=admission,
        client=client.port(),
        admin=admin.port(),
        settle=settle,
    )
