"""What it costs to count a request, to log it, to trace it, and to be scraped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from benchmarks.insides import BACKEND, chat, config_of, exchange_of, resources
from benchmarks.timing import Run
from lmgateway.chat import Usage
from lmgateway.exchange import Attempt, Exchange
from lmgateway.governance.budgets import Budgets
from lmgateway.service.metrics import Scrape
from lmgateway.service.resources import Resources
from lmgateway.telemetry.access import AccessLog, encoded
from lmgateway.telemetry.exposition import written
from lmgateway.telemetry.outbox import BATCH
from lmgateway.telemetry.spans import SpanWriter, is_recorded, record_of
from lmgateway.telemetry.system import System
from lmgateway.telemetry.traffic import entry_of
from lmgateway.wire.trace import trace_of

SERIES = 2000
_SCRAPES = 15
_TIER = '[[tiers]]\nname = "t{0}"\nbackend = "only"\nmodel = "m{0}"\n'
_PROFILE = '[profiles.default]\nmode = "dispatch"\nclassifier = "t0"\n'


def answered(number: int = 0, *, flags: int = 1) -> Exchange:
    """Make a stream that one of the tiers answered."""
    names = f"t{number}", "only", f"m{number}"
    exchange = exchange_of(chat(names[0]), None, trace=trace_of({}, flags))
    exchange.tier, exchange.backend, exchange.model = names
    exchange.profile_chain, exchange.mode = ("default",), "stream"
    exchange.usage = Usage(input_tokens=250, output_tokens=100)
    tier, backend, model = names
    attempt = Attempt(tier=tier, backend=backend, model=model, started=0.0, seconds=0.4)
    attempt.outcome, attempt.usage, attempt.status = "ok", exchange.usage, 200
    exchange.attempts = [attempt]
    exchange.first_output, exchange.last_output, exchange.seconds = 0.4, 2.0, 2.0
    exchange.status, exchange.outcome = 200, "ok"
    return exchange


def telemetry_runs() -> dict[str, Run]:
    """Give what is to be timed, by measure: each is done once for each request."""
    shared, exchange = resources(), answered()
    entry = entry_of(exchange)
    log = AccessLog(lambda block: None, shared.reactor)
    encode = msgspec.json.Encoder().encode
    trace = exchange.trace
    assert trace is not None, "it has one"

    def trace_on() -> None:
        trace_of({})
        trace.onward(1)

    def take_spans() -> None:
        if is_recorded(exchange):
            record_of(exchange)

    record = record_of(exchange)
    assert record is not None, "it is recorded"
    writer = SpanWriter({"service.name": "lmgateway"}, {})
    return {
        "telemetry_entry_us": _times(lambda: entry_of(exchange)),
        "telemetry_meters_us": _times(lambda: shared.meters(entry)),
        "telemetry_trace_us": _times(trace_on),
        "telemetry_access_us": _times(lambda: log(entry)),
        "telemetry_export_us": _times(lambda: encoded(encode, entry)),
        "telemetry_take_spans_us": _times(take_spans),
        "telemetry_write_spans_us": _in_batches(lambda count: writer.write([record] * count)),
    }


def _times(act: Callable[[], object]) -> Run:
    def run(count: int) -> None:
        for _ in range(count):
            act()

    return run


def _in_batches(act: Callable[[int], object], size: int = BATCH) -> Run:
    def run(count: int) -> None:
        for begun in range(0, count, size):
            act(min(size, count - begun))

    return run


def scraping(folder: Path) -> Iterator[tuple[str, float]]:
    """Give how long a scrape of so many series takes, and how long it holds up the loop."""
    tiers = 20
    text = BACKEND + "".join(_TIER.format(n) for n in range(tiers)) + _PROFILE
    config, shared = config_of(text, folder), resources()
    budgets = Budgets.of(config, shared.tally.purses, shared.wall)
    scrape, system = Scrape(config=config, resources=shared, budgets=budgets), System()
    number = 0
    while _series(scrape) < SERIES:
        _count(shared, number)
        number += 1
    whole, longest = [], []
    for _ in range(_SCRAPES):
        pauses = [*_pauses(scrape, system)]
        whole.append(sum(pauses))
        longest.append(max(pauses))
    yield "scrape_ms", min(whole) * 1000
    yield "scrape_pause_ms", min(longest) * 1000


def _count(shared: Resources, number: int) -> None:
    """Count one more request of another kind."""
    exchange = answered(number)
    shared.meters(entry_of(exchange))
    shared.meters.fold()


def _series(scrape: Scrape) -> int:
    lines = written(scrape.families(), openmetrics=False).splitlines()
    return sum(not line.startswith(b"#") for line in lines)


def _pauses(scrape: Scrape, system: System) -> Iterator[float]:
    slices = scrape.slices(system, openmetrics=False)
    while True:
        begun = time.process_time()
        if next(slices, None) is None:
            return
        yield time.process_time() - begun
