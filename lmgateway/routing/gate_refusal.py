"""
Phrases by which a model says that it cannot, or will not, answer.

Whole words only ("as an aim" is no refusal), whatever the case and whichever
apostrophe.  A refusal opens with its phrase, so only the beginning of an answer
is looked at: a long story in which somebody says "I don't know" is an answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from lmgateway.classes import frozen

LOOKED_AT = 600
"""Characters of an answer within which a phrase counts."""

PHRASES = (
    # English
    "i don't know",
    "i do not know",
    "i cannot help",
    "i can't help",
    "i'm not able to",
    "i am not able to",
    "i'm unable to",
    "i am unable to",
    "i can't assist",
    "i cannot assist",
    "i can't answer",
    "i cannot answer",
    "i can't provide",
    "i cannot provide",
    "as an ai",
    "i don't have enough information",
    "i do not have enough information",
    # German
    "ich weiß es nicht",
    "ich weiß nicht",
    "das weiß ich nicht",
    "ich kann dir nicht helfen",
    "ich kann ihnen nicht helfen",
    "dabei kann ich nicht helfen",
    "dabei kann ich dir nicht helfen",
    "dabei kann ich ihnen nicht helfen",
    "damit kann ich nicht helfen",
    "ich bin nicht in der lage",
    "als ki",
    "als künstliche intelligenz",
    "ich habe nicht genügend informationen",
    "ich habe nicht genug informationen",
    # French
    "je ne sais pas",
    "je ne peux pas vous aider",
    "je ne peux pas t'aider",
    "je ne suis pas en mesure",
    "en tant qu'ia",
    "en tant qu'intelligence artificielle",
    "je n'ai pas assez d'informations",
    "je ne dispose pas de suffisamment d'informations",
    # Spanish
    "no lo sé",
    "no puedo ayudarte",
    "no puedo ayudarle",
    "no puedo ayudar",
    "no soy capaz de",
    "como ia",
    "como una ia",
    "como inteligencia artificial",
    "no tengo suficiente información",
    # Italian
    "non lo so",
    "non posso aiutarti",
    "non posso aiutarla",
    "non sono in grado di",
    "come ia",
    "come intelligenza artificiale",
    "non ho abbastanza informazioni",
    # Portuguese
    "não sei",
    "não posso ajudar",
    "não posso ajudá-lo",
    "não consigo ajudar",
    "não sou capaz de",
    "como uma ia",
    "como inteligência artificial",
    "não tenho informações suficientes",
    # Dutch
    "ik weet het niet",
    "ik kan je niet helpen",
    "ik kan u niet helpen",
    "daar kan ik niet bij helpen",
    "ik ben niet in staat",
    "als een ai",
    "als ai",
    "ik heb niet genoeg informatie",
    # Polish
    "nie wiem",
    "nie mogę pomóc",
    "nie jestem w stanie",
    "jako sztuczna inteligencja",
    # Russian
    "я не знаю",
    "я не могу помочь",
    "я не могу вам помочь",
    "я не в состоянии",
    "как искусственный интеллект",
    "у меня недостаточно информации",  # noqa: RUF001  # that is how Russian writes it
    # Chinese, Japanese, Korean: written without spaces, found anywhere
    "我不知道",
    "我无法帮助",
    "我不能帮助",
    "我无法回答",
    "我無法幫助",
    "作为一个人工智能",
    "作为人工智能",
    "わかりません",
    "分かりません",
    "お手伝いできません",
    "お答えできません",
    "aiとして",
    "모르겠습니다",
    "도와드릴 수 없습니다",
    "도와 드릴 수 없습니다",
    "답변할 수 없습니다",
)

_APOSTROPHES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u02bc": "'", "`": "'"})


_WORD = re.compile(r"\w+")


@frozen
class _Phrases:
    """
    Phrases, so laid out that few are compared at any place.

    Attributes:
        by_word: Those of scripts with spaces, by their first word; the longest first.
        others: Those found anywhere: of scripts without spaces, or begun by a sign.
    """

    by_word: Mapping[str, Sequence[str]]
    others: Sequence[str]


def refusal_in(text: str, more: tuple[str, ...] = ()) -> str | None:
    """
    Give the phrase by which the beginning of *text* refuses, if it does.

    Args:
        more: Phrases of the operator's.
    """
    phrases, plain = _laid_out(more), _plain(text[:LOOKED_AT])
    for match in _WORD.finditer(plain):
        for phrase in phrases.by_word.get(match[0], ()):
            if plain.startswith(phrase, match.start()) and _ends(plain, match.start(), phrase):
                return phrase
    for phrase in phrases.others:
        place = plain.find(phrase)
        while place >= 0:
            if _ends(plain, place, phrase):
                return phrase
            place = plain.find(phrase, place + 1)
    return None


def _plain(text: str) -> str:
    return " ".join(text.translate(_APOSTROPHES).casefold().split())


def _ends(text: str, place: int, phrase: str) -> bool:
    """Whether the phrase is not the beginning of a longer word there."""
    end = place + len(phrase)
    return not _is_spaced(phrase[-1]) or not _WORD.match(text, end)


@lru_cache(maxsize=64)
def _laid_out(more: tuple[str, ...]) -> _Phrases:
    by_word: dict[str, list[str]] = {}
    others: list[str] = []
    for phrase in sorted(filter(None, map(_plain, (*PHRASES, *more))), key=len, reverse=True):
        word = _WORD.match(phrase)
        if word is not None and _is_spaced(phrase[0]):
            by_word.setdefault(word[0], []).append(phrase)
        else:
            others.append(phrase)
    return _Phrases(by_word, others)


def _is_spaced(letter: str) -> bool:
    """Whether it is a letter or digit of a script that puts spaces between words."""
    return letter < "\u0e00" and _WORD.match(letter) is not None
