"""Keys and what their holders may do: the ``[[clients]]`` and ``[groups.*]`` tables."""

from __future__ import annotations

from collections.abc import Mapping

from lmgateway.classes import frozen
from lmgateway.config.backend import SecretSource, source_of
from lmgateway.config.limits import OverrideSection
from lmgateway.config.values import (
    Count,
    EnvName,
    HexDigest,
    Moment,
    Name,
    PositiveCount,
    Price,
    Priority,
)


@frozen(kw_only=True)
class ClientSection:
    """
    One key and what its holder may do.

    Attributes:
        name: What records call this client; made of the key's source if not given.
        key_env: The environment variable that holds the key.
        key_secret: Where the key is read from.
        key_sha256: The SHA-256 of the key, in hexadecimal digits.
        profile: The profile that the key is bound to.
        allow_profiles: Other profiles that this client may name, with ``*``.
        allow_models: The tiers and aliases that this client may name, with ``*``; failover goes
            by the profile all the same; any up to its profile's ceiling if not given.
        allow_endpoints: The paths that this client may ask, with ``*``; all if not given.
        expert: Whether this client may go above the ceiling.
        chaos: Whether this client may have requests fail on purpose, by ``X-LMG-Chaos``.
        upstream_keys: Where its own API keys are read from, by backend: sent to that backend
            instead of the gateway's, for this client alone.
        default_priority: Of requests without ``X-LMG-Priority``; as the tier says if not given.
        priority_ceiling: The highest priority that this client may ask for; if not given,
            ``default_priority``, or else 0.
        group: The group whose limits hold for this client too.
        rate_limit_rpm: Requests a minute; off if 0 or not given.
        rate_limit_tpm: Tokens a minute, of prompts and answers; off if 0 or not given.
        rate_limit_usd_per_minute: What answers may cost in a minute; off if 0 or not given.
        burst: Requests at once; half of ``rate_limit_rpm`` if not given.
        max_concurrent: Requests under way at once; unlimited if not given.
        limits: Other limits for some of the requests, by path, model or profile.
        enforce: Whether these limits refuse anyone; if not, it is only told who would be.
        expires: The time from which the key is not good any more.
        budgets: The budgets that this client spends from.
        tags: What the traffic log says of this client besides its name.
    """

    name: Name = ""
    key_env: EnvName | None = None
    key_secret: SecretSource | None = None
    key_sha256: HexDigest | None = None
    profile: str
    allow_profiles: tuple[str, ...] = ()
    allow_models: tuple[str, ...] | None = None
    allow_endpoints: tuple[str, ...] | None = None
    expert: bool = False
    chaos: bool = False
    upstream_keys: Mapping[Name, SecretSource] | None = None
    default_priority: Priority | None = None
    priority_ceiling: Priority | None = None
    group: str | None = None
    rate_limit_rpm: Count | None = None
    rate_limit_tpm: Count | None = None
    rate_limit_usd_per_minute: Price | None = None
    burst: PositiveCount | None = None
    max_concurrent: PositiveCount | None = None
    limits: tuple[OverrideSection, ...] = ()
    enforce: bool = True
    expires: Moment | None = None
    budgets: tuple[str, ...] = ()
    tags: tuple[Name, ...] = ()

    @property
    def most_priority(self) -> int:
        """The highest priority that this client may ask for."""
        if self.priority_ceiling is not None:
            return self.priority_ceiling
        return self.default_priority or 0

    @property
    def key_source(self) -> SecretSource | None:
        """Where the key comes from; ``None`` if only its digest is known."""
        return source_of(self.key_env, self.key_secret)


@frozen(kw_only=True)
class GroupSection:
    """
    What the clients of a group may use together.

    Attributes:
        rate_limit_rpm: Requests a minute; off if 0 or not given.
        rate_limit_tpm: Tokens a minute, of prompts and answers; off if 0 or not given.
        rate_limit_usd_per_minute: What answers may cost in a minute; off if 0 or not given.
        burst: Requests at once; half of ``rate_limit_rpm`` if not given.
        max_concurrent: Requests under way at once; unlimited if not given.
        limits: Other limits for some of the requests, by path, model or profile.
        enforce: Whether these limits refuse anyone; if not, it is only told who would be.
        budgets: The budgets that its clients spend from.
    """

    rate_limit_rpm: Count | None = None
    rate_limit_tpm: Count | None = None
    rate_limit_usd_per_minute: Price | None = None
    burst: PositiveCount | None = None
    max_concurrent: PositiveCount | None = None
    limits: tuple[OverrideSection, ...] = ()
    enforce: bool = True
    budgets: tuple[str, ...] = ()
