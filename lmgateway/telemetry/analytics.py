"""
How well each model and each profile did in a time: ``/admin/analytics``.

A target's figures are of the exchanges that it answered, or failed last; its
attempts are all that were made at it to answer.  What clients got wrong, what a
limit refused and what a client gave up is counted, and spoils no share.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from lmgateway.config.telemetry import SloSection
from lmgateway.telemetry.history import Quality, QualityKey, rounded
from lmgateway.telemetry.spread import Packed, Spread

Windows = Mapping[QualityKey, Quality]
_Part = Callable[[QualityKey], tuple[str, ...]]


class Percentiles(msgspec.Struct, frozen=True):
    """Milliseconds; none if there were no samples."""

    p50: float | None
    p90: float | None
    p99: float | None


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """
    What holds for targets and profiles alike.

    Attributes:
        refused: Requests at fault themselves, or refused by a limit.
        closed: Requests whose client left.
        error_share: Of those that ended well or failed, the share that failed.
        latency_ms: How long those that ended well took.
        first_output_ms: How long streams took to begin.
    """

    requests: int
    ok: int
    failed: int
    refused: int
    closed: int
    error_share: float | None
    latency_ms: Percentiles
    first_output_ms: Percentiles
    input_tokens: int
    output_tokens: int
    tokens_per_second: float | None
    cost_usd: float
    saved_usd: float


class TargetFigures(Figures, frozen=True, kw_only=True):
    """
    How well one model of one backend did as a tier's target.

    Attributes:
        attempts: Tries to get an answer from it.
        failed_share: The share of them that failed.
        insufficient_share: The share of them whose answer was not good enough.
        climbs: After how many of them another tier was asked.
    """

    tier: str
    backend: str
    model: str
    attempts: int
    failed_share: float | None
    insufficient_share: float | None
    climbs: int


class Promise(msgspec.Struct, frozen=True):
    """
    What a profile promises, and whether it was kept.

    Attributes:
        within_share: The share of answers that began in ``latency_ms``.
        kept: Whether both shares are as promised; none if there was no traffic.
    """

    latency_ms: int
    latency_share: float
    error_share: float
    within_share: float | None
    kept: bool | None


class ProfileFigures(Figures, frozen=True, kw_only=True):
    """How well one profile was served."""

    profile: str
    slo: Promise | None


def target_figures(window: Windows) -> list[TargetFigures]:
    """Give a row for each target, those with most attempts first."""
    rows = [
        TargetFigures(
            tier=tier,
            backend=backend,
            model=model,
            attempts=quality.attempts,
            failed_share=share(quality.broken, quality.attempts),
            insufficient_share=share(quality.insufficient, quality.attempts),
            climbs=quality.climbs,
            **_common(quality),
        )
        for (tier, backend, model), quality in _by(window, lambda key: key[1:]).items()
        if model != "none"
    ]
    return sorted(rows, key=lambda row: -row.attempts)


def profile_figures(window: Windows, objectives: Mapping[str, SloSection]) -> list[ProfileFigures]:
    """Give a row for each profile that had traffic, or promises something."""
    found = {name: quality for (name,), quality in _by(window, lambda key: key[:1]).items()}
    return [
        ProfileFigures(
            profile=name,
            slo=_promise(objectives.get(name), found.get(name) or Quality()),
            **_common(found.get(name) or Quality()),
        )
        for name in sorted({*found, *objectives} - {"", "none"})
    ]


def _by(window: Windows, part: _Part) -> dict[tuple[str, ...], Quality]:
    found: dict[tuple[str, ...], Quality] = defaultdict(Quality)
    for key, quality in window.items():
        found[part(key)].merge(quality)
    return found


def _common(quality: Quality) -> dict[str, Any]:
    return {
        "requests": quality.requests,
        "ok": quality.ok,
        "failed": quality.failed,
        "refused": quality.refused,
        "closed": quality.closed,
        "error_share": share(quality.failed, quality.ok + quality.failed),
        "latency_ms": _percentiles(quality.seconds),
        "first_output_ms": _percentiles(quality.first),
        "input_tokens": quality.input,
        "output_tokens": quality.output,
        "tokens_per_second": rounded(share(quality.pace, quality.paces), 1),
        "cost_usd": quality.cost,
        "saved_usd": quality.saved,
    }


def _promise(slo: SloSection | None, quality: Quality) -> Promise | None:
    if slo is None:
        return None
    within = share(quality.ok - quality.slow, quality.ok)
    errors = share(quality.failed, quality.ok + quality.failed)
    kept = None
    if errors is not None:
        kept = errors <= slo.error_share and (within is None or within >= slo.latency_share)
    return Promise(slo.latency_ms, slo.latency_share, slo.error_share, within, kept)


def share(part: float, whole: float) -> float | None:
    """Give the share that a part is; none of nothing."""
    return part / whole if whole else None


def _percentiles(spread: Spread | Packed) -> Percentiles:
    whole = Spread()
    whole.merge(spread)
    return Percentiles(*(rounded(whole.percentile(of)) for of in (0.5, 0.9, 0.99)))
