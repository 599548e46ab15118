"""The client port's half of a graph: who may ask, and every API that is served."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

from msgspec import Struct
from msgspec.structs import replace

from lmgateway.config.exposure import client_port_unguarded
from lmgateway.config.schema import Config
from lmgateway.dialects.document import encode
from lmgateway.gateway import Gateway, Open
from lmgateway.governance.addresses import Proxies
from lmgateway.governance.admission import Admission
from lmgateway.governance.keys import Keys
from lmgateway.governance.limits import Limits
from lmgateway.routing.router import Router
from lmgateway.service.port import Place, Port, limits_of
from lmgateway.service.resources import Resources
from lmgateway.surfaces.answers import Answers
from lmgateway.surfaces.anthropic import AnthropicSurface
from lmgateway.surfaces.cors import Cors
from lmgateway.surfaces.description import DescriptionSurface
from lmgateway.surfaces.door import ClientDoor
from lmgateway.surfaces.explain import ExplainSurface
from lmgateway.surfaces.grammars import BACKEND_DIALECTS, ERROR_GRAMMARS
from lmgateway.surfaces.health import HealthSurface
from lmgateway.surfaces.intake import Intake
from lmgateway.surfaces.me import MeSurface
from lmgateway.surfaces.models import Models
from lmgateway.surfaces.ollama import OllamaSurface
from lmgateway.surfaces.openai import OpenAISurface
from lmgateway.surfaces.sharing import Sharing
from lmgateway.wire.routes import Routes

SURFACES = (
    HealthSurface,
    DescriptionSurface,
    ExplainSurface,
    MeSurface,
    OpenAISurface,
    AnthropicSurface,
    OllamaSurface,
)
"""All that the client port serves."""


@cache
def client_description(open_: bool) -> bytes:
    """Give the client port's OpenAPI document; *open_*: whether no key is asked for."""
    from lmgateway.surfaces.openapi import client_document  # hardly ever asked for

    return encode(client_document([surface.app for surface in SURFACES], is_open=open_))


class ClientParts(Struct, frozen=True, kw_only=True):
    """
    What the client port is made of.

    Attributes:
        missing_keys: Says how many backends lack the key that they name.
    """

    config: Config
    resources: Resources
    router: Router
    keys: Keys
    admission: Admission
    limits: Limits
    missing_keys: Callable[[], int]

    def port(self) -> Port:
        """Put the port together."""
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

    def _open(self) -> Open:
        """Give what opens an answer, or a failure that a client asks for and may ask for."""
        if self.config.is_open:  # nobody may
            return self.router.open
        from lmgateway.routing.chaos import Chaos  # with the mock backend, which makes the failures

        return Chaos(self.router.open, self.router.climber).open

    def _intake(self, cors: Cors) -> Intake:
        gateway, otel, capture = self.config.gateway, self.config.otel, self.config.capture
        policies = self.router.directory.policies.values()
        return Intake(
            gateway=Gateway(
                self.resources.traffic.recording,
                self.admission.admit,
                self._open(),
            ),
            dialects=BACKEND_DIALECTS,
            wheel=self.resources.wheel,
            wall=self.resources.wall,
            cors=cors,
            debug=gateway.traffic_log_debug,
            friendly_errors=gateway.error_style == "friendly",
            noted_headers=frozenset[str]().union(*(p.rules.headers for p in policies)),
            sharing=self._sharing(),
            traced_share=0.0 if otel is None else otel.sample,
            capture_bytes=0 if capture is None else capture.max_body_bytes,
        )

    def _sharing(self) -> Sharing | None:
        """Give what finds requests that are made once; nothing where none can be."""
        directory = self.router.directory
        singles = any(policy.single_flight for policy in directory.policies.values())
        if not singles and not self.config.gateway.idempotency_window_ms:
            return None
        return Sharing(
            flights=self.resources.flights, is_single=directory.is_single if singles else None
        )

    def _routes(self, answers: Answers, intake: Intake) -> Routes:
        resources, directory = self.resources, self.router.directory
        explaining = replace(
            intake, gateway=replace(intake.gateway, open=self.router.explain), sharing=None
        )
        health = HealthSurface(
            answers=answers,
            traffic=resources.traffic,
            uptime=resources.uptime,
            missing_keys=self.missing_keys,
            leaving=lambda: resources.leaving,
            refusing=lambda: self.admission.unrecordable,
            stats=None if resources.together is None else resources.together.stats,
        )
        models = Models(directory, answers, resources.wall() - resources.uptime())
        surfaces = (
            health,
            DescriptionSurface(answers, partial(client_description, self.config.is_open)),
            ExplainSurface(explaining),
            MeSurface(answers, directory, self.admission),
            OpenAISurface(intake, models),
            AnthropicSurface(intake),
            OllamaSurface(intake, answers, directory, resources.wall),
        )
        assert {*map(type, surfaces)} == {*SURFACES}, "what is served is described"
        return Routes([surface.app for surface in surfaces], answers)

    def _door(self, answers: Answers) -> ClientDoor:
        gateway = self.config.gateway
        return ClientDoor(
            keys=self.keys,
            limits=self.limits,
            proxies=Proxies(gateway.trusted_proxies),
            answers=answers,
            traffic=self.resources.traffic,
            max_body=gateway.max_body_bytes,
            seconds=self.resources.wheel.now,
            wall=self.resources.wall,
        )
