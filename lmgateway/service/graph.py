"""
The composition root: from one frozen config to one graph of objects.

A reload builds a new graph and swaps one reference; what is in flight ends on
the graph on which it began.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen

from lmgateway.admin.answers import Fallback
from lmgateway.admin.app import AdminPort
from lmgateway.admin.door import AdminDoor
from lmgateway.backends.base import Backend
from lmgateway.config.redact import redacted
from lmgateway.config.schema import ClientSection, Config, ProfileSection, TlsSection
from lmgateway.config.secrets import Secret, resolve
from lmgateway.errors import ConfigError
from lmgateway.exchange import Principal
from lmgateway.gateway import Gateway
from lmgateway.governance.keys import Keys, digest
from lmgateway.routing.ladder import Climber, Ladder, Tier
from lmgateway.routing.policy import DEFAULT, Directory, Policy
from lmgateway.routing.router import Router
from lmgateway.service.backends import Backends
from lmgateway.service.escalation import standard_of
from lmgateway.service.resources import Resources
from lmgateway.surfaces.answers import Answers
from lmgateway.surfaces.anthropic import AnthropicSurface
from lmgateway.surfaces.cors import Cors
from lmgateway.surfaces.door import ClientDoor
from lmgateway.surfaces.grammars import BACKEND_DIALECTS, ERROR_GRAMMARS
from lmgateway.surfaces.health import HealthSurface
from lmgateway.surfaces.intake import Intake
from lmgateway.surfaces.models import Models
from lmgateway.surfaces.ollama import OllamaSurface
from lmgateway.surfaces.openai import OpenAISurface
from lmgateway.wire.routes import Routes
from lmgateway.wire.server import Limits

FOREVER = 10 * 365 * 86400.0


@frozen(kw_only=True)
class Port:
    """One listener's half of a graph."""

    host: str
    number: int
    tls: TlsSection | None
    routes: Routes
    door: ClientDoor | AdminDoor
    limits: Limits


@frozen(kw_only=True)
class Graph:
    """Everything that a config becomes."""

    config: Config
    client: Port
    admin: Port


def seconds(milliseconds: int) -> float:
    """Give a duration of the config; 0 means that it is off."""
    return milliseconds / 1000 if milliseconds else FOREVER


def assemble(config: Config, resources: Resources, reload: Callable[[], None]) -> Graph:
    """
    Build the graph of a config.

    Args:
        reload: What the admin port's reload does.

    Raises:
        ConfigError: If a secret or a file that the config names cannot be used.
    """
    backends = Backends(config, resources)
    ladder = _ladder(config, backends.by_name)
    directory = Directory(
        ladder=ladder, policies=_policies(config, ladder), open=not config.clients
    )
    resources.traffic.resize(config.gateway.traffic_log_capacity)
    resources.admission.max_in_flight = config.gateway.max_in_flight
    backends.settle()
    return Graph(
        config=config,
        client=_client_port(config, resources, directory, backends.missing_keys),
        admin=_admin_port(config, resources, backends.missing_keys, reload),
    )


def _ladder(config: Config, backends: Mapping[str, Backend]) -> Ladder:
    tiers = [
        Tier(
            name=tier.name,
            index=index,
            backend=backends[tier.backend],
            model=tier.model,
            think=tier.think,
            max_context_tokens=tier.max_context_tokens,
            max_output_tokens=tier.max_output_tokens,
        )
        for index, tier in enumerate(config.tiers)
    ]
    return Ladder.of(tiers, config.aliases)


def _policies(config: Config, ladder: Ladder) -> dict[str, Policy]:
    return {name: _policy(name, p, config, ladder) for name, p in config.profiles.items()}


def _policy(name: str, profile: ProfileSection, config: Config, ladder: Ladder) -> Policy:
    gateway = config.gateway
    style = profile.error_style or gateway.error_style
    unknown = profile.unknown_model or gateway.unknown_model
    return Policy(
        name=name,
        mode=profile.mode,
        fallback=ladder.find(profile.classifier),
        ceiling=ladder.find(profile.max_auto_tier) or ladder.tiers[-1],
        expert_requires_flag=profile.expert_requires_flag,
        system_prompt=profile.system_prompt,
        reply_message=profile.reply_message,
        failover=_own(profile.failover, gateway.failover),
        chain=tuple(t for t in map(ladder.find, profile.fallback) if t) or None,
        reject_unknown=unknown == "reject",
        expose_routing=_own(profile.expose_routing, gateway.expose_routing),
        friendly_errors=style == "friendly",
        strict=_own(profile.strict, gateway.strict),
        standard=standard_of(profile, ladder),
    )


def _own(own: bool | None, inherited: bool) -> bool:
    return inherited if own is None else own


def _keys(config: Config, resources: Resources) -> Keys:
    anonymous = None
    public = config.gateway.public_profile
    if not config.clients:
        anonymous = Principal(name="", profile=DEFAULT, anonymous=True)
    elif public is not None:
        anonymous = Principal(name="", profile=public, anonymous=True)
    return Keys.of([_client(c, config, resources) for c in config.clients], anonymous)


def _client(client: ClientSection, config: Config, resources: Resources) -> tuple[bytes, Principal]:
    principal = Principal(
        name=client.name,
        profile=client.profile,
        expert=client.expert,
        allow_profiles=client.allow_profiles,
        allow_models=client.allow_models,
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
    config: Config, resources: Resources, directory: Directory, missing_keys: Callable[[], int]
) -> Port:
    gateway, wheel = config.gateway, resources.wheel
    cors = Cors(frozenset(gateway.cors_origins))
    answers = Answers(ERROR_GRAMMARS, cors)
    router = Router(
        directory=directory,
        dialects=BACKEND_DIALECTS,
        tries=1 + gateway.max_retries,
        climber=Climber(
            wheel=wheel,
            random=resources.random,
            retry_seconds=gateway.retry_delay_ms / 1000,
            commit_seconds=seconds(gateway.request_timeout_ms),
            total_seconds=seconds(gateway.total_timeout_ms),
        ),
    )
    intake = Intake(
        gateway=Gateway(resources.traffic.recording, resources.admission.admit, router.open),
        dialects=BACKEND_DIALECTS,
        wheel=wheel,
        wall=resources.wall,
        cors=cors,
        friendly_errors=gateway.error_style == "friendly",
    )
    health = HealthSurface(
        answers=answers,
        traffic=resources.traffic,
        uptime=resources.uptime,
        missing_keys=missing_keys,
        leaving=lambda: resources.leaving,
    )
    models = Models(directory, answers, resources.wall() - resources.uptime())
    surfaces = (
        health,
        OpenAISurface(intake, models),
        AnthropicSurface(intake),
        OllamaSurface(intake, answers, directory, resources.wall),
    )
    door = ClientDoor(
        keys=_keys(config, resources),
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
    missing_keys: Callable[[], int],
    reload: Callable[[], None],
) -> Port:
    gateway = config.gateway
    token = secret_of(gateway.admin_token_source, config, resources)
    if token is None and gateway.admin_token_source is not None:
        raise ConfigError(["gateway: the admin token resolves to nothing"])
    admin = AdminPort(
        traffic=resources.traffic,
        health=lambda: {
            "status": "ok",
            "ready": not missing_keys(),
            "tiers": len(config.tiers),
            "backends": len(config.backends),
            "checksum": config.checksum,
            "warnings": list(config.warnings),
        },
        config=lambda: redacted(config, resources.environ),
        reload=reload,
    )
    return Port(
        host=gateway.admin_host,
        number=gateway.admin_port,
        tls=gateway.admin_tls,
        routes=Routes([admin.app], Fallback()),
        door=AdminDoor(token),
        limits=_limits(config, 256),
    )


def _limits(config: Config, connections: int) -> Limits:
    gateway = config.gateway
    return Limits(
        header_seconds=gateway.header_timeout_ms / 1000,
        body_seconds=gateway.body_timeout_ms / 1000,
        stall_seconds=gateway.write_stall_timeout_ms / 1000,
        keep_alive_seconds=gateway.keep_alive_timeout_ms / 1000,
        max_connections=connections,
    )
