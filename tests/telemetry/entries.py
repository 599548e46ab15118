"""Entries of exchanges that never were."""

from __future__ import annotations

from typing import Any

from lmgateway.chat import Usage
from lmgateway.exchange import Attempt, Exchange
from lmgateway.telemetry.traffic import Entry, entry_of

TARGET = ("fast", "gpu", "m")


def attempt(
    outcome: str = "ok", seconds: float = 1.0, target: tuple[str, str, str] = TARGET, **more: Any
) -> Attempt:
    """Make an attempt."""
    tier, backend, model = target
    return Attempt(
        tier=tier,
        backend=backend,
        model=model,
        started=0.0,
        seconds=seconds,
        outcome=outcome,
        **more,
    )


def exchange(
    outcome: str = "ok",
    *,
    seconds: float = 1.5,
    status: int = 200,
    attempts: tuple[Attempt, ...] = (attempt(),),
    **facts: Any,
) -> Exchange:
    """Make an exchange that has ended; one that ended well was answered by the usual target."""
    ended = Exchange(
        id="x", surface="openai", path="/v1/chat/completions", peer="", started=0, wall=0
    )
    ended.outcome, ended.status, ended.seconds = outcome, status, seconds
    ended.profile_chain, ended.mode = ("home",), "dispatch"
    ended.attempts = [*attempts]
    if outcome == "ok":
        ended.tier, ended.backend, ended.model = TARGET
        ended.usage = Usage(input_tokens=10, output_tokens=5)
    for name, fact in facts.items():
        setattr(ended, name, fact)
    return ended


def entry(outcome: str = "ok", **facts: Any) -> Entry:
    """Make the entry of such an exchange."""
    return entry_of(exchange(outcome, **facts))
