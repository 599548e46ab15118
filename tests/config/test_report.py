"""Problems as lines to read."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from lmgateway.config.merge import Place
from lmgateway.config.report import Report, dotted, listed, looks_like_key, quoted, suggestion


class WordsTests(SynchronousTestCase):
    """How names are shown."""

    def test_paths_are_written_as_in_toml(self) -> None:
        """Quoted where TOML needs it."""
        self.assertEqual(dotted(("tiers", 1, "name")), "tiers[1].name")
        self.assertEqual(dotted(("profiles", "ha:fast", "rules", 0)), 'profiles."ha:fast".rules[0]')

    def test_the_nearest_name_is_suggested(self) -> None:
        """Whatever its case; if none is near, all there are."""
        self.assertEqual(suggestion("Fats", ["fast", "slow"]), '; did you mean "fast"?')
        self.assertEqual(suggestion("x", ["fast", "slow"]), '; there are: "fast", "slow"')
        self.assertEqual(suggestion("x", []), "; there are: none")

    def test_long_lists_and_names_are_cut(self) -> None:
        """A report is to be read."""
        self.assertTrue(listed(map(str, range(99))).endswith('"11", ...'))
        self.assertLess(len(quoted("tier " * 99)), 210)

    def test_keys_of_providers_are_known_by_sight(self) -> None:
        """The well-known forms; plain words and names are none."""
        for key in (
            "sk-proj-abcdefghijklmnop",
            "x = 'sk-ant-api03-abcdefghijklmnop'",
            "gsk_abcdefghijklmnop1234",
            "AIza" + "a" * 35,
            "Bearer abcdefghijklmnop1234",
            "hf_abcdefghijklmnopqrst",
        ):
            self.assertTrue(looks_like_key(key), key)
        for text in ("sk-short", "task-based-routing-for-everyone", "hint:instant", "Bearer", ""):
            self.assertFalse(looks_like_key(text), text)

    def test_what_looks_like_a_key_is_masked(self) -> None:
        """Also what only looks random."""
        for name in ("sk-abcdefghijklmnopqrst", "a1b2c3d4" * 5):
            self.assertEqual(quoted(name), '"***"')
            self.assertEqual(dotted(("x", name)), 'x."***"')
        self.assertEqual(quoted('a"b\n'), '"a\\"b\\n"')


class ReportTests(SynchronousTestCase):
    """The order of problems, and what is left out."""

    def setUp(self) -> None:
        self.report = Report(texts={"one": "[a]\nx = 1\ny = 2\n", "two": "z = 1\n"})
        self.report.origins.claim((), Place("one", ()))
        self.report.origins.claim(("z",), Place("two", ("z",)))

    def test_problems_are_in_the_order_of_the_files(self) -> None:
        """And of their lines; what has no place comes last."""
        self.report.problem(("z",), "third")
        self.report.file_problem("elsewhere", "last")
        self.report.problem(("a", "y"), "second")
        self.report.problem(("a", "x"), "first")
        self.assertEqual(
            self.report.problems,
            ("one:2: a.x: first", "one:3: a.y: second", "two:1: z: third", "elsewhere: last"),
        )

    def test_nothing_is_said_of_what_is_broken(self) -> None:
        """Nor of what is in it; the first fault is enough."""
        self.report.broken(("a", "x"), "broken")
        self.report.problem(("a", "x"), "more")
        self.report.broken(("a", "x", "deeper"), "more")
        self.report.problem(("a",), "another")
        self.assertEqual(self.report.problems, ("one:1: a: another", "one:2: a.x: broken"))

    def test_the_same_is_said_once(self) -> None:
        """However often it was found."""
        for _ in range(2):
            self.report.problem(("a",), "again")
            self.report.warning(("a",), "again")
        self.assertEqual(self.report.problems, ("one:1: a: again",))
        self.assertEqual(self.report.warnings, ("one:1: a: again",))

    def test_without_a_place_there_is_only_the_path(self) -> None:
        """As for values that no file gave."""
        report = Report()
        report.problem(("a", "b"), "wrong")
        self.assertEqual(report.problems, ("a.b: wrong",))
        self.assertEqual(report.where(("a",)), "")
