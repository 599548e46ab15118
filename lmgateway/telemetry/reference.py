"""
The reference's six families: gauges over the newest traffic, under the names that it has.

They are given in text format 0.0.4 only: OpenMetrics knows no gauge whose name ends in
``_total``.  What they say is of the traffic log, not since the start.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from lmgateway.telemetry.exposition import Family, Kind
from lmgateway.telemetry.traffic import Entry

MAX_ENTRIES = 5000
"""Of the traffic log; a longer one is looked at no further."""


def families(entries: Sequence[Entry]) -> Iterator[Family]:
    """Give what the newest entries say."""
    counts: dict[tuple[str, ...], int] = defaultdict(int)
    times: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for entry in entries:
        target = (entry.tier or "none", entry.backend or "none")
        counts[*target, "true" if entry.success else "false"] += 1
        times[target].append(entry.latency_ms)
    escalated, failed = sum(e.escalated for e in entries), sum(not e.success for e in entries)
    target_labels = ("tier", "backend")
    sums = [(target, sum(taken)) for target, taken in sorted(times.items())]
    numbers = [(target, len(taken)) for target, taken in sorted(times.items())]
    yield _family("lmg_window_size", "Entries in the traffic log.", (), [((), len(entries))])
    yield _family(
        "lmg_requests",
        "Requests in the traffic log.",
        (*target_labels, "success"),
        sorted(counts.items()),
    )
    yield _family("lmg_latency_ms_sum", "Their latencies in sum.", target_labels, sums)
    yield _family("lmg_latency_ms_count", "How many latencies that is.", target_labels, numbers)
    yield _family("lmg_escalations_total", "Of them, climbed.", (), [((), escalated)])
    yield _family("lmg_errors_total", "Of them, failed.", (), [((), failed)])


def _family(
    name: str,
    text: str,
    labels: Sequence[str],
    samples: Sequence[tuple[tuple[str, ...], float]],
) -> Family:
    kind: Kind = "gauge"
    return Family(name, kind, text, labels, samples, plain_only=True)
