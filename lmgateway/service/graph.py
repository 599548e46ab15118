"""
The composition root: from one frozen config to one graph of objects.

A reload builds a new graph and swaps one reference; what is in flight ends on
the graph on which it began.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve, frozen

from lmgateway.admin.answers import Fallback
from lmgateway.admin.app import AdminPort
from lmgateway.admin.door import AdminDoor
from lmgateway.config.redact import redacted
from lmgateway.config.schema import ClientSection, Config, TlsSection
from lmgateway.config.secrets import Secret, resolve
from lmgateway.config.values import moment
from lmgateway.errors import ConfigError
from lmgateway.exchange import Principal
from lmgateway.gateway import Gateway
from lmgateway.governance.addresses import Proxies
from lmgateway.governance.admission import Admission
from lmgateway.governance.budgets import Budgets
from lmgateway.governance.keys import Keys, digest
from lmgateway.governance.limits import Limits
from lmgateway.governance.pricing import Prices
from lmgateway.routing.policy import DEFAULT, Directory
from lmgateway.routing.router import Router
from lmgateway.service.backends import Backends
from lmgateway.service.resources import Resources
from lmgateway.service.routing import policies_of, router_of
from lmgateway.service.tiers import Tiers, queue_limits
from lmgateway.service.wellness import Wellness
from lmgateway.surfaces.answers import Answers
from lmgateway.surfaces.anthropic import AnthropicSurface
from lmgateway.surfaces.cors import Cors
from lmgateway.surfaces.door import ClientDoor
from lmgateway.surfaces.explain import ExplainSurface
from lmgateway.surfaces.grammars import BACKEND_DIALECTS, ERROR_GRAMMARS
from lmgateway.surfaces.health import HealthSurface
from lmgateway.surfaces.intake import Intake
from lmgateway.surfaces.me import MeSurface
from lmgateway.surfaces.models import Models
from lmgateway.surfaces.ollama import OllamaSurface
from lmgateway.surfaces.openai import OpenAISurface
from lmgateway.wire.routes import Routes
from lmgateway.wire.server import Limits as WireLimits


@frozen(kw_only=True)
class Port:
    """One listener's half of a graph."""

    host: str
    number: int
    tls: TlsSection | None
    routes: Routes
    door: ClientDoor | AdminDoor
    limits: WireLimits


@frozen(kw_only=True)
class Graph:
    """
    Everything that a config becomes.

    Attributes:
        settle: Makes what outlives every graph fit this one; called once it is served.
    """

    config: Config
    router: Router
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
    return Graph(
        config=config,
        router=router,
        client=_client_port(config, resources, router, limits, budgets, backends.missing_keys),
        admin=_admin_port(config, resources, backends, reload),
        settle=settle,
    )


def _keys(config: Config, resources: Resources) -> Keys:
    anonymous = None
    public = config.gateway.public_profile
    if not config.clients:
        anonymous = Principal(name="", profile=DEFAULT, anonymous=True)
    elif public is not None:
        anonymous = Principal(name="", profile=public, anonymous=True, priority_ceiling=0)
    clients = [_client(client, config, resources) for client in config.clients]
    expiries = {c.name: moment(c.expires) for c in config.clients if c.expires is not None}
    return Keys.of(clients, anonymous, expiries, resources.wall)


def _client(client: ClientSection, config: Config, resources: Resources) -> tuple[bytes, Principal]:
    principal = Principal(
        name=client.name,
        profile=client.profile,
        expert=client.expert,
        allow_profiles=client.allow_profiles,
        allow_models=client.allow_models,
        allow_endpoints=client.allow_endpoints,
        group=client.group or "",
        tags=client.tags,
        default_priority=client.default_priority,
        priority_ceiling=client.most_priority,
    )
    if client.key_sha256 is not None:
        return bytes.fromhex(client.key_sha256), principal
    key = secret_of(client.key_source, config, resources)
    if key is None:
        raise ConfigError([f"clients: the key of {client.name!r} resolves to nothing"])
    return digest(key.reveal()), principal


def secret_of(source: Any, config: Config, resources: Resources) -> Secret | None:
    """Look a secret up; ``None`` if there is no source, or nothing there."""
    if source is None:
        return None
    return resolve(source, resources.environ, config.source.parent)


def _client_port(
    config: Config,
    resources: Resources,
    router: Router,
    limits: Limits,
    budgets: Budgets,
    missing_keys: Callable[[], int],
) -> Port:
    gateway, wheel = config.gateway, resources.wheel
    cors = Cors(frozenset(gateway.cors_origins))
    answers = Answers(ERROR_GRAMMARS, cors, resources.wall)
    directory = router.directory
    admission = Admission(
        tally=resources.tally,
        limits=limits,
        prices=Prices.of(config),
        budgets=budgets,
        max_in_flight=gateway.max_in_flight,
    )
    intake = Intake(
        gateway=Gateway(resources.traffic.recording, admission.admit, router.open),
        dialects=BACKEND_DIALECTS,
        wheel=wheel,
        wall=resources.wall,
        cors=cors,
        friendly_errors=gateway.error_style == "friendly",
        noted_headers=frozenset[str]().union(
            *(policy.rules.headers for policy in directory.policies.values())
        ),
    )
    explaining = Gateway(resources.traffic.recording, admission.admit, router.explain)
    health = HealthSurface(
        answers=answers,
        traffic=resources.traffic,
        uptime=resources.uptime,
        missing_keys=missing_keys,
        leaving=lambda: resources.leaving,
    )
    models = Models(directory, answers, resources.wall() - resources.uptime())
    me = MeSurface(answers, directory, admission)
    surfaces = (
        health,
        ExplainSurface(evolve(intake, gateway=explaining)),
        me,
        OpenAISurface(intake, models),
        AnthropicSurface(intake),
        OllamaSurface(intake, answers, directory, resources.wall),
    )
    door = ClientDoor(
        keys=_keys(config, resources),
        limits=limits,
        proxies=Proxies(gateway.trusted_proxies),
        answers=answers,
        traffic=resources.traffic,
        max_body=gateway.max_body_bytes,
        seconds=wheel.now,
        wall=resources.wall,
    )
    return Port(
        host=gateway.client_host,
        number=gateway.client_port,
        tls=gateway.client_tls,
        routes=Routes([surface.app for surface in surfaces], answers),
        door=door,
        limits=_limits(config, gateway.max_connections),
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
        host=gateway.admin_host,
        number=gateway.admin_port,
        tls=gateway.admin_tls,
        routes=Routes([admin.app], Fallback()),
        door=AdminDoor(token),
        limits=_limits(config, 256),
    )


def _limits(config: Config, connections: int) -> WireLimits:
    gateway = config.gateway
    return WireLimits(
        header_seconds=gateway.header_timeout_ms / 1000,
        body_seconds=gateway.body_timeout_ms / 1000,
        stall_seconds=gateway.write_stall_timeout_ms / 1000,
        keep_alive_seconds=gateway.keep_alive_timeout_ms / 1000,
        max_connections=connections,
    )
