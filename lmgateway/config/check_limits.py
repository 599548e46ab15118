"""What must hold between the keys of limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

from lmgateway.config.limits import OverrideSection
from lmgateway.config.merge import KeyPath
from lmgateway.config.report import Report, quoted, suggestion
from lmgateway.config.schema import ClientSection, Settings

_LIMITS = ("rate_limit_rpm", "rate_limit_tpm", "rate_limit_usd_per_minute", "max_concurrent")


def check_limits(settings: Settings, report: Report) -> None:
    """Check all limits but those of clients."""
    limits = settings.limits
    _check_overrides(("limits", "overrides"), limits.overrides, settings, report)
    for path, section in _sections(settings):
        _check_burst(path, section, settings, report)
    if limits.ip.burst is not None and not settings.gateway.rate_limit_rpm:
        text = "means nothing without rate_limit_rpm in [gateway]"
        report.problem(("limits", "ip", "burst"), text)
    for name, group in settings.groups.items():
        _check_overrides(("groups", name, "limits"), group.limits, settings, report)


def check_client_limits(
    path: KeyPath, client: ClientSection, settings: Settings, report: Report
) -> None:
    """Check the limits of one client."""
    _check_burst(path, client, settings, report)
    _check_overrides((*path, "limits"), client.limits, settings, report)


def _sections(settings: Settings) -> Iterator[tuple[KeyPath, object]]:
    """Give everything that may have a burst, but for clients and overrides."""
    yield ("limits",), settings.limits
    yield ("limits", "ip"), settings.limits.ip
    named: Mapping[str, Mapping[str, object]] = {
        "groups": settings.groups,
        "profiles": settings.profiles,
        "backends": settings.backends,
    }
    for kind, sections in named.items():
        for name, section in sections.items():
            yield (kind, name), section
    for position, tier in enumerate(settings.tiers):
        yield ("tiers", position), tier


def _check_burst(path: KeyPath, section: object, settings: Settings, report: Report) -> None:
    if getattr(section, "burst", None) is None:
        return
    if settings.limits.algorithm == "sliding_window":
        text = 'means nothing with algorithm = "sliding_window" in [limits]'
        report.problem((*path, "burst"), text)


def _check_overrides(
    path: KeyPath, overrides: tuple[OverrideSection, ...], settings: Settings, report: Report
) -> None:
    for position, override in enumerate(overrides):
        here = (*path, position)
        _check_burst(here, override, settings, report)
        if override.path is override.model is override.profile is None:
            report.problem(here, "must say for what it is: path, model or profile")
        if all(getattr(override, name) is None for name in _LIMITS):
            report.problem(here, "must limit something: " + ", ".join(_LIMITS))
        if override.path is not None and not override.path.startswith("/"):
            report.problem((*here, "path"), 'must begin with "/"')
        profile, known = override.profile, settings.profiles
        if profile is not None and not any(fnmatchcase(name, profile) for name in known):
            text = f"there is no profile {quoted(profile)}" + suggestion(profile, known)
            report.problem((*here, "profile"), text)
