"""
``lmgateway selftest``: what the operator's config does when things go wrong, by trying it.

A gateway is started for each scenario, on loopback, with stand-ins for all backends that answer
or fail as the scenario says.  No secret is needed, nothing outside is asked, nothing is written.
The real waiting times are cut short; which of them ends a wait is as configured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.python.failure import Failure

from lmgateway.commands.scenarios import Routes
from lmgateway.commands.scenarios_house import House
from lmgateway.commands.scorecard import Card, Row
from lmgateway.commands.selftest_config import Substituted
from lmgateway.commands.standin import StandIns
from lmgateway.commands.trials import Trials


def tested(
    source: Path, environ: Mapping[str, str], tick: Callable[[Row], object] = lambda row: None
) -> Card:
    """
    Try everything; runs the reactor, which cannot be run again.

    Args:
        source: The main config file.
        environ: The environment, for what the file takes from it.
        tick: Told each row as it is known.

    Raises:
        ConfigError: If the config cannot be used.
        Abort: If it is interrupted.
    """
    from twisted.internet import reactor

    subject = Substituted(source, environ)
    return _run(reactor, lambda: carded(reactor, subject, tick))


async def carded(reactor: Any, subject: Substituted, tick: Callable[[Row], object]) -> Card:
    """Try everything, on a reactor that runs."""
    stand_ins = StandIns(reactor, subject.config)
    stand_ins.open()
    trials = Trials(reactor, subject, stand_ins)
    rows: list[Row] = []
    try:
        for scenarios in (Routes(trials), House(trials)):
            async for row in scenarios.rows():
                rows.append(row)
                tick(row)
    finally:
        await stand_ins.close()
    return Card(str(subject.config.source), rows)


def _run(reactor: Any, work: Callable[[], Any]) -> Card:
    """Run the reactor until the work is done."""
    ended: list[Card | Failure] = []

    def begin() -> None:
        Deferred.fromCoroutine(work()).addBoth(ended.append).addBoth(lambda _: stop())

    def stop() -> None:
        with suppress(ReactorNotRunning):  # it is being stopped already
            reactor.stop()

    reactor.callWhenRunning(begin)
    reactor.run()
    if not ended:
        raise click.Abort
    (result,) = ended
    if isinstance(result, Failure):
        result.raiseException()
    return result
