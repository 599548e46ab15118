"""
Where records of traffic go besides memory: files, a collector of spans, a receiver of records.

What is made for one config is kept for the next if nothing about it has changed; else it is
closed, once what it holds is written or sent, and another is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from msgspec import Struct
from twisted.internet.defer import Deferred, DeferredList, ensureDeferred

from lmgateway.config.schema import Config
from lmgateway.errors import ConfigError
from lmgateway.service.resources import Resources

if TYPE_CHECKING:
    from lmgateway.telemetry.sinks import Opened

LAST_SECONDS = 3.0
"""For what is left, at the end."""


Make = Callable[[object], "Opened"]
Wanted = Mapping[str, tuple[object, Make]]


class Reporting(Struct, frozen=True):
    """The sinks of one config."""

    config: Config
    resources: Resources
    wanted: Wanted

    @classmethod
    def of(cls, config: Config, resources: Resources) -> Reporting:
        """
        Look what is wanted; nothing is opened yet.

        Raises:
            ConfigError: If a file could not be written, or a credential is missing.
        """
        if not _wants_any(config):
            return cls(config, resources, {})
        from lmgateway.service.sinks import Makers  # with all that writes and sends

        makers = Makers(config, resources)
        wanted = dict(makers.wanted())
        if makers.problems:
            raise ConfigError(makers.problems)
        return cls(config, resources, wanted)

    def settle(self) -> None:
        """Use these, and no others."""
        resources, logs, sinks = self.resources, self.config.logs, self.resources.sinks
        for name in [*sinks]:
            if name not in self.wanted or self.wanted[name][0] != sinks[name].key:
                _retire(resources, sinks.pop(name))
        if "access" not in self.wanted:
            resources.access.redirect(resources.write)
        for name, (key, make) in self.wanted.items():
            if name not in sinks:
                sinks[name] = make(key)
        takes = [opened.take for opened in sinks.values()]
        resources.traffic.takers = [take for take in takes if take is not None]
        resources.access.share = logs.access_sample
        resources.access.slow_ms = logs.access_slow_ms


def _wants_any(config: Config) -> bool:
    sections = (config.logs.access_file, config.export, config.otel, config.capture)
    return any(section is not None for section in sections)


async def close(resources: Resources) -> None:
    """Write and send what is left."""
    resources.traffic.takers = ()
    for name in [*resources.sinks]:
        _retire(resources, resources.sinks.pop(name))
    await DeferredList([*resources.retiring])
    resources.access.redirect(resources.write)


def _retire(resources: Resources, opened: Opened) -> None:
    if opened.stop is not None:
        opened.stop()
    closed: Deferred[None] = ensureDeferred(opened.sink.close(LAST_SECONDS))
    resources.retiring.add(closed)
    resources.lost[opened.sink.name] = resources.lost.get(opened.sink.name, 0)

    def done(_: object) -> None:
        resources.retiring.discard(closed)
        resources.lost[opened.sink.name] += opened.sink.dropped

    closed.addBoth(done)
