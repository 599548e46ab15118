"""
What single steps cost, without sockets: events, routing, admission, keys.

``calibration`` rows tell how fast the machine is at what every step is made of,
so that figures of different machines compare.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.insides import chat
from benchmarks.micro_admission import KEYS, LIMITS, admission_runs, bytes_per_key
from benchmarks.micro_attempts import attempt_runs
from benchmarks.micro_routing import RULES, TIERS, routing_runs
from benchmarks.micro_telemetry import SERIES, scraping, telemetry_runs
from benchmarks.report import Goal, Row
from benchmarks.timing import Pace, Run, finish, microseconds
from benchmarks.translation import (
    added_over_diagonal,
    diagonals,
    event_microseconds,
    pairs,
)

Values = Iterator[tuple[str, float]]

EVENT_US, ROUTE_US, ADMIT_US, KEY_BYTES = Goal(15), Goal(15), Goal(10), Goal(1024)
FLAT = Goal(1.5)
"""What counts as flat: the largest number costs no more than so many times the least."""

MEASURED_KEYS = 1000

TELEMETRY_US, SCRAPE_MS, WATCH_US = Goal(10), Goal(5), Goal(10)
_TELEMETRY_ON = ("telemetry_meters_us", "telemetry_trace_us", "telemetry_access_us")
_TELEMETRY = {
    "telemetry_entry_us": "a request's entry in the traffic log",
    "telemetry_meters_us": "counting it",
    "telemetry_trace_us": "its trace context",
    "telemetry_access_us": "its line in the access log",
    "telemetry_export_us": "its record in an export",
    "telemetry_take_spans_us": "taking what its spans tell",
    "telemetry_write_spans_us": "writing its four spans, in a batch",
}

_ROUTES = {
    "plain": ("routing", TIERS, "tiers"),
    "needs": ("routing by needs and window", TIERS, "tiers"),
    "last": ("routing, only the last suits", TIERS, "tiers"),
    "rules": ("routing by the last rule", RULES, "rules"),
}
_LIMITED = {"none": "no limits", "rpm": "client rpm", "all": "all scopes"}


def rows() -> tuple[Row, ...]:
    """Give the lines of the table, in their order."""
    return (
        Row("micro_scope_us", "calibration: an empty asynccontextmanager (us)", 2),
        Row("micro_json_us", "calibration: decoding 1 KB of JSON (us)", 2),
        *(_event_row(pair) for pair in pairs()),
        *(row for kind in _ROUTES for row in _route_rows(kind)),
        *(row for limits in LIMITS for row in _admit_rows(limits)),
        Row("attempt_watched_us", "watching over an attempt that goes well (us)", 1, WATCH_US),
        *_telemetry_rows(),
    )


def measure(pace: Pace, folder: Path, say: Callable[[str], None]) -> Values:
    """
    Measure everything, and give it by measure.

    Args:
        folder: Where configs are written.
        say: Told what is being done.
    """
    say("calibration")
    yield from microseconds(calibration_runs(), pace).items()
    say("events")
    yield from _events(event_microseconds(pace.runs))
    say("routing")
    routed = microseconds(routing_runs(folder), pace)
    yield from routed.items()
    for kind, (_, counts, _) in _ROUTES.items():
        yield f"route_{kind}_flat", flatness(routed, f"route_{kind}", counts)
    for limits in LIMITS:
        say(f"admission, {_LIMITED[limits]}")
        admitted = microseconds(admission_runs(folder, limits), pace)
        yield from admitted.items()
        yield f"admit_{limits}_flat", flatness(admitted, f"admit_{limits}", KEYS)
        yield f"key_{limits}_bytes", bytes_per_key(folder, limits, MEASURED_KEYS)
    say("attempts")
    yield from microseconds(attempt_runs(folder), pace).items()
    say("telemetry")
    counted = microseconds(telemetry_runs(), pace)
    yield from counted.items()
    yield "telemetry_on_us", sum(counted[name] for name in _TELEMETRY_ON)
    yield from scraping(folder)


def flatness(values: Mapping[str, float], kind: str, counts: tuple[int, ...]) -> float:
    """Give how many times more the largest number of something costs than the least."""
    return values[f"{kind}_{counts[-1]}_us"] / values[f"{kind}_{counts[0]}_us"]


def calibration_runs() -> dict[str, Run]:
    """Give what is timed to know the machine."""
    text = chat("t0").raw

    def decode(count: int) -> None:
        for _ in range(count):
            json.loads(text)

    return {"micro_scope_us": lambda count: finish(_enter(count)), "micro_json_us": decode}


async def _enter(count: int) -> None:
    for _ in range(count):
        async with _nothing():
            pass


@asynccontextmanager
async def _nothing() -> AsyncIterator[None]:
    yield


def _events(taken: Mapping[str, float]) -> Values:
    """Give what diagonals take, and what other pairs take more than theirs."""
    added = added_over_diagonal(taken)
    for pair, value in taken.items():
        yield _event_measure(pair), added.get(pair, value)


def _event_measure(pair: str) -> str:
    return f"event_{pair.replace(' to ', '_')}_us"


def _event_row(pair: str) -> Row:
    if pair in diagonals():
        name = pair.partition(" to ")[0]
        return Row(_event_measure(pair), f"event, {name} passed on (us)", 2)
    return Row(_event_measure(pair), f"event, {pair} (us more)", 2, EVENT_US)


def _telemetry_rows() -> Iterator[Row]:
    for measure, title in _TELEMETRY.items():
        yield Row(measure, f"telemetry, {title} (us)", 2)
    yield Row("telemetry_on_us", "telemetry that is always on (us)", 2, TELEMETRY_US)
    yield Row("scrape_ms", f"a scrape of {SERIES:,} series (ms)", 2)
    title = f"the longest that a scrape of {SERIES:,} series holds up the loop (ms)"
    yield Row("scrape_pause_ms", title, 2, SCRAPE_MS)


def _route_rows(kind: str) -> Iterator[Row]:
    title, counts, things = _ROUTES[kind]
    for count in counts:
        yield Row(f"route_{kind}_{count}_us", f"{title}, {count:,} {things} (us)", 1, ROUTE_US)
    yield Row(f"route_{kind}_flat", f"{title}, {counts[-1]:,} over {counts[0]}", 2, FLAT)


def _admit_rows(limits: str) -> Iterator[Row]:
    title = f"admission, {_LIMITED[limits]}"
    for count in KEYS:
        yield Row(f"admit_{limits}_{count}_us", f"{title}, {count:,} keys (us)", 1, ADMIT_US)
    yield Row(f"admit_{limits}_flat", f"{title}, {KEYS[-1]:,} over {KEYS[0]}", 2, FLAT)
    yield Row(f"key_{limits}_bytes", f"memory per key, {_LIMITED[limits]} (bytes)", 0, KEY_BYTES)
