"""
What one request holds of the limits that it goes through: all of it, or nothing.

A request that one limit refuses, on admission or later, is given back to all others
that had let it in, unless an attempt was made for it.  A limit that is not enforced
lets everything through; it counts what it would have let through.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from lmgateway.errors import LimitError
from lmgateway.exchange import Attempt, Exchange
from lmgateway.governance.counters import Scope, tightest
from lmgateway.governance.limits import Limits, longest
from lmgateway.governance.tokens import NOTHING, Ask, ask_of
from lmgateway.principal import Standing


class Claim(msgspec.Struct, eq=False):
    """
    What one exchange holds.

    Made of the exchange and the limits of all.

    Attributes:
        ask: About how many tokens the request takes, if anybody counts them.
    """

    _exchange: Exchange
    _limits: Limits
    _joined: tuple[Scope, ...] = ()
    _asked: tuple[Scope, ...] = ()
    _attempts: dict[int, tuple[Scope, ...]] | None = None
    ask: Ask | None = None
    _taken: float = 0.0

    def open(self, scopes: tuple[Scope, ...]) -> None:
        """
        Count the request for whoever makes it.

        Raises:
            LimitError: If one of them has had too many.
        """
        try:
            self._join(scopes)
        except LimitError:
            self._limits.unknock(self._exchange.peer, self._exchange.admitted)
            raise

    def enter(self, profile: str) -> None:
        """
        Count the request for the profile that routes it, once.

        Raises:
            LimitError: If it has had too many.
        """
        scope = self._limits.profiles.get(profile)
        if scope is not None and scope not in self._asked:
            self._join((scope,))

    def _join(self, scopes: tuple[Scope, ...]) -> None:
        now = self._limits.now()
        if not self._joined:
            self._taken = now
        self._asked += scopes
        self._joined += self._admitted(scopes, now)

    def _ask_of(self, scopes: tuple[Scope, ...]) -> Ask:
        """Estimate the request, if anybody counts its tokens; once."""
        if self.ask is not None:
            return self.ask
        for scope in scopes:
            if scope.tokens is not None:
                assert self._exchange.request is not None, "known by now"
                self.ask = ask_of(self._exchange.request)
                return self.ask
        return NOTHING

    def _admitted(self, scopes: tuple[Scope, ...], now: float) -> tuple[Scope, ...]:
        """Take a place in all scopes, or in none; give those that count it."""
        ask = self._ask_of(scopes)
        for scope in scopes:
            if not scope.admits(ask, now):
                over = [each for each in scopes if not each.admits(ask, now)]
                self._refuse(over, ask, now)
                scopes = tuple(each for each in scopes if each not in over)
                break
        for scope in scopes:
            scope.take(ask, now)
        return scopes

    def _refuse(self, over: Sequence[Scope], ask: Ask, now: float) -> None:
        """Tell of limits that were reached; raise, if one of them is enforced."""
        exchange, hard = self._exchange, []
        for scope in over:
            refusal = scope.refusal(ask, now)
            what = refusal.standings[0].what
            if scope.enforced:
                hard.append(refusal)
            else:
                exchange.over_limits += (f"{scope.kind}:{what}",)
            principal = exchange.principal
            self._limits.tell(
                "limit",
                scope=scope.kind,
                name=scope.name,
                limit=what,
                enforced=scope.enforced,
                client="" if principal is None else principal.name,
                request_id=exchange.id,
            )
        if hard:
            raise longest(hard)

    # Attempts --------------------------------------------------------------
    def begin(self, attempt: Attempt) -> None:
        """
        Count an attempt for its tier and its backend.

        Raises:
            LimitError: If one of them has had too many.
        """
        scopes, limits = self._of_target(attempt), self._limits
        if scopes:
            if self._attempts is None:
                self._attempts = {}
            self._attempts[id(attempt)] = self._admitted(scopes, limits.now())

    def limit(self, attempt: Attempt) -> LimitError | None:
        """Say why ``begin`` would raise now; ``None`` if it would not."""
        scopes, now = self._of_target(attempt), self._limits.now()
        ask = self._ask_of(scopes)
        over = [each for each in scopes if each.enforced and not each.admits(ask, now)]
        return longest([each.refusal(ask, now) for each in over]) if over else None

    def _of_target(self, attempt: Attempt) -> tuple[Scope, ...]:
        limits = self._limits
        found = (limits.tiers.get(attempt.tier), limits.backends.get(attempt.backend))
        return tuple(scope for scope in found if scope is not None)

    def forget(self, attempt: Attempt) -> None:
        """Take it that an attempt was not made after all."""
        now = self._limits.now()
        for scope in self._left(attempt):
            scope.refund(now, now)
            scope.release(self.ask or NOTHING, 0, 0, now)

    def end(self, attempt: Attempt) -> None:
        """Count what an attempt took."""
        scopes = self._left(attempt)
        if scopes:
            used, now = _tokens(attempt), self._limits.now()
            for scope in scopes:
                scope.release(self.ask or NOTHING, used, attempt.cost or 0, now)

    def _left(self, attempt: Attempt) -> tuple[Scope, ...]:
        return () if self._attempts is None else self._attempts.pop(id(attempt), ())

    # The end ---------------------------------------------------------------
    def standings(self) -> Sequence[Standing]:
        """Say how the limits that apply stand, the tightest of each kind."""
        limits = self._limits
        now = limits.now()
        told = [] if limits.address is None else [*limits.at_the_door(self._exchange.peer)]
        for scope in self._asked:
            if scope.enforced:
                told += scope.standings(now)
        return tightest(told)

    def close(self, error: BaseException | None) -> None:
        """
        Let go of what was held, and count what was used.

        Args:
            error: What the exchange ended with.
        """
        exchange, limits = self._exchange, self._limits
        is_refused = error is not None and isinstance(error, LimitError) and not exchange.attempts
        if is_refused:
            limits.unknock(exchange.peer, exchange.admitted)
        if not self._joined:
            return
        now, used, cost = limits.now(), 0, 0
        for attempt in exchange.attempts:
            used += _tokens(attempt)
            cost += attempt.cost or 0
        if exchange.request is not None and exchange.request.endpoint == "count_tokens":
            used = 0
        ask = self.ask or NOTHING
        for scope in self._joined:
            if is_refused:
                scope.refund(self._taken, now)
            scope.release(ask, used, cost, now)


def _tokens(attempt: Attempt) -> int:
    usage = attempt.usage
    return 0 if usage is None else max(0, usage.input_tokens + usage.output_tokens)
