"""
The account of one exchange: what it was let in for, and what it cost.

Opened on admission, asked by routing for the profile and before and after each
attempt, closed when the exchange ends, however it ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from lmgateway.chat import ChatRequest, Usage
from lmgateway.errors import BudgetExhausted, LimitError
from lmgateway.exchange import Attempt, Exchange
from lmgateway.governance.bills import Bill
from lmgateway.governance.claims import Claim
from lmgateway.governance.limits import Limits
from lmgateway.principal import Standing


class ExchangeAccount(msgspec.Struct, eq=False):
    """
    See ``exchange.Account``.

    Made of the exchange, the limits of all, the bill as its money half, and of what is told
    of each attempt once it is settled.
    """

    _exchange: Exchange
    _limits: Limits
    _bill: Bill
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
        self._bill.open()
        exchange, limits = self._exchange, self._limits
        scopes = limits.scopes(exchange)
        if scopes:
            claim = self._claim = Claim(exchange, limits, self._bill.ask)
            claim.open(scopes)

    def enter(self, profile: str) -> None:
        """Count the request for the profile that routes it, once."""
        self._bill.enter(profile)
        if self._limits.profiles:
            self._claimed().enter(profile)

    def _claimed(self) -> Claim:
        claim = self._claim
        if claim is None:
            claim = self._claim = Claim(self._exchange, self._limits, self._bill.ask)
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
            return self._bill.reserve(attempt, request)
        claim = self._claimed()
        claim.begin(attempt)
        try:
            return self._bill.reserve(attempt, request)
        except BudgetExhausted:
            claim.forget(attempt)
            raise

    def refusal(self, attempt: Attempt, request: ChatRequest) -> BudgetExhausted | None:
        """Say why nothing could be set aside for an attempt now."""
        return self._bill.refusal(attempt, request)

    @property
    def downgrades(self) -> bool:
        """Whether a budget may send the request to another tier."""
        return self._bill.downgrades

    def note_refusal(self, attempt: Attempt, refusal: BudgetExhausted) -> None:
        """Note that a budget did send it to another tier than the attempt's."""
        self._bill.note_refusal(attempt, refusal)

    def settle(self, attempt: Attempt) -> None:
        """Note what an attempt cost."""
        self._bill.settle(attempt)
        if self._limits.of_targets:
            self._claimed().end(attempt)
        self._record(self._exchange, attempt)

    def price(self, attempt: Attempt, usage: Usage | None) -> int | None:
        """Say what *usage* costs there; what only counts tokens, or told nothing, is free."""
        return self._bill.price(attempt, usage)

    # The end ---------------------------------------------------------------
    def close(self, error: BaseException | None) -> None:
        """
        Let go of what was held, and count what was used.

        Args:
            error: What the exchange ended with.
        """
        self._bill.close()
        if self._claim is not None:
            self._claim.close(error)
        elif error is not None:
            self._claimed().close(error)
