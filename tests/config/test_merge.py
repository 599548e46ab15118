"""How overlays are laid over a config, and where each setting is said to come from."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.config.merge import KeyPath, Origins, Place, Tree, overlay

KEYS = st.sampled_from(["name", "key_env", "a", "b", "rules", "clients", "profiles"])
LEAVES = st.integers(0, 3) | st.sampled_from(["x", "y", "z"]) | st.booleans()
VALUES: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.dictionaries(KEYS, inner, max_size=4) | st.lists(inner, max_size=3),
    max_leaves=12,
)
TREES: st.SearchStrategy[Tree] = st.dictionaries(KEYS, VALUES, max_size=5)


def laid(base: Tree, *tops: Tree) -> Tree:
    """Merge without looking at origins."""
    for top in tops:
        base = overlay(base, top, "top", Origins())
    return base


def leaves(node: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Go through all values that are neither tables nor lists."""
    if isinstance(node, dict | list):
        items = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in items:
            yield from leaves(value, (*path, key))
    else:
        yield path, node


def value_at(tree: Any, path: KeyPath) -> Any:
    """Give what a way leads to."""
    for step in path:
        tree = tree[step]
    return tree


class PropertyTests(SynchronousTestCase):
    """What holds for any two trees."""

    @given(TREES, TREES)
    @settings(deadline=None)
    def test_what_was_read_is_never_changed(self, base: Tree, top: Tree) -> None:
        """A merge makes a new tree."""
        before = deepcopy((base, top))
        laid(base, top)
        self.assertEqual((base, top), before)

    @given(TREES)
    @settings(deadline=None)
    def test_nothing_laid_over_changes_nothing(self, tree: Tree) -> None:
        """And over nothing, an overlay is all there is."""
        self.assertEqual(laid(tree, {}), tree)
        self.assertEqual(laid({}, tree), tree)

    @given(TREES, TREES)
    @settings(deadline=None)
    def test_no_key_is_lost(self, base: Tree, top: Tree) -> None:
        """Overlays add and replace; they never take a key away."""
        merged = laid(base, top)
        self.assertEqual({*merged}, {*base} | {*top})

    @given(TREES, TREES)
    @settings(deadline=None)
    def test_the_overlay_wins_where_it_says_a_plain_value(self, base: Tree, top: Tree) -> None:
        """However deep in tables that is."""
        merged = laid(base, top)
        for path, value in leaves(top):
            if all(isinstance(step, str) for step in path):
                self.assertEqual(value_at(merged, path), value)

    @given(st.lists(TREES, min_size=1, max_size=4))
    @settings(deadline=None)
    def test_every_value_is_found_where_its_origin_says(self, trees: list[Tree]) -> None:
        """Following the origin into that file gives the value back."""
        origins = Origins()
        origins.claim((), Place("0", ()))
        merged = trees[0]
        for number, top in enumerate(trees[1:], 1):
            merged = overlay(merged, top, str(number), origins)
        for path, value in leaves(merged):
            place = origins.place(path)
            assert place is not None
            self.assertEqual(value_at(trees[int(place.file)], place.path), value)


class OverlayTests(SynchronousTestCase):
    """The rules, one by one."""

    def test_tables_are_merged_key_by_key(self) -> None:
        """At any depth."""
        self.assertEqual(
            laid({"a": {"x": 1, "y": {"z": 2}}}, {"a": {"y": {"w": 3}}}),
            {"a": {"x": 1, "y": {"z": 2, "w": 3}}},
        )

    def test_an_item_takes_the_place_of_its_namesake(self) -> None:
        """Whole: keys that it does not give are gone."""
        self.assertEqual(
            laid({"tiers": [{"name": "a", "x": 1}, {"name": "b"}]}, {"tiers": [{"name": "a"}]}),
            {"tiers": [{"name": "a"}, {"name": "b"}]},
        )

    def test_other_items_are_appended(self) -> None:
        """New names, no names, and plain values."""
        self.assertEqual(
            laid({"l": [{"name": "a"}, 1]}, {"l": [{"name": "b"}, {"x": 1}, 1]}),
            {"l": [{"name": "a"}, 1, {"name": "b"}, {"x": 1}, 1]},
        )

    def test_a_value_of_another_type_replaces(self) -> None:
        """In both directions."""
        self.assertEqual(laid({"a": {"x": 1}}, {"a": [1]}), {"a": [1]})
        self.assertEqual(laid({"a": [1]}, {"a": 2}), {"a": 2})

    def test_clients_are_known_by_name_or_else_by_key(self) -> None:
        """So that a client can be changed without being named."""
        base = {"clients": [{"key_env": "A", "profile": "x"}, {"name": "b", "key_env": "B"}]}
        self.assertEqual(
            laid(base, {"clients": [{"key_env": "A", "profile": "y"}]})["clients"],
            [{"key_env": "A", "profile": "y"}, {"name": "b", "key_env": "B"}],
        )
        self.assertEqual(
            laid(base, {"clients": [{"name": "b", "key_env": "C"}]})["clients"],
            [{"key_env": "A", "profile": "x"}, {"name": "b", "key_env": "C"}],
        )
        self.assertEqual(
            laid(base, {"clients": [{"name": "new", "key_env": "B"}]})["clients"],
            [{"key_env": "A", "profile": "x"}, {"name": "new", "key_env": "B"}],
        )
        self.assertEqual(len(laid(base, {"clients": [{"key_env": "C"}]})["clients"]), 3)

    def test_only_clients_are_known_by_key(self) -> None:
        """Other lists go by name."""
        base = {"tiers": [{"key_env": "A"}]}
        self.assertEqual(len(laid(base, {"tiers": [{"key_env": "A"}]})["tiers"]), 2)

    def test_the_rules_of_a_profile_are_replaced(self) -> None:
        """And its fallback tiers: both are one decision, in order."""
        base = {"profiles": {"p": {"rules": [{"route_to": "a"}], "fallback": ["a"], "x": ["a"]}}}
        top = {"profiles": {"p": {"rules": [{"route_to": "b"}], "fallback": ["b"], "x": ["b"]}}}
        self.assertEqual(
            laid(base, top)["profiles"]["p"],
            {"rules": [{"route_to": "b"}], "fallback": ["b"], "x": ["a", "b"]},
        )

    def test_two_namesakes_in_one_overlay_both_stay(self) -> None:
        """So that the mistake is seen, not silently resolved."""
        base = {"tiers": [{"name": "a", "n": 0}]}
        top = {"tiers": [{"name": "a", "n": 1}, {"name": "a", "n": 2}]}
        self.assertEqual([item["n"] for item in laid(base, top)["tiers"]], [1, 2])

    def test_nothing_read_has_no_origin(self) -> None:
        """There is nothing to point at."""
        self.assertIs(Origins().place(("a",)), None)
