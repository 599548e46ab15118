"""
Texts that a rule may ask for: words, globs, and regular expressions of bounded effort.

Python's ``re`` backtracks: ``(a+)+b`` over a page of text takes years, and the
text is the client's.  So an expression is looked at when the config is read:
it must have no unbounded repeat, no back reference and no look-around, and no
more than ``MAX_WAYS`` ways to go from one place of the text.  What is left
takes time in proportion to the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import translate
from re import _constants as ops  # type: ignore[attr-defined]  # no public parser; a test pins it
from re import _parser as parser  # type: ignore[attr-defined]  # the same
from typing import Any

MAX_WAYS = 200
MAX_TEXT = 10_000
"""Characters of a text that are looked at."""

Test = Callable[[str], bool]

_PLAIN = (ops.LITERAL, ops.NOT_LITERAL, ops.ANY, ops.IN, ops.AT)
_FLAGS = re.IGNORECASE


def test_of(wanted: str) -> Test:
    """
    Give the test that a condition's value means, regardless of case.

    ``~`` begins a regular expression that is searched for, ``*`` and ``?`` make a glob, anything
    else is the whole text itself.

    Raises:
        ValueError: If the expression is faulty, or could take too long; says why.
    """
    if wanted.startswith("~"):
        search = _compiled(wanted[1:]).search
        return lambda text: search(text[:MAX_TEXT]) is not None
    if "*" in wanted or "?" in wanted:
        match = re.compile(translate(wanted.casefold())).match
        return lambda text: match(text[:MAX_TEXT].casefold()) is not None
    plain = wanted.casefold()
    return lambda text: text.casefold() == plain


def is_literal(wanted: str) -> bool:
    """Tell whether a condition's value is simply the text itself."""
    return not wanted.startswith("~") and not {"*", "?"}.intersection(wanted)


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        tree = parser.parse(pattern, _FLAGS)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error.msg}") from None
    except (OverflowError, RecursionError):
        raise ValueError("is not a regular expression: it is too large") from None
    if _ways(tree) > MAX_WAYS:
        raise ValueError(
            f"could take too long: it has more than {MAX_WAYS} ways to match; "
            "shorten its repeats and alternatives"
        )
    return re.compile(pattern, _FLAGS)


def _ways(tree: Any) -> int:
    """Give a bound on the ways through a sequence, from one place of the text."""
    ways = 1
    for op, argument in tree:
        ways *= _ways_of(op, argument)
        if ways > MAX_WAYS:
            return ways
    return ways


def _ways_of(op: Any, argument: Any) -> int:
    if op in _PLAIN:
        return 1
    if op is ops.SUBPATTERN:
        return _ways(argument[-1])
    if op is ops.BRANCH:
        return sum(_ways(alternative) for alternative in argument[1])
    if op in (ops.MAX_REPEAT, ops.MIN_REPEAT):
        low, high, body = argument
        if high is ops.MAXREPEAT:
            raise ValueError(
                "could take too long: give a bound to each repeat, as in .{0,80} or \\w{1,20}; "
                "none is needed at either end"
            )
        inner = _ways(body)
        if inner == 1:
            return int(high - low + 1)
        return MAX_WAYS + 1 if high > 16 else int(inner**high + high - low)
    raise ValueError("could take too long: look-around and back references are not taken")
