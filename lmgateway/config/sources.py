"""
All sources of secrets in a config, wherever they stand, and what must hold for them.

A source written out (``..._secret = { source = ... }``) must give something: at
the start it stops everything, by name.  One that is only the name of a variable
(``..._env``) is judged where it is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_args

import attrs

from lmgateway.config.backend import SecretSource
from lmgateway.config.environment import Environment
from lmgateway.config.merge import KeyPath
from lmgateway.config.report import Report, dotted
from lmgateway.config.schema import Settings
from lmgateway.config.secrets import described, files_of, is_remote, obtain

_NEEDED: Mapping[str, str] = {
    "env": "var",
    "file": "path",
    "vault": "name",
    "infisical": "name",
    "command": "command",
}
_ALLOWED: Mapping[str, frozenset[str]] = {
    "env": frozenset({"var"}),
    "file": frozenset({"path"}),
    "vault": frozenset({"name", "field", "mount"}),
    "infisical": frozenset({"name", "folder"}),
    "command": frozenset({"command"}),
}
_MEMBERS = tuple(a.name for a in attrs.fields(SecretSource) if a.name != "source")

Found = tuple[KeyPath, SecretSource]


def sources_of(settings: Settings) -> Iterator[Found]:
    """Go through all sources that are written out, with where they stand."""
    return _within(settings, ())


def _within(value: Any, path: KeyPath) -> Iterator[Found]:
    if isinstance(value, SecretSource):
        yield path, value
    elif attrs.has(type(value)):
        for name in _ways(value.__class__):
            inner = getattr(value, name)
            if inner is not None:
                yield from _within(inner, (*path, name))
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _within(inner, (*path, key))
    elif isinstance(value, tuple):
        for position, inner in enumerate(value):
            yield from _within(inner, (*path, position))


@cache
def _ways(cls: type) -> tuple[str, ...]:
    """The attributes that may hold a source: no others of thousands of clients are looked at."""
    attrs.resolve_types(cls)  # does nothing where the values were structured: that took it too
    return tuple(a.name for a in attrs.fields(cls) if _may_hold(a.type))


def _may_hold(kind: Any) -> bool:
    """Tell a section, or many; whether those hold a source is asked once there are some."""
    if isinstance(kind, type):
        return attrs.has(kind)
    return any(_may_hold(part) for part in get_args(kind))


def complaints(settings: Settings, environ: Mapping[str, str]) -> Iterator[str]:
    """Go through the sources that give nothing now, where their last secret is used."""
    if not isinstance(environ, Environment) or not environ.stale:
        return
    stale = dict(environ.stale)
    for path, source in (*sources_of(settings), *_by_variable(settings)):
        if source in stale:
            text = nothing(source, stale[source])
            yield f"{dotted(path)}: {text}; the one it gave before is used"


def _by_variable(settings: Settings) -> Iterator[Found]:
    """Go through the sources that are only the name of a variable."""
    gateway = settings.gateway
    if gateway.admin_token_secret is None and gateway.admin_token_source is not None:
        yield ("gateway", "admin_token_env"), gateway.admin_token_source
    for name, backend in settings.backends.items():
        if backend.api_key_secret is None and backend.key_source is not None:
            yield ("backends", name, "api_key_env"), backend.key_source
    for name, section in (("otel", settings.otel), ("export", settings.export)):
        if section is not None and section.auth_secret is None and section.auth_source is not None:
            yield (name, "auth_env"), section.auth_source
    for position, token in enumerate(settings.admin_tokens):
        if token.token_secret is None and token.token_source is not None:
            yield ("admin_tokens", position, "token_env"), token.token_source
    for position, client in enumerate(settings.clients):
        if client.key_secret is None and client.key_source is not None:
            yield ("clients", position, "key_env"), client.key_source
    yield from _of_webhooks(settings)


def _of_webhooks(settings: Settings) -> Iterator[Found]:
    for position, webhook in enumerate(settings.webhooks):
        if webhook.key_secret is None and webhook.key_source is not None:
            yield ("webhooks", position, "key_env"), webhook.key_source


def files_watched(settings: Settings, environ: Mapping[str, str], base_dir: Path) -> Iterator[Path]:
    """Go through the files that secrets are read from now."""
    for _, source in (*sources_of(settings), *_by_variable(settings)):
        yield from files_of(source, environ, base_dir)
        if source.source == "file":
            yield base_dir / (source.path or "")


def check_sources(
    settings: Settings, report: Report, environ: Mapping[str, str], base_dir: Path
) -> None:
    """Look whether every source makes sense and gives something; fetches what has to be."""
    found = [*sources_of(settings)]
    for path, source in found:
        _check_form(path, source, settings, report)
    _check_stores(settings, report)
    sound = [(path, source) for path, source in found if not report.is_broken(path)]
    remote = [*dict.fromkeys(source for _, source in sound if is_remote(source))]
    faults: Mapping[SecretSource, str] = {}
    if isinstance(environ, Environment):
        faults = environ.fetch(settings.secrets, remote, base_dir)
    elif remote:  # whoever reads a config with bare variables does not want to go so far
        sound = [(path, source) for path, source in sound if not is_remote(source)]
    for path, source in sound:
        if obtain(source, environ, base_dir) is None:
            report.missing(path, nothing(source, faults.get(source)))


def nothing(source: SecretSource, why: str | None = None) -> str:
    """Say that a source gives no secret."""
    reason = why or "it is missing, empty, unreadable or not printable ASCII"
    return f"{described(source)} gives no secret: {reason}"


def _check_form(path: KeyPath, source: SecretSource, settings: Settings, report: Report) -> None:
    needed, kind = _NEEDED[source.source], source.source
    for name in _MEMBERS:
        given = getattr(source, name)
        if name == needed and not given:
            report.broken((*path, name), f'must be given for source = "{kind}"')
        elif given is not None and name not in _ALLOWED[kind]:
            report.broken((*path, name), f'is not for source = "{kind}"')
    own_server = getattr(settings.secrets, kind, None) if kind in ("vault", "infisical") else True
    if own_server is None:
        report.broken((*path, "source"), f"needs the table [secrets.{kind}]")
    if path[0] == "secrets" and is_remote(source):
        report.broken((*path, "source"), 'must be "env" or "file" here')
    if any(report.is_broken((*path, name)) for name in ("source", *_MEMBERS)):
        report.mark_broken(path)


def _check_stores(settings: Settings, report: Report) -> None:
    vault, infisical = settings.secrets.vault, settings.secrets.infisical
    if vault is not None:
        path: KeyPath = ("secrets", "vault")
        needed = {"approle": "role_id", "kubernetes": "role"}.get(vault.auth)
        if needed is not None and not getattr(vault, needed):
            report.problem((*path, needed), f'must be given for auth = "{vault.auth}"')
        if vault.credential is None:
            key = "token_env" if vault.auth == "token" else "secret_id_env"
            report.problem((*path, key), f'must be given for auth = "{vault.auth}"')
    if infisical is not None and infisical.credential is None:
        report.problem(("secrets", "infisical", "client_secret_env"), "must be given")
