"""
The composition root: from one frozen config to one graph of objects.

A reload builds a new graph and swaps one reference; what is in flight ends on
the graph on which it began.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from lmgateway.admin.answers import Fallback
from lmgateway.admin.app import AdminPort
from lmgateway.admin.door import AdminDoor
from lmgateway.config.exposure import admin_port_unguarded
from lmgateway.config.redact import redacted
from lmgateway.config.schema import Config
from lmgateway.errors import ConfigError
from lmgateway.governance.admission import Admission
from lmgateway.governance.budgets import Budgets
from lmgateway.governance.limits import Limits
from lmgateway.governance.pricing import Prices
from lmgateway.routing.policy import Directory
from lmgateway.routing.router import Router
from lmgateway.service.backends import Backends
from lmgateway.service.client_port import ClientParts
from lmgateway.service.port import Place, Port, limits_of, secret_of
from lmgateway.service.resources import Resources
from lmgateway.service.routing import policies_of, router_of
from lmgateway.service.tiers import Tiers, queue_limits
from lmgateway.service.wellness import Wellness
from lmgateway.wire.routes import Routes

MAX_OPERATORS = 256
"""Connections to the admin port at once."""


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


def assemble(config: Config, resources: Resources, reload: Callable[[], None]) -> Graph:
    """
    Build the graph of a config.

    Args:
        reload: What the admin port's reload does.

    Raises:
        ConfigError: If a secret or a file that the config names cannot be used.
    """
    backends = Backends(config, resources)
    tiers = Tiers(config, backends.by_name, resources)
    ladder = tiers.ladder
    directory = Directory(
        ladder=ladder, policies=policies_of(config, ladder), open=not config.clients
    )
    budgets = Budgets.of(config, resources.tally.purses, resources.wall)
    limits = Limits.of(config, resources.tally.counters, resources.wheel.now)

    def settle() -> None:
        resources.traffic.resize(config.gateway.traffic_log_capacity)
        backends.settle()
        tiers.settle()
        resources.tally.counters.keep_only(limits.names())
        budgets.settled()

    router = router_of(config, resources, directory)
    admission = Admission(
        tally=resources.tally,
        limits=limits,
        prices=Prices.of(config),
        budgets=budgets,
        max_in_flight=config.gateway.max_in_flight,
    )
    client = ClientParts(
        config=config,
        resources=resources,
        router=router,
        admission=admission,
        limits=limits,
        missing_keys=backends.missing_keys,
    )
    return Graph(
        config=config,
        router=router,
        admission=admission,
        client=client.port(),
        admin=_admin_port(config, resources, backends, reload),
        settle=settle,
    )


def _admin_port(
    config: Config,
    resources: Resources,
    backends: Backends,
    reload: Callable[[], None],
) -> Port:
    gateway = config.gateway
    wellness = Wellness(
        backends=backends.by_name,
        health=resources.health,
        queues=resources.queues,
        bulkheads=resources.bulkheads,
        queue_names=[*queue_limits(config.tiers)],
    )
    token = secret_of(gateway.admin_token_source, config, resources)
    if token is None and gateway.admin_token_source is not None:
        raise ConfigError(["gateway: the admin token resolves to nothing"])
    admin = AdminPort(
        traffic=resources.traffic,
        health=lambda: {
            "status": "ok",
            "ready": not backends.missing_keys(),
            "tiers": len(config.tiers),
            "backends": len(config.backends),
            "checksum": config.checksum,
            "warnings": list(config.warnings),
        },
        config=lambda: redacted(config, resources.environ),
        reload=reload,
        observed=wellness.observed,
        probed=wellness.probed,
    )
    return Port(
        place=Place(gateway.admin_host, gateway.admin_port, gateway.admin_listen),
        unguarded=admin_port_unguarded(config),
        tls=gateway.admin_tls,
        routes=Routes([admin.app], Fallback()),
        door=AdminDoor(token),
        limits=limits_of(config, MAX_OPERATORS),
    )
