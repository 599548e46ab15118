"""
Whether an answer is in the language that the question was asked in.

First by script, which is certain, then, for the Latin one, by stop words, which
is not: both texts must speak clearly, or nothing is found.  A question about
languages ("translate", "in French") may be answered in any.  Code is no language.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter

LOOKED_AT = 2_000
"""Characters of each text that are looked at."""

LEAST_LETTERS = 12
LEAST_WORDS = 3

_RANGES = (
    (0x0041, "latin"),
    (0x0370, "greek"),
    (0x0400, "cyrillic"),
    (0x0530, "armenian"),
    (0x0590, "hebrew"),
    (0x0600, "arabic"),
    (0x0780, "other"),
    (0x0900, "devanagari"),
    (0x0980, "indic"),
    (0x0E00, "thai"),
    (0x0E80, "other"),
    (0x10A0, "georgian"),
    (0x1100, "hangul"),
    (0x1200, "other"),
    (0x1E00, "latin"),
    (0x1F00, "greek"),
    (0x2000, "other"),
    (0x3040, "kana"),
    (0x3100, "other"),
    (0x3130, "hangul"),
    (0x3190, "other"),
    (0x31F0, "kana"),
    (0x3400, "han"),
    (0xA000, "other"),
    (0xAC00, "hangul"),
    (0xD7B0, "other"),
    (0xF900, "han"),
    (0xFB00, "other"),
    (0xFF21, "latin"),
    (0xFF66, "kana"),
    (0xFFA0, "other"),
    (0x20000, "han"),
    (0x30000, "other"),
)
_STARTS = [start for start, _ in _RANGES]

STOP_WORDS = {
    "English": "the and is are was of to in that it you for with this have not but they be can",
    "German": "der die das und ist sind nicht ein eine zu mit von den auf für wie sich auch es ich",
    "French": "le la les et est sont de des un une pour dans que qui pas vous avec sur ce je nous",
    "Spanish": "el la los las y es son de un una para en que no con por se lo como más está pero",
    "Italian": "il la gli e è sono di un una per in che non con si come più del della ma questo",
    "Portuguese": "o a os as e é são de um uma para em que não com por se como mais do da você",
    "Dutch": "de het een en is zijn niet van voor met op dat te die ook aan er maar ik je wat",
    "Polish": "i w nie na się to jest że z do o jak co ale tak po być przez dla są",
    "Swedish": "och att det som en är på för med den av till inte har om ett jag du kan",
}
_BY_WORD: dict[str, list[str]] = {}
for _language, _words in STOP_WORDS.items():
    for _word in _words.split():
        _BY_WORD.setdefault(_word, []).append(_language)

_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+", re.DOTALL)
_WORD = re.compile(r"[^\W\d_]+")
_ABOUT_LANGUAGES = re.compile(
    r"translat|übersetz|tradu|vertaal|tłumacz|översätt|перев[её]|翻译|翻譯|訳|번역"
    r"|\b(?:language|sprache|langue|idioma|lingua|taal|english|englisch|anglais|inglés|inglese"
    r"|german|deutsch|allemand|alemán|tedesco|french|französisch|français|francés|francese"
    r"|spanish|spanisch|espagnol|español|spagnolo|italian|italienisch|italien|italiano"
    r"|portuguese|português|dutch|nederlands|polish|polski|swedish|svenska|russian|russisch"
    r"|russe|ruso|chinese|chinesisch|chinois|chino|japanese|japanisch|japonais|japonés"
    r"|korean|arabic|hindi|greek|hebrew|thai|latin)\b"
    r"|русск|английск|中文|英文|英语|日本語|英語|한국어|영어",
    re.IGNORECASE,
)


def other_language(question: str, answer: str) -> str | None:
    """
    Say in what other script or language than the question the answer is.

    Returns:
        ``"latin, not cyrillic"`` or ``"English, not German"``; ``None`` if it is the same,
        or cannot be told.
    """
    if _ABOUT_LANGUAGES.search(question[:LOOKED_AT]):
        return None
    question, answer = _prose(question), _prose(answer)
    wanted, got = script_of(question), script_of(answer)
    if wanted is not None and wanted == got == "latin":
        wanted, got = language_of(question), language_of(answer)
    if wanted is None or got is None or wanted == got:
        return None
    return f"{got}, not {wanted}"


def script_of(text: str) -> str | None:
    """Give the script of most letters; ``None`` if there are few, or none prevails."""
    counts: Counter[str] = Counter()
    for letter, times in Counter(filter(str.isalpha, text)).items():
        counts[_RANGES[bisect_right(_STARTS, ord(letter)) - 1][1]] += times
    letters = sum(counts.values())
    if counts["kana"] * 10 >= letters > 0:  # Japanese mixes, Chinese has none
        counts["kana"] += counts.pop("han", 0)
    # One Han or Hangul letter says as much as two or three Latin ones.
    weight = letters + counts["han"] + counts["hangul"] + counts["kana"]
    if weight < LEAST_LETTERS:
        return None
    script, most = counts.most_common(1)[0]
    return script if script != "other" and most >= 0.6 * letters else None


def language_of(text: str) -> str | None:
    """Give the language whose stop words clearly prevail, if one's do."""
    counts: Counter[str] = Counter()
    words = Counter(_WORD.findall(text.lower()))
    for word in words.keys() & _BY_WORD.keys():
        for language in _BY_WORD[word]:
            counts[language] += words[word]
    ranking = counts.most_common(2)
    if not ranking or ranking[0][1] < LEAST_WORDS:
        return None
    if len(ranking) == 2 and ranking[0][1] < 1.5 * ranking[1][1]:
        return None
    return ranking[0][0]


def _prose(text: str) -> str:
    return _CODE.sub(" ", text[:LOOKED_AT])
