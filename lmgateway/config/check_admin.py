"""What must hold for the admin port: its tokens, and who can reach it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lmgateway.config.merge import KeyPath
from lmgateway.config.report import Report, quoted
from lmgateway.config.schema import AdminTokenSection, Settings
from lmgateway.config.secrets import described, obtain
from lmgateway.config.values import is_loopback


def check_admin(
    settings: Settings, report: Report, environ: Mapping[str, str], base_dir: Path
) -> None:
    """Check tokens and names of the admin port, and that it is guarded where others reach it."""
    gateway = settings.gateway
    source = gateway.admin_token_source
    if source is not None and obtain(source, environ, base_dir) is None:
        key = "admin_token_env" if gateway.admin_token_secret is None else "admin_token_secret"
        report.missing(("gateway", key), nothing(described(source)))
    for position, token in enumerate(settings.admin_tokens):
        _check_token(("admin_tokens", position), token, report, environ, base_dir)
    _check_names(settings, report)
    for position, name in enumerate(gateway.admin_hosts):
        if not name or "/" in name or name != name.strip().lower():
            path: KeyPath = ("gateway", "admin_hosts", position)
            report.problem(path, "must be a host in lower case, with or without :port")
    why = admin_port_unguarded(settings)
    if why is not None and gateway.admin_listen is None and not is_loopback(gateway.admin_host):
        report.problem(("gateway", "admin_host"), why)


def admin_port_unguarded(settings: Settings) -> str | None:
    """Say why others must not reach the admin port, if so."""
    gateway = settings.gateway
    tls, tokens = gateway.admin_tls, gateway.admin_token_source or settings.admin_tokens
    if tls is not None and (tokens or tls.client_ca is not None):
        return None
    return (
        "others can reach the admin port there: it needs admin_tls, "
        "and a token (admin_token_env or [[admin_tokens]]) or admin_tls.client_ca"
    )


def nothing(source: str) -> str:
    """Say that a secret is not where it should be."""
    return f"{source} gives no secret: it is missing, empty, unreadable or not printable ASCII"


def _check_token(
    path: KeyPath,
    token: AdminTokenSection,
    report: Report,
    environ: Mapping[str, str],
    base_dir: Path,
) -> None:
    who = f"admin token {quoted(token.name)}: "
    given = [token.token_env, token.token_secret, token.token_sha256]
    if sum(source is not None for source in given) != 1:
        report.problem(path, f"{who}give one of token_env, token_secret and token_sha256")
    source = token.token_source
    if source is not None and obtain(source, environ, base_dir) is None:
        key = "token_env" if token.token_secret is None else "token_secret"
        report.missing((*path, key), nothing(described(source)))


def _check_names(settings: Settings, report: Report) -> None:
    seen = {"admin"} if settings.gateway.admin_token_source is not None else set()
    for position, token in enumerate(settings.admin_tokens):
        if token.name in seen:
            path: KeyPath = ("admin_tokens", position, "name")
            report.problem(path, f"there is more than one admin token {quoted(token.name)}")
        seen.add(token.name)
