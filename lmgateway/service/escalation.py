"""What an answer has to reach, from a profile's section of the config."""

from __future__ import annotations

from lmgateway.config.schema import (
    GatesSection,
    JudgeGate,
    LengthGate,
    ProfileSection,
    RefusalGate,
    RepetitionGate,
)
from lmgateway.routing.escalate import Standard
from lmgateway.routing.gate_judge import Judge
from lmgateway.routing.gates import Gates
from lmgateway.routing.ladder import Ladder
from lmgateway.surfaces.grammars import BACKEND_DIALECTS


def standard_of(profile: ProfileSection, ladder: Ladder) -> Standard:
    """Give what a profile demands of answers."""
    return Standard(
        gates=_gates(profile.gates),
        judge=_judge(profile.gates.judge, ladder),
        hold_tokens=profile.hold_tokens,
        hold_seconds=profile.hold_ms / 1000,
        on_insufficient=profile.on_insufficient,
    )


def _gates(section: GatesSection) -> Gates:
    length, refusal, repetition = section.length, section.refusal, section.repetition
    return Gates(
        min_bytes=length.min_bytes if isinstance(length, LengthGate) else None,
        refusal=bool(refusal),
        phrases=refusal.phrases if isinstance(refusal, RefusalGate) else (),
        empty=bool(section.empty),
        truncated=bool(section.truncated),
        json_valid=bool(section.json_valid),
        tool_valid=bool(section.tool_valid),
        language=bool(section.language),
        repeats=repetition.times if isinstance(repetition, RepetitionGate) else None,
    )


def _judge(section: JudgeGate | bool, ladder: Ladder) -> Judge | None:
    tier = ladder.find(section.tier) if isinstance(section, JudgeGate) else None
    if tier is None or not isinstance(section, JudgeGate):
        return None
    return Judge(
        tier=tier,
        min_score=section.min_score,
        seconds=section.timeout_ms / 1000,
        dialects=BACKEND_DIALECTS,
    )
