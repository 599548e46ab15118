"""From samples to medians, to ratios, to a verdict, to a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.subjects import DIRECT, NGINX, OURS, SUBJECTS

Medians = dict[str, dict[str, float]]
"""Measure, subject, the median of its values."""

PASS, FAIL = "pass", "FAIL"


@dataclass(frozen=True)
class Goal:
    """What ours must not exceed: a value, or that many times nginx's."""

    limit: float
    of_nginx: bool = False

    def __str__(self) -> str:
        return f"<= {self.limit:g}x nginx" if self.of_nginx else f"<= {self.limit:g}"


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    measure: str
    title: str
    digits: int = 1
    goal: Goal | None = None


FLAT = Goal(1.15)
"""What counts as flat: where there is far more of something, a request costs so much more."""

ROWS = (
    Row("request_cpu_us_c64", "CPU per request, 64 connections (us)", 1, Goal(6, of_nginx=True)),
    Row("request_cpu_us_c1", "CPU per request, 1 connection (us)"),
    Row("rps_c1", "requests/s, 1 connection", 0),
    Row("rps_c16", "requests/s, 16 connections", 0),
    Row("rps_c64", "requests/s, 64 connections", 0),
    Row("rps_c256", "requests/s, 256 connections", 0),
    Row("added_latency_p50_ms", "added to a request, p50 (ms)", 3, Goal(0.25)),
    Row("added_latency_p99_ms", "added to a request, p99 (ms)", 3, Goal(1.5)),
    Row("open_rps", "open loop: requests/s, half of saturation", 0),
    Row("open_p50_ms", "open loop: latency p50 (ms)", 3),
    Row("open_p99_ms", "open loop: latency p99 (ms)", 3, Goal(10)),
    Row("event_cpu_us_2k", "CPU per event, 2k events/s (us)", 1, Goal(3, of_nginx=True)),
    Row("event_cpu_us_5k", "CPU per event, 5k events/s (us)", 1, Goal(2.5, of_nginx=True)),
    Row("event_cpu_us_5k_translated", "the same, translated (us)", 1, Goal(4, of_nginx=True)),
    Row("translated_event_us", "translating an event, worst pair (us more)", 1, Goal(15)),
    Row("added_first_event_p50_ms", "added to the first event, p50 (ms)", 3, Goal(0.25)),
    Row("added_first_event_p99_ms", "added to the first event, p99 (ms)", 3, Goal(1)),
    Row("stream_kb", "memory per open stream (KB)", 1, Goal(20)),
    Row("stalled_kb", "memory per stream whose client stalls (KB)", 1, Goal(1024)),
    Row("p99_beside_big", "others' p99 beside a 10 MiB request, over alone", 2, Goal(2)),
    Row("longest_beside_big_ms", "longest wait beside a 10 MiB request (ms)"),
    Row("p99_beside_slow", "others' p99 beside a slow reader, over alone", 2, Goal(2)),
    Row("idle_rss_mb", "memory when idle (MB)", 1, Goal(65)),
    Row("soak_mb_per_100k", "memory growth per 100,000 requests (MB)", 2, Goal(1)),
    Row("start_healthz_s", "start to first /healthz (s)", 3),
    Row("start_answer_s", "start to first answer (s)", 3, Goal(0.4)),
    Row("growth_keys", "CPU per request, 100,000 keys over 10", 2, FLAT),
    Row("growth_tiers", "CPU per request, 1,000 tiers over 10", 2, FLAT),
    Row("growth_entries", "CPU per request, 1,000,000 entries seen over 500", 2, FLAT),
    Row("growth_idle", "CPU per request, 5,000 idle connections over 0", 2, FLAT),
)

_TRANSLATED = "event_cpu_us_5k_translated"
_ADDED = ("latency_p50_ms", "latency_p99_ms", "first_event_p50_ms", "first_event_p99_ms")


def medians_of(samples: Mapping[str, Mapping[str, Sequence[float]]]) -> Medians:
    """Take the median of each measure, and what each proxy adds to the direct way."""
    found = {
        measure: {subject: median(values) for subject, values in by_subject.items()}
        for measure, by_subject in samples.items()
    }
    # nginx translates nothing: what it takes to pass events on is what translating is held to.
    passed_on, translated = found.get("event_cpu_us_5k", {}), found.get(_TRANSLATED)
    if translated and NGINX in passed_on:
        translated[NGINX] = passed_on[NGINX]
    for measure in _ADDED:
        values = found.get(measure, {})
        if DIRECT in values:
            found[f"added_{measure}"] = {
                subject: value - values[DIRECT]
                for subject, value in values.items()
                if subject != DIRECT
            }
    return found


def ratio(values: Mapping[str, float]) -> float | None:
    """Give ours over nginx's, where there are both."""
    if OURS not in values or values.get(NGINX, 0.0) <= 0:
        return None
    return values[OURS] / values[NGINX]


def verdict(goal: Goal | None, values: Mapping[str, float]) -> str:
    """Say whether ours reached the goal; nothing where there is none, or no value."""
    reached = ratio(values) if goal and goal.of_nginx else values.get(OURS)
    if goal is None or reached is None:
        return ""
    return PASS if reached <= goal.limit else FAIL


def table(medians: Medians) -> str:
    """Write all that was measured of the subjects as a Markdown table."""
    head = ["", *SUBJECTS, "ours / nginx", "goal", ""]
    lines = [head]
    for row in ROWS:
        values = medians.get(row.measure)
        if not values:
            continue
        numbers = [_number(values.get(subject), row.digits) for subject in SUBJECTS]
        goal = str(row.goal) if row.goal else ""
        lines.append(
            [row.title, *numbers, _number(ratio(values), 2), goal, verdict(row.goal, values)]
        )
    return markdown(lines) if len(lines) > 1 else ""


def own_table(medians: Medians, rows: Sequence[Row]) -> str:
    """Write what only ours can be measured at; empty if it was not."""
    lines = [["", "ours", "goal", ""]]
    for row in rows:
        values = medians.get(row.measure)
        if values:
            goal = str(row.goal) if row.goal else ""
            number = _number(values.get(OURS), row.digits)
            lines.append([row.title, number, goal, verdict(row.goal, values)])
    return markdown(lines) if len(lines) > 1 else ""


def comparison(before: Medians, after: Medians, rows: Sequence[Row] = ROWS) -> str:
    """Write how ours changed since an earlier run as a Markdown table."""
    lines = [["ours", "before", "after", "change"]]
    for row in rows:
        old, new = before.get(row.measure, {}).get(OURS), after.get(row.measure, {}).get(OURS)
        if old is None or new is None:
            continue
        change = f"{(new / old - 1) * 100:+.1f}%" if old else ""
        lines.append([row.title, _number(old, row.digits), _number(new, row.digits), change])
    return markdown(lines)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """Lay *lines* out as a table: first column to the left, numbers to the right."""
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(lines[0]))]

    def laid_out(line: Sequence[str]) -> str:
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        return f"| {' | '.join(cells)} |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(map(laid_out, [lines[0], rule, *lines[1:]]))
