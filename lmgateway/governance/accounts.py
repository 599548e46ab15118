"""
The account of one exchange: what it was let in for, and what it cost.

Opened on admission, asked by routing for the profile and before and after each
attempt, closed when the exchange ends, however it ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lmgateway.chat import ChatRequest
from lmgateway.errors import BudgetExhausted, LimitError
from lmgateway.exchange import Attempt, Exchange
from lmgateway.governance.bills import Bill
from lmgateway.governance.claims import Claim
from lmgateway.governance.limits import Limits
from lmgateway.governance.tokens import Ask
from lmgateway.principal import Standing


class ExchangeAccount(Bill, kw_only=True):
    """
    See ``exchange.Account``.

    A bill, for its money half, with the limits of all, and with what is told of each attempt
    once it is settled.
    """

    _limits: Limits
    _record: Callable[[Exchange, Attempt], object]
    _claim: Claim | None = None

    # Limits ----------------------------------------------------------------
    def open(self) -> None:
        """
        Count the request for its client, its group and everyone.

        Raises:
            LimitError: If one of them has had too many.
            MalformedRequest: If the request's own bound on its cost is no amount of money.
        """
        Bill.open(self)
        scopes = self._limits.scopes(self._exchange)
        if scopes:
            self._claimed().open(scopes)

    def enter(self, profile: str) -> None:
        """Count the request for the profile that routes it, once."""
        if self._every.profiles:
            Bill.enter(self, profile)
        if self._limits.profiles:
            self._claimed().enter(profile)

    def _claimed(self) -> Claim:
        claim = self._claim
        if claim is None:
            claim = self._claim = Claim(self._exchange, self._limits)
        return claim

    def limit(self, attempt: Attempt) -> LimitError | None:
        """Say which limit of its tier or backend refuses an attempt now."""
        return self._claimed().limit(attempt) if self._limits.of_targets else None

    def standings(self) -> Sequence[Standing]:
        """Say how the limits that apply stand, the tightest of each kind."""
        claim = self._claim
        if claim is None:
            return () if self._limits.address is None else self._claimed().standings()
        return claim.standings()

    # Money -----------------------------------------------------------------
    def reserve(self, attempt: Attempt, request: ChatRequest) -> int | None:
        """
        Set aside the most that an attempt can cost; see ``exchange.Account``.

        Raises:
            RateLimited: If its tier or backend has had too many.
            BudgetExhausted: If a budget has not so much left.
        """
        if not self._limits.of_targets:
            return Bill.reserve(self, attempt, request)
        claim = self._claimed()
        claim.begin(attempt)
        try:
            return Bill.reserve(self, attempt, request)
        except BudgetExhausted:
            claim.forget(attempt)
            raise

    def ask(self, request: ChatRequest) -> Ask:
        """Estimate a request; the client's own only once."""
        known = None if self._claim is None else self._claim.ask
        if known is not None and request is self._exchange.request:
            return known
        return Bill.ask(self, request)

    def settle(self, attempt: Attempt) -> None:
        """Note what an attempt cost."""
        Bill.settle(self, attempt)
        if self._limits.of_targets:
            self._claimed().end(attempt)
        self._record(self._exchange, attempt)

    # The end ---------------------------------------------------------------
    def leave(self, error: BaseException | None) -> None:
        """
        Let go of what was held, and count what was used.

        Args:
            error: What the exchange ended with.
        """
        if self._held or self._prices.baselines:
            self.close()
        if self._claim is not None:
            self._claim.close(error)
        elif error is not None:
            self._claimed().close(error)
