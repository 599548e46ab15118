"""
The composition root: from one frozen config to one graph of objects.

A reload builds a new graph and swaps one reference; what is in flight ends on
the graph on which it began.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msgspec import Struct

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
from lmgateway.service.port import Port
from lmgateway.service.reporting import Reporting
from lmgateway.service.resources import Resources
from lmgateway.service.routing import policies_of, router_of
from lmgateway.service.state import Records
from lmgateway.service.tiers import Tiers
from lmgateway.service.webhooks import Hooks


class Graph(Struct, frozen=True, kw_only=True):
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
    config: Config,
    resources: Resources,
    reload: Callable[[], Awaitable[None]] = unmoved,
    prices: Prices | None = None,
) -> Graph:
    """
    Build the graph of a config.

    Args:
        reload: What the admin port's reload does.
        prices: The config's, if they were read already: lists of them are large.

    Raises:
        ConfigError: If a secret or a file that the config names cannot be used.
    """
    parts = _Parts.of(config, resources, prices or Prices.of(config, resources.wall()))
    router = router_of(config, resources, parts.directory, parts.prices)
    admission = parts.admission()
    keys = parts.clients.keys
    client = ClientParts(
        config=config,
        resources=resources,
        router=router,
        keys=keys,
        admission=admission,
        limits=parts.limits,
        missing_keys=parts.backends.missing_keys,
    )
    admin = AdminParts(
        config=config,
        resources=resources,
        backends=parts.backends,
        reload=reload,
        budgets=parts.budgets,
        sheets=lambda: [sheet_of(each, admission) for each in keys.principals.values()],
    )
    return Graph(
        config=config,
        router=router,
        admission=admission,
        client=client.port(),
        admin=admin.port(),
        settle=parts.settle,
    )


class _Parts(Struct, frozen=True, kw_only=True, eq=False):
    """What a graph is put together from."""

    config: Config
    resources: Resources
    backends: Backends
    clients: Clients
    prices: Prices
    tiers: Tiers
    directory: Directory
    budgets: Budgets
    limits: Limits
    records: Records
    reporting: Reporting
    hooks: Hooks

    @classmethod
    def of(cls, config: Config, resources: Resources, prices: Prices) -> _Parts:
        """Make them; nothing that outlives a graph is changed yet."""
        backends = Backends(config, resources)
        clients = Clients(config, resources)
        tiers = Tiers(config, backends.by_name, resources, prices, backends.private)
        directory = Directory(
            ladder=tiers.ladder, policies=policies_of(config, tiers.ladder), open=config.is_open
        )
        return cls(
            config=config,
            resources=resources,
            backends=backends,
            clients=clients,
            prices=prices,
            tiers=tiers,
            directory=directory,
            budgets=_budgets(config, resources),
            limits=_limits(config, resources, directory),
            records=Records.of(config, resources),
            reporting=Reporting.of(config, resources),
            hooks=Hooks(config, resources),
        )

    def admission(self) -> Admission:
        """Make what every request goes through first."""
        together = self.resources.together
        kind = Admission if together is None else together.admission
        return kind(
            tally=self.resources.tally,
            limits=self.limits,
            prices=self.prices,
            budgets=self.budgets,
            max_in_flight=self.config.gateway.max_in_flight,
            now=self.resources.wheel.now,
            ledger=self.resources.ledger,
            fail_closed=self.config.state.fail_closed,
        )

    def settle(self) -> None:
        """Make what outlives every graph fit this one."""
        config, resources = self.config, self.resources
        gateway, profiles = config.gateway, config.profiles
        resources.traffic.resize(gateway.traffic_log_capacity)
        resources.meters.objectives = {n: p.slo for n, p in profiles.items() if p.slo is not None}
        self.backends.settle(self.hooks.clients)
        self.hooks.settle()
        self.tiers.settle()
        self.limits.keep_only(self.clients.names())
        self.budgets.settled()
        resources.flights.settle(
            gateway.idempotency_window_ms / 1000, gateway.idempotency_max_bytes
        )
        self.records.settle()
        self.records.restore(self.budgets)
        self.clients.settle()
        self.reporting.settle()


def _budgets(config: Config, resources: Resources) -> Budgets:
    return Budgets.of(
        config,
        resources.tally.purses,
        resources.wall,
        lambda facts: resources.events.tell("budget", **facts),
    )


def _limits(config: Config, resources: Resources, directory: Directory) -> Limits:
    kind = Limits if resources.together is None else resources.together.limits
    return kind.of(
        config,
        resources.tally.counters,
        resources.wheel.now,
        directory.meaning,
        resources.events.tell,
    )
