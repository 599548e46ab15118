"""Who may ask: the clients of the config, and the keys that were made at run time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lmgateway.config.issued import read_issued
from lmgateway.config.schema import ClientSection, Config
from lmgateway.config.state import place_of
from lmgateway.config.values import moment
from lmgateway.errors import ConfigError
from lmgateway.governance.allowances import allowance_of
from lmgateway.governance.keys import Keys, digest
from lmgateway.principal import NEVER, Principal
from lmgateway.routing.policy import DEFAULT
from lmgateway.service.port import secret_of
from lmgateway.service.resources import Resources
from lmgateway.stores.keys import KeyRecord, KeyStore, MemoryKeys


class Clients:
    """
    The clients of a config.

    Attributes:
        keys: Who may ask at all.

    Raises:
        ConfigError: If a client's key resolves to nothing, or the place of keys cannot be used.
    """

    def __init__(self, config: Config, resources: Resources) -> None:
        self._config = config
        self._resources = resources
        anonymous, public = None, config.gateway.public_profile
        if config.is_open:
            anonymous = Principal(name="", profile=DEFAULT, anonymous=True)
        elif public is not None:
            anonymous = Principal(name="", profile=public, anonymous=True, priority_ceiling=0)
        self.keys = Keys.of(
            [self._configured(client) for client in config.clients],
            anonymous,
            resources.wall,
            find=resources.issued.find,
            is_open=config.is_open,
        )
        self._store = self._opened()

    def names(self) -> Iterator[str]:
        """Give the names of all clients, those of keys made at run time included."""
        yield from (client.name for client in self._config.clients)
        yield from (str(each.record.members["name"]) for each in self._resources.issued.every())

    def settle(self) -> None:
        """Let the keys made at run time be read by this config from now on."""
        self._resources.key_file = self._file()
        self._resources.issued.settle(self.read, self._store)
        self._store = None

    def _opened(self) -> KeyStore | None:
        """Open where keys are kept from now on; ``None`` if that is where they are."""
        file = self._file()
        if file == self._resources.key_file:
            return None
        if file is None:
            return MemoryKeys()
        from lmgateway.stores.sqlite_keys import SqliteKeys  # with all of SQLite

        return SqliteKeys(file)

    def _file(self) -> Path | None:
        place = place_of(self._config.state.keys, self._config.source.parent)
        return None if place is None else place[1]

    def _configured(self, client: ClientSection) -> tuple[bytes, Principal]:
        principal = principal_of(client)
        if client.key_sha256 is not None:
            return bytes.fromhex(client.key_sha256), principal
        key = secret_of(client.key_source, self._config, self._resources)
        if key is None:
            raise ConfigError([f"clients: the key of {client.name!r} resolves to nothing"])
        return digest(key.reveal()), principal

    def read(self, record: KeyRecord) -> Principal:
        """
        Say who shows a key that was made at run time.

        Raises:
            ConfigError: If it names what this config does not have.
        """
        return principal_of(read_issued(record.members, self._config))


def principal_of(client: ClientSection) -> Principal:
    """Give who shows a client's key."""
    return Principal(
        name=client.name,
        profile=client.profile,
        expert=client.expert,
        chaos=client.chaos,
        allow_profiles=client.allow_profiles,
        allow_models=client.allow_models,
        allow_endpoints=client.allow_endpoints,
        group=client.group or "",
        tags=client.tags,
        default_priority=client.default_priority,
        priority_ceiling=client.most_priority,
        budgets=client.budgets,
        allowance=allowance_of(client),
        expires=NEVER if client.expires is None else moment(client.expires),
    )
