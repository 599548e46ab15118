"""
Limits: on requests, tokens and requests at once, for whom and all or nothing.

===========  ==============================  ============================
scope        who shares it                   asked
===========  ==============================  ============================
``ip``       an address, an IPv6 /64         at the door, before the body
``client``   a key                           on admission
``group``    the clients of a group          on admission
``profile``  everyone whom it routes         once routing chose it
===========  ==============================  ============================

A request that one scope refuses is given back to all others that had let it in.
Tokens are estimated on admission and held; when the exchange has ended, what
its attempts used is what counts.  So a limit on tokens can be overdrawn by an
answer that was longer than announced; it is paid off before the next request.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from attrs import define, field, frozen

from lmgateway.config.schema import ClientSection, Config, GroupSection
from lmgateway.errors import LimitError, RateLimited, TooManyConcurrent
from lmgateway.exchange import Principal, Standing
from lmgateway.governance.addresses import neighbourhood
from lmgateway.governance.buckets import Bucket, Buckets, Rate, room
from lmgateway.governance.tokens import Ask

_UNUSED = Bucket()
"""In the place of one that no limit asks for, since there may be very many keys."""


class Counter:
    """What one scope has used; outlives every config."""

    __slots__ = ("concurrent", "requests", "tokens")

    def __init__(self) -> None:
        self.requests = self.tokens = _UNUSED
        self.concurrent = 0

    def prepare(self, *, requests: bool, tokens: bool) -> None:
        """Make the buckets that a limit asks for, if there are none yet."""
        if requests and self.requests is _UNUSED:
            self.requests = Bucket()
        if tokens and self.tokens is _UNUSED:
            self.tokens = Bucket()


@define
class Counters:
    """
    What was used, by scope; outlives every config.

    Attributes:
        addresses: Requests by address.
        named: By kind and name of a scope.
    """

    addresses: Buckets = field(factory=Buckets)
    named: dict[tuple[str, str], Counter] = field(factory=dict)

    def get(self, kind: str, name: str) -> Counter:
        """Give what a scope has used."""
        return self.named.setdefault((kind, name), Counter())

    def keep_only(self, scopes: Collection[tuple[str, str]]) -> None:
        """Forget those that are no longer configured."""
        for scope in [scope for scope in self.named if scope not in scopes]:
            del self.named[scope]


@frozen(kw_only=True)
class Scope:
    """
    Those who share a limit, and which.

    Attributes:
        concurrent: How many requests at once.
    """

    kind: str
    name: str
    counter: Counter
    requests: Rate | None = None
    tokens: Rate | None = None
    concurrent: int | None = None

    def __attrs_post_init__(self) -> None:
        """Have what this limit counts with."""
        self.counter.prepare(requests=self.requests is not None, tokens=self.tokens is not None)

    def refusal(self, ask: Ask, now: float) -> LimitError | None:
        """Say why a request cannot be let in now; ``None`` if it can."""
        counter = self.counter
        if self.concurrent is not None and counter.concurrent >= self.concurrent:
            error = TooManyConcurrent("Too many requests at once.", retry_after=1)
            return self._refused("concurrency", error, now)
        if self.requests is not None:
            wait = counter.requests.wait(self.requests, 1, now)
            if wait:
                return self._refused("requests", limited("requests", self.requests, wait), now)
        if self.tokens is not None:
            if ask.prompt > self.tokens.capacity:
                return self._refused("tokens", _too_large(ask.prompt, self.tokens), now)
            wait = counter.tokens.wait(self.tokens, self._held(ask), now)
            if wait:
                return self._refused("tokens", limited("tokens", self.tokens, wait), now)
        return None

    def _refused(self, what: str, error: LimitError, now: float) -> LimitError:
        """Have an error say how the limit stands that was reached, and then the others."""
        error.standings = sorted(self.standings(now), key=lambda each: each.what != what)
        return error

    def _held(self, ask: Ask) -> int:
        """Give the tokens to hold: a bound that nobody could keep within holds all there is."""
        if self.tokens is None:
            return 0
        return min(ask.prompt + ask.output, self.tokens.capacity)

    def take(self, ask: Ask) -> None:
        """Let a request in."""
        counter = self.counter
        counter.concurrent += 1
        if self.requests is not None:
            counter.requests.take(1)
        if self.tokens is not None:
            counter.tokens.held += self._held(ask)

    def refund(self, now: float) -> None:
        """Take it that a request was not let in just now; what else it has is for ``release``."""
        if self.requests is not None:
            self.counter.requests.give_back(self.requests, 1, now, now)

    def release(self, ask: Ask, used: int) -> None:
        """Let a request go that used so many tokens."""
        counter = self.counter
        counter.concurrent -= 1
        if self.tokens is not None:
            counter.tokens.held -= self._held(ask)
            counter.tokens.take(used)

    def standings(self, now: float) -> Iterable[Standing]:
        """Say how this scope's limits stand."""
        counter = self.counter
        if self.requests is not None:
            yield standing("requests", self.kind, counter.requests, self.requests, now)
        if self.tokens is not None:
            yield standing("tokens", self.kind, counter.tokens, self.tokens, now)
        if self.concurrent is not None:
            left = max(0, self.concurrent - counter.concurrent)
            yield Standing("concurrency", self.kind, self.concurrent, left, 0.0)


def standing(what: str, kind: str, bucket: Bucket, rate: Rate, now: float) -> Standing:
    """Say how one bucket stands."""
    level = bucket.level(rate, now)
    return Standing(what, kind, rate.per_minute, room(rate, level), level / rate.flow)


def limited(what: str, rate: Rate, wait: float) -> RateLimited:
    """Say that there was too much of something."""
    text = f"Too many {what}: the limit is {rate.per_minute} per minute."
    return RateLimited(text, retry_after=wait)


def _too_large(tokens: int, rate: Rate) -> RateLimited:
    text = f"This request needs about {tokens} tokens; the limit is {rate.per_minute} per minute."
    return RateLimited(text)


@frozen(kw_only=True)
class Limits:
    """
    All limits of a config.

    Attributes:
        counters: What was used of them.
        now: Reactor seconds.
        address: For each address.
        clients: The scopes of each client: its own and its group's.
        profiles: The scope of each profile that is limited.
    """

    counters: Counters
    now: Callable[[], float]
    address: Rate | None = None
    clients: Mapping[str, Sequence[Scope]] = field(factory=dict)
    profiles: Mapping[str, Scope] = field(factory=dict)

    @classmethod
    def of(cls, config: Config, counters: Counters, now: Callable[[], float]) -> Limits:
        """Read the limits of a config."""
        groups = {
            name: _scope("group", name, group, counters) for name, group in config.groups.items()
        }
        clients = {}
        for client in config.clients:
            both = (
                _scope("client", client.name, client, counters),
                groups.get(client.group or ""),
            )
            scopes = tuple(scope for scope in both if scope is not None)
            if scopes:
                clients[client.name] = scopes
        profiles = {
            name: Scope(
                kind="profile",
                name=name,
                counter=counters.get("profile", name),
                requests=Rate.of(profile.rate_limit_rpm),
            )
            for name, profile in config.profiles.items()
            if profile.rate_limit_rpm
        }
        rpm = config.gateway.rate_limit_rpm
        return cls(
            counters=counters,
            now=now,
            address=Rate.of(rpm) if rpm else None,
            clients=clients,
            profiles=profiles,
        )

    def names(self) -> set[tuple[str, str]]:
        """Name all scopes that have a counter."""
        every = [*(s for scopes in self.clients.values() for s in scopes), *self.profiles.values()]
        return {(scope.kind, scope.name) for scope in every}

    def scopes(self, principal: Principal) -> Sequence[Scope]:
        """Give the scopes of whoever asks, but for address and profile."""
        return self.clients.get(principal.name, ()) if self.clients else ()

    def standings(self, principal: Principal, address: str) -> Iterable[Standing]:
        """Say how all limits stand for whoever asks, its own profile's included."""
        yield from self.at_the_door(address)
        yield from self.of_client(principal)

    def of_client(self, principal: Principal) -> Iterable[Standing]:
        """Say how the limits of a client stand, wherever it asks from."""
        now = self.now()
        own = self.profiles.get(principal.profile)
        for scope in (*self.scopes(principal), *(() if own is None else (own,))):
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
        now = self.now()
        bucket = self.counters.addresses.get(neighbourhood(address), now)
        wait = bucket.wait(rate, 1, now)
        if wait:
            error = limited("requests", rate, wait)
            error.standings = (standing("requests", "ip", bucket, rate, now),)
            raise error
        bucket.take(1)

    def unknock(self, address: str, taken: float) -> None:
        """Give back what ``knock`` counted at the moment *taken*."""
        if self.address is not None:
            now = self.now()
            bucket = self.counters.addresses.get(neighbourhood(address), now)
            bucket.give_back(self.address, 1, taken, now)

    def at_the_door(self, address: str) -> Iterable[Standing]:
        """Say how the limit of an address stands."""
        if self.address is not None:
            now = self.now()
            bucket = self.counters.addresses.get(neighbourhood(address), now)
            yield standing("requests", "ip", bucket, self.address, now)


def refusal_of(scopes: Iterable[Scope], ask: Ask, now: float) -> LimitError | None:
    """Give the refusal of those that refuse which lasts longest; ``None`` if none does."""
    refusals = [refusal for scope in scopes if (refusal := scope.refusal(ask, now))]
    return max(refusals, key=_wait, default=None) if refusals else None


def _wait(refusal: LimitError) -> float:
    return float("inf") if refusal.retry_after is None else refusal.retry_after


def tightest(standings: Iterable[Standing]) -> tuple[Standing, ...]:
    """Give, of each kind of limit, the one of which least is left."""
    found: dict[str, Standing] = {}
    for each in standings:
        known = found.get(each.what)
        if known is None or each.remaining < known.remaining:
            found[each.what] = each
    return tuple(found.values())


def _scope(
    kind: str, name: str, section: ClientSection | GroupSection, counters: Counters
) -> Scope | None:
    rpm, tpm = section.rate_limit_rpm, section.rate_limit_tpm
    if not (rpm or tpm or section.max_concurrent):
        return None
    return Scope(
        kind=kind,
        name=name,
        counter=counters.get(kind, name),
        requests=Rate.of(rpm, section.burst) if rpm else None,
        tokens=Rate.of(tpm, tpm) if tpm else None,
        concurrent=section.max_concurrent,
    )
