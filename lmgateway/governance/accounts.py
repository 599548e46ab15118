"""
The account of one exchange: what it was let in for, and what it cost.

Opened on admission, asked by routing for the profile and before and after each
attempt, closed when the exchange ends, however it ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define, field

from lmgateway.chat import ChatRequest, Usage
from lmgateway.errors import BudgetExhausted
from lmgateway.exchange import Attempt, Exchange, Standing
from lmgateway.governance.budgets import Budget, Budgets, reserve, shortfall
from lmgateway.governance.limits import Limits, Scope, refusal_of, tightest
from lmgateway.governance.pricing import MAX_OUTPUT, Prices
from lmgateway.governance.tokens import NOTHING, Ask, ask_of

CAUTION = 2
"""The tokens of a prompt are reckoned with so many times what they are estimated at."""


@define
class Spending:
    """What each client spent since the start, in nano-dollars; outlives every config."""

    clients: dict[str, int] = field(factory=dict)


class ExchangeAccount:
    """See ``exchange.Account``."""

    __slots__ = (
        "_all_budgets",
        "_ask",
        "_asked",
        "_budgets",
        "_exchange",
        "_limits",
        "_prices",
        "_record",
        "_scopes",
        "_spending",
        "_wall",
    )

    def __init__(
        self,
        exchange: Exchange,
        limits: Limits,
        prices: Prices,
        budgets: Budgets,
        spending: Spending,
        record: Callable[[Exchange, Attempt], object],
    ) -> None:
        self._exchange = exchange
        self._limits = limits
        self._prices = prices
        self._spending = spending
        self._record = record
        self._all_budgets = budgets
        self._wall = budgets.wall
        self._budgets: tuple[Budget, ...] = ()
        self._scopes: tuple[Scope, ...] = ()
        self._asked: tuple[Scope, ...] = ()
        self._ask: Ask = NOTHING

    # Limits ----------------------------------------------------------------
    def open(self) -> None:
        """
        Count the request for its client and group.

        Raises:
            LimitError: If one of them has had too many.
        """
        exchange = self._exchange
        assert exchange.principal is not None and exchange.request is not None, "known by now"
        self._budgets = self._all_budgets.having(exchange.principal)
        scopes = self._limits.scopes(exchange.principal)
        if scopes:
            if [scope for scope in scopes if scope.tokens is not None]:
                self._ask = ask_of(exchange.request)
            self._join(tuple(scopes))

    def enter(self, profile: str) -> None:
        """Count the request for the profile that routes it, once."""
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
        if not self._is_paid(request):
            return None
        amount, bound = self._most(attempt, request)
        attempt.reserved = reserve(self._budgets, amount, self._wall())
        return bound

    def refusal(self, attempt: Attempt, request: ChatRequest) -> BudgetExhausted | None:
        """Say why nothing could be set aside for an attempt now."""
        if not self._is_paid(request):
            return None
        return shortfall(self._budgets, self._most(attempt, request)[0], self._wall())

    def _is_paid(self, request: ChatRequest) -> bool:
        return bool(self._budgets) and request.endpoint != "count_tokens"

    def _most(self, attempt: Attempt, request: ChatRequest) -> tuple[int | None, int | None]:
        """Give the most that an attempt can cost, and the bound on its output that says so."""
        ask, price = ask_of(request), self._prices.price(attempt)
        is_bounded = ask.output or request.endpoint == "embeddings"
        bound = None if is_bounded else self._prices.bounds.get(attempt.tier, MAX_OUTPUT)
        most = Ask(ask.prompt * CAUTION, ask.output or bound or 0)
        return None if price is None else price.most(most), bound

    def settle(self, attempt: Attempt) -> None:
        """Note what an attempt cost."""
        attempt.settled = True
        attempt.cost = self.price(attempt, attempt.usage)
        for budget in self._budgets:
            budget.settle(attempt.reserved, attempt.cost or 0, self._wall())
        if attempt.cost:
            principal, clients = self._exchange.principal, self._spending.clients
            name = "" if principal is None else principal.name
            clients[name] = clients.get(name, 0) + attempt.cost
        self._record(self._exchange, attempt)

    def price(self, attempt: Attempt, usage: Usage | None) -> int | None:
        """Say what *usage* costs there; what only counts tokens, or told nothing, is free."""
        request = self._exchange.request
        if usage is None or request is None or request.endpoint == "count_tokens":
            return 0
        return self._prices.cost(attempt, usage)

    # The end ---------------------------------------------------------------
    def close(self) -> None:
        """Let go of what was held, and count the tokens that were used."""
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
