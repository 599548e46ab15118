"""
The gateway when it has much to keep: ``python -m benchmarks.grown CONFIG KEYS ENTRIES``.

It is served as ``lmgateway serve`` does, with so many clients instead of those
in the config (each like the first of them, with a key of its own), and after it
has recorded so many requests.
"""

from __future__ import annotations

import os
import sys
from hashlib import sha256
from pathlib import Path

from attrs import evolve
from twisted.internet import reactor  # noqa: TID251  # this is a program
from twisted.logger import globalLogBeginner

from benchmarks.micro_telemetry import answered
from benchmarks.profiles import key
from lmgateway.config.load import load
from lmgateway.config.schema import Config
from lmgateway.service import tap
from lmgateway.service.start import Beginning
from lmgateway.service.systemd import Handed
from lmgateway.telemetry.logs import observer
from lmgateway.telemetry.traffic import Traffic

_KINDS = 10


def with_keys(config: Config, count: int) -> Config:
    """Give a config with so many clients."""
    first = config.clients[0]
    clients = (
        evolve(first, name=f"client{number}", key_env=None, key_sha256=hashed(number))
        for number in range(count)
    )
    return evolve(config, clients=tuple(clients))


def hashed(number: int) -> str:
    """Give what a config keeps of a client's key."""
    return sha256(key(number).encode()).hexdigest()


def seen_before(traffic: Traffic, entries: int) -> None:
    """Write so many entries, of some tiers in turn, as if so many requests had been served."""
    ended = [answered(number) for number in range(_KINDS)]
    for number in range(entries):
        exchange = ended[number % _KINDS]
        exchange.id = f"{number:016x}"
        traffic.write(exchange)


def main(path: str, keys: str, entries: str) -> None:
    """Serve until told to stop."""
    config = with_keys(load(Path(path), os.environ), int(keys))
    gateway = tap.make_service(Beginning(config, os.environ, Handed()), reactor)
    watch = observer(sys.stderr, gateway.resources.levels)
    globalLogBeginner.beginLoggingTo([watch], redirectStandardIO=False)
    gateway.privilegedStartService()  # from here on, records go where the config says
    seen_before(gateway.resources.traffic, int(entries))
    gateway.startService()
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
