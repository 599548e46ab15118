"""
From files to one frozen ``Config``, or to one report of all that is wrong.

    files -> merged tree -> environment -> structure -> defaults -> checks -> Config
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from sys import intern
from types import MappingProxyType
from typing import Any

from attrs import asdict, evolve

from lmgateway.config.advice import advise
from lmgateway.config.check import check
from lmgateway.config.expand import anchor, expand, override
from lmgateway.config.files import Reading
from lmgateway.config.merge import Tree, ways
from lmgateway.config.providers import PROVIDERS
from lmgateway.config.report import Report
from lmgateway.config.schema import (
    BackendSection,
    ClientSection,
    Config,
    MockSection,
    ProfileSection,
    Settings,
)
from lmgateway.config.structure import structure
from lmgateway.errors import ConfigError


def load(
    path: Path, environ: Mapping[str, str], alter: Callable[[Tree], None] | None = None
) -> Config:
    """
    Read, check and freeze a config.

    Args:
        path: The main file.
        environ: The environment: overrides, ``${NAME}``, and where secrets are.
        alter: Changes what was read before any of it is looked at.

    Raises:
        ConfigError: With every problem found, if there is any.
    """
    report = Report()
    reading = Reading(path.absolute(), report)
    reading.read_main()
    override(reading.tree, environ, report)
    expand(reading.tree, environ, report)
    reading.read_profiles()
    if report.problems:  # what is not there would only be missed again
        raise ConfigError(report.problems)
    anchor(reading.tree, reading.source.parent)
    if alter is not None:
        alter(reading.tree)
    settings = complete(structure(reading.tree, report), reading.tree)
    check(settings, report, environ, reading.source.parent)
    if report.problems:
        raise ConfigError(report.problems, transient=report.is_transient)
    advise(settings, report, environ, reading.source.parent)
    return _frozen(settings, reading)


def complete(settings: Settings, tree: Tree) -> Settings:
    """Fill in what follows from other keys: preset addresses, names of clients."""
    backends = {
        name: _complete_backend(backend, _written(tree, name))
        for name, backend in settings.backends.items()
    }
    clients = tuple(
        _complete_client(client, position) for position, client in enumerate(settings.clients, 1)
    )
    return evolve(settings, backends=MappingProxyType(backends), clients=clients)


def _written(tree: Tree, backend: str) -> Any:
    return tree["backends"][backend] if isinstance(tree["backends"], dict) else {}


def _complete_backend(backend: BackendSection, written: Any) -> BackendSection:
    base_url = backend.base_url.rstrip("/")
    provider = PROVIDERS.get(backend.provider)
    # Nobody's prompts go to a well-known service because an address was forgotten.
    if not base_url and provider is not None and "provider" in written:
        base_url = provider.base_url or ""
    is_mock = backend.provider == "mock" and backend.mock is None
    return evolve(backend, base_url=base_url, mock=MockSection() if is_mock else backend.mock)


def _complete_client(client: ClientSection, position: int) -> ClientSection:
    name = client.name or client.key_env or f"client{position}"
    # Thousands of keys share a few profiles and groups: their names are kept once.
    group = client.group and intern(client.group)
    return evolve(client, name=name, profile=intern(client.profile), group=group)


def _frozen(settings: Settings, reading: Reading) -> Config:
    profiles = {name: _ordered(profile) for name, profile in settings.profiles.items()}
    fields = asdict(settings, recurse=False) | {"profiles": MappingProxyType(profiles)}
    return Config(
        **fields,
        source=reading.source,
        files=tuple(reading.contents),
        checksum=reading.checksum,
        warnings=reading.report.warnings,
        origins=reading.report.origins,
        # Clients may be thousands, and each is told as a whole.
        written=frozenset(ways({k: v for k, v in reading.tree.items() if k != "clients"})),
    )


def _ordered(profile: ProfileSection) -> ProfileSection:
    """Put the rules in the order in which they are looked at."""
    rules = sorted(profile.rules, key=lambda rule: -rule.priority)
    return evolve(profile, rules=tuple(rules))
