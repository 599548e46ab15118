"""Limits on a clock that stands still: all or nothing, exact, and what overrides do."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.dialects.openai import OPENAI
from lmgateway.errors import LimitError
from lmgateway.exchange import Exchange
from lmgateway.governance.buckets import SLACK, Rate
from lmgateway.governance.claims import Claim
from lmgateway.governance.counters import Counters
from lmgateway.governance.limits import Limits
from lmgateway.governance.overrides import Asked, chosen
from lmgateway.principal import Allowance, Principal, Special

BODY = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 10}'


class Door:
    """Lets requests in at moments that a test says."""

    def __init__(self, **limits: Any) -> None:
        self.now = 0.0
        self.told: list[dict[str, Any]] = []
        self.limits = Limits(counters=Counters(), now=lambda: self.now, tell=self.tell, **limits)

    def tell(self, kind: str, /, **facts: Any) -> None:
        """Note what is told."""
        self.told.append(facts)

    def ask(self, principal: Principal, path: str = "/v1/chat/completions") -> Claim | None:
        """Let one in; ``None`` if it is refused."""
        exchange = Exchange(id="x", surface="openai", path=path, peer="1.1.1.1", started=0, wall=0)
        exchange.principal, exchange.request = principal, OPENAI.parse(BODY, "chat")
        claim = Claim(exchange, self.limits)
        self.exchange = exchange
        try:
            claim.open(self.limits.scopes(exchange))
            claim.enter(principal.profile)
        except LimitError as error:
            claim.close(error)
            return None
        return claim

    def through(self, principal: Principal, times: int, **more: Any) -> int:
        """Say how many of so many requests are let in; each ends at once."""
        claims = [self.ask(principal, **more) for _ in range(times)]
        for claim in claims:
            if claim is not None:
                claim.close(None)
        return sum(claim is not None for claim in claims)


def client(name: str = "ann", group: str = "", **allowed: Any) -> Principal:
    """Make somebody."""
    return Principal(name=name, profile="p", group=group, allowance=Allowance(**allowed))


class AllOrNothingTests(SynchronousTestCase):
    """Tests for several limits at once."""

    def test_a_refusal_takes_nothing_of_the_others(self) -> None:
        """Whoever of client, group and everyone refuses."""
        door = Door(groups={"g": Allowance(requests=60, burst=4)}, everyone=Allowance(requests=60))
        tight = client("tight", "g", requests=60, burst=1)
        self.assertEqual(door.through(tight, 10), 1)
        self.assertEqual(door.through(client("wide", "g"), 10), 3)
        self.assertEqual(door.through(client("other"), 100), 30 - 4)

    def test_requests_under_way_are_counted_together(self) -> None:
        """A group's, whoever of it makes them."""
        door = Door(groups={"g": Allowance(concurrent=2)})
        claims = [door.ask(client(name, "g")) for name in ("a", "b", "c")]
        self.assertEqual([claim is not None for claim in claims], [True, True, False])
        assert claims[0] is not None
        claims[0].close(None)
        self.assertEqual(door.through(client("c", "g"), 1), 1)

    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        sliding=st.booleans(),
        steps=st.lists(st.tuples(st.floats(0, 5), st.sampled_from("abc")), max_size=80),
        rates=st.tuples(*[st.integers(1, 60)] * 3),
    )
    def test_L4_2_no_scope_ever_lets_more_in(
        self, sliding: bool, steps: list[tuple[float, str]], rates: tuple[int, int, int]
    ) -> None:
        """Each of three scopes, in any window, by either algorithm, with keys that share two."""
        own, shared, all_ = rates
        door = Door(
            sliding=sliding,
            groups={"g": Allowance(requests=shared)},
            everyone=Allowance(requests=all_),
        )
        let_in: list[tuple[float, str]] = []
        people = {name: client(name, "" if name == "c" else "g", requests=own) for name in "abc"}
        for pause, name in steps:
            door.now += pause
            if door.through(people[name], 1):
                let_in.append((door.now, name))
        for names, rpm in (("a", own), ("b", own), ("c", own), ("ab", shared), ("abc", all_)):
            self.held([when for when, name in let_in if name in names], rpm, sliding=sliding)

    def held(self, times: list[float], rpm: int, *, sliding: bool) -> None:
        """Look whether a limit was kept."""
        rate = Rate.of(rpm, sliding=sliding)
        for first, begin in enumerate(times):
            for count, end in enumerate(times[first:], 1):
                if not sliding:
                    most = rate.capacity + rate.flow * (end - begin) + 2 * SLACK
                    self.assertLessEqual(count, most)
                elif end - begin <= 60:
                    self.assertLessEqual(count, rpm)


class ShadowTests(SynchronousTestCase):
    """Tests for limits that are not enforced."""

    def test_everything_is_let_in_and_told(self) -> None:
        """What is over the limit is marked, and counts for nothing."""
        door = Door()
        ann = client(requests=60, burst=2, enforced=False)
        self.assertEqual(door.through(ann, 5), 5)
        self.assertEqual(door.exchange.over_limits, ("client:requests",))
        told = [(each["scope"], each["limit"], each["enforced"]) for each in door.told]
        self.assertEqual(told, [("client", "requests", False)] * 3)
        door.now = 1.0
        self.assertEqual(door.through(ann, 1), 1)
        self.assertEqual(len(door.told), 3)

    def test_enforced_ones_refuse_all_the_same(self) -> None:
        """Of several limits, those that are."""
        door = Door(everyone=Allowance(requests=60, burst=3))
        self.assertEqual(door.through(client(requests=60, burst=1, enforced=False), 5), 3)

    def test_all_limits_at_once(self) -> None:
        """One key switches all of them off."""
        door = Door(enforced=False, everyone=Allowance(requests=1))
        self.assertEqual(door.through(client(requests=1), 5), 5)
        self.assertEqual(len(door.told), 8)

    def test_headers_tell_nothing(self) -> None:
        """Clients cannot see what does not concern them."""
        door = Door()
        claim = door.ask(client(requests=60, enforced=False))
        assert claim is not None
        self.assertEqual(claim.standings(), ())


class OverrideTests(SynchronousTestCase):
    """Tests for L4.6: limits for some requests."""

    def door(self, **limits: Any) -> Door:
        """Make a door where the model ``m`` means the tier ``big`` of profile ``p``."""
        return Door(meaning=lambda principal, model: ("big", "p"), **limits)

    def test_replaces_what_it_limits(self) -> None:
        """And nothing else, and only for what it fits."""
        few = Special(path="/v1/embeddings", allowance=Allowance(requests=600, burst=9))
        ann = client(requests=60, burst=2, concurrent=12, special=(few,))
        door = self.door()
        self.assertEqual(door.through(ann, 5), 2)
        claims = [door.ask(ann, path="/v1/embeddings") for _ in range(8)]
        self.assertNotIn(None, claims)
        self.assertEqual(door.through(ann, 5), 0)
        more = [door.ask(ann, path="/v1/embeddings") for _ in range(2)]
        self.assertEqual([claim is None for claim in more], [False, True])

    def test_zero_is_no_limit(self) -> None:
        """For what it fits."""
        free = Special(model="big", allowance=Allowance(requests=0))
        self.assertEqual(self.door().through(client(requests=1, special=(free,)), 9), 9)

    def test_by_model_path_and_profile(self) -> None:
        """The matrix: each alone, and everyone's and the group's as well as a client's."""
        for one_of in ({"model": "m"}, {"model": "b*"}, {"path": "/v1/chat/*"}, {"profile": "p"}):
            one = Special(allowance=Allowance(requests=60, burst=1), **one_of)
            for limits, somebody in (
                ({}, client(special=(one,))),
                ({"groups": {"g": Allowance(special=(one,))}}, client(group="g")),
                ({"everyone": Allowance(special=(one,))}, client()),
            ):
                door = self.door(**limits)
                self.assertEqual(door.through(somebody, 3), 1)
                self.assertIsNone(door.ask(somebody))
            other = replace(one, model="x") if "model" in one_of else replace(one, model="x*")
            self.assertEqual(self.door().through(client(special=(other,)), 3), 3)

    def test_the_most_specific_holds(self) -> None:
        """More conditions, then fewer wildcards, then the longer text; whatever the order."""
        what = Asked("/v1/chat/completions", ("gpt-4o", "cloud"), "team")
        specials = [
            Special(path="/*", allowance=Allowance(requests=1)),
            Special(model="gpt-*", allowance=Allowance(requests=2)),
            Special(model="gpt-4*", allowance=Allowance(requests=3)),
            Special(model="cloud", allowance=Allowance(requests=4)),
            Special(path="/v1/*", model="*", allowance=Allowance(requests=5)),
            Special(path="/v1/*", model="*", profile="team", allowance=Allowance(requests=6)),
            Special(path="/v1/*", model="*", profile="*", allowance=Allowance(requests=7)),
            Special(model="claude", allowance=Allowance(requests=8)),
        ]
        while specials:
            found = {chosen(order, what) for order in (specials, specials[::-1])}
            (best,) = found
            if best is None:
                break
            expected = [6, 7, 5, 4, 3, 2, 1][8 - len(specials)]
            self.assertEqual(best.allowance.requests, expected)
            specials.remove(best)
        self.assertEqual([each.allowance.requests for each in specials], [8])

    def test_shared_by_those_who_share_the_usual_one(self) -> None:
        """A group's override is one bucket for all of the group."""
        one = Special(model="m", allowance=Allowance(requests=60, burst=3))
        door = self.door(groups={"g": Allowance(special=(one,))})
        self.assertEqual([door.through(client(name, "g"), 2) for name in "abc"], [2, 1, 0])


class ReloadTests(SynchronousTestCase):
    """Tests for what is remembered."""

    def test_other_limits_of_the_same_client_hold_at_once(self) -> None:
        """As when a key made at run time is changed; what was used still counts."""
        door = Door()
        self.assertEqual(door.through(client(requests=6), 5), 3)
        self.assertEqual(door.through(client(requests=10), 5), 2)
        self.assertEqual(door.through(client(), 5), 5)

    def test_forgotten(self) -> None:
        """Only of those who are gone."""
        door = Door(groups={"g": Allowance(requests=60)})
        special = (Special(path="/v1/chat/*", allowance=Allowance(tokens=100)),)
        door.through(client("ann b", "g", requests=60, special=special), 1)
        door.through(client("gone", "h", requests=60), 1)
        door.limits.keep_only(["ann b"])
        kinds = sorted((kind, name.partition("\n")[0]) for kind, name in door.limits.counters.named)
        self.assertEqual(kinds, [("client", "ann b"), ("client", "ann b"), ("group", "g")])
