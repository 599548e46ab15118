"""What a name means to whom: the ceiling, the expert gate, and lists of models."""

from __future__ import annotations

from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.errors import Forbidden, UnknownModel
from lmgateway.principal import Principal
from lmgateway.routing.ladder import Ladder, Tier
from lmgateway.routing.policy import Directory, Policy

NAMES = ("local", "cloud", "expert")


def directory(*, keyless: bool = False, gate: bool = True) -> Directory:
    """Make three tiers, the ceiling at the second, an alias for each."""
    nobody = cast(Any, None)
    tiers = [Tier(name=n, index=i, backend=nobody, model=n) for i, n in enumerate(NAMES)]
    ladder = Ladder.of(tiers, {f"hint:{name}": name for name in NAMES})
    policy = Policy(
        name="default",
        mode="dispatch",
        fallback=tiers[0],
        ceiling=tiers[1],
        expert_requires_flag=gate,
    )
    return Directory(ladder=ladder, policies={"default": policy}, open=keyless)


def principal(*models: str, expert: bool = False) -> Principal:
    """Make a client that may name *models*; without any, those up to the ceiling."""
    return Principal(name="c", profile="default", expert=expert, allow_models=models or None)


class PermissionTests(SynchronousTestCase):
    """Tests for ``Directory.choose``, and that ``visible`` says the same."""

    def named(self, where: Directory, who: Principal, *, expert: bool = False) -> list[str]:
        """Give the names, of tiers and aliases, that lead where they say."""
        found = []
        for name in (*NAMES, *where.ladder.aliases):
            try:
                _, tier = where.choose(who, name, expert=expert)
            except (UnknownModel, Forbidden):
                continue
            self.assertEqual(tier, where.ladder.find(name))
            found.append(name)
        return found

    def check(self, who: Principal, names: list[str], *, gate: bool = True) -> None:
        """Check what a client may name, and that it sees just that."""
        where = directory(gate=gate)
        self.assertEqual(self.named(where, who), names)
        tiers, aliases, _ = where.visible(who)
        self.assertEqual([*(tier.name for tier in tiers), *aliases], names)

    def test_up_to_the_ceiling(self) -> None:
        """A client without a list may name what its profile goes up to, gate or no gate."""
        for gate in (True, False):
            self.check(principal(), ["local", "cloud", "hint:local", "hint:cloud"], gate=gate)

    def test_experts_go_above(self) -> None:
        """An expert client may name every tier."""
        self.check(principal(expert=True), [*NAMES, *(f"hint:{name}" for name in NAMES)])

    def test_a_list_holds_for_experts_too(self) -> None:
        """The expert gate is no way round a list of models."""
        self.check(principal("local", expert=True), ["local", "hint:local"])

    def test_a_list_is_no_key_to_the_gate(self) -> None:
        """The gate opens only for experts: a list that names a gated tier does not open it."""
        self.check(principal("local", "expert"), ["local", "hint:local"])
        self.check(principal("expert"), ["expert", "hint:expert"], gate=False)

    def test_what_is_no_name_is_not_listed(self) -> None:
        """A glob that fits a name which stands for nothing is no way to the fallback tier."""
        where = directory()
        for name in ("hint:nothing", "hint:nothing:latest"):
            with self.assertRaises(UnknownModel):
                where.choose(principal("hint:cloud", "hint:*"), name, expert=False)
        _, tier = where.choose(principal("hint:cloud"), "hint:cloud:latest", expert=False)
        self.assertEqual(tier and tier.name, "cloud")

    def test_what_a_name_means(self) -> None:
        """For limits on models: the tier that serves it, if that does not depend on more."""
        where, who = directory(), principal()
        named = ("cloud", "hint:cloud:latest", "auto", "nothing", None, "default")
        meant = [where.meaning(who, name)[0] for name in named]
        self.assertEqual(meant, ["cloud", "cloud", "local", "local", "local", "local"])

    def test_a_listed_alias_is_seen(self) -> None:
        """An alias may be listed without its tier: it is then seen and served by itself."""
        self.check(principal("hint:cloud"), ["hint:cloud"])

    def test_the_header_where_nobody_has_a_key(self) -> None:
        """Without clients, the header opens the gate, and its absence is told."""
        where = directory(keyless=True)
        with self.assertRaises(Forbidden):
            where.choose(principal(), "expert", expert=False)
        self.assertEqual(len(self.named(where, principal(), expert=True)), 6)

    def test_auto_is_the_cheapest_that_is_allowed(self) -> None:
        """``auto`` leads to a tier that the client may name."""
        _, tier = directory().choose(principal("cloud"), "auto", expert=False)
        self.assertEqual(tier and tier.name, "cloud")

    def test_refusals_repeat_no_novels(self) -> None:
        """A missing name is called that, and a very long one is cut."""
        who = principal("cloud")
        with self.assertRaisesRegex(UnknownModel, "No model is named"):
            directory().choose(who, None, expert=False)
        with self.assertRaises(UnknownModel) as caught:
            directory().choose(who, "x" * 100_000, expert=False)
        self.assertLess(len(str(caught.exception)), 400)
