"""Tests for plans."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.errors import CapabilityUnavailable
from lmgateway.routing.plan import Demand, Plan
from tests.routing.routers import Memory, ladder_of, policy_of


def plan(
    *tiers: dict[str, Any],
    start: int = 0,
    top: int | None = None,
    needs: str = "",
    tokens: int = 0,
    chain: tuple[int, ...] | None = None,
    allowed: frozenset[str] | None = None,
    **policy: Any,
) -> Plan:
    """Give a plan over tiers ``t:0``, ``t:1`` ..."""
    ladder = ladder_of(Memory(), *tiers)
    rungs = None if chain is None else tuple(ladder.tiers[index] for index in chain)
    return Plan(
        ladder=ladder,
        policy=policy_of(ladder, chain=rungs, **policy),
        start=ladder.tiers[start],
        top=len(tiers) - 1 if top is None else top,
        demand=Demand(needs=frozenset(needs.split()), tokens=tokens, allowed=allowed),
    )


def order(given: Plan) -> str:
    """Give the indexes of the tiers to try."""
    return "".join(tier.name[2:] for tier in given.tiers())


SEES: dict[str, Any] = {"capabilities": frozenset({"vision"})}
BLIND: dict[str, Any] = {"capabilities": frozenset()}


def window(size: int) -> dict[str, Any]:
    """Give a tier with a window."""
    return {"max_context_tokens": size}


class PlanTests(SynchronousTestCase):
    """Which tiers are tried, in which order."""

    def test_up_to_the_top(self) -> None:
        """From the start to the top."""
        self.assertEqual(order(plan({}, {}, {}, {}, start=1, top=2)), "12")

    def test_without_failover(self) -> None:
        """Only the first."""
        self.assertEqual(order(plan({}, {}, failover=False)), "0")
        self.assertEqual(order(plan(BLIND, SEES, needs="vision", failover=False)), "1")

    def test_chain(self) -> None:
        """The first, then the chain as written, without whom cannot."""
        self.assertEqual(order(plan({}, {}, {}, start=1, chain=(2, 1, 0))), "120")
        self.assertEqual(order(plan({}, BLIND, SEES, chain=(1, 2), needs="vision")), "02")

    def test_needs(self) -> None:
        """Those that can, upwards; else the nearest below."""
        self.assertEqual(order(plan(BLIND, SEES, BLIND, {}, needs="vision")), "13")
        self.assertEqual(order(plan(SEES, SEES, BLIND, start=2, needs="vision")), "10")

    def test_windows(self) -> None:
        """Those that it fits, upwards; else the largest first; never below."""
        self.assertEqual(order(plan(window(5), window(20), {}, tokens=10)), "12")
        self.assertEqual(order(plan(window(5), window(8), window(7), tokens=10)), "120")
        self.assertEqual(order(plan({}, window(5), start=1, tokens=10)), "1")

    def test_nobody(self) -> None:
        """What is missing is named, and only what nobody has."""
        nobody = plan(SEES, BLIND, needs="vision tools")
        with self.assertRaises(CapabilityUnavailable) as caught:
            order(nobody)
        self.assertIn("takes tools.", str(caught.exception))
        tools = {"capabilities": frozenset({"tools"})}
        with self.assertRaises(CapabilityUnavailable) as caught:
            order(plan(SEES, tools, needs="vision tools"))
        self.assertIn("takes images, tools together.", str(caught.exception))

    def test_allowed(self) -> None:
        """``auto`` keeps to what the client may name."""
        given = plan({}, {}, allowed=frozenset({"t:1"}))
        self.assertEqual(order(given), "1")
        self.assertEqual(given.candidates()[0].reasons, ("not allowed",))

    def test_reasons(self) -> None:
        """Every tier that is not tried has at least one reason."""
        given = plan({}, window(5), BLIND, {}, {}, start=1, top=3, needs="vision", tokens=10)
        self.assertEqual(
            [candidate.reasons for candidate in given.candidates()],
            [
                ("below the tier chosen",),
                ("too small: 10 tokens, window 5",),
                ("lacks vision",),
                (),
                ("over the ceiling",),
            ],
        )
        self.assertEqual(plan({}, {}, failover=False).candidates()[1].reasons, ("failover is off",))
        self.assertEqual(
            plan({}, {}, {}, chain=(2,)).candidates()[1].reasons, ("not in the fallback chain",)
        )

    def test_lazy(self) -> None:
        """The first step is there without the others being made."""
        given = plan(*({} for _ in range(1000)))
        self.assertEqual(next(iter(given)).tier.name, "t:0")
