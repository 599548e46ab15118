"""
What those who share a limit have used, and whether there is room for one more.

Counters outlive every config; a ``Scope`` is one of them with the limits that a
config sets.  Tokens are estimated when a request comes in and held; when it has
ended, what its attempts used is what counts.  What it costs is known only then: a
request comes in while anything is left of the minute, and what it cost more is
paid off before the next one.  So is what an answer took beyond its estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import field

from lmgateway.classes import define
from lmgateway.errors import LimitError, RateLimited, TooManyConcurrent
from lmgateway.governance.buckets import SLACK, Bucket, Crowd, Rate, Window
from lmgateway.governance.pricing import usd
from lmgateway.governance.tokens import Ask
from lmgateway.principal import Allowance, Standing

CONCURRENCY_WAIT = 1.0
"""Seconds that a client is told to wait for one of its own requests to end."""

Used = Bucket | Window
Meter = tuple[Rate, Used]


class Counter:
    """What one scope has used."""

    __slots__ = ("at", "concurrent", "cost", "requests", "tokens")

    def __init__(self) -> None:
        self.requests: Used | None = None
        self.tokens: Used | None = None
        self.cost: Used | None = None
        self.concurrent = 0
        self.at = 0.0

    def count(self, what: str, rate: Rate) -> Used:
        """Give what counts one kind of use, made anew if it counts in another way."""
        used: Used | None = getattr(self, what)
        if used is None or not rate.is_counted_by(used):
            used = rate.bucket()
            setattr(self, what, used)
        return used


@define
class Counters:
    """
    What was used, by scope.

    Attributes:
        addresses: By address.
        strangers: Wrong keys by address.
        named: By kind and name of a scope.
    """

    addresses: Crowd[Counter] = field(factory=lambda: Crowd(Counter))
    strangers: Crowd[Counter] = field(factory=lambda: Crowd(Counter))
    named: dict[tuple[str, str], Counter] = field(factory=dict)

    def get(self, kind: str, name: str) -> Counter:
        """Give what a scope has used."""
        counter = self.named.get((kind, name))
        if counter is None:
            counter = self.named[kind, name] = Counter()
        return counter

    def keep_only(self, is_known: Callable[[str, str], bool]) -> None:
        """Forget those that are no longer configured."""
        for scope in [scope for scope in self.named if not is_known(*scope)]:
            del self.named[scope]


class Scope:
    """
    Those who share a limit, and which.

    Args:
        kind: ``ip``, ``client``, ``group``, ``profile``, ``global``, ``tier`` or ``backend``.
        name: Whose it is; empty for everyone's.
        sliding: Whether it is counted in sliding windows.

    Attributes:
        enforced: Whether what is over it is refused.
        requests: How many a minute, and what counts them.
        tokens: How many a minute, likewise.
        cost: How many nano-dollars a minute, likewise.
        meters: Those of the three that there are, by name.
        concurrent: How many requests at once.
    """

    __slots__ = (
        "concurrent",
        "cost",
        "counter",
        "enforced",
        "kind",
        "meters",
        "name",
        "requests",
        "tokens",
    )

    def __init__(
        self, kind: str, name: str, counter: Counter, allowed: Allowance, *, sliding: bool
    ) -> None:
        def metered(what: str, limit: int | None, capacity: int | None) -> Meter | None:
            if not limit:
                return None
            rate = Rate.of(limit, capacity, sliding=sliding)
            return rate, counter.count(what, rate)

        self.kind = kind
        self.name = name
        self.counter = counter
        self.enforced = allowed.enforced
        self.concurrent = allowed.concurrent or None
        self.requests = metered("requests", allowed.requests, allowed.burst)
        self.tokens = metered("tokens", allowed.tokens, allowed.tokens)
        self.cost = metered("cost", allowed.nano_usd, allowed.nano_usd)
        named = (("requests", self.requests), ("tokens", self.tokens), ("cost", self.cost))
        self.meters = tuple((what, meter) for what, meter in named if meter is not None)

    # Before a request ------------------------------------------------------
    def admits(self, ask: Ask, now: float) -> bool:
        """Say whether there is room for a request now."""
        if self.concurrent is not None and self.counter.concurrent >= self.concurrent:
            return False
        if self.requests is not None:
            rate, used = self.requests
            if used.level(rate, now) + 1 - rate.capacity > SLACK:
                return False
        if self.tokens is not None:
            rate, used = self.tokens
            if used.level(rate, now) + held(ask, rate) - rate.capacity > SLACK:
                return False
            if ask.prompt > rate.capacity:
                return False
        if self.cost is not None:
            rate, used = self.cost
            return used.level(rate, now) + 1 - rate.capacity <= SLACK
        return True

    def refusal(self, ask: Ask, now: float) -> LimitError:
        """Say why there is none."""
        if self.concurrent is not None and self.counter.concurrent >= self.concurrent:
            error = TooManyConcurrent("Too many requests at once.", retry_after=CONCURRENCY_WAIT)
            return self._refused("concurrency", error, now)
        if self.requests is not None:
            rate, used = self.requests
            if wait := used.wait(rate, 1, now):
                return self._refused("requests", limited("requests", rate, wait), now)
        if self.tokens is not None:
            rate, used = self.tokens
            if ask.prompt > rate.capacity:
                return self._refused("tokens", _too_large(ask.prompt, rate), now)
            if wait := used.wait(rate, held(ask, rate), now):
                return self._refused("tokens", limited("tokens", rate, wait), now)
        assert self.cost is not None, "something has refused"
        rate, used = self.cost
        return self._refused("cost", _too_dear(rate, used.wait(rate, 1, now)), now)

    def _refused(self, what: str, error: LimitError, now: float) -> LimitError:
        """Have an error say how the limit stands that was reached, and then the others."""
        error.standings = sorted(self.standings(now), key=lambda each: each.what != what)
        return error

    # While it is under way -------------------------------------------------
    def take(self, ask: Ask, now: float) -> None:
        """Let a request in."""
        self.counter.concurrent += 1
        if self.requests is not None:
            self.requests[1].take(1, now)
        if self.tokens is not None:
            rate, used = self.tokens
            used.held += held(ask, rate)

    def refund(self, taken: float, now: float) -> None:
        """Take it that a request was not let in then; what else it has is for ``release``."""
        if self.requests is not None:
            rate, used = self.requests
            used.give_back(rate, 1, taken, now)

    def release(self, ask: Ask, took: int, cost: int, now: float) -> None:
        """
        Let a request go.

        Args:
            took: How many tokens it took.
            cost: How many nano-dollars.
        """
        self.counter.concurrent -= 1
        if self.tokens is not None:
            rate, used = self.tokens
            used.held -= held(ask, rate)
            if took:
                used.take(took, now)
        if cost and self.cost is not None:
            self.cost[1].take(cost, now)

    # What is told ----------------------------------------------------------
    def standings(self, now: float) -> list[Standing]:
        """Say how this scope's limits stand."""
        told = []
        for what, meter in self.meters:
            told.append(standing(what, self.kind, meter, now))
        if (most := self.concurrent) is not None:
            left = max(0, most - self.counter.concurrent)
            told.append(Standing("concurrency", self.kind, most, left, 0.0, most))
        return told


def held(ask: Ask, rate: Rate) -> int:
    """Give the tokens to hold: a bound that nobody could keep within holds all there is."""
    most = ask.prompt + ask.output
    return most if most < rate.capacity else rate.capacity


def standing(what: str, kind: str, meter: Meter, now: float) -> Standing:
    """Say how one limit stands."""
    rate, used = meter
    left, reset = used.stand(rate, now)
    return Standing(what, kind, rate.per_minute, left, reset, rate.capacity)


def tightest(standings: Iterable[Standing]) -> tuple[Standing, ...]:
    """Give, of each kind of limit, the one of which least is left."""
    found: dict[str, Standing] = {}
    for each in standings:
        known = found.get(each.what)
        if known is None or each.remaining < known.remaining:
            found[each.what] = each
    return tuple(found.values())


def limited(what: str, rate: Rate, wait: float) -> RateLimited:
    """Say that there was too much of something."""
    text = f"Too many {what}: the limit is {rate.per_minute} per minute."
    return RateLimited(text, retry_after=wait)


def _too_large(tokens: int, rate: Rate) -> RateLimited:
    text = f"This request needs about {tokens} tokens; the limit is {rate.per_minute} per minute."
    return RateLimited(text)


def _too_dear(rate: Rate, wait: float) -> RateLimited:
    text = f"Too much was spent: the limit is {usd(rate.per_minute)} USD per minute."
    return RateLimited(text, retry_after=wait)
