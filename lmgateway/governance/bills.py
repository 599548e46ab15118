"""
The money of one exchange: what is set aside for its attempts, and what they cost.

Prices and budgets are those of the config that the exchange began on, so that a
reload changes nothing of what is under way.  A request that sends
``X-LMG-Max-Cost`` brings a budget of its own, which all of its attempts share:
the classifier's, the judge's, those that failed, and the one that answers.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

import msgspec

from lmgateway.chat import ChatRequest, Usage
from lmgateway.errors import BudgetExhausted, MalformedRequest, MaxCostExceeded
from lmgateway.exchange import Attempt, Exchange
from lmgateway.governance.budgets import Budget, Budgets, Terms, reserve, shortfall
from lmgateway.governance.periods import Period
from lmgateway.governance.pricing import MAX_OUTPUT, NANO, Price, Prices, usd
from lmgateway.governance.purses import Purse
from lmgateway.governance.tokens import Ask, ask_of

CAUTION = 2
"""The tokens of a prompt are reckoned with so many times what they are estimated at."""
BOUND_HEADER = "x-lmg-max-cost"
_LONGEST = 32
_ALWAYS = Period("total")


class Spending(msgspec.Struct):
    """
    What each client spent, in nano-dollars; outlives every config.

    It is since the start, or since the first day that a ledger knows of.

    Attributes:
        saved: What each spent less than the baseline.
    """

    clients: dict[str, int] = msgspec.field(default_factory=dict)
    saved: dict[str, int] = msgspec.field(default_factory=dict)


class Bill(msgspec.Struct, eq=False):
    """
    What one exchange pays.

    Made of the exchange, and of the prices, the budgets and the spending of all; which
    budgets pay is told by ``open`` and ``enter``.
    """

    _exchange: Exchange
    _prices: Prices
    _every: Budgets
    _spending: Spending
    _budgets: tuple[Budget, ...] = ()
    _held: dict[int, tuple[Budget, ...]] | None = None
    _ask: Ask | None = None
    _priced: tuple[Attempt, Usage, int | None] | None = None

    def open(self) -> None:
        """
        Find out who pays.

        Raises:
            MalformedRequest: If the request's own bound is no amount of money.
        """
        exchange = self._exchange
        assert exchange.principal is not None, "the door names everyone"
        if self._every.terms:
            self._budgets = self._every.having(exchange.principal)
        if exchange.headers and (bound := exchange.headers.get(BOUND_HEADER)) is not None:
            self._budgets += (own_budget(bound),)

    def enter(self, profile: str) -> None:
        """Have a profile pay, too."""
        if self._every.profiles:
            more = self._every.profiles.get(profile, ())
            self._budgets += tuple(budget for budget in more if budget not in self._budgets)

    # Before and after an attempt --------------------------------------------
    def reserve(self, attempt: Attempt, request: ChatRequest) -> int | None:
        """
        Set aside the most that an attempt can cost; see ``exchange.Account``.

        Raises:
            BudgetExhausted: If a budget has not so much left.
        """
        if not (self._budgets or self._every.of_targets):
            return None
        budgets = self._paying(attempt, request)
        if not budgets:
            return None
        amount, bound = self._most(attempt, request)
        attempt.reserved = reserve(budgets, amount, self._every.wall())
        if self._held is None:
            self._held = {}
        self._held[id(attempt)] = budgets
        return bound

    def refusal(self, attempt: Attempt, request: ChatRequest) -> BudgetExhausted | None:
        """Say why nothing could be set aside for an attempt now."""
        budgets = self._paying(attempt, request)
        if not budgets:
            return None
        return shortfall(budgets, self._most(attempt, request)[0], self._every.wall())

    @property
    def downgrades(self) -> bool:
        """Whether a budget may send the request to another tier."""
        return self._every.downgrades

    def note_refusal(self, attempt: Attempt, refusal: BudgetExhausted) -> None:
        """Note that a budget did send it to another tier than the attempt's."""
        for budget in (*self._budgets, *self._every.of_target(attempt.tier, attempt.model)):
            if budget.terms.name == refusal.budget:
                budget.refused(self._every.wall())

    def _paying(self, attempt: Attempt, request: ChatRequest) -> tuple[Budget, ...]:
        if request.endpoint == "count_tokens":
            return ()
        every = self._every
        if not every.of_targets:
            return self._budgets
        return self._budgets + every.of_target(attempt.tier, attempt.model)

    def _most(self, attempt: Attempt, request: ChatRequest) -> tuple[int | None, int | None]:
        """Give the most that an attempt can cost, and the bound on its output that says so."""
        ask, price, bound = self.ask(request), self._prices.price(attempt), None
        prompt, output = ask.prompt, ask.output
        if not output and request.endpoint != "embeddings":
            bound = self._prices.bounds.get(attempt.tier, MAX_OUTPUT)
            output = bound * ask.answers
        if price is None:
            return None, bound
        if attempt.purpose == "answer":
            prompt += self._exchange.injected
        return price.most(Ask((prompt or 1) * CAUTION, output)), bound

    def ask(self, request: ChatRequest) -> Ask:
        """Estimate a request; the client's own only once."""
        if request is not self._exchange.request:
            return ask_of(request)
        if self._ask is None:
            self._ask = ask_of(request)
        return self._ask

    def settle(self, attempt: Attempt) -> None:
        """Note what an attempt cost."""
        attempt.settled = True
        cost = attempt.cost = self.price(attempt, attempt.usage)
        if self._held is not None:
            wall = self._every.wall()
            for budget in self._held.pop(id(attempt), ()):
                budget.settle(attempt.reserved, cost or 0, wall)
        if cost:
            _add(self._spending.clients, self._exchange, cost)
        if self._prices.baselines:
            attempt.saved = self._saved(attempt)

    def price(self, attempt: Attempt, usage: Usage | None) -> int | None:
        """Say what *usage* costs there; what only counts tokens, or told nothing, is free."""
        priced = self._priced
        if priced is not None and priced[0] is attempt and priced[1] is usage:
            return priced[2]
        request = self._exchange.request
        if usage is None or request is None or request.endpoint == "count_tokens":
            return 0
        cost = self._prices.cost(attempt, usage)
        self._priced = (attempt, usage, cost)
        return cost

    # Savings ------------------------------------------------------------------
    def _baseline(self) -> Price | None:
        """Give the price that this exchange is compared with."""
        exchange, baselines = self._exchange, self._prices.baselines
        request = exchange.request
        if request is None or request.endpoint in ("count_tokens", "embeddings"):
            return None
        return baselines.get(exchange.profile_chain[-1]) if exchange.profile_chain else None

    def _saved(self, attempt: Attempt) -> int | None:
        """Say what an attempt cost less than its answer at the baseline; others just cost."""
        baseline, exchange = self._baseline(), self._exchange
        if baseline is None or attempt.cost is None:
            return None
        is_set_aside = attempt.outcome.startswith("insufficient") and not exchange.insufficient
        if attempt.usage is None or attempt.purpose != "answer" or is_set_aside:
            return -attempt.cost
        return baseline.cost(attempt.usage) - attempt.cost

    def close(self) -> None:
        """Let go of what no attempt settled, and sum up what was saved."""
        exchange = self._exchange
        if self._held:
            wall = self._every.wall()
            for attempt in exchange.attempts:
                for budget in self._held.pop(id(attempt), ()):
                    budget.settle(attempt.reserved, 0, wall)
        if self._prices.baselines and (baseline := self._baseline()) is not None:
            self._sum_up(exchange, baseline)

    def _sum_up(self, exchange: Exchange, baseline: Price) -> None:
        if exchange.attempts and exchange.cost is not None:
            exchange.saved = sum(attempt.saved or 0 for attempt in exchange.attempts)
        elif not exchange.attempts and exchange.usage is not None:  # answered from memory
            exchange.saved = baseline.cost(exchange.usage)
        if exchange.saved is not None:
            _add(self._spending.saved, exchange, exchange.saved)


def _add(sums: dict[str, int], exchange: Exchange, amount: int) -> None:
    name = "" if exchange.principal is None else exchange.principal.name
    sums[name] = sums.get(name, 0) + amount


class _OwnBudget(Budget, frozen=True):
    """What a request itself may cost."""

    def unpriced(self) -> BudgetExhausted:
        """Refuse a model that nobody knows the price of."""
        return MaxCostExceeded("The price of this model is not known: it may cost more than that.")

    def exceeded(self, amount: int, excess: int, wall: float) -> BudgetExhausted:
        """Refuse what may cost more."""
        left = usd(max(0, self.terms.limit - self.purse.spent - self.purse.reserved))
        text = f"This may cost up to {usd(amount)} USD, and the request allows {left} USD."
        return MaxCostExceeded(text)


def own_budget(bound: str) -> Budget:
    """
    Give the budget that a request brings along.

    Args:
        bound: Decimal USD.

    Raises:
        MalformedRequest: If it is no amount of money.
    """
    try:
        amount = Decimal(bound.strip()) if len(bound) <= _LONGEST else None
    except InvalidOperation:
        amount = None
    if amount is None or not amount.is_finite() or amount < 0 or amount.adjusted() > _LONGEST:
        text = "X-LMG-Max-Cost must be an amount of USD, as 0.05."
        raise MalformedRequest(text, param="X-LMG-Max-Cost")
    terms = Terms(
        name="", scope="request", period=_ALWAYS, limit=int(amount * NANO), denies_unpriced=True
    )
    return _OwnBudget(terms, "", Purse())
