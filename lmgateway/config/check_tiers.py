"""What must hold between the keys of tiers: their targets, their queues, where they overflow to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from lmgateway.config.merge import KeyPath
from lmgateway.config.report import Report, quoted, suggestion
from lmgateway.config.schema import Settings, TargetSection, TierSection

_QUEUE_KEYS = ("max_concurrent", "queue_depth", "queue_timeout_ms")
_ONE_WAY = ("priority", "cost")


def target_paths(position: int, tier: TierSection) -> Iterator[tuple[KeyPath, TargetSection]]:
    """Give the targets of the tier at *position*, each with its place in the file."""
    for number, target in enumerate(tier.all_targets):
        path: KeyPath = ("tiers", position)
        yield ((*path, "targets", number) if tier.targets else path), target


def check_tiers(settings: Settings, report: Report) -> None:
    """Report what cannot be in the tiers of *settings*."""
    for position, tier in enumerate(settings.tiers):
        path: KeyPath = ("tiers", position)
        who = f"tier {quoted(tier.name)}: "
        _check_targets(path, who, tier, report)
        _check_overflow(path, who, tier, settings, report)
        if tier.queue is None:
            for key in (*_QUEUE_KEYS, "overflow_tier"):
                if getattr(tier, key) is not None:
                    report.problem((*path, key), f'{who}is not for a tier with queue_id = ""')
        if tier.prefill is not None and "resume" not in _mid_streams(settings):
            report.warning((*path, "prefill"), 'has no effect without mid_stream = "resume"')
    _check_queues(settings.tiers, report)


def _mid_streams(settings: Settings) -> set[str]:
    own = {profile.mid_stream for profile in settings.profiles.values()}
    return {way or settings.gateway.mid_stream for way in own}


def _check_targets(path: KeyPath, who: str, tier: TierSection, report: Report) -> None:
    for key in ("backend", "model"):
        value = getattr(tier, key)
        if tier.targets and value:
            report.problem((*path, key), f"{who}give either {key} or targets")
        elif not value and not tier.targets:
            report.problem((*path, key), f"{who}must be given, unless targets is")
    if not tier.sticky:
        return
    if len(tier.targets) < 2:
        report.warning((*path, "sticky"), "has no effect without several targets")
    elif tier.strategy in _ONE_WAY:
        text = f'{who}is not for strategy = "{tier.strategy}", which always begins with the same'
        report.problem((*path, "sticky"), text)


def _check_overflow(
    path: KeyPath, who: str, tier: TierSection, settings: Settings, report: Report
) -> None:
    if tier.overflow_tier is None:
        if tier.overflow_depth is not None:
            report.warning((*path, "overflow_depth"), "has no effect without overflow_tier")
        return
    here = (*path, "overflow_tier")
    known = [*settings.aliases, *(other.name for other in settings.tiers)]
    if tier.overflow_tier not in known:
        text = f"{who}there is no tier or alias {quoted(tier.overflow_tier)}"
        report.problem(here, text + suggestion(tier.overflow_tier, known))
    elif _tier_of(tier.overflow_tier, settings.aliases) == tier.name:
        report.problem(here, f"{who}is this very tier")


def _tier_of(name: str, aliases: Mapping[str, str]) -> str:
    return aliases.get(name, name)


def _check_queues(tiers: tuple[TierSection, ...], report: Report) -> None:
    """Tiers that share a queue say the same of it, where they say anything."""
    queues: dict[str, list[int]] = defaultdict(list)
    for position, tier in enumerate(tiers):
        if tier.queue is not None:
            queues[tier.queue].append(position)
    for name, positions in queues.items():
        first: dict[str, int] = {}
        for position in positions:
            for key in _QUEUE_KEYS:
                value = getattr(tiers[position], key)
                if value is None:
                    continue
                earlier = first.setdefault(key, position)
                if getattr(tiers[earlier], key) != value:
                    where = report.where(("tiers", earlier, key))
                    text = f"is not what {where} says of the same queue {quoted(name)}"
                    report.problem(("tiers", position, key), text)
        for key in _QUEUE_KEYS[1:]:
            if key in first and "max_concurrent" not in first:
                report.warning(("tiers", first[key], key), "has no effect without max_concurrent")
