"""What a listener serves, and what both listeners' halves of a graph are made with."""

from __future__ import annotations

from msgspec import Struct

from lmgateway.config.backend import SecretSource
from lmgateway.config.schema import Config, TlsSection
from lmgateway.config.secrets import Secret, obtain
from lmgateway.service.descriptors import connections_that_fit
from lmgateway.service.resources import Resources
from lmgateway.wire.door import Door
from lmgateway.wire.server import Limits, Resource


class Place(Struct, frozen=True):
    """
    Where a port listens.

    Attributes:
        handed: The name of a socket that is handed over; host and number do not count then.
    """

    host: str
    number: int
    handed: str | None = None


class Port(Struct, frozen=True, kw_only=True):
    """
    One listener's half of a graph.

    Attributes:
        place: Where it listens.
        unguarded: Why others must not reach it, if so.
    """

    place: Place
    unguarded: str | None
    tls: TlsSection | None
    routes: Resource
    door: Door
    limits: Limits


def secret_of(source: SecretSource | None, config: Config, resources: Resources) -> Secret | None:
    """Look a secret up; ``None`` if there is no source, or nothing there."""
    if source is None:
        return None
    return obtain(source, resources.environ, config.source.parent)


def limits_of(config: Config, connections: int | None) -> Limits:
    """Give the bounds of a listener's connections; *connections* at once, as far as they fit."""
    gateway = config.gateway
    return Limits(
        header_seconds=gateway.header_timeout_ms / 1000,
        body_seconds=gateway.body_timeout_ms / 1000,
        stall_seconds=gateway.write_stall_timeout_ms / 1000,
        keep_alive_seconds=gateway.keep_alive_timeout_ms / 1000,
        max_connections=connections_that_fit(connections),
    )
