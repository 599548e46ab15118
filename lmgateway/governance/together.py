"""
Admission and accounts where several processes count together: each step under their lock.

What a step does is told in ``admission``, ``accounts`` and ``limits``; one process that
counts alone uses those, and nothing of this.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import ClassVar

from lmgateway.chat import ChatRequest
from lmgateway.classes import frozen
from lmgateway.errors import BudgetExhausted, LimitError, RateLimited
from lmgateway.exchange import Attempt, Exchange
from lmgateway.governance.accounts import ExchangeAccount
from lmgateway.governance.admission import Admission, Admitted
from lmgateway.governance.counters import Scope
from lmgateway.governance.limits import Limits
from lmgateway.governance.shared import SharedCounters, SharedScope
from lmgateway.governance.shared_money import SharedTally
from lmgateway.principal import Principal, Standing
from lmgateway.stores.slate import Lock


class SharedAccount(Admitted, kw_only=True):
    """The account of one exchange, and its scope: see ``ExchangeAccount`` and ``Admitted``."""

    _lock: Lock

    def enter(self, profile: str) -> None:
        """Count the request for the profile that routes it, once."""
        with self._lock:
            ExchangeAccount.enter(self, profile)

    def limit(self, attempt: Attempt) -> LimitError | None:
        """Say which limit of its tier or backend refuses an attempt now."""
        if not self._limits.of_targets:
            return None
        with self._lock:
            return ExchangeAccount.limit(self, attempt)

    def standings(self) -> Sequence[Standing]:
        """Say how the limits that apply stand, the tightest of each kind."""
        if self._claim is None and self._limits.address is None:
            return ()
        with self._lock:
            return ExchangeAccount.standings(self)

    def reserve(self, attempt: Attempt, request: ChatRequest) -> int | None:
        """Set aside the most that an attempt can cost."""
        with self._lock:
            return ExchangeAccount.reserve(self, attempt, request)

    def refusal(self, attempt: Attempt, request: ChatRequest) -> BudgetExhausted | None:
        """Say why nothing could be set aside for an attempt now."""
        with self._lock:
            return ExchangeAccount.refusal(self, attempt, request)

    def note_refusal(self, attempt: Attempt, refusal: BudgetExhausted) -> None:
        """Note that a budget did send it to another tier than the attempt's."""
        with self._lock:
            ExchangeAccount.note_refusal(self, attempt, refusal)

    def settle(self, attempt: Attempt) -> None:
        """Note what an attempt cost."""
        with self._lock:
            ExchangeAccount.settle(self, attempt)

    def __enter__(self) -> None:
        """Take a place."""
        with self._lock:
            Admitted.__enter__(self)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            Admitted.__exit__(self, kind, error, trace)


class SharedAdmission(Admission, frozen=True, kw_only=True):
    """Lets exchanges in: see ``Admission``."""

    def admit(self, exchange: Exchange) -> Admitted:
        """Give the scope that holds a place for the exchange until it ends: its account."""
        assert isinstance(self.tally, SharedTally), "made for one"
        account = exchange.account = SharedAccount(
            exchange,
            self.prices,
            self.budgets,
            self.tally.spending,
            _limits=self.limits,
            _record=self.ledger.record,
            _admission=self,
            _lock=self.tally.books.lock,
        )
        return account


@frozen(kw_only=True, eq=False)
class SharedLimits(Limits):
    """All limits of a config: see ``Limits``."""

    kind: ClassVar[type[Scope]] = SharedScope

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
