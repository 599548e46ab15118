"""
The account of one exchange: what it was let in for, and what it cost.

Opened on admission, asked by routing for the profile and before and after each
attempt, closed when the exchange ends, however it ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lmgateway.chat import ChatRequest, Usage
from lmgateway.errors import BudgetExhausted
from lmgateway.exchange import Attempt, Exchange, Standing
from lmgateway.governance.bills import Bill
from lmgateway.governance.limits import Limits, Scope, refusal_of, tightest
from lmgateway.governance.tokens import NOTHING, Ask, ask_of


class ExchangeAccount:
    """
    See ``exchange.Account``.

    Args:
        bill: The money half.
        record: Told of each attempt once it is settled.
    """

    __slots__ = ("_ask", "_asked", "_bill", "_exchange", "_limits", "_record", "_scopes")

    def __init__(
        self,
        exchange: Exchange,
        limits: Limits,
        bill: Bill,
        record: Callable[[Exchange, Attempt], object],
    ) -> None:
        self._exchange = exchange
        self._limits = limits
        self._bill = bill
        self._record = record
        self._scopes: tuple[Scope, ...] = ()
        self._asked: tuple[Scope, ...] = ()
        self._ask: Ask = NOTHING

    # Limits ----------------------------------------------------------------
    def open(self) -> None:
        """
        Count the request for its client and group.

        Raises:
            LimitError: If one of them has had too many.
            MalformedRequest: If the request's own bound on its cost is no amount of money.
        """
        exchange = self._exchange
        assert exchange.principal is not None and exchange.request is not None, "known by now"
        self._bill.open()
        scopes = self._limits.scopes(exchange.principal)
        if scopes:
            if [scope for scope in scopes if scope.tokens is not None]:
                self._ask = ask_of(exchange.request)
            self._join(tuple(scopes))

    def enter(self, profile: str) -> None:
        """Count the request for the profile that routes it, once."""
        self._bill.enter(profile)
        scope = self._limits.profiles.get(profile)
        if scope is not None and scope not in self._scopes:
            self._join((scope,))

    def _join(self, scopes: tuple[Scope, ...]) -> None:
        now = self._limits.now()
        self._asked += scopes
        refusal = refusal_of(scopes, self._ask, now)
        if refusal is None:
            for scope in scopes:
                scope.take(self._ask)
            self._scopes += scopes
            return
        for scope in self._scopes:
            scope.refund(now)
        self._limits.unknock(self._exchange.peer, self._exchange.admitted)
        raise refusal

    def standings(self) -> Sequence[Standing]:
        """Say how the limits that apply stand, the tightest of each kind."""
        limits = self._limits
        if not self._asked and limits.address is None:
            return ()
        now = limits.now()
        every = [standing for scope in self._asked for standing in scope.standings(now)]
        return tightest([*limits.at_the_door(self._exchange.peer), *every])

    # Money -----------------------------------------------------------------
    def reserve(self, attempt: Attempt, request: ChatRequest) -> int | None:
        """
        Set aside the most that an attempt can cost; see ``exchange.Account``.

        Raises:
            BudgetExhausted: If a budget has not so much left.
        """
        return self._bill.reserve(attempt, request)

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
        self._record(self._exchange, attempt)

    def price(self, attempt: Attempt, usage: Usage | None) -> int | None:
        """Say what *usage* costs there; what only counts tokens, or told nothing, is free."""
        return self._bill.price(attempt, usage)

    # The end ---------------------------------------------------------------
    def close(self) -> None:
        """Let go of what was held, and count the tokens that were used."""
        self._bill.close()
        if not self._scopes:
            return
        used = 0
        for attempt in self._exchange.attempts:
            if attempt.usage is not None:
                used += attempt.usage.input_tokens + attempt.usage.output_tokens
        request = self._exchange.request
        if request is not None and request.endpoint == "count_tokens":
            used = 0
        for scope in self._scopes:
            scope.release(self._ask, max(0, used))
