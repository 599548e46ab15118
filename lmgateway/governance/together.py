"""
Admission and accounts where several processes count together: each step under their lock.

What a step does is told in ``admission``, ``accounts`` and ``limits``; one process that
counts alone uses those, and nothing of this.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType

from lmgateway.chat import ChatRequest
from lmgateway.classes import frozen
from lmgateway.errors import BudgetExhausted, LimitError, RateLimited
from lmgateway.exchange import Attempt, Exchange
from lmgateway.governance.accounts import ExchangeAccount
from lmgateway.governance.admission import Admission, Admitted
from lmgateway.governance.bills import Bill
from lmgateway.governance.limits import Limits
from lmgateway.governance.shared import SharedCounters
from lmgateway.governance.shared_money import SharedTally
from lmgateway.principal import Principal, Standing


class SharedAccount(ExchangeAccount):
    """The account of one exchange: see ``ExchangeAccount``."""

    __slots__ = ("_lock",)

    def __init__(self, exchange: Exchange, admission: Admission, tally: SharedTally) -> None:
        bill = Bill(exchange, admission.prices, admission.budgets, tally.spending)
        super().__init__(exchange, admission.limits, bill, admission.ledger.record)
        self._lock = tally.books.lock

    def enter(self, profile: str) -> None:
        """Count the request for the profile that routes it, once."""
        with self._lock:
            super().enter(profile)

    def limit(self, attempt: Attempt) -> LimitError | None:
        """Say which limit of its tier or backend refuses an attempt now."""
        with self._lock:
            return super().limit(attempt)

    def standings(self) -> Sequence[Standing]:
        """Say how the limits that apply stand, the tightest of each kind."""
        if self._claim is None and self._limits.address is None:
            return ()
        with self._lock:
            return super().standings()

    def reserve(self, attempt: Attempt, request: ChatRequest) -> int | None:
        """Set aside the most that an attempt can cost."""
        with self._lock:
            return super().reserve(attempt, request)

    def refusal(self, attempt: Attempt, request: ChatRequest) -> BudgetExhausted | None:
        """Say why nothing could be set aside for an attempt now."""
        with self._lock:
            return super().refusal(attempt, request)

    def note_refusal(self, attempt: Attempt, refusal: BudgetExhausted) -> None:
        """Note that a budget did send it to another tier than the attempt's."""
        with self._lock:
            super().note_refusal(attempt, refusal)

    def settle(self, attempt: Attempt) -> None:
        """Note what an attempt cost."""
        with self._lock:
            super().settle(attempt)


class SharedAdmitted(Admitted):
    """The scope of one exchange: see ``Admitted``."""

    __slots__ = ("_lock",)

    def __init__(self, admission: Admission, exchange: Exchange, tally: SharedTally) -> None:
        self._admission = admission
        self._started = exchange.started
        self._account = exchange.account = SharedAccount(exchange, admission, tally)
        self._lock = tally.books.lock

    async def __aenter__(self) -> None:
        """Take a place."""
        with self._lock:
            await super().__aenter__()  # which never waits

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            await super().__aexit__(kind, error, trace)  # likewise


@frozen(kw_only=True)
class SharedAdmission(Admission):
    """Lets exchanges in: see ``Admission``."""

    def admit(self, exchange: Exchange) -> Admitted:
        """Give the scope that holds a place for the exchange until it ends."""
        assert isinstance(self.tally, SharedTally), "made for one"
        return SharedAdmitted(self, exchange, self.tally)


@frozen(kw_only=True, eq=False)
class SharedLimits(Limits):
    """All limits of a config: see ``Limits``."""

    def _shared(self) -> SharedCounters:
        assert isinstance(self.counters, SharedCounters), "made for them"
        return self.counters

    def knock(self, address: str) -> None:
        """Count a request of an address."""
        if self.address is not None:
            with self._shared().lock:
                Limits.knock(self, address)

    def unknock(self, address: str, taken: float) -> None:
        """Give back what ``knock`` counted at the moment *taken*."""
        if self.address is not None:
            with self._shared().lock:
                Limits.unknock(self, address, taken)

    def at_the_door(self, address: str) -> Iterable[Standing]:
        """Say how the limit of an address stands."""
        with self._shared().lock:
            return [*Limits.at_the_door(self, address)]

    def of_client(self, principal: Principal) -> Iterable[Standing]:
        """Say how the limits of a client stand, wherever it asks from."""
        with self._shared().lock:
            return [*Limits.of_client(self, principal)]

    def stumble(self, address: str) -> RateLimited | None:
        """Count a wrong key; give what it is told instead of 401, if there were too many."""
        with self._shared().lock:
            return Limits.stumble(self, address)
