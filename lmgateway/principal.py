"""Who asks, what they may do, and how their limits stand."""

from __future__ import annotations

import msgspec
from attrs import field
from msgspec import Struct

from lmgateway.classes import frozen

NEVER = float("inf")
"""A moment that does not come."""


class Allowance(Struct, frozen=True, kw_only=True):
    """
    How much may be used in a minute, and at once.

    Attributes:
        requests: How many begin in a minute; 0 is any number, ``None`` says nothing of it.
        tokens: How many they take in a minute.
        nano_usd: What they may cost in a minute, in nano-dollars.
        burst: How many begin at once.
        concurrent: How many are under way at once.
        enforced: Whether what is over it is refused; if not, that is only told.
        special: What holds instead for some requests.
    """

    requests: int | None = None
    tokens: int | None = None
    nano_usd: int | None = None
    burst: int | None = None
    concurrent: int | None = None
    enforced: bool = True
    special: tuple[Special, ...] = ()


class Special(Struct, frozen=True, kw_only=True):
    """
    An allowance for those requests that fit all of its globs.

    Attributes:
        path: Of the path; ``None`` fits any.
        model: Of the model that is asked for, or the tier that it stands for.
        profile: Of the profile that is asked.
    """

    path: str | None = None
    model: str | None = None
    profile: str | None = None
    allowance: Allowance


UNLIMITED = Allowance()


@frozen(kw_only=True)
class Principal:
    """
    Who asks.

    Attributes:
        name: The client's configured name; empty for an anonymous caller.
        profile: The profile that the key is bound to.
        expert: Whether this client may open the expert gate.
        chaos: Whether this client may have requests fail on purpose.
        anonymous: Whether no key was shown (open gateway, or ``public_profile``).
        allow_profiles: Globs of other profiles that may be named; ``None``: none.
        allow_models: Globs of the tiers and aliases that may be named; ``None``: those up to
            the profile's ceiling.
        allow_endpoints: Globs of the paths that may be asked; ``None``: all.
        group: The group that this client is in; empty if it is in none.
        tags: What records say of this client besides.
        default_priority: Of requests that name no priority; ``None`` leaves it to the tier.
        priority_ceiling: The highest priority that may be named; ``None``: any.
        budgets: The names of the budgets that this client spends from.
        expires: Seconds since the epoch from which its key is not good any more.
        allowance: How much it may use.
        is_plain: Whether what it may name depends on nothing but its profile and ``expert``.
    """

    name: str
    profile: str
    expert: bool = False
    chaos: bool = False
    anonymous: bool = False
    allow_profiles: tuple[str, ...] | None = None
    allow_models: tuple[str, ...] | None = None
    allow_endpoints: tuple[str, ...] | None = None
    group: str = ""
    tags: tuple[str, ...] = ()
    default_priority: int | None = None
    priority_ceiling: int | None = None
    budgets: tuple[str, ...] = ()
    expires: float = NEVER
    allowance: Allowance = UNLIMITED
    is_plain: bool = field(init=False, eq=False, repr=False)

    @is_plain.default
    def _allows_no_more(self) -> bool:
        return not self.allow_profiles and self.allow_models is None


class Standing(msgspec.Struct, frozen=True, gc=False):
    """
    How a limit stands.

    Attributes:
        what: ``requests``, ``tokens``, ``cost`` (in nano-dollars) or ``concurrency``.
        scope: Whose limit it is.
        limit: How many a minute, or at once.
        remaining: How many more now.
        reset: Seconds until all of it can be used again.
        most: How many can be left; less than *limit* where a minute's worth does not fit at once.
    """

    what: str
    scope: str
    limit: int
    remaining: int
    reset: float
    most: int = 0
