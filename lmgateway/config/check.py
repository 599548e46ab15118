"""
What must hold between the keys of a config.

Each check looks at one relation and says what it found; nothing stops at the
first fault.  What a single key takes was checked when it was structured, what
the outside world must provide is checked in ``lmgateway.config.exposure``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import urlsplit

from lmgateway.config.check_budgets import check_budgets, check_listed
from lmgateway.config.check_limits import check_client_limits, check_limits
from lmgateway.config.check_tiers import check_tiers, target_paths
from lmgateway.config.conditions import check_rule, targets
from lmgateway.config.exposure import check_exposure
from lmgateway.config.merge import KeyPath
from lmgateway.config.report import Report, looks_like_key, quoted, suggestion
from lmgateway.config.schema import (
    BackendSection,
    ClientSection,
    GatewaySection,
    JudgeGate,
    ProfileSection,
    Settings,
)
from lmgateway.config.sources import check_sources
from lmgateway.config.values import is_loopback

_OWN_HEADERS = frozenset(
    {"connection", "content-length", "content-type", "expect", "host", "te", "trailer"}
    | {"transfer-encoding", "upgrade", "x-request-id"}
)


def check(settings: Settings, report: Report, environ: Mapping[str, str], base_dir: Path) -> None:
    """
    Look for everything that would make *settings* unusable or unsafe.

    Args:
        settings: Sound values, each by itself.
        report: Where faults go.
        environ: Where secrets are looked up.
        base_dir: What file names are relative to.
    """
    check_sources(settings, report, environ, base_dir)
    _check_ladder(settings, report)
    for name, backend in settings.backends.items():
        _check_backend(("backends", name), backend, settings.gateway, report)
    _check_aliases(settings, report)
    for name, profile in settings.profiles.items():
        _check_profile(("profiles", name), profile, settings, report)
    _check_cascade(settings.profiles, report)
    for position, client in enumerate(settings.clients):
        check_client(("clients", position), client, settings, report)
    _check_duplicates(
        "client", [("clients", i, "name") for i in range(len(settings.clients))],
        [client.name for client in settings.clients], report,
    )  # fmt: skip
    check_budgets(settings, report)
    if (baseline := settings.gateway.baseline) is not None:
        tiers = _tier_names(settings)
        _check_known(("gateway", "baseline"), "", "tier", baseline, tiers, report)
    check_limits(settings, report)
    _check_webhooks(settings, report)
    if (public := settings.gateway.public_profile) is not None:
        _check_known(
            ("gateway", "public_profile"), "", "profile", public, settings.profiles, report
        )
    check_exposure(settings, report, environ, base_dir)


def _check_known(
    path: KeyPath, who: str, what: str, name: str, known: Iterable[str], report: Report
) -> None:
    """Report a *name* that refers to nothing; *who* says whose reference it is."""
    if name not in known:
        text = f"{who}there is no {what} {quoted(name)}"
        report.problem(path, text + suggestion(name, known))


def _check_duplicates(
    what: str, paths: Iterable[KeyPath], names: Iterable[str], report: Report
) -> None:
    seen: dict[str, KeyPath] = {}
    for path, name in zip(paths, names, strict=True):
        if name in seen:
            first = report.where(seen[name])
            report.problem(path, f"there is a {what} {quoted(name)} already, at {first}")
        else:
            seen[name] = path


def _check_webhooks(settings: Settings, report: Report) -> None:
    for position, webhook in enumerate(settings.webhooks):
        path: KeyPath = ("webhooks", position)
        if webhook.key_env is not None and webhook.key_secret is not None:
            report.problem(path, "give one of key_env and key_secret")
    paths = [("webhooks", i, "name") for i in range(len(settings.webhooks))]
    names = [webhook.name for webhook in settings.webhooks]
    _check_duplicates("webhook", paths, names, report)


# The ladder ------------------------------------------------------------------
def _tier_names(settings: Settings) -> list[str]:
    return [tier.name for tier in settings.tiers]


def _check_ladder(settings: Settings, report: Report) -> None:
    if not settings.tiers:
        report.problem(("tiers",), "there is no tier: at least one [[tiers]] is needed")
    for position, tier in enumerate(settings.tiers):
        who = f"tier {quoted(tier.name)}: "
        for path, target in target_paths(position, tier):
            if target.backend or tier.targets:
                here = (*path, "backend")
                _check_known(here, who, "backend", target.backend, settings.backends, report)
    check_tiers(settings, report)
    paths = [("tiers", i, "name") for i in range(len(settings.tiers))]
    _check_duplicates("tier", paths, _tier_names(settings), report)


def _check_aliases(settings: Settings, report: Report) -> None:
    tiers = _tier_names(settings)
    for alias, tier in settings.aliases.items():
        who = f"alias {quoted(alias)}: "
        _check_known(("aliases", alias), who, "tier", tier, tiers, report)


# Backends --------------------------------------------------------------------
def _check_backend(
    path: KeyPath, backend: BackendSection, gateway: GatewaySection, report: Report
) -> None:
    if not backend.base_url and backend.provider != "mock":
        report.problem(
            (*path, "base_url"),
            f'must be given, unless provider = "{backend.provider}" is and has one of its own',
        )
    if _is_ourselves(backend.base_url, gateway):
        report.problem((*path, "base_url"), "is the address of this gateway itself")
    for header in backend.headers:
        if header.lower() in _OWN_HEADERS:
            report.problem((*path, "headers", header), "is a header that the gateway itself sets")
    _check_mock(path, backend, report)


def _is_ourselves(base_url: str, gateway: GatewaySection) -> bool:
    url = urlsplit(base_url)
    port = url.port or (443 if url.scheme == "https" else 80)
    own = {gateway.client_port, gateway.admin_port}
    return is_loopback(url.hostname or "") and port in own


def _check_mock(path: KeyPath, backend: BackendSection, report: Report) -> None:
    if backend.mock is None:
        return
    if backend.provider != "mock":
        report.problem((*path, "mock"), 'is only for provider = "mock"')
    elif backend.mock.style == "scripted" and backend.mock.fixtures is None:
        report.problem((*path, "mock", "fixtures"), 'must be given for style = "scripted"')


# Profiles --------------------------------------------------------------------
def _check_profile(
    path: KeyPath, profile: ProfileSection, settings: Settings, report: Report
) -> None:
    tiers = _tier_names(settings)
    who = f"profile {quoted(str(path[-1]))}: "
    if profile.mode != "reply" and not profile.classifier:
        report.problem(
            (*path, "classifier"),
            f"{who}must name the tier for unknown model names{suggestion('', tiers)}",
        )
    for key, name in _tiers_named(profile):
        _check_known((*path, *key), who, "tier", name, tiers, report)
    for position, rule in enumerate(profile.rules):
        check_rule((*path, "rules", position), who, rule, settings, report)


def _tiers_named(profile: ProfileSection) -> Iterator[tuple[KeyPath, str]]:
    if profile.mode != "reply" and profile.classifier:
        yield ("classifier",), profile.classifier
    if profile.baseline is not None:
        yield ("baseline",), profile.baseline
    if profile.max_auto_tier:
        yield ("max_auto_tier",), profile.max_auto_tier
    if profile.classifier_fallback is not None:
        yield ("classifier_fallback",), profile.classifier_fallback
    for position, name in enumerate(profile.fallback):
        yield ("fallback", position), name
    if isinstance(profile.gates.judge, JudgeGate):
        yield ("gates", "judge", "tier"), profile.gates.judge.tier


def _check_cascade(profiles: Mapping[str, ProfileSection], report: Report) -> None:
    """Report every way of rules that leads from a profile back to it."""
    done: set[str] = set()

    def follow(name: str, way: tuple[str, ...]) -> None:
        for position, target in targets(profiles[name]):
            if target in way:
                circle = " -> ".join((*way[way.index(target) :], target))
                path = ("profiles", name, "rules", position, "route_to")
                report.problem(
                    path, f"circular profile cascade: {circle}; point one of its rules at a tier"
                )
            elif target in profiles and target not in done:
                follow(target, (*way, target))
        done.add(name)

    for name in profiles:
        if name not in done:
            follow(name, (name,))


def _check_named(
    path: KeyPath, who: str, kind: str, name: str, known: Iterable[str], report: Report
) -> None:
    """Check a name that may be a glob, which must fit something."""
    names = [*known]
    if not any(mark in name for mark in "*?["):
        _check_known(path, who, kind, name, names, report)
    elif not any(fnmatchcase(one, name) for one in names):
        report.problem(path, f"{who}no {kind} fits {quoted(name)}")


# Clients ---------------------------------------------------------------------
def check_client(path: KeyPath, client: ClientSection, settings: Settings, report: Report) -> None:
    """Look whether what a client names is there, and fits together."""
    who = f"client {quoted(client.name)}{_by_key(client)}: "
    _check_known((*path, "profile"), who, "profile", client.profile, settings.profiles, report)
    for position, name in enumerate(client.allow_profiles):
        here = (*path, "allow_profiles", position)
        _check_named(here, who, "profile", name, settings.profiles, report)
    models = [*_tier_names(settings), *settings.aliases]
    for position, name in enumerate(client.allow_models or ()):
        here = (*path, "allow_models", position)
        _check_named(here, who, "tier or alias", name, models, report)
    if client.group is not None:
        _check_known((*path, "group"), who, "group", client.group, settings.groups, report)
    for position, glob in enumerate(client.allow_endpoints or ()):
        if not glob.startswith("/"):
            report.problem((*path, "allow_endpoints", position), 'must begin with "/"')
    for number, name in enumerate(client.budgets):
        check_listed((*path, "budgets", number), who, name, ("client", "global"), settings, report)
    _check_upstream_keys(path, who, client, settings, report)
    check_client_limits(path, client, settings, report)
    if (client.default_priority or 0) > client.most_priority:
        report.problem((*path, "default_priority"), f"{who}is above priority_ceiling")
    given = [client.key_env, client.key_secret, client.key_sha256]
    if sum(source is not None for source in given) != 1:
        report.problem(path, f"{who}give one of key_env, key_secret and key_sha256")


def _check_upstream_keys(
    path: KeyPath, who: str, client: ClientSection, settings: Settings, report: Report
) -> None:
    for name in client.upstream_keys or ():
        here = (*path, "upstream_keys", name)
        _check_known(here, who, "backend", name, settings.backends, report)
        if name in settings.backends and settings.backends[name].provider == "mock":
            report.problem(here, f"{who}the mock backend takes no key")


def _by_key(client: ClientSection) -> str:
    if client.key_env is None or looks_like_key(client.key_env) or client.key_env == client.name:
        return ""
    return f" (key in {quoted(client.key_env)})"
