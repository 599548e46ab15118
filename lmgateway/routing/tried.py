"""What a climb has met on its way: failures, silence, full queues, open breakers."""

from __future__ import annotations

from math import inf

from msgspec import Struct

from lmgateway.backend_errors import BackendError, BackendLimited, BackendTimeout, ContextExceeded
from lmgateway.errors import (
    BudgetExhausted,
    GatewayError,
    LadderExhausted,
    MaxCostExceeded,
    RateLimited,
    TooManyConcurrent,
)
from lmgateway.exchange import Exchange
from lmgateway.routing.balance import Target
from lmgateway.routing.queues import Gate
from lmgateway.routing.tier import Step


class Barred(Exception):
    """An attempt was not made, for a reason that was noted."""


class Tried(Struct):
    """
    What a climb has met so far.

    Attributes:
        failures: Of the attempts.
        refusals: Of the gates that had no place.
        waits: How long the breakers met are still open.
        limited: How many of those are open because the backend asked for a wait.
        silent: The backends that said nothing until their time ran out.
        unpaid: Why there was no money for a target.
        later: The targets that asked for a long wait, each from when on it may be retried.
        limits: Of tiers and backends that had had too many requests or tokens.
        window: The largest context window of the tiers gone through.
    """

    # Tuples: most climbs meet nothing, and share the empty one.
    failures: tuple[BackendError, ...] = ()
    refusals: tuple[tuple[Gate, TooManyConcurrent], ...] = ()
    waits: tuple[float, ...] = ()
    limited: int = 0
    silent: tuple[str, ...] = ()
    unpaid: tuple[BudgetExhausted, ...] = ()
    later: tuple[tuple[float, Step, Target], ...] = ()
    limits: tuple[RateLimited, ...] = ()
    window: float = 0.0

    @classmethod
    def of(cls, exchange: Exchange) -> Tried:
        """Begin, with what earlier climbs of the same exchange have met of silence."""
        tried = cls()
        for attempt in exchange.attempts:
            timed_out = attempt.outcome == BackendTimeout.kind and attempt.status is None
            if timed_out and attempt.purpose == "answer":
                tried.silent += (attempt.backend,)
        return tried

    def passes(self, step: Step) -> bool:
        """Say whether a step may still help: after a prompt was too long, only a larger window."""
        own = step.tier.max_context_tokens or inf
        if own > self.window:
            self.window = own
            return True
        return not (self.failures and isinstance(self.failures[-1], ContextExceeded))

    @property
    def nothing(self) -> bool:
        """Whether this climb has only begun."""
        return not (self.failures or self.refusals or self.waits or self.unpaid or self.limits)

    @property
    def is_final(self) -> bool:
        """Whether no other target can mend what went wrong."""
        if not self.failures:
            return False
        failure = self.failures[-1]
        return not (failure.retryable or isinstance(failure, ContextExceeded))

    @property
    def is_spent(self) -> bool:
        """
        Whether the tier that was chosen is over a budget: no other is asked instead.

        One that was only to stand in for another is passed over, as is one that is over the
        request's own bound.
        """
        if not self.unpaid or self.failures or self.refusals or self.waits or self.limits:
            return False
        last = self.unpaid[-1]
        return last.downgrade is None and not isinstance(last, MaxCostExceeded)

    def failed(self, error: BackendError, target: Target) -> None:
        """Note that an attempt failed; not where, which would lead back to the whole request."""
        self.failures += (error.with_traceback(None),)
        if isinstance(error, BackendTimeout) and error.upstream_status is None:
            self.silent += (target.backend.name,)

    def may_repeat(self, target: Target) -> bool:
        """Say whether another try of the target that has just failed may mend that."""
        return self.failures[-1].retryable and target.backend.name not in self.silent

    def bars(self, target: Target, queue: Gate | None = None) -> bool:
        """Say whether this target need not be tried: no place, silence, or an open breaker."""
        if self.refusals and any(gate in (queue, target.bulkhead) for gate, _ in self.refusals):
            return True
        if self.silent and target.backend.name in self.silent:
            return True
        health = target.health
        if health is None or not (wait := health.blocked_for()):
            return False
        self.waits += (wait,)
        self.limited += health.limited
        return True

    def verdict(self, exchange: Exchange) -> GatewayError:
        """Give what the client is told when no step committed."""
        refusals: list[GatewayError] = [*(error for _, error in self.refusals), *self.limits]
        error: GatewayError
        if self.failures:
            error = self.failures[-1]
        elif refusals:
            error = refusals[-1]
        elif self.unpaid and not self.waits:
            error = self.unpaid[0]
        elif self.waits and self.limited == len(self.waits):
            error = BackendLimited(
                "The model backend is rate limited.", retry_after=min(self.waits)
            )
        else:
            error = LadderExhausted(retry_after=min(self.waits, default=None))
        if all(isinstance(failure, BackendLimited) for failure in self.failures):
            told = [f.retry_after for f in [*self.failures, *refusals] if f.retry_after]
            error.retry_after = min([*told, *self.waits], default=error.retry_after)
        error.attempts = tuple(exchange.attempts)
        return error
