"""
Whether an answer goes round in circles: the same words over and over.

A small model that is stuck repeats a phrase until its output runs out.  Looked
for is a run in which every word equals the one *period* words before, for any
period up to ``LONGEST``; that takes at most ``LONGEST`` comparisons a word, and
only so many words at the end of an answer, where a loop would be, are compared.
"""

from __future__ import annotations

import re
from operator import eq

LONGEST = 32
"""Words in the longest phrase whose repetition is seen."""

LOOKED_AT = 3_000
"""Characters at the end of an answer that are looked at."""

LEAST = 60
"""A run of fewer characters than this is emphasis, not a loop."""

_WORD = re.compile(r"[\u0e00-\u9fff\uac00-\ud7a3]|[^\s\u0e00-\u9fff\uac00-\ud7a3]+")


def repeated(text: str, times: int) -> str | None:
    """
    Give the phrase that is said *times* times or more in a row, if one is.

    A phrase must hold a letter: rules of tables and rows of zeros are no loop.
    """
    words = _WORD.findall(text[-LOOKED_AT:])
    for period in range(1, min(LONGEST, len(words) // times) + 1):
        phrase = _loop(words, period, times)
        if phrase is not None:
            return phrase
    return None


def _loop(words: list[str], period: int, times: int) -> str | None:
    """Give the phrase of the first loop of that period."""
    same = bytes(map(eq, words[period:], words))
    needed = b"\x01" * (period * (times - 1))
    start = same.find(needed)
    while start >= 0:
        end = same.find(0, start)
        end = len(same) if end < 0 else end
        whole = words[start : end + period]
        phrase = whole[:period]
        if sum(map(len, whole)) + len(whole) >= LEAST and _has_letter("".join(phrase)):
            return " ".join(phrase)
        start = same.find(needed, end)
    return None


def _has_letter(text: str) -> bool:
    return any(letter.isalpha() for letter in text)
