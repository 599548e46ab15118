"""Classes with shared methods do what attrs' own do."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from lmgateway.classes import define, frozen


@frozen(kw_only=True)
class Shared:
    """A value as most of ours are."""

    name: str
    _sizes: tuple[int, ...] = ()
    key: str = attrs.field(default="", repr=False)
    note: str = attrs.field(default="", eq=False, repr=str.upper)


@attrs.frozen(kw_only=True)
class Written:
    """The same, as attrs makes it."""

    name: str
    _sizes: tuple[int, ...] = ()
    key: str = attrs.field(default="", repr=False)
    note: str = attrs.field(default="", eq=False, repr=str.upper)


@frozen
class Child(Shared):
    """One more field."""

    more: int = 0


@frozen(eq=False)
class Single:
    """Equal to nothing but itself."""

    name: str


@frozen
class Loud:
    """Has words of its own."""

    name: str

    def __repr__(self) -> str:
        return "loud"


@define
class Changing:
    """A thing that changes."""

    name: str
    other: object = None


class SharedMethodsTests(SynchronousTestCase):
    def test_reads_as_attrs_writes_it(self) -> None:
        """What is printed names the same fields, and hides the same."""
        ours = Shared(name="a", sizes=(1, 2), key="sk-1", note="x")
        theirs = Written(name="a", sizes=(1, 2), key="sk-1", note="x")
        self.assertEqual(repr(ours), repr(theirs).replace("Written", "Shared"))
        self.assertNotIn("sk-1", repr(ours))

    def test_compares_what_is_to_be_compared(self) -> None:
        """Values are equal when their fields are, but for those left out."""
        one = Shared(name="a", key="k", note="x")
        self.assertEqual(one, Shared(name="a", key="k", note="y"))
        self.assertEqual(hash(one), hash(Shared(name="a", key="k", note="y")))
        self.assertNotEqual(one, Shared(name="a", key="l", note="x"))
        self.assertNotEqual(one, Shared(name="a", sizes=(1,), key="k"))
        self.assertNotEqual(one, Written(name="a", key="k", note="x"))
        self.assertEqual({one: 1}[Shared(name="a", key="k")], 1)

    def test_an_heir_compares_all(self) -> None:
        """A class that adds a field compares the inherited ones too."""
        self.assertEqual(Child(name="a", more=1), Child(name="a", more=1))
        self.assertNotEqual(Child(name="a", more=1), Child(name="b", more=1))
        self.assertNotEqual(Child(name="a"), Shared(name="a"))
        self.assertEqual(repr(Child(name="a", more=1)), "Child(name='a', _sizes=(), note=, more=1)")

    def test_is_frozen(self) -> None:
        """A value cannot be changed, and takes no further attributes."""
        with self.assertRaises(attrs.exceptions.FrozenInstanceError):
            Shared(name="a").name = "b"  # type: ignore[misc]  # it is what is tried
        self.assertFalse(hasattr(Shared(name="a"), "__dict__"))

    def test_keeps_what_a_class_says_itself(self) -> None:
        """A method that is written in the class is that of the class."""
        self.assertEqual(repr(Loud("a")), "loud")
        self.assertEqual(Loud("a"), Loud("a"))

    def test_compares_only_where_it_is_wanted(self) -> None:
        """With eq=False everything is equal to itself alone, and may be a key."""
        one = Single("a")
        self.assertNotEqual(one, Single("a"))
        self.assertEqual({one: 1}[one], 1)

    def test_what_changes_is_no_key(self) -> None:
        """A thing that changes is compared by its fields, and cannot be looked up."""
        self.assertEqual(Changing("a"), Changing("a"))
        with self.assertRaises(TypeError):
            hash(Changing("a"))

    def test_what_holds_itself_can_be_printed(self) -> None:
        """A loop of references is cut."""
        one = Changing("a")
        one.other = one
        self.assertEqual(repr(one), "Changing(name='a', other=...)")
