"""Money, whatever happens in whatever order: clients at once, crashes, restarts, reloads."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attrs import define, field
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.chat import Usage
from lmgateway.config.load import load
from lmgateway.config.schema import Config
from lmgateway.dialects.document import encode
from lmgateway.dialects.openai import OPENAI
from lmgateway.errors import BudgetExhausted
from lmgateway.exchange import Attempt, Exchange
from lmgateway.governance.bills import Bill, Spending
from lmgateway.governance.budgets import Budget, Budgets
from lmgateway.governance.ledger import Ledger
from lmgateway.governance.pricing import Prices
from lmgateway.governance.purses import Purses
from lmgateway.principal import Principal
from lmgateway.stores.usage import Record

NOON = datetime(2026, 10, 24, 12, tzinfo=UTC).timestamp()  # the day before clocks are put back
HOUR = 3600.0
CONFIG = """
[gateway]
[backends.mock]
provider = "mock"
[[tiers]]
name = "small"
backend = "mock"
model = "s"
price = { input = 1, output = 1 }
[[tiers]]
name = "large"
backend = "mock"
model = "l"
price = { input = 2, output = 5, request = 0.0001 }
[profiles.default]
classifier = "small"
[groups.team]
budgets = ["team"]
[[budgets]]
name = "own"
period = "day"
zone = "Europe/Berlin"
limit_usd = 0.004
[[budgets]]
name = "team"
scope = "group"
period = "rolling:1h"
limit_usd = 0.005
[[budgets]]
name = "large"
scope = "tier"
names = ["large"]
period = "week"
limit_usd = 0.006
[[budgets]]
name = "all"
scope = "global"
period = "total"
limit_usd = 0.02
"""
CLIENTS = {
    "ann": Principal(name="ann", profile="default", group="team", budgets=("own",)),
    "bob": Principal(name="bob", profile="default", group="team", budgets=("own",)),
    "cy": Principal(name="cy", profile="default", budgets=("own",)),
}


def config_of(text: str) -> Config:
    """Read a config."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "config.toml"
        path.write_text(text)
        return load(path, {})


@define(eq=False)
class Running:
    """One attempt under way, and who pays for it."""

    exchange: Exchange
    attempt: Attempt
    bill: Bill
    most: Usage


@define
class Process:
    """What a crash takes along."""

    budgets: Budgets
    ledger: Ledger
    spending: Spending = field(factory=Spending)
    running: list[Running] = field(factory=list)


class MoneyMachine(RuleBasedStateMachine):
    """
    Admits, settles, cancels, crashes, restarts and reloads.

    What is durable is the list of records, as a usage ledger on disk is; every budget is
    reckoned anew from it and compared.
    """

    config = config_of(CONFIG)

    @initialize()
    def begin(self) -> None:
        """Start for the first time."""
        self.now = NOON
        self.rows: list[Record] = []
        self.overruns: dict[tuple[str, str], int] = {}
        self.number = 0
        self.prices = Prices.of(self.config)
        self.start()

    def start(self) -> None:
        """Start a process on what is durable."""
        budgets = Budgets.of(self.config, Purses(), lambda: self.now)
        self.process = Process(budgets, Ledger(lambda: self.now))
        budgets.restore([row for row in self.rows if row.at >= budgets.since()])

    # What happens ---------------------------------------------------------------
    @rule(
        client=st.sampled_from([*CLIENTS]),
        tier=st.sampled_from(["small", "large"]),
        longest=st.integers(1, 900),
        own=st.sampled_from([None, None, "0.002"]),
    )
    def admit(self, client: str, tier: str, longest: int, own: str | None) -> None:
        """Somebody asks: money is set aside, or it is true that there is not enough."""
        process = self.process
        exchange = self.asked(client, longest, own)
        request = exchange.request
        assert request is not None
        bill = Bill(exchange, self.prices, process.budgets, process.spending)
        bill.open()
        bill.enter("default")
        attempt = Attempt(tier=tier, backend="mock", model=tier[0], started=0)
        before = [(each, each.stand(self.now)) for each in self.budgets_of(client, tier)]
        try:
            bill.reserve(attempt, request)
        except BudgetExhausted as refusal:
            if refusal.kind == "budget_exhausted":
                (stand,) = [stand for _, stand in before if stand.name == refusal.budget]
                amount = self.most(tier, longest)
                assert stand.spent + stand.reserved + amount > stand.limit
            assert before == [(each, each.stand(self.now)) for each, _ in before]
            bill.close()
            return
        exchange.attempts.append(attempt)
        most = Usage(input_tokens=2 * PROMPT, output_tokens=longest)
        process.running.append(Running(exchange, attempt, bill, most))

    @precondition(lambda self: self.process.running)
    @rule(which=st.integers(0, 99), share=st.integers(0, 100))
    def settle(self, which: int, share: int) -> None:
        """An answer ends within what was reckoned with."""
        running = self.take(which)
        running.attempt.usage = Usage(
            input_tokens=running.most.input_tokens * share // 100,
            output_tokens=running.most.output_tokens * share // 100,
        )
        self.finish(running)

    @precondition(lambda self: self.process.running)
    @rule(which=st.integers(0, 99), more=st.integers(1, 300))
    def overrun(self, which: int, more: int) -> None:
        """A backend tells that it used more."""
        running = self.take(which)
        output = running.most.output_tokens + more
        running.attempt.usage = replace(running.most, output_tokens=output)
        paying = self.budgets_of(running.exchange.principal.name, running.attempt.tier)  # type: ignore[union-attr]
        self.finish(running)
        excess = (running.attempt.cost or 0) - running.attempt.reserved
        assert excess > 0
        for each in paying:
            key = (each.terms.name, each.owner)
            self.overruns[key] = self.overruns.get(key, 0) + excess

    @precondition(lambda self: self.process.running)
    @rule(which=st.integers(0, 99), settled=st.booleans())
    def cancel(self, which: int, settled: bool) -> None:
        """A client leaves before anything came; even if nobody settled, all is let go."""
        running = self.take(which)
        if settled:
            self.finish(running)
        running.bill.close()

    @rule(seconds=st.sampled_from([1, 59, 1800, 7200, 40_000, 600_000]))
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.now += seconds

    @rule()
    def crash(self) -> None:
        """The process dies with all that is under way, and starts again."""
        self.start()

    @rule(dearer=st.booleans())
    def reload(self, dearer: bool) -> None:
        """The config is read again; with other prices what is under way keeps those it had."""
        process = self.process
        self.prices = DEARER if dearer else Prices.of(self.config)
        process.budgets = Budgets.of(self.config, process.budgets.purses, lambda: self.now)
        process.budgets.settled()

    # What is always so ------------------------------------------------------------
    @invariant()
    def never_more_than_the_limit(self) -> None:
        """Spent and reserved stay within it, but for usage above what was reserved."""
        if not hasattr(self, "process"):
            return
        for owner, stand in self.process.budgets.stands():
            overrun = self.overruns.get((stand.name, owner), 0)
            assert stand.spent + stand.reserved <= stand.limit + overrun
            assert stand.spent >= 0 and stand.reserved >= 0

    @invariant()
    def totals_are_those_of_the_ledger(self) -> None:
        """What was spent is the sum of what was recorded in the period; so after a replay."""
        if not hasattr(self, "process"):
            return
        for owner, stand in self.process.budgets.stands():
            terms = self.process.budgets.terms[stand.name]
            costs = [(row.at, row.cost or 0) for row in self.rows if _is_of(row, stand.name, owner)]
            if terms.period.seconds:
                least = sum(cost for at, cost in costs if at > self.now - HOUR)
                most = sum(cost for at, cost in costs if at > self.now - HOUR - 60)
                assert least <= stand.spent <= most
            else:
                start, end = terms.period.span(self.now)
                assert stand.spent == sum(cost for at, cost in costs if start <= at < end)

    @invariant()
    def reserved_is_what_is_under_way(self) -> None:
        """Nothing is set aside for anything that is over."""
        if not hasattr(self, "process"):
            return
        for owner, stand in self.process.budgets.stands():
            held = [
                running.attempt.reserved
                for running in self.process.running
                if _pays(running, stand.name, owner)
            ]
            assert stand.reserved == sum(held)

    def teardown(self) -> None:
        """After a drain nothing is reserved."""
        if not hasattr(self, "process"):
            return
        while self.process.running:
            self.finish(self.take(0))
        assert all(stand.reserved == 0 for _, stand in self.process.budgets.stands())

    # ------------------------------------------------------------------------------
    def asked(self, client: str, longest: int, own: str | None) -> Exchange:
        """Give one exchange."""
        self.number += 1
        document = {"messages": [{"role": "user", "content": TEXT}], "max_tokens": longest}
        exchange = Exchange(
            id=f"r{self.number}", surface="openai", path="/", peer="", started=0, wall=self.now
        )
        exchange.principal = CLIENTS[client]
        exchange.request = OPENAI.parse(encode(document), "chat")
        exchange.profile_chain = ("default",)
        if own is not None:
            exchange.headers = {"x-lmg-max-cost": own}
        return exchange

    def budgets_of(self, client: str, tier: str) -> list[Budget]:
        """Give all that pay."""
        budgets = self.process.budgets
        return [*budgets.having(CLIENTS[client]), *budgets.of_target(tier, tier[0])]

    def most(self, tier: str, longest: int) -> int:
        """Reckon what an attempt may cost, in our own way."""
        price = self.prices.tiers[tier]
        assert price is not None
        return price.request + -(-(2 * PROMPT * price.input + longest * price.output) // 10**6)

    def take(self, which: int) -> Running:
        """Take one of those under way."""
        running = self.process.running
        return running.pop(which % len(running))

    def finish(self, running: Running) -> None:
        """Settle and record, as an account does."""
        running.bill.settle(running.attempt)
        self.process.ledger.record(running.exchange, running.attempt)
        self.rows.append(self.process.ledger.newest[-1])
        running.bill.close()


def _is_of(row: Record, name: str, owner: str) -> bool:
    return {
        "own": row.client == owner,
        "team": row.group == owner == "team",
        "large": row.tier == "large",
        "all": True,
    }[name]


def _pays(running: Running, name: str, owner: str) -> bool:
    principal: Any = running.exchange.principal
    pays: dict[str, bool] = {
        "own": principal.name == owner,
        "team": principal.group == owner == "team",
        "large": running.attempt.tier == "large",
        "all": True,
    }
    return pays[name]


TEXT = "x" * 400
PROMPT = -(-len("user" + TEXT) // 4)
DEARER = Prices.of(config_of(CONFIG.replace("input = 2", "input = 3")))


class MoneyMachineTests(SynchronousTestCase):
    """Tests for all of it together."""

    def test_L6_3_whatever_happens(self) -> None:
        """No order of events spends more than there is, loses a record, or leaks."""
        case = MoneyMachine.TestCase
        case.settings = settings(deadline=None, max_examples=60, stateful_step_count=40)
        case("runTest").runTest()
