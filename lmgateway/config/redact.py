"""
The config as the admin port shows it: every name, no value of a secret.

The shape is the reference's (``GET /admin/config``), with additions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias
from urllib.parse import urlsplit, urlunsplit

from lmgateway.config.schema import BackendSection, Config, TierSection
from lmgateway.config.secrets import resolve

View: TypeAlias = dict[str, Any]
"""A JSON document."""


def redacted(config: Config, environ: Mapping[str, str]) -> View:
    """
    Give what may be shown of *config*.

    Args:
        config: What is served.
        environ: Where API keys are looked up, to tell whether there are any.
    """
    gateway = config.gateway
    return {
        "gateway": {
            "client_port": gateway.client_port,
            "admin_port": gateway.admin_port,
            "traffic_log_capacity": gateway.traffic_log_capacity,
        },
        "backends": [
            _backend(name, backend, config, environ) for name, backend in config.backends.items()
        ],
        "tiers": [_tier(position, tier, config) for position, tier in enumerate(config.tiers)],
        "aliases": dict(config.aliases),
        "profiles": {
            name: {
                "mode": profile.mode,
                "classifier": profile.classifier,
                "max_auto_tier": profile.max_auto_tier,
                "expert_requires_flag": profile.expert_requires_flag,
                "rate_limit_rpm": profile.rate_limit_rpm,
                "origin": _origin(("profiles", name), config),
            }
            for name, profile in config.profiles.items()
        },
        "checksum": config.checksum,
        "files": [str(path) for path in config.files],
        "warnings": [*config.warnings],
    }


def masked_url(url: str) -> str:
    """Give *url* with its user and password replaced."""
    parts = urlsplit(url)
    _, credentials, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"***@{host}")) if credentials else url


def _backend(
    name: str, backend: BackendSection, config: Config, environ: Mapping[str, str]
) -> View:
    source = backend.key_source
    key = resolve(source, environ, config.source.parent)
    return {
        "name": name,
        "provider": backend.provider,
        "base_url": masked_url(backend.base_url),
        "has_api_key": key is not None,
        "api_key_source": None if source is None else source.source,
        "api_key_env": None if source is None else source.var,
        "origin": _origin(("backends", name), config),
    }


def _tier(position: int, tier: TierSection, config: Config) -> View:
    targets = tier.all_targets
    view: View = {"name": tier.name, "backend": targets[0].backend, "model": targets[0].model}
    if tier.targets:
        view["targets"] = [{"backend": t.backend, "model": t.model} for t in targets]
    for key in ("think", "max_context_tokens"):
        if (value := getattr(tier, key)) is not None:
            view[key] = value
    return view | {"origin": _origin(("tiers", position), config)}


def _origin(path: tuple[str | int, ...], config: Config) -> str | None:
    place = config.origins.place(path)
    return None if place is None else place.file
