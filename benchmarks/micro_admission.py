"""What it costs to let a request in and out again, and to know a key."""

from __future__ import annotations

import gc
import json
import random
import tracemalloc
from hashlib import sha256
from pathlib import Path

from attrs import asdict, evolve, frozen

from benchmarks.insides import BACKEND, chat, config_of, exchange_of, graph_of, resources
from benchmarks.timing import Run, finish
from lmgateway.config.client import ClientSection
from lmgateway.config.schema import Config
from lmgateway.exchange import Exchange
from lmgateway.governance.admission import Admission
from lmgateway.governance.budgets import Budgets
from lmgateway.governance.pricing import Prices
from lmgateway.service.graph import Graph
from lmgateway.surfaces.door import ClientDoor
from lmgateway.wire.door import Head

KEYS = (10, 1000, 100_000)
LIMITS = ("none", "rpm", "all")
"""No limits; requests a minute of each client; every limit of every scope."""

_LOTS = 10**9
_TIER = '[[tiers]]\nname = "t0"\nbackend = "only"\nmodel = "m0"\n'
_PROFILE = '[profiles.default]\nmode = "dispatch"\nclassifier = "t0"\n'
_GROUPS = 10
_CALLERS = 2000
"""Requests that take turns: more than the processor's nearest caches hold."""


@frozen
class Entrance:
    """The way in: the door of the client port, and admission behind it."""

    door: ClientDoor
    admission: Admission


def admission_runs(folder: Path, limits: str) -> dict[str, Run]:
    """Give what is to be timed with these limits, by measure."""
    return {
        f"admit_{limits}_{count}_us": admitting(entrance(config(folder, limits, count)), count)
        for count in KEYS
    }


def bytes_per_key(folder: Path, limits: str, count: int) -> float:
    """Give the memory that one more key takes, config and counters included."""
    entrance(config_of(written(limits, 1), folder))  # what comes with the first is not counted
    tracemalloc.start()
    try:
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        loaded = config_of(written(limits, count), folder)
        kept = entrance(loaded)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        assert len(kept.door.keys.principals) == len(loaded.clients), "all of them are known"
        return grown / count
    finally:
        tracemalloc.stop()


def config(folder: Path, limits: str, count: int) -> Config:
    """Make a config with so many keys."""
    return evolve(config_of(written(limits, 0), folder), clients=clients(limits, count))


def written(limits: str, count: int) -> str:
    """Write such a config, for what a file with so many keys comes to."""
    text = BACKEND + _TIER + _PROFILE
    if limits == "all":
        every = f"rate_limit_rpm = {_LOTS}\nrate_limit_tpm = {_LOTS}\nmax_concurrent = {_LOTS}\n"
        text = text.replace("[gateway]\n", f"[gateway]\nrate_limit_rpm = {_LOTS}\n", 1)
        text += f"rate_limit_rpm = {_LOTS}\n"
        text += "".join(f"[groups.g{number}]\n{every}" for number in range(_GROUPS))
    for client in clients(limits, count):
        members = asdict(client, filter=lambda _, value: value not in (None, False, ()))
        text += "[[clients]]\n" + "".join(
            f"{name} = {json.dumps(value)}\n" for name, value in members.items()
        )
    return text


def clients(limits: str, count: int) -> tuple[ClientSection, ...]:
    """Make so many clients, each with a key of its own."""
    return tuple(_client(limits, number) for number in range(count))


def _client(limits: str, number: int) -> ClientSection:
    name, hashed = f"client-{number}", sha256(key(number).encode()).hexdigest()
    section = ClientSection(name=name, key_sha256=hashed, profile="default")
    if limits == "none":
        return section
    section = evolve(section, rate_limit_rpm=_LOTS)
    if limits == "rpm":
        return section
    group = f"g{number % _GROUPS}"
    return evolve(section, rate_limit_tpm=_LOTS, max_concurrent=_LOTS, group=group)


def key(number: int) -> str:
    """Give the key of one client."""
    return f"sk-{number:032d}"


def entrance(config: Config) -> Entrance:
    """Wire a config; give the way in."""
    shared = resources()
    graph: Graph = graph_of(config, shared)
    door = graph.client.door
    assert isinstance(door, ClientDoor), "clients come in by it"
    admission = Admission(
        tally=shared.tally,
        limits=door.limits,
        prices=Prices.of(config),
        budgets=Budgets.of(config, shared.tally.purses, shared.wall),
        max_in_flight=config.gateway.max_in_flight,
        ledger=shared.ledger,
        now=shared.wheel.now,
    )
    return Entrance(door, admission)


def head_of(number: int) -> Head:
    """Give the head that a client sends."""
    return Head(
        method=b"POST",
        path=b"/v1/chat/completions",
        query=b"",
        headers=[
            (b"host", b"gateway.example.com"),
            (b"accept", b"application/json"),
            (b"content-type", b"application/json"),
            (b"user-agent", b"OpenAI/Python 1.99.0"),
            (b"authorization", b"Bearer " + key(number).encode()),
            (b"content-length", b"1024"),
        ],
        peer=f"10.0.{number // 250 % 250}.{number % 250}",
        secure=False,
        length=1024,
    )


def callers(count: int) -> list[tuple[Head, Exchange]]:
    """Choose who asks, in an order that no cache foresees."""
    some = random.Random(1).choices(range(count), k=_CALLERS)
    request = chat("t0")
    heads = [head_of(number) for number in some]
    return [(head, exchange_of(request, None, peer=head.peer)) for head in heads]


async def let_through(way: Entrance, head: Head, exchange: Exchange) -> None:
    """Let one request in, count it for its profile, and let it out."""
    admitted = way.door.admit(head)
    exchange.principal = admitted.principal
    with way.admission.admit(exchange):
        exchange.account.enter("default")


def admitting(way: Entrance, count: int) -> Run:
    """Make the loop to be timed."""
    asking = callers(count)
    size = len(asking)

    async def admit(times: int) -> None:
        for number in range(times):
            head, exchange = asking[number % size]
            await let_through(way, head, exchange)

    return lambda times: finish(admit(times))
