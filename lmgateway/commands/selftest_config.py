"""
The operator's config as the self-test runs it: the same routing, and nothing of the world outside.

Backends are the stand-ins of ``lmgateway.commands.standin``, clients have keys that are made up,
both ports are on loopback at numbers that the system chooses, and whatever would be written or
told anywhere is left out.  No secret is looked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.parse import urlsplit

from attrs import evolve, field

from lmgateway.classes import define
from lmgateway.config.load import load
from lmgateway.config.merge import Tree
from lmgateway.config.providers import PROVIDERS, is_local
from lmgateway.config.schema import BackendSection, Config

KEPT = frozenset(
    ("gateway", "backends", "tiers", "aliases", "profiles", "clients", "groups", "budgets")
)
"""The tables that say how requests are routed, limited and paid; every other one is left out."""
_PORTS = ("client_listen", "admin_listen", "client_tls", "admin_tls")
_TOKENS = ("admin_token_env", "admin_token_secret", "admin_hosts")
_CREDENTIALS = ("api_key_env", "api_key_secret", "ca_file", "client_cert", "proxy")
_KEYS = ("key_env", "key_secret", "key_sha256", "expires")

PATIENCE_MS = 5000
"""What is waited at most where nothing is meant to be slow."""


@define
class Substituted:
    """
    A config without the world outside.

    Attributes:
        keys: The made-up key of each client, by its name.
        config: The config, its backends still where the operator has them.
    """

    source: Path
    environ: Mapping[str, str]
    keys: dict[str, str] = field(factory=dict)
    config: Config = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.config = load(self.source, self.environ, self._alter)

    def on(self, origins: Mapping[str, str], patience: Mapping[str, int] | None = None) -> Config:
        """
        Put every backend at an origin, and cut all waiting short.

        Args:
            origins: Scheme, host and port of each backend.
            patience: The milliseconds for which some of them are waited for.
        """
        patience = patience or {}
        config = self.config
        gateway = config.gateway
        whole = gateway.request_timeout_ms or PATIENCE_MS
        return evolve(
            config,
            backends={
                name: _moved(section, origins[name], patience.get(name, PATIENCE_MS))
                for name, section in config.backends.items()
            },
            gateway=evolve(
                gateway,
                request_timeout_ms=min(whole, 4 * PATIENCE_MS),
                retry_delay_ms=min(gateway.retry_delay_ms, 20),
                drain_timeout_ms=min(gateway.drain_timeout_ms, PATIENCE_MS),
                drain_delay_ms=0,
                expose_routing=True,
            ),
            profiles={
                name: evolve(
                    profile,
                    expose_routing=None,
                    hold_ms=min(profile.hold_ms, PATIENCE_MS),
                    classifier_timeout_ms=min(profile.classifier_timeout_ms, PATIENCE_MS),
                )
                for name, profile in config.profiles.items()
            },
        )

    def _alter(self, tree: Tree) -> None:
        for name in [name for name in tree if name not in KEPT]:
            del tree[name]
        gateway = tree.setdefault("gateway", {})
        if isinstance(gateway, dict):
            _drop(gateway, *_PORTS, *_TOKENS)
            gateway |= {"client_host": "127.0.0.1", "admin_host": "127.0.0.1"}
            gateway |= {"client_port": 0, "admin_port": 0, "log_level": "critical"}
        backends = tree.get("backends")
        for backend in backends.values() if isinstance(backends, dict) else ():
            if isinstance(backend, dict):
                _drop(backend, *_CREDENTIALS)
                if isinstance(backend.get("mock"), dict):
                    backend["mock"] = {}
        clients = tree.get("clients")
        for position, client in enumerate(clients if isinstance(clients, list) else (), 1):
            if isinstance(client, dict):
                self._give_key(client, position)

    def _give_key(self, client: dict[str, Any], position: int) -> None:
        name = client.get("name") or client.get("key_env") or f"client{position}"
        _drop(client, *_KEYS)
        key = f"selftest-{token_hex(16)}"
        client |= {"name": name, "key_sha256": sha256(key.encode()).hexdigest()}
        self.keys[str(name)] = key


def _drop(table: dict[str, Any], *names: str) -> None:
    for name in names:
        table.pop(name, None)


def _moved(section: BackendSection, origin: str, patience_ms: int) -> BackendSection:
    """Put a backend elsewhere; what it costs stays as it is."""
    is_mock = section.provider == "mock"
    base_url = section.base_url or PROVIDERS[section.provider].base_url or ""
    return evolve(
        section,
        provider="openai" if is_mock else section.provider,
        base_url=origin + urlsplit(base_url).path,
        local=is_local(section.provider, base_url, section.local),
        mock=None,
        connect_timeout_ms=min(section.connect_timeout_ms, PATIENCE_MS),
        timeout_ms=min(section.timeout_ms, patience_ms),
        first_byte_timeout_ms=min(section.first_byte_timeout_ms, patience_ms),
        idle_timeout_ms=min(section.idle_timeout_ms, patience_ms),
    )
