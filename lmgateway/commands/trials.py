"""What the scenarios of a self-test have in common: who asks, a gateway to ask, and the verdict."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from fnmatch import fnmatchcase
from typing import Any

from attrs import field

from lmgateway.chat import Document
from lmgateway.classes import define, frozen
from lmgateway.commands.explain import Asking, explained_under
from lmgateway.commands.scorecard import Row
from lmgateway.commands.selftest_config import Substituted
from lmgateway.commands.stage import PATH, Heard, Stage
from lmgateway.commands.standin import Fault, StandIns
from lmgateway.config.schema import Config
from lmgateway.errors import GatewayError
from lmgateway.service.resources import Resources

SLOW_MS = 800
"""How long a backend is waited for where it is meant to be too slow."""
MOST_ASKERS = 50
"""Clients that are tried to find one who may ask for something; alike ones count once."""


@frozen
class Asker:
    """
    Who asks.

    Attributes:
        name: A client's, or ``None`` for whoever shows no key.
        key: Its key.
    """

    name: str | None
    key: str | None


@define(eq=False)
class Trials:
    """
    Gateways with one config, and clients of theirs.

    They are made of the reactor, of the config, and of its backends, which are open already.
    """

    reactor: Any
    subject: Substituted
    stand_ins: StandIns
    askers: list[Asker] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        config = self.subject.config
        if config.is_open or config.gateway.public_profile is not None:
            self.askers.append(Asker(None, None))
        alike: dict[object, Asker] = {}
        for client in config.clients:
            paths = client.allow_endpoints
            if paths is not None and not any(fnmatchcase(PATH, glob) for glob in paths):
                continue
            what = (client.profile, client.expert, client.allow_profiles, client.allow_models)
            alike.setdefault(what, Asker(client.name, self.subject.keys[client.name]))
        self.askers += [*alike.values()][:MOST_ASKERS]

    @property
    def config(self) -> Config:
        """The config, its backends still where the operator has them."""
        return self.subject.config

    def served(self, faults: Mapping[str, Fault] | None = None) -> Config:
        """Give the config on stand-ins, some of which fail; who is slow is not waited for long."""
        faults = faults or {}
        slow = {name: SLOW_MS for name, fault in faults.items() if fault is Fault.SLOW}
        return self.subject.on(self.stand_ins.origins(faults), slow)

    @asynccontextmanager
    async def stage(self, faults: Mapping[str, Fault] | None = None) -> AsyncIterator[Stage]:
        """Serve the config while the scope lasts."""
        async with Stage(self.reactor, self.served(faults)) as stage:
            yield stage

    def way(self, model: str, asker: Asker, config: Config | None = None) -> Document | None:
        """Give how a request is routed; ``None`` if it is refused before that."""
        resources = Resources.of(self.reactor, {}, write=lambda block: None)
        try:
            return explained_under(
                config or self.served(), resources, Asking(model=model, client=asker.name)
            )
        except GatewayError:
            return None
        finally:
            resources.wheel.stop()


def judged(subject: str, scenario: str, expected: str, heard: Heard, fits: bool) -> Row:
    """Give the row of what was heard."""
    return Row(
        subject=subject,
        scenario=scenario,
        expected=expected,
        happened=f"{heard.worded()}, after {heard.seconds * 1000:.0f} ms",
        verdict="pass" if fits else "fail",
    )


def is_error(heard: Heard, statuses: frozenset[int]) -> bool:
    """Whether it is an error of one of *statuses*, or a friendly one, which is told with 200."""
    if heard.status == 200:
        return heard.error is not None
    return heard.status in statuses
