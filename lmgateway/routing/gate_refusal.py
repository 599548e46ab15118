"""
Phrases by which a model says that it cannot, or will not, answer.

Whole words only ("as an aim" is no refusal), whatever the case and whichever
apostrophe.  A refusal opens with its phrase, so only the beginning of an answer
is looked at: a long story in which somebody says "I don't know" is an answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

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


def refusal_in(text: str, more: tuple[str, ...] = ()) -> str | None:
    """
    Give the phrase by which the beginning of *text* refuses, if it does.

    Args:
        more: Phrases of the operator's.
    """
    match = _pattern(more).search(_plain(text[:LOOKED_AT]))
    return None if match is None else match[0]


def _plain(text: str) -> str:
    return " ".join(text.translate(_APOSTROPHES).casefold().split())


@lru_cache(maxsize=64)
def _pattern(more: tuple[str, ...]) -> re.Pattern[str]:
    """One alternation: literals only, so it takes linear time."""
    phrases = [_plain(phrase) for phrase in (*PHRASES, *more)]
    return re.compile("|".join(_bounded(p) for p in _longest_first(phrases) if p))


def _bounded(phrase: str) -> str:
    left = r"(?<!\w)" if _spaced(phrase[0]) else ""
    right = r"(?!\w)" if _spaced(phrase[-1]) else ""
    return f"{left}{re.escape(phrase)}{right}"


def _spaced(letter: str) -> bool:
    """Whether this letter is of a script that puts spaces between words."""
    return letter < "\u0e00"


def _longest_first(phrases: Iterable[str]) -> list[str]:
    return sorted(phrases, key=len, reverse=True)
