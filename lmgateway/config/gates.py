"""
The table ``gates`` of a profile: what an answer must be, in ``escalate`` mode, to be sent.

Each gate is ``true`` or ``false``, or a table that switches it on and tunes it.
Other code takes these from ``lmgateway.config.schema``.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias, TypeVar

from attrs import field

from lmgateway.classes import frozen
from lmgateway.config.values import Milliseconds, PositiveCount, Range


@frozen(kw_only=True)
class PlainGate:
    """A gate with nothing to tune."""


@frozen(kw_only=True)
class LengthGate:
    """
    The answer is not too short.

    Attributes:
        min_bytes: The fewest UTF-8 bytes of text.
    """

    min_bytes: PositiveCount = 20


@frozen(kw_only=True)
class RefusalGate:
    """
    The answer is no refusal.

    Attributes:
        phrases: Further phrases that are one, besides those known in many languages.
    """

    phrases: tuple[str, ...] = ()


@frozen(kw_only=True)
class RepetitionGate:
    """
    The answer does not go round in circles.

    Attributes:
        times: From how many repetitions in a row of a phrase it does.
    """

    times: Annotated[int, Range(2, 1000)] = 5


@frozen(kw_only=True)
class JudgeGate:
    """
    A cheap tier scores the answer.

    Attributes:
        tier: The tier that is asked.
        min_score: The lowest score, of 10, that is good enough.
        timeout_ms: Milliseconds that it may take; without a score the answer passes.
    """

    tier: str
    min_score: Annotated[float, Range(0, 10)] = 7.0
    timeout_ms: Milliseconds = 10000


_T = TypeVar("_T")
Switch: TypeAlias = bool | _T
"""A table, or whether the gate is on at all."""


@frozen(kw_only=True)
class GatesSection:
    """
    What an answer must be to be sent, in ``escalate`` mode.

    Attributes:
        length: The answer is not too short.
        refusal: It is no refusal.
        empty: It says anything at all.
        truncated: It was not cut at its output bound.
        json_valid: It is JSON, and satisfies the schema, where the request asks for that.
        tool_valid: The tools that it calls were declared, and the arguments satisfy their
            schemas.
        language: It is in the language that the question was asked in.
        repetition: It does not go round in circles.
        judge: A cheap tier finds it good enough.
    """

    length: Switch[LengthGate] = field(factory=LengthGate)
    refusal: Switch[RefusalGate] = field(factory=RefusalGate)
    empty: Switch[PlainGate] = True
    truncated: Switch[PlainGate] = False
    json_valid: Switch[PlainGate] = True
    tool_valid: Switch[PlainGate] = True
    language: Switch[PlainGate] = False
    repetition: Switch[RepetitionGate] = False
    judge: Switch[JudgeGate] = False
