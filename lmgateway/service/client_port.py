"""The client port's half of a graph: who may ask, and every API that is served."""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve, frozen

from lmgateway.config.exposure import client_port_unguarded
from lmgateway.config.schema import ClientSection, Config
from lmgateway.config.values import moment
from lmgateway.errors import ConfigError
from lmgateway.exchange import Principal
from lmgateway.gateway import Gateway
from lmgateway.governance.addresses import Proxies
from lmgateway.governance.admission import Admission
from lmgateway.governance.keys import Keys, digest
from lmgateway.governance.limits import Limits
from lmgateway.routing.policy import DEFAULT
from lmgateway.routing.router import Router
from lmgateway.service.port import Place, Port, limits_of, secret_of
from lmgateway.service.resources import Resources
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


@frozen(kw_only=True)
class ClientParts:
    """
    What the client port is made of.

    Attributes:
        missing_keys: Says how many backends lack the key that they name.
    """

    config: Config
    resources: Resources
    router: Router
    admission: Admission
    limits: Limits
    missing_keys: Callable[[], int]

    def port(self) -> Port:
        """
        Put the port together.

        Raises:
            ConfigError: If a client's key resolves to nothing.
        """
        gateway = self.config.gateway
        cors = Cors(frozenset(gateway.cors_origins))
        answers = Answers(ERROR_GRAMMARS, cors, self.resources.wall)
        return Port(
            place=Place(gateway.client_host, gateway.client_port, gateway.client_listen),
            unguarded=client_port_unguarded(self.config),
            tls=gateway.client_tls,
            routes=self._routes(answers, self._intake(cors)),
            door=self._door(answers),
            limits=limits_of(self.config, gateway.max_connections),
        )

    def _intake(self, cors: Cors) -> Intake:
        gateway = self.config.gateway
        policies = self.router.directory.policies.values()
        return Intake(
            gateway=Gateway(
                self.resources.traffic.recording, self.admission.admit, self.router.open
            ),
            dialects=BACKEND_DIALECTS,
            wheel=self.resources.wheel,
            wall=self.resources.wall,
            cors=cors,
            debug=gateway.traffic_log_debug,
            friendly_errors=gateway.error_style == "friendly",
            noted_headers=frozenset[str]().union(*(p.rules.headers for p in policies)),
        )

    def _routes(self, answers: Answers, intake: Intake) -> Routes:
        resources, directory = self.resources, self.router.directory
        explaining = evolve(intake, gateway=evolve(intake.gateway, open=self.router.explain))
        health = HealthSurface(
            answers=answers,
            traffic=resources.traffic,
            uptime=resources.uptime,
            missing_keys=self.missing_keys,
            leaving=lambda: resources.leaving,
        )
        models = Models(directory, answers, resources.wall() - resources.uptime())
        surfaces = (
            health,
            ExplainSurface(explaining),
            MeSurface(answers, directory, self.admission),
            OpenAISurface(intake, models),
            AnthropicSurface(intake),
            OllamaSurface(intake, answers, directory, resources.wall),
        )
        return Routes([surface.app for surface in surfaces], answers)

    def _door(self, answers: Answers) -> ClientDoor:
        gateway = self.config.gateway
        return ClientDoor(
            keys=self._keys(),
            limits=self.limits,
            proxies=Proxies(gateway.trusted_proxies),
            answers=answers,
            traffic=self.resources.traffic,
            max_body=gateway.max_body_bytes,
            seconds=self.resources.wheel.now,
            wall=self.resources.wall,
        )

    def _keys(self) -> Keys:
        config, anonymous = self.config, None
        public = config.gateway.public_profile
        if not config.clients:
            anonymous = Principal(name="", profile=DEFAULT, anonymous=True)
        elif public is not None:
            anonymous = Principal(name="", profile=public, anonymous=True, priority_ceiling=0)
        clients = [_client(client, config, self.resources) for client in config.clients]
        expiries = {c.name: moment(c.expires) for c in config.clients if c.expires is not None}
        return Keys.of(clients, anonymous, expiries, self.resources.wall)


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
