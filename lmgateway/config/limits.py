"""How much may be used in a minute: the ``[limits]`` table, and overrides of limits."""

from __future__ import annotations

from typing import Literal

from attrs import field

from lmgateway.classes import frozen
from lmgateway.config.values import Count, PositiveCount, Price


@frozen(kw_only=True)
class OverrideSection:
    """
    Other limits for some of the requests of a client, of a group or of everyone.

    It fits a request that is all of ``path``, ``model`` and ``profile``.  Of several that fit, the
    most specific holds: the one that names more of the three, then the one with fewer wildcards.
    What it limits is counted by itself; what it does not is counted with everything else.

    Attributes:
        path: The path that is asked, with ``*``.
        model: The model that is asked for, or the tier that this stands for, with ``*``.
        profile: The profile that is asked, with ``*``.
        rate_limit_rpm: Requests a minute; 0 is no limit.
        rate_limit_tpm: Tokens a minute, of prompts and answers; 0 is no limit.
        rate_limit_usd_per_minute: What answers may cost in a minute; 0 is no limit.
        burst: Requests at once; half of ``rate_limit_rpm`` if not given.
        max_concurrent: Requests under way at once; 0 is no limit.
    """

    path: str | None = None
    model: str | None = None
    profile: str | None = None
    rate_limit_rpm: Count | None = None
    rate_limit_tpm: Count | None = None
    rate_limit_usd_per_minute: Price | None = None
    burst: PositiveCount | None = None
    max_concurrent: Count | None = None


@frozen(kw_only=True)
class AddressSection:
    """
    What each client address may use, besides ``rate_limit_rpm`` in ``[gateway]``.

    Attributes:
        rate_limit_tpm: Tokens a minute, of prompts and answers; off if 0 or not given.
        rate_limit_usd_per_minute: What answers may cost in a minute; off if 0 or not given.
        burst: Requests at once; half of ``rate_limit_rpm`` if not given.
        max_concurrent: Requests under way at once; unlimited if not given.
        enforce: Whether anyone is refused; if not, it is only told who would be.
    """

    rate_limit_tpm: Count | None = None
    rate_limit_usd_per_minute: Price | None = None
    burst: PositiveCount | None = None
    max_concurrent: PositiveCount | None = None
    enforce: bool = True


@frozen(kw_only=True)
class LimitsSection:
    """
    How limits are counted, and what everyone may use together.

    Attributes:
        algorithm: A ``token_bucket`` lets a burst through and then an even flow; with a
            ``sliding_window`` there is never more than the limit in any minute.
        enforce: Whether anyone is refused by any limit; if not, it is only told who would be.
        rate_limit_rpm: Requests a minute; off if 0 or not given.
        rate_limit_tpm: Tokens a minute, of prompts and answers; off if 0 or not given.
        rate_limit_usd_per_minute: What answers may cost in a minute; off if 0 or not given.
        burst: Requests at once; half of ``rate_limit_rpm`` if not given.
        max_concurrent: Requests under way at once; unlimited if not given.
        overrides: Other limits for some of the requests.
        ip: What each client address may use.
        wrong_keys_per_minute: How many wrong keys an address may show before it is told 429
            instead of 401; 0 is any number.
    """

    algorithm: Literal["token_bucket", "sliding_window"] = "token_bucket"
    enforce: bool = True
    rate_limit_rpm: Count | None = None
    rate_limit_tpm: Count | None = None
    rate_limit_usd_per_minute: Price | None = None
    burst: PositiveCount | None = None
    max_concurrent: PositiveCount | None = None
    overrides: tuple[OverrideSection, ...] = ()
    ip: AddressSection = field(factory=AddressSection)
    wrong_keys_per_minute: Count = 5
