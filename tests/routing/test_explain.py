"""Tests for explanations: they say what live traffic then does."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.errors import GatewayError
from lmgateway.exchange import Exchange
from lmgateway.routing.cascade import Hint
from lmgateway.routing.classify import read_label
from lmgateway.routing.ladder import Ladder
from lmgateway.routing.policy import Policy
from lmgateway.routing.router import Router
from lmgateway.routing.rules import Destination, Rule, RuleSet
from tests.routing.routers import Memory, exchange_of, ladder_of, policy_of, router_of

CAPABILITIES = st.sampled_from([None, frozenset(), frozenset({"vision"}), frozenset({"tools"})])
TIERS = st.lists(
    st.fixed_dictionaries(
        {
            "capabilities": CAPABILITIES,
            "max_context_tokens": st.sampled_from([None, 8, 40, 400]),
        }
    ),
    min_size=1,
    max_size=6,
)
WHEN = st.dictionaries(
    st.sampled_from(["intent", "@model", "@tokens", "@needs", "@text"]),
    st.just(""),
    max_size=2,
)
VALUES = {
    "intent": "greeting",
    "@model": "t:*",
    "@tokens": ">20",
    "@needs": "vision",
    "@text": "~h[aeiou]",
}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
REQUESTS = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["auto", "t:0", "t:1", "t:9", "next", "other"]),
        "messages": st.sampled_from(
            [
                [{"role": "user", "content": "hi"}],
                [{"role": "user", "content": "many words " * 40}],
                [{"role": "user", "content": [{"type": "text", "text": "what?"}, PICTURE]}],
                [{"role": "user", "content": "go"}, {"role": "tool", "content": "42"}],
            ]
        ),
    },
    optional={
        "tools": st.just([{"type": "function", "function": {"name": "f"}}]),
        "max_tokens": st.sampled_from([1, 300]),
    },
)


@st.composite
def policies(draw: st.DrawFn, ladder: Ladder) -> list[Policy]:
    """Draw a default profile and one that it may lead to."""
    names = [tier.name for tier in ladder.tiers]

    def one(name: str, targets: list[str]) -> Policy:
        rules = [
            Rule.of(
                position,
                {key: VALUES[key] for key in when},
                [Destination(to) for to in draw(st.lists(st.sampled_from(targets), min_size=1))],
                draw(st.integers(0, 2)),
            )
            for position, when in enumerate(draw(st.lists(WHEN, max_size=4)))
        ]
        chain = draw(st.none() | st.lists(st.sampled_from(ladder.tiers), unique_by=id))
        return policy_of(
            ladder,
            name=name,
            mode=draw(st.sampled_from(["dispatch", "classify", "reply"])),
            ceiling=draw(st.sampled_from(ladder.tiers)),
            failover=draw(st.booleans()),
            chain=None if chain is None else tuple(chain),
            rules=RuleSet.of(rules),
            system_prompt=draw(st.sampled_from([None, "be brief " * 20])),
        )

    return [one("default", [*names, "next"]), one("next", names)]


def explained(router: Router, exchange: Exchange, label: str) -> dict[str, Any]:
    """Give the explanation of a request."""
    decided = Deferred.fromCoroutine(router.decide(exchange, Hint(said=read_label(label))))
    results: list[Any] = []
    decided.addBoth(results.append)
    explained: list[dict[str, Any]] = []
    explaining = router.explaining.document(results[0], exchange)
    Deferred.fromCoroutine(explaining).addCallback(explained.append)
    return explained[0]


def lived(router: Router, exchange: Exchange) -> GatewayError | None:
    """Serve a request; give its failure, if it failed."""

    async def serve() -> None:
        async with router.open(exchange):
            pass

    results: list[Any] = []
    Deferred.fromCoroutine(serve()).addBoth(results.append)
    (result,) = results
    return None if result is None else result.value


class PropertyTests(SynchronousTestCase):
    """Over generated ladders, profiles, rules, failures and requests."""

    @settings(max_examples=300, deadline=None)
    @given(st.data())
    def test_live_traffic_follows_the_plan(self, data: st.DataObject) -> None:
        """What is asked live is the plan of the explanation, up to the first that answers."""
        backend = Memory(label=data.draw(st.sampled_from(["0", "intent=greeting tier=1", "zz"])))
        ladder = ladder_of(backend, *data.draw(TIERS))
        router = router_of(ladder, *data.draw(policies(ladder)))
        backend.down = data.draw(st.sets(st.sampled_from([t.model for t in ladder.tiers])))
        body = data.draw(REQUESTS)

        document = explained(router, exchange_of(body), backend.label)
        self.assertEqual(backend.calls, [])
        exchange = exchange_of(body)
        error = lived(router, exchange)

        tried = [t.tier for t, c in zip(exchange.attempts, backend.calls, strict=True) if main(c)]
        plan, models = document["plan"], {tier.name: tier.model for tier in ladder.tiers}
        up = [n for n, name in enumerate(plan) if models[name] not in backend.down]
        self.assertEqual(tried, plan[: up[0] + 1] if up else plan)
        self.assertEqual([*exchange.profile_chain], document["profile_chain"])
        self.assertEqual(exchange.label or None, document["label"])
        self.assertEqual(error is None, bool(up) or "reply" in document)
        if "error" in document:
            assert error is not None
            self.assertEqual(error.kind, document["error"]["kind"])
        accepted = [c["tier"] for c in document["candidates"] if c["accepted"]]
        self.assertEqual(sorted(accepted), sorted(plan))

    @settings(max_examples=200, deadline=None)
    @given(st.data())
    def test_a_reason_gone_is_a_candidate_more(self, data: st.DataObject) -> None:
        """A tier with one thing against it is accepted once that is mended."""
        backend = Memory()
        ladder = ladder_of(backend, *data.draw(TIERS))
        body = data.draw(REQUESTS)
        router = router_of(ladder)
        document = explained(router, exchange_of(body), "0")
        for position, candidate in enumerate(document["candidates"]):
            if len(candidate["reasons"]) != 1:
                continue
            if candidate["reasons"][0].startswith("lacks "):
                mended = evolve(ladder.tiers[position], capabilities=None)
            elif candidate["reasons"][0].startswith("too small"):
                mended = evolve(ladder.tiers[position], max_context_tokens=None)
            else:
                continue
            tiers = [*ladder.tiers]
            tiers[position] = mended
            again = explained(router_of(Ladder.of(tiers, {})), exchange_of(body), "0")
            self.assertTrue(again["candidates"][position]["accepted"])


def main(call: Any) -> bool:
    """Tell an answer's call from a classifier's."""
    return "temperature" not in call.request.document
