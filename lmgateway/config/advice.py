"""What is allowed in a config but probably not meant: warnings, which stop nothing."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from lmgateway.config.merge import KeyPath
from lmgateway.config.providers import is_local_address
from lmgateway.config.report import Report, looks_like_key, quoted
from lmgateway.config.schema import (
    BackendSection,
    ClientSection,
    GroupSection,
    ProfileSection,
    RuleSection,
    SecretSource,
    Settings,
)
from lmgateway.config.secrets import described, files_of, is_world_readable, resolve

_SHORT = 16
"""A key with fewer characters than this can be guessed."""


def advise(settings: Settings, report: Report, environ: Mapping[str, str], base_dir: Path) -> None:
    """
    Look for what is probably not meant.

    Args:
        settings: Settings that passed all checks.
        report: Where warnings go.
        environ: Where secrets are looked up.
        base_dir: What file names are relative to.
    """
    _advise_gateway(settings, report)
    _advise_workers(settings, report)
    _advise_literals(report)
    used = {target.backend for tier in settings.tiers for target in tier.all_targets}
    for name, backend in settings.backends.items():
        path: KeyPath = ("backends", name)
        _advise_backend(path, backend, report)
        if name not in used:
            report.warning(path, "no tier uses this backend")
        if (
            backend.key_source is not None
            and resolve(backend.key_source, environ, base_dir) is None
        ):
            report.warning(path, f"no API key: {described(backend.key_source)} gives none")
    _advise_names(settings, report)
    for name, profile in settings.profiles.items():
        _advise_profile(("profiles", name), profile, settings, report)
    _advise_limits(settings, report)
    _advise_webhooks(settings, report)
    for path, source in _secret_sources(settings):
        _advise_secret(path, source, report, environ, base_dir)


def _advise_gateway(settings: Settings, report: Report) -> None:
    gateway = settings.gateway
    if settings.is_open:
        if "default" not in settings.profiles:
            report.warning(
                ("profiles",), 'no profile is called "default": requests without a key are refused'
            )
        if gateway.public_profile is not None:
            report.warning(("gateway", "public_profile"), "has no effect without [[clients]]")
    if gateway.traffic_log_debug:
        report.warning(
            ("gateway", "traffic_log_debug"),
            "prompts are kept in memory and shown on the admin port",
        )
    if settings.capture is not None:
        report.warning(
            ("capture", "file"), "all that is asked and answered is written to this file"
        )
    if 0 < gateway.total_timeout_ms < gateway.request_timeout_ms:
        report.warning(("gateway", "total_timeout_ms"), "is less than request_timeout_ms")


def _advise_workers(settings: Settings, report: Report) -> None:
    """Say what each worker keeps for itself."""
    gateway = settings.gateway
    if gateway.workers == 1:
        return
    text = "is for each worker by itself: who asks again on another connection may ask anew"
    if gateway.idempotency_window_ms:
        report.warning(("gateway", "idempotency_window_ms"), text)
    for name, profile in settings.profiles.items():
        if profile.single_flight:
            report.warning(("profiles", name, "single_flight"), text)


def _advise_literals(report: Report) -> None:
    """Point at what looks like a key, in values and comments alike."""
    for file, text in report.texts.items():
        for number, line in enumerate(text.split("\n"), 1):
            if looks_like_key(line):
                advice = "looks like an API key: keep it in the environment or in a file of its own"
                report.file_warning(file, number, advice)


def _advise_backend(path: KeyPath, backend: BackendSection, report: Report) -> None:
    url = urlsplit(backend.base_url)
    if url.password is not None:
        report.warning((*path, "base_url"), "holds a password: use api_key_env or api_key_secret")
    if (
        url.scheme == "http"
        and backend.key_source is not None
        and not is_local_address(backend.base_url)
    ):
        report.warning((*path, "base_url"), "is http: the API key is sent unencrypted")
    for key, provider in (
        ("default_options", "ollama"),
        ("keep_alive", "ollama"),
        ("http_referer", "openrouter"),
        ("x_title", "openrouter"),
    ):
        if getattr(backend, key) and backend.provider != provider:
            report.warning((*path, key), f'has no effect but for provider = "{provider}"')
    if backend.max_concurrent is None:
        for key in ("queue_depth", "queue_timeout_ms"):
            if getattr(backend, key) is not None:
                report.warning((*path, key), "has no effect without max_concurrent")


def _advise_names(settings: Settings, report: Report) -> None:
    tiers = {tier.name for tier in settings.tiers}
    for alias in settings.aliases:
        if alias in tiers:
            report.warning(("aliases", alias), "hides the tier of the same name")
    for name in settings.profiles:
        if name in tiers or name in settings.aliases:
            report.warning(("profiles", name), "in rules, hides the tier or alias of the same name")


# Profiles --------------------------------------------------------------------
def _advise_profile(
    path: KeyPath, profile: ProfileSection, settings: Settings, report: Report
) -> None:
    for tier in profile.thinking_messages:
        if tier not in settings.aliases and all(tier != t.name for t in settings.tiers):
            text = "is not the name of a tier or alias"
            report.warning((*path, "thinking_messages", tier), text)
    _advise_order(path, profile, report)
    _advise_gates(path, profile, report)


def _advise_gates(path: KeyPath, profile: ProfileSection, report: Report) -> None:
    """Say what escalation would judge but cannot."""
    needs_extra = profile.gates.json_valid or profile.gates.tool_valid
    if profile.mode == "escalate" and needs_extra and find_spec("jsonschema_rs") is None:
        report.warning(
            (*path, "gates"), "json_valid and tool_valid check no schema: install lmgateway[schema]"
        )


def _advise_order(path: KeyPath, profile: ProfileSection, report: Report) -> None:
    """Point at rules behind others that match whenever they do."""
    ordered = sorted(enumerate(profile.rules), key=lambda item: -item[1].priority)
    for rank, (position, rule) in enumerate(ordered):
        before = next((i for i, other in ordered[:rank] if _covers(other, rule)), None)
        if before is not None:
            report.warning(
                (*path, "rules", position),
                f"is never reached: rules[{before}] comes first and matches all that this one does",
            )


def _covers(earlier: RuleSection, later: RuleSection) -> bool:
    wanted = {tag: value.lower() for tag, value in later.when.items()}
    return all(wanted.get(tag) == value.lower() for tag, value in earlier.when.items())


# Limits ----------------------------------------------------------------------
def _advise_limits(settings: Settings, report: Report) -> None:
    sections: list[tuple[KeyPath, ClientSection | GroupSection]] = [
        *((("clients", i), client) for i, client in enumerate(settings.clients)),
        *((("groups", name), group) for name, group in settings.groups.items()),
    ]
    for path, section in sections:
        if section.burst is not None and not section.rate_limit_rpm:
            report.warning((*path, "burst"), "has no effect without rate_limit_rpm")
    used = {client.group for client in settings.clients}
    for name in settings.groups:
        if name not in used:
            report.warning(("groups", name), "no client is in this group")


def _advise_webhooks(settings: Settings, report: Report) -> None:
    for position, webhook in enumerate(settings.webhooks):
        path: KeyPath = ("webhooks", position)
        if webhook.key_source is None:
            report.warning(path, "is not signed: give key_env or key_secret")
        if webhook.url.startswith("http:") and not is_local_address(webhook.url):
            report.warning((*path, "url"), "is http: events are sent unencrypted")


# Secrets ---------------------------------------------------------------------
def _secret_sources(settings: Settings) -> list[tuple[KeyPath, SecretSource]]:
    sources: list[tuple[KeyPath, SecretSource | None]] = [
        (("gateway",), settings.gateway.admin_token_source)
    ]
    sources += [(("backends", name), item.key_source) for name, item in settings.backends.items()]
    for key, section in (("otel", settings.otel), ("export", settings.export)):
        sources += [] if section is None else [((key,), section.auth_source)]
    tokens = enumerate(settings.admin_tokens)
    sources += [(("admin_tokens", i), item.token_source) for i, item in tokens]
    sources += [(("clients", i), item.key_source) for i, item in enumerate(settings.clients)]
    sources += [(("webhooks", i), item.key_source) for i, item in enumerate(settings.webhooks)]
    sources += [
        (("clients", i, "upstream_keys", name), source)
        for i, item in enumerate(settings.clients)
        for name, source in (item.upstream_keys or {}).items()
    ]
    return [(path, source) for path, source in sources if source is not None]


def _advise_secret(
    path: KeyPath,
    source: SecretSource,
    report: Report,
    environ: Mapping[str, str],
    base_dir: Path,
) -> None:
    for file in files_of(source, environ, base_dir):
        if is_world_readable(file):
            report.warning(path, f"every user may read the secret file {quoted(str(file))}")
    secret = resolve(source, environ, base_dir)
    ours = path[0] not in ("backends", "otel", "export")  # what providers issue is theirs to judge
    if ours and secret is not None and len(secret.reveal()) < _SHORT:
        report.warning(path, f"{described(source)} is short: use {_SHORT} characters or more")
