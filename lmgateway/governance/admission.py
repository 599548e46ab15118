"""
The spine's second scope: may this principal make this request, now?

Evaluate, decide, account, in one place: what holds for one surface holds for
all, because none can be served without passing through here.  What was taken
is let go however the exchange ends.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from attrs import field
from msgspec import Struct

from lmgateway.classes import define
from lmgateway.errors import Overloaded, Unrecordable
from lmgateway.exchange import Exchange
from lmgateway.governance.accounts import ExchangeAccount
from lmgateway.governance.bills import Spending
from lmgateway.governance.budgets import Budgets
from lmgateway.governance.ledger import Ledger
from lmgateway.governance.limits import Counters, Limits
from lmgateway.governance.pricing import Prices
from lmgateway.governance.purses import Purses

SHORTEST_WAIT = 1.0
LONGEST_WAIT = 600.0
_EASE = 0.05
"""The weight of the newest request in the mean time that a place is held."""


@define
class Tally:
    """
    What is counted of all requests; outlives every config.

    Attributes:
        in_flight: How many requests now.
        held: The mean time that a request holds its place, the latest counting most.
    """

    in_flight: int = 0
    held: float = 0.0
    counters: Counters = field(factory=Counters)
    spending: Spending = field(factory=Spending)
    purses: Purses = field(factory=Purses)


class Admission(Struct, frozen=True, kw_only=True):
    """
    Lets exchanges in.

    Attributes:
        max_in_flight: How many at once.
        ledger: What takes down each attempt.
        fail_closed: Whether nobody is let in while it cannot be written.
        now: Reactor seconds.
    """

    tally: Tally
    limits: Limits
    prices: Prices
    budgets: Budgets
    max_in_flight: int
    ledger: Ledger
    now: Callable[[], float]
    fail_closed: bool = False

    @property
    def unrecordable(self) -> bool:
        """Whether nobody is let in, since it could not be taken down what they use."""
        return self.fail_closed and self.ledger.failing

    def wait(self) -> float:
        """Estimate after how many seconds somebody who finds the gateway full finds a place."""
        return min(max(self.tally.held / self.max_in_flight, SHORTEST_WAIT), LONGEST_WAIT)

    def admit(self, exchange: Exchange) -> Admitted:
        """Give the scope that holds a place for the exchange until it ends: its account."""
        account = exchange.account = Admitted(
            exchange,
            self.prices,
            self.budgets,
            self.tally.spending,
            _limits=self.limits,
            _record=self.ledger.record,
            _admission=self,
        )
        return account


class Admitted(ExchangeAccount, kw_only=True):
    """An account that is a scope, too: see ``Admission.admit``."""

    _admission: Admission

    def __enter__(self) -> None:
        """
        Take a place.

        Raises:
            Overloaded: If the gateway is full.
            Unrecordable: If it could not be taken down what is used.
            LimitError: If whoever asks has had too much.
        """
        admission = self._admission
        if admission.fail_closed and admission.unrecordable:
            raise Unrecordable("Usage cannot be recorded now.", retry_after=1)
        tally = admission.tally
        if tally.in_flight >= admission.max_in_flight:
            raise Overloaded("The gateway is full.", retry_after=admission.wait())
        self.open()
        tally.in_flight += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        admission, tally = self._admission, self._admission.tally
        tally.in_flight -= 1
        held = admission.now() - self._exchange.started
        tally.held += (held - tally.held) * (_EASE if tally.held else 1.0)
        self.leave(error)
