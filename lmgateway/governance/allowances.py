"""What the config says that may be used in a minute, as values that are shared by all alike."""

from __future__ import annotations

from functools import lru_cache

from lmgateway.config.limits import AddressSection, LimitsSection, OverrideSection
from lmgateway.config.schema import (
    BackendSection,
    ClientSection,
    GroupSection,
    ProfileSection,
    TierSection,
)
from lmgateway.governance.pricing import nano
from lmgateway.principal import UNLIMITED, Allowance, Special

Section = ClientSection | GroupSection | ProfileSection | LimitsSection | AddressSection


def allowance_of(section: Section) -> Allowance:
    """Read what somebody may use."""
    return _allowance(
        getattr(section, "rate_limit_rpm", None),
        section.rate_limit_tpm,
        section.rate_limit_usd_per_minute,
        section.burst,
        section.max_concurrent,
        section.enforce,
        _overrides(section),
    )


def attempts_of(section: TierSection | BackendSection) -> Allowance:
    """Read what may be asked of a tier or a backend; its places are counted elsewhere."""
    return _allowance(
        section.rate_limit_rpm, section.rate_limit_tpm, None, section.burst, None, True, ()
    )


def _overrides(section: Section) -> tuple[OverrideSection, ...]:
    if isinstance(section, LimitsSection):
        return section.overrides
    return section.limits if isinstance(section, ClientSection | GroupSection) else ()


@lru_cache(4096)
def _allowance(
    rpm: int | None,
    tpm: int | None,
    usd: float | None,
    burst: int | None,
    concurrent: int | None,
    enforced: bool,
    overrides: tuple[OverrideSection, ...],
) -> Allowance:
    """Give the same value for the same numbers: there may be very many keys."""
    allowed = Allowance(
        requests=rpm,
        tokens=tpm,
        nano_usd=None if usd is None else nano(usd),
        burst=burst,
        concurrent=concurrent,
        enforced=enforced,
        special=tuple(_special(each) for each in overrides),
    )
    return UNLIMITED if allowed == UNLIMITED else allowed


def _special(section: OverrideSection) -> Special:
    allowed = _allowance(
        section.rate_limit_rpm,
        section.rate_limit_tpm,
        section.rate_limit_usd_per_minute,
        section.burst,
        section.max_concurrent,
        True,
        (),
    )
    return Special(
        path=section.path, model=section.model, profile=section.profile, allowance=allowed
    )
