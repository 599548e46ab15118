"""
Limits: on requests, tokens, cost and requests at once, for whom and all or nothing.

===========  ==============================  ==================================
scope        who shares it                   asked
===========  ==============================  ==================================
``ip``       an address, an IPv6 /64         at the door, before the body;
                                             all but requests on admission
``client``   a key                           on admission
``group``    the clients of a group          on admission
``global``   everyone                        on admission
``profile``  everyone whom it routes         once routing chose it
``tier``     all attempts at its targets     before each attempt
``backend``  all attempts at it              before each attempt
===========  ==============================  ==================================

What each counts is told in ``counters``, how it is counted in ``buckets``, and what
one request holds of it in ``claims``.  Wrong keys are counted by address too: from
the sixth in a minute on they are told 429, whatever else is limited.  A good key is
let in all the same, so that nobody can lock out those behind the same address.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar

import msgspec
from attrs import evolve, field
from msgspec.structs import replace

from lmgateway.classes import frozen
from lmgateway.config.schema import Config
from lmgateway.errors import LimitError, RateLimited
from lmgateway.exchange import Exchange
from lmgateway.governance.addresses import neighbourhood
from lmgateway.governance.allowances import allowance_of, attempts_of
from lmgateway.governance.buckets import SLACK, Rate
from lmgateway.governance.counters import Counter, Counters, Scope, limited, standing, tightest
from lmgateway.governance.known import Known
from lmgateway.governance.overrides import Meaning, asked, chosen, label, without
from lmgateway.principal import UNLIMITED, Allowance, Principal, Standing

__all__ = ["Counter", "Counters", "Limits", "Scope", "tightest"]

Scopes = tuple[Scope, ...]


def _no_meaning(principal: Principal, model: str | None) -> tuple[str, str]:
    return "", principal.profile


def _tell_nobody(kind: str, /, **facts: object) -> None:
    """Nobody listens."""


class Bounds(msgspec.Struct, frozen=True):
    """
    The scopes of one principal.

    Attributes:
        usual: Those of a request that no override fits.
        owners: Who sets limits for it, if any of them has overrides.
        chosen: The scopes of requests that overrides fit, by which they are.
    """

    principal: Principal
    usual: Scopes
    owners: tuple[tuple[str, str, Allowance], ...] = ()
    chosen: dict[tuple[str, ...], Scopes] = msgspec.field(default_factory=dict)


@frozen(kw_only=True, eq=False)
class Limits:
    """
    All limits of a config.

    Attributes:
        counters: What was used of them.
        now: Reactor seconds.
        address: Requests for each address.
        wrong_keys: Wrong keys for each address.
        everyone: What everyone may use together.
        nearby: What each address may use besides requests.
        groups: What each group may use.
        profiles: The scope of each profile that is limited.
        tiers: Of each tier that is limited.
        backends: Of each backend that is limited.
        of_targets: Whether attempts are counted.
        of_nobody: Whether nothing is limited but single clients, profiles and attempts.
        sliding: Whether sliding windows are used.
        enforced: Whether any limit refuses anything.
        meaning: What a model name stands for.
        tell: Told of what is over a limit: see ``telemetry.events``.
        kind: What scopes are made as.
    """

    kind: ClassVar[type[Scope]] = Scope
    counters: Counters
    now: Callable[[], float]
    address: Rate | None = None
    wrong_keys: Rate | None = None
    everyone: Allowance = UNLIMITED
    nearby: Allowance = UNLIMITED
    groups: Mapping[str, Allowance] = field(factory=dict)
    profiles: Mapping[str, Scope] = field(factory=dict)
    tiers: Mapping[str, Scope] = field(factory=dict)
    backends: Mapping[str, Scope] = field(factory=dict)
    sliding: bool = False
    enforced: bool = True
    meaning: Meaning = _no_meaning
    tell: Callable[..., None] = _tell_nobody
    of_targets: bool = field(init=False)
    of_nobody: bool = field(init=False)
    _known: Known[Bounds] = field(factory=Known, init=False)

    @of_targets.default
    def _counts_attempts(self) -> bool:
        return bool(self.tiers or self.backends)

    @of_nobody.default
    def _limits_nobody(self) -> bool:
        return not self.groups and self.everyone is UNLIMITED and self.nearby is UNLIMITED

    @classmethod
    def of(
        cls,
        config: Config,
        counters: Counters,
        now: Callable[[], float],
        meaning: Meaning = _no_meaning,
        tell: Callable[..., None] = _tell_nobody,
    ) -> Limits:
        """Read the limits of a config."""
        section = config.limits
        sliding = section.algorithm == "sliding_window"
        rpm, wrong = config.gateway.rate_limit_rpm, section.wrong_keys_per_minute
        limits = cls(
            counters=counters,
            now=now,
            address=Rate.of(rpm, section.ip.burst, sliding=sliding) if rpm else None,
            wrong_keys=Rate.of(wrong, wrong) if wrong else None,
            everyone=allowance_of(section),
            nearby=allowance_of(section.ip),
            groups={name: allowance_of(group) for name, group in config.groups.items()},
            sliding=sliding,
            enforced=section.enforce,
            meaning=meaning,
            tell=tell,
        )
        profiles = {name: allowance_of(profile) for name, profile in config.profiles.items()}
        tiers = {tier.name: attempts_of(tier) for tier in config.tiers}
        backends = {name: attempts_of(backend) for name, backend in config.backends.items()}
        return evolve(
            limits,
            profiles=limits.scopes_of("profile", profiles),
            tiers=limits.scopes_of("tier", tiers),
            backends=limits.scopes_of("backend", backends),
        )

    # Scopes ----------------------------------------------------------------
    def scopes_of(self, kind: str, allowed: Mapping[str, Allowance]) -> dict[str, Scope]:
        """Give the scopes of those that are limited."""
        made = {name: self._scope(kind, name, each) for name, each in allowed.items()}
        return {name: scope for name, scope in made.items() if scope is not None}

    def _scope(self, kind: str, name: str, allowed: Allowance, of: str = "") -> Scope | None:
        """Give a scope, if it has a limit; *of* says of which requests."""
        if not (allowed.requests or allowed.tokens or allowed.nano_usd or allowed.concurrent):
            return None
        counter = self.counters.get(kind, f"{name}\n{of}" if of else name)
        if not self.enforced:
            allowed = replace(allowed, enforced=False)
        return self.kind(kind, name, counter, allowed, sliding=self.sliding)

    def bounds(self, principal: Principal) -> Bounds:
        """Give the scopes of whoever asks."""
        known = self._known.get(principal.name)
        if known is None or known[0] is not principal:
            known = self._known.keep(principal, self._bounds(principal))
        return known[1]

    def _bounds(self, principal: Principal) -> Bounds:
        owners = (
            ("client", principal.name, principal.allowance),
            ("group", principal.group, self.groups.get(principal.group, UNLIMITED)),
            ("global", "", self.everyone),
        )
        scopes = (self._scope(*owner) for owner in owners)
        usual = tuple(scope for scope in scopes if scope is not None)
        special = any(allowed.special for _, _, allowed in owners)
        return Bounds(principal, usual, owners if special else ())

    def scopes(self, exchange: Exchange) -> Scopes:
        """Give the scopes of a request, but for its profile's and its attempts'."""
        principal = exchange.principal
        assert principal is not None, "the door names everyone"
        if self.of_nobody and principal.allowance is UNLIMITED:
            return ()
        bounds = self.bounds(principal)
        scopes = self._overridden(bounds, exchange) if bounds.owners else bounds.usual
        if self.nearby is not UNLIMITED:
            near = self._nearby(exchange.peer)
            return scopes if near is None else (near, *scopes)
        return scopes

    def _overridden(self, bounds: Bounds, exchange: Exchange) -> Scopes:
        request = exchange.request
        model = None if request is None else request.model
        what = asked(bounds.principal, exchange.path, model, self.meaning)
        found = [chosen(allowed.special, what) for _, _, allowed in bounds.owners]
        key = tuple("" if special is None else label(special) for special in found)
        scopes = bounds.chosen.get(key)
        if scopes is None:
            made: list[Scope | None] = []
            for (kind, name, allowed), special in zip(bounds.owners, found, strict=True):
                if special is not None:
                    own = replace(special.allowance, enforced=allowed.enforced)
                    made.append(self._scope(kind, name, own, of=label(special)))
                    allowed = without(allowed, special)
                made.append(self._scope(kind, name, allowed))
            scopes = tuple(scope for scope in made if scope is not None)
            bounds.chosen[key] = scopes
        return scopes

    def _nearby(self, address: str) -> Scope | None:
        allowed = self.nearby if self.enforced else replace(self.nearby, enforced=False)
        allowed = replace(allowed, requests=None)
        if not (allowed.tokens or allowed.nano_usd or allowed.concurrent):
            return None
        near = neighbourhood(address)
        counter = self.counters.addresses.get(near, self.now())
        return self.kind("ip", near, counter, allowed, sliding=self.sliding)

    def keep_only(self, names: Iterable[str]) -> None:
        """Forget what was used of limits that are not there any more; *names* are clients'."""
        clients = frozenset(names)
        known = {"profile": self.profiles, "tier": self.tiers, "backend": self.backends}

        def is_known(kind: str, name: str) -> bool:
            owner = name.partition("\n")[0]
            match kind:
                case "client":
                    return owner in clients
                case "group":
                    return owner in self.groups
                case "global":
                    return True
            return name in known.get(kind, ())

        self.counters.keep_only(is_known)

    def standings(self, principal: Principal, address: str) -> Iterable[Standing]:
        """Say how all limits stand for whoever asks, its own profile's included."""
        yield from self.at_the_door(address)
        yield from self.of_client(principal)

    def of_client(self, principal: Principal) -> Iterable[Standing]:
        """Say how the limits of a client stand, wherever it asks from."""
        now = self.now()
        own = self.profiles.get(principal.profile)
        for scope in (*self.bounds(principal).usual, *(() if own is None else (own,))):
            if scope.enforced:
                yield from scope.standings(now)

    # The address -----------------------------------------------------------
    def knock(self, address: str) -> None:
        """
        Count a request of an address.

        Raises:
            RateLimited: If there were too many.
        """
        rate = self.address
        if rate is None:
            return
        now, near = self.now(), neighbourhood(address)
        used = self.counters.addresses.get(near, now).count("requests", rate)
        if used.level(rate, now) + 1 - rate.capacity <= SLACK:
            used.take(1, now)
            return
        enforced = self.enforced and self.nearby.enforced
        self.tell("limit", scope="ip", name=near, limit="requests", enforced=enforced)
        if enforced:
            error = limited("requests", rate, used.wait(rate, 1, now))
            error.standings = (standing("requests", "ip", (rate, used), now),)
            raise error

    def unknock(self, address: str, taken: float) -> None:
        """Give back what ``knock`` counted at the moment *taken*."""
        if self.address is not None:
            now = self.now()
            counter = self.counters.addresses.get(neighbourhood(address), now)
            counter.count("requests", self.address).give_back(self.address, 1, taken, now)

    def at_the_door(self, address: str) -> Iterable[Standing]:
        """Say how the limit of an address stands."""
        if self.address is not None and self.enforced and self.nearby.enforced:
            now = self.now()
            counter = self.counters.addresses.get(neighbourhood(address), now)
            used = counter.count("requests", self.address)
            yield standing("requests", "ip", (self.address, used), now)

    def stumble(self, address: str) -> RateLimited | None:
        """Count a wrong key; give what it is told instead of 401, if there were too many."""
        rate = self.wrong_keys
        if rate is None:
            return None
        now, near = self.now(), neighbourhood(address)
        used = self.counters.strangers.get(near, now).count("requests", rate)
        wait = used.wait(rate, 1, now)
        if not wait:
            used.take(1, now)
            if used.wait(rate, 1, now):  # told once, and again when it goes on
                self.tell("limit", scope="ip", name=near, limit="wrong_keys", enforced=True)
            return None
        return RateLimited("Too many wrong keys.", retry_after=wait)


def longest(refusals: Iterable[LimitError]) -> LimitError:
    """Give the refusal that lasts longest."""
    return max(refusals, key=_wait)


def _wait(refusal: LimitError) -> float:
    return float("inf") if refusal.retry_after is None else refusal.retry_after
