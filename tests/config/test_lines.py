"""Finding the line of a key."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.config.lines import key_lines, line_of
from lmgateway.config.merge import KeyPath

TEXT = '''\
# a comment: x = 1
top = 1
[gateway]  # more = 2
client_port = 80
"quoted key" = 1
'single' = 2
a.b."c.d" = 3
long = """
not = "a key"
[nor.a.table]
"""
list = [
  1,
  { x = 1 },
]
[profiles."ha:fast"]
system_prompt = \'\'\'
a = 1\'\'\'
[[profiles."ha:fast".rules]]
route_to = "x"
[[profiles."ha:fast".rules]]
route_to = "y"
[profiles."ha:fast".rules.when]
class = "z"
 [[ tiers ]]
 name = "a"
[tiers.price]
input = 1
[[tiers]]
name = "b"
'''


def line(*path: str | int) -> int | None:
    """Give the line of a key of ``TEXT``."""
    return line_of(path, key_lines(TEXT))


class LineTests(SynchronousTestCase):
    """One text with everything in it."""

    def test_tables_and_keys_are_found(self) -> None:
        """By their whole path, quoted or not."""
        self.assertEqual(line("top"), 2)
        self.assertEqual(line("gateway"), 3)
        self.assertEqual(line("gateway", "client_port"), 4)
        self.assertEqual(line("gateway", "quoted key"), 5)
        self.assertEqual(line("gateway", "single"), 6)
        self.assertEqual(line("gateway", "a", "b", "c.d"), 7)

    def test_items_of_tables_are_counted(self) -> None:
        """Nested ones within the latest of what holds them."""
        rules: KeyPath = ("profiles", "ha:fast", "rules")
        self.assertEqual(line(*rules, 0, "route_to"), 20)
        self.assertEqual(line(*rules, 1, "route_to"), 22)
        self.assertEqual(line(*rules, 1, "when", "class"), 24)
        self.assertEqual(line("tiers", 0, "name"), 26)
        self.assertEqual(line("tiers", 0, "price", "input"), 28)
        self.assertEqual(line("tiers", 1), 29)
        self.assertEqual(line("tiers", 1, "name"), 30)

    def test_texts_of_many_lines_are_passed_over(self) -> None:
        """What looks like a key in them is none."""
        found = key_lines(TEXT)
        self.assertNotIn(("gateway", "not"), found)
        self.assertNotIn(("nor", "a", "table"), found)
        self.assertNotIn(("profiles", "ha:fast", "a"), found)

    def test_what_has_no_line_is_found_at_what_holds_it(self) -> None:
        """Inline tables, items of lists, and keys that are missing."""
        self.assertEqual(line("gateway", "list", 1, "x"), 12)
        self.assertEqual(line("gateway", "missing"), 3)
        self.assertIs(line("elsewhere"), None)

    @given(st.text(alphabet="[]=.\"'\\#\n ab1{},", max_size=60))
    @settings(deadline=None)
    def test_no_text_is_too_strange(self, text: str) -> None:
        """TOML or not, nothing is raised; and keys of good TOML are within it."""
        found = key_lines(text)
        self.assertTrue(all(1 <= number <= text.count("\n") + 1 for number in found.values()))

    @given(
        st.recursive(
            st.dictionaries(st.text(alphabet="ab.\"' é", min_size=1, max_size=3), st.just(1)),
            lambda inner: st.dictionaries(
                st.text(alphabet="ab.-", min_size=1, max_size=3), inner, max_size=3
            ),
            max_leaves=8,
        )
    )
    @settings(deadline=None)
    def test_every_key_of_a_written_table_is_found(self, tree: dict[str, Any]) -> None:
        """Whatever its name."""
        lines: list[str] = []
        wanted: dict[KeyPath, int] = {}
        write(tree, (), lines, wanted)
        text = "\n".join(lines)
        self.assertEqual(tomllib.loads(text), tree)
        found = key_lines(text)
        for path, number in wanted.items():
            self.assertEqual(found[path], number)


def write(
    tree: dict[str, Any], path: tuple[str, ...], lines: list[str], wanted: dict[KeyPath, int]
) -> None:
    """Write a tree as TOML, and note the line of each key."""
    if path:
        lines.append(f"[{'.'.join(map(basic, path))}]")
        wanted[path] = len(lines)
    for key, value in tree.items():
        if not isinstance(value, dict):
            lines.append(f"{basic(key)} = {value}")
            wanted[(*path, key)] = len(lines)
    for key, value in tree.items():
        if isinstance(value, dict):
            write(value, (*path, key), lines, wanted)


def basic(key: str) -> str:
    """Write a key as a basic string."""
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
