"""
What the meters say, as families of series: see ``docs/telemetry.md`` for the list.

A cell has more labels than most families show: what is alike in those shown is added up here,
when somebody asks, and not for every request.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from lmgateway.config.telemetry import SloSection
from lmgateway.telemetry.cells import AttemptCell, AttemptKey, ExchangeCell, ExchangeKey
from lmgateway.telemetry.exposition import Family
from lmgateway.telemetry.meters import Meters
from lmgateway.telemetry.spread import Buckets, Spread

DURATION = Buckets(
    (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 120_000, 300_000)
)
OVERHEAD = Buckets((0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 1000))
TOKEN_GAP = Buckets((1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500))
PACE = Buckets((1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000), scale=1.0)

_TARGET = ("tier", "backend", "model")
_REQUEST = ("surface", "profile", *_TARGET, "stream", "status", "outcome")

Labels = tuple[str, ...]
_Key = TypeVar("_Key")
_Cell = TypeVar("_Cell")


def families(meters: Meters) -> Iterator[Family]:
    """Give what was taken up to now."""
    meters.fold()
    exchanges = list(meters.exchanges.items())
    yield from _exchange_counters(exchanges)
    yield from _exchange_spreads(exchanges)
    yield from _money(exchanges)
    yield from _attempts(list(meters.attempts.items()))
    yield from _rarities(meters)
    yield from _promises(meters.objectives, exchanges)


Exchanges = Sequence[tuple[ExchangeKey, ExchangeCell]]


def _exchange_counters(exchanges: Exchanges) -> Iterator[Family]:
    yield Family(
        "lmg_http_requests",
        "counter",
        "Requests, by how and where they ended; where they failed if they did.",
        _REQUEST,
        list(_endings(exchanges)),
    )
    yield _summed(
        Family(
            "lmg_routing_decisions",
            "counter",
            "Requests, by what was decided for them.",
            ("profile", "mode", "tier"),
        ),
        exchanges,
        lambda key: (key.profile, key.mode, key.tier),
        lambda cell: cell.count,
    )
    yield _aborted(exchanges)


def _endings(exchanges: Exchanges) -> Iterator[tuple[Labels, float]]:
    counts: dict[Labels, int] = defaultdict(int)
    for key, cell in exchanges:
        labels = (*key[:5], "true" if key.stream else "false")
        if key.result == "ok":
            counts[*labels, "200", "ok"] += cell.count
        for (status, outcome), count in cell.endings.items():
            counts[*labels, str(status), outcome] += count
    yield from counts.items()


def _aborted(exchanges: Exchanges) -> Family:
    by = {"client_closed": "client", "stream_interrupted": "backend"}
    counts: dict[Labels, float] = defaultdict(int)
    for key, cell in exchanges:
        for (status, outcome), count in cell.endings.items():
            if key.stream and status == 200 and outcome in by:
                counts[(by[outcome],)] += count
    text = "Streams that were cut after they had begun, by who cut them."
    return Family("lmg_streams_aborted", "counter", text, ("by",), [*counts.items()])


def _exchange_spreads(exchanges: Exchanges) -> Iterator[Family]:
    yield _spread(
        Family(
            "lmg_http_request_duration_seconds",
            "histogram",
            "How long requests took, from complete request to last byte.",
            ("surface", *_TARGET, "result"),
            buckets=DURATION,
        ),
        exchanges,
        lambda key: (key.surface, key.tier, key.backend, key.model, key.result),
        lambda cell: cell.seconds,
    )
    yield _spread(
        Family(
            "lmg_overhead_seconds",
            "histogram",
            "What the gateway itself added: not a backend's time, nor waiting for a place.",
            ("surface",),
            buckets=OVERHEAD,
        ),
        exchanges,
        lambda key: (key.surface,),
        lambda cell: cell.overhead,
    )
    yield _spread(
        Family(
            "lmg_ttft_seconds",
            "histogram",
            "Time to the first output of streams.",
            ("surface", *_TARGET),
            buckets=DURATION,
        ),
        exchanges,
        lambda key: (key.surface, key.tier, key.backend, key.model),
        lambda cell: cell.first,
    )
    yield from _paces(exchanges)


def _paces(exchanges: Exchanges) -> Iterator[Family]:
    yield _spread(
        Family(
            "lmg_inter_token_seconds",
            "histogram",
            "Mean time between the tokens of a stream.",
            _TARGET,
            buckets=TOKEN_GAP,
        ),
        exchanges,
        _target_of,
        lambda cell: cell.between,
    )
    yield _spread(
        Family(
            "lmg_output_tokens_per_second",
            "histogram",
            "Tokens a second of a stream, after its first.",
            _TARGET,
            buckets=PACE,
        ),
        exchanges,
        _target_of,
        lambda cell: cell.pace,
    )


def _money(exchanges: Exchanges) -> Iterator[Family]:
    labels = ("profile", *_TARGET)

    def of(key: ExchangeKey) -> Labels:
        return key[1:5]

    yield Family(
        "lmg_tokens",
        "counter",
        "Tokens of answered requests; the kinds of a direction add up to all of it.",
        (*_TARGET, "direction", "kind"),
        list(_tokens(exchanges)),
    )
    yield _summed(
        Family("lmg_cost_usd", "counter", "What requests cost.", labels),
        exchanges,
        of,
        lambda cell: cell.cost,
    )
    yield _summed(
        Family(
            "lmg_saved_usd",
            "gauge",
            "What requests cost less than at the baseline tier; less than nothing if more.",
            labels,
        ),
        exchanges,
        of,
        lambda cell: cell.saved,
    )
    yield _summed(
        Family(
            "lmg_unpriced_requests",
            "counter",
            "Requests whose cost is not known, since their target has no price.",
            labels,
        ),
        exchanges,
        of,
        lambda cell: cell.unpriced,
    )
    yield _summed(
        Family(
            "lmg_usage_estimated_requests",
            "counter",
            "Requests whose backend told no usage, so that it was estimated.",
            _TARGET,
        ),
        exchanges,
        _target_of,
        lambda cell: cell.estimated,
    )


def _tokens(exchanges: Exchanges) -> Iterator[tuple[Labels, float]]:
    counts: dict[Labels, int] = defaultdict(int)
    for key, cell in exchanges:
        if not cell.input and not cell.output:
            continue
        target = _target_of(key)
        counts[*target, "input", "fresh"] += cell.input - cell.cached
        counts[*target, "input", "cached"] += cell.cached
        counts[*target, "output", "text"] += cell.output - cell.reasoning
        counts[*target, "output", "reasoning"] += cell.reasoning
    yield from counts.items()


def _target_of(key: ExchangeKey) -> Labels:
    return key[2:5]


def _attempts(attempts: Sequence[tuple[AttemptKey, AttemptCell]]) -> Iterator[Family]:
    yield Family(
        "lmg_backend_requests",
        "counter",
        "Attempts at backends, by what came of them.",
        (*_TARGET, "purpose", "outcome"),
        [(key, cell.count) for key, cell in attempts],
    )
    yield _spread(
        Family(
            "lmg_backend_duration_seconds",
            "histogram",
            "Time that attempts took to their first output (whole answers: to the end).",
            ("backend", "model"),
            buckets=DURATION,
        ),
        attempts,
        lambda key: (key.backend, key.model),
        lambda cell: cell.seconds,
    )
    yield _summed(
        Family("lmg_retries", "counter", "Further attempts at a target that had failed.", _TARGET),
        attempts,
        lambda key: key[:3],
        lambda cell: cell.retries,
    )
    yield _summed(
        Family(
            "lmg_fallbacks", "counter", "Attempts made because another target had failed.", _TARGET
        ),
        attempts,
        lambda key: key[:3],
        lambda cell: cell.fallbacks,
    )


def _rarities(meters: Meters) -> Iterator[Family]:
    yield Family(
        "lmg_climbs",
        "counter",
        "Steps up the ladder, by why the lower tier was not good enough.",
        ("from_tier", "to_tier", "reason"),
        [*meters.climbs.items()],
    )
    yield Family(
        "lmg_limit_refused",
        "counter",
        "Requests refused by a limit, by whose it is and of what.",
        ("scope", "limit"),
        [(tuple(name.partition(":")[::2]), count) for name, count in meters.refusals.items()],
    )
    yield Family(
        "lmg_limit_shadowed",
        "counter",
        "Requests over a limit that is not enforced, by whose it is and of what.",
        ("scope", "limit"),
        [(tuple(name.partition(":")[::2]), count) for name, count in meters.shadowed.items()],
    )
    text = "Requests that went to another tier, since the queue of theirs was too long."
    yield Family("lmg_overflowed", "counter", text, (), [((), meters.overflowed)])


def _promises(objectives: Mapping[str, SloSection], exchanges: Exchanges) -> Iterator[Family]:
    """Give what profiles promise, and what the promise can be judged by."""
    own = [(key, cell) for key, cell in exchanges if key.profile in objectives]
    texts = {
        "requests": "Requests that ended well or failed, of profiles with an objective.",
        "failed": "Of them, those that failed.",
        "slow": "Of them, those that ended well but began too late.",
    }
    for what, text in texts.items():
        counts: dict[Labels, int] = {(name,): 0 for name in objectives}
        for key, cell in own:
            if what == "slow":
                counts[key.profile,] += cell.slow
            elif key.result == "failed" or (what == "requests" and key.result == "ok"):
                counts[key.profile,] += cell.count
        yield Family(f"lmg_slo_{what}", "counter", text, ("profile",), [*counts.items()])
    promised = [
        ((name, which), number)
        for name, slo in objectives.items()
        for which, number in (
            ("latency_seconds", slo.latency_ms / 1000),
            ("latency_share", slo.latency_share),
            ("error_share", slo.error_share),
        )
    ]
    text = "What is promised: a time, the share of answers within it, the share that may fail."
    yield Family("lmg_slo_objective", "gauge", text, ("profile", "objective"), promised)


def _summed(
    family: Family,
    cells: Iterable[tuple[_Key, _Cell]],
    labels: Callable[[_Key], Labels],
    value: Callable[[_Cell], float],
) -> Family:
    """Add up what is alike in its labels; what is nothing is left out."""
    sums: dict[Labels, float] = defaultdict(int)
    for key, cell in cells:
        if number := value(cell):
            sums[labels(key)] += number
    return family._replace(samples=[*sums.items()])


def _spread(
    family: Family,
    cells: Iterable[tuple[_Key, _Cell]],
    labels: Callable[[_Key], Labels],
    value: Callable[[_Cell], Spread | None],
) -> Family:
    """Merge the spreads of what is alike in its labels."""
    merged: dict[Labels, Spread] = defaultdict(Spread)
    for key, cell in cells:
        if (spread := value(cell)) is not None:
            merged[labels(key)].merge(spread)
    return family._replace(spreads=[*merged.items()])
