"""What a worker is told to do: the supervisor's config, but for what only one process does."""

from __future__ import annotations

import copyreg
import io
import pickle
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from attrs import evolve

from lmgateway.classes import frozen
from lmgateway.config.backend import SecretSource
from lmgateway.config.environment import Environment
from lmgateway.config.schema import Config
from lmgateway.service.systemd import Handed
from lmgateway.stores.keys import KeyRecord

LINE, BOOKS, SOCKET = 3, 4, 5
"""Descriptors that a worker is started with."""
_NAME = "client"


@frozen(kw_only=True)
class Task:
    """
    What to serve.

    Attributes:
        variables: The environment that secrets are looked up in.
        secrets: Those that were fetched from elsewhere.
        generation: How many configs were served before, with this one.
    """

    config: Config
    variables: Mapping[str, str]
    secrets: list[tuple[SecretSource, str]]
    generation: int

    @classmethod
    def of(
        cls, config: Config, environ: Mapping[str, str], generation: int, domain: str, count: int
    ) -> Task:
        """
        Give the task of each of *count* workers.

        Args:
            domain: Of the socket that they accept on.
        """
        secrets = environ.known() if isinstance(environ, Environment) else []
        return cls(
            config=_share(config, domain, count),
            variables={**environ},
            secrets=secrets,
            generation=generation,
        )

    def environ(self) -> Environment:
        """Give the environment, which fetches nothing by itself."""
        environ = Environment(self.variables, lambda *_: {})
        environ.learn(self.secrets)
        return environ


@frozen(kw_only=True)
class Start:
    """
    What a worker begins with.

    Attributes:
        number: Its own, from 1.
        place: Where it notes what it holds of the shared counters.
        keys: Those that were made at run time.
        imposed: What operators have imposed on backends: see ``Health.also``.
        levels: What is logged for now, and for how many seconds; ``None`` if the config says.
        unrecordable: Whether the usage ledger cannot be written.
        started: When the gateway was; seconds of the clock that all processes share.
    """

    number: int
    place: int
    task: Task
    keys: list[KeyRecord]
    imposed: list[tuple[Any, ...]]
    levels: tuple[str, float] | None
    unrecordable: bool
    started: float

    @property
    def handed(self) -> Handed:
        """The socket to accept on, as if a service manager had handed it over."""
        return Handed(sockets=(SOCKET,), names=(_NAME,))


def pickled(value: Task | Start) -> bytes:
    """Write a value for another process of ours."""
    out = io.BytesIO()
    pickler = pickle.Pickler(out, protocol=5)
    pickler.dispatch_table = copyreg.dispatch_table | {
        MappingProxyType: lambda proxy: (_fixed, (dict(proxy),))
    }
    pickler.dump(value)
    return out.getvalue()


def _fixed(given: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    """Make a mapping that does not change; a name by which the type can be pickled."""
    return MappingProxyType(given)


def _share(config: Config, domain: str, count: int) -> Config:
    """Leave out what the supervisor does: the admin port, files, probes, webhooks."""
    gateway, state = config.gateway, config.state
    most = gateway.max_connections
    return evolve(
        config,
        gateway=evolve(
            gateway,
            client_listen=f"systemd:domain={domain}:name={_NAME}",
            admin_token_env=None,
            admin_token_secret=None,
            max_connections=None if most is None else -(-most // count),
            traffic_log_capacity=0,
        ),
        state=evolve(
            state,
            keys=None if state.keys is None else "memory",
            usage=None,
            audit=None,
        ),
        backends=MappingProxyType(
            {name: evolve(each, probe_interval_ms=0) for name, each in config.backends.items()}
        ),
        admin_tokens=(),
        webhooks=(),
        export=None,
        logs=evolve(config.logs, access_file=None),
    )
