"""What it costs to watch over an attempt that goes well: breaker, window, retry budget, places."""

from __future__ import annotations

from pathlib import Path

from benchmarks.insides import BACKEND, chat, config_of, exchange_of, graph_of, resources
from benchmarks.timing import Run, finish
from lmgateway.routing.tried import Tried

_LIMITS = "max_concurrent = 100\n"
_TIER = '[[tiers]]\nname = "t0"\nbackend = "only"\nmodel = "m0"\nmax_concurrent = 100\n'
_PROFILE = '[profiles.default]\nmode = "dispatch"\nclassifier = "t0"\n'


def attempt_runs(folder: Path) -> dict[str, Run]:
    """Give what is to be timed: all that is done round one attempt besides the attempt."""
    shared = resources()
    graph = graph_of(config_of(BACKEND + _LIMITS + _TIER + _PROFILE, folder), shared)
    graph.settle()
    exchange = exchange_of(chat("t0"), None)
    tier = graph.router.directory.ladder.tiers[0]
    (target,) = tier.order(exchange)
    health, bulkhead, queue = target.health, target.bulkhead, tier.queue
    assert health is not None and bulkhead is not None and queue is not None, "as configured"

    async def watch(count: int) -> None:
        for _ in range(count):
            tried = Tried()
            tier.order(exchange)
            tried.bars(target, queue)
            place = await queue.enter(0, 1.0)
            room = await bulkhead.enter(0, 1.0)
            watching = health.begin()
            health.commit(watching)
            health.end(watching, None)
            room.release()
            place.release()

    return {"attempt_watched_us": lambda count: finish(watch(count))}
