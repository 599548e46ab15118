"""
Limits that hold for some requests instead of the usual ones.

What an override limits, it counts by itself, and the usual limit on the same does
not count that request; what it leaves alone is counted as for any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase

from msgspec import Struct
from msgspec.structs import replace

from lmgateway.principal import Allowance, Principal, Special

Meaning = Callable[[Principal, str | None], tuple[str, str]]
"""Gives the tier (empty if none) and the profile that a model name means to somebody."""

_WILD = "*?["


class Asked(Struct, frozen=True):
    """What a request is, as overrides look at it."""

    path: str
    models: tuple[str, ...]
    profile: str


def asked(principal: Principal, path: str, model: str | None, meaning: Meaning) -> Asked:
    """Say what a request is."""
    tier, profile = meaning(principal, model)
    return Asked(path, tuple(filter(None, (model, tier))), profile)


def chosen(specials: Iterable[Special], what: Asked) -> Special | None:
    """Give the most specific one that fits; ``None`` if none does."""
    return max((each for each in specials if _fits(each, what)), key=_weight, default=None)


def _fits(special: Special, what: Asked) -> bool:
    if special.path is not None and not fnmatchcase(what.path, special.path):
        return False
    if special.profile is not None and not fnmatchcase(what.profile, special.profile):
        return False
    model = special.model
    return model is None or any(fnmatchcase(name, model) for name in what.models)


def _weight(special: Special) -> tuple[int, int, int]:
    """Weigh by how much is said, how much of it plainly, and in how many letters."""
    globs = [glob for glob in (special.path, special.model, special.profile) if glob is not None]
    plain = sum(not any(mark in glob for mark in _WILD) for glob in globs)
    return len(globs), plain, sum(map(len, globs))


def label(special: Special) -> str:
    """Name an override, for what is counted of it."""
    given = {"path": special.path, "model": special.model, "profile": special.profile}
    return " ".join(f"{name}={glob}" for name, glob in given.items() if glob is not None)


def without(usual: Allowance, special: Special) -> Allowance:
    """Give what is left of the usual limits for requests that an override fits."""
    own = special.allowance
    return replace(
        usual,
        requests=usual.requests if own.requests is None else None,
        tokens=usual.tokens if own.tokens is None else None,
        nano_usd=usual.nano_usd if own.nano_usd is None else None,
        concurrent=usual.concurrent if own.concurrent is None else None,
    )
