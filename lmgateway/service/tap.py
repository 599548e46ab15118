"""
``twistd -n lmgateway --config F`` and ``lmgateway serve``: the same service.

What twistd does by default and a service must not is put right here: timers on
the wall clock (O1 of the reliability notes), a log in free text, a process
that stays up without its ports.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from twisted.application.service import IService, Service
from twisted.logger import ILogObserver, globalLogBeginner

from lmgateway.config.load import load
from lmgateway.errors import ConfigError
from lmgateway.service.descriptors import raise_limit
from lmgateway.service.life import GatewayService
from lmgateway.service.resources import Resources
from lmgateway.service.start import DEFAULT_CONFIG
from lmgateway.service.systemd import Handed
from lmgateway.stores.courier import surroundings
from lmgateway.telemetry.logs import observer
from lmgateway.wire.resolver import Resolver
from lmgateway.wire.turns import lighten

EX_CONFIG = 78
EX_STARTUP = 1


def config_path(given: str | None, environ: Mapping[str, str]) -> Path:
    """Say which config file to read."""
    return Path(given or environ.get("LMG_CONFIG") or DEFAULT_CONFIG).absolute()


def make_service(
    path: Path, environ: Mapping[str, str], reactor: Any, handed: Handed | None = None
) -> GatewayService:
    """
    Make the service of a config file.

    Args:
        path: The file.
        environ: Where secrets are looked up.
        reactor: What it runs on.
        handed: What a service manager handed over.

    Raises:
        ConfigError: If the file cannot be used.
    """
    reactor.seconds = time.monotonic  # O1: a step of the wall clock moves no timer
    lighten(reactor)
    raise_limit()
    environ = surroundings(environ)
    config = load(path, environ)
    resolver = Resolver(reactor)
    reactor.installNameResolver(resolver)
    reactor.addSystemEventTrigger("after", "shutdown", resolver.stop)
    return GatewayService(config, Resources.of(reactor, environ, handed=handed))


class _Started(Service):
    """Starts the gateway under twistd: ends the process, with a message, where that fails."""

    def __init__(self, gateway: GatewayService) -> None:
        self._gateway = gateway

    def setServiceParent(self, parent: Any) -> None:
        Service.setServiceParent(self, parent)
        if not isinstance(parent, Service):
            levels = self._gateway.resources.levels
            parent.setComponent(ILogObserver, observer(sys.stderr, levels))

    def privilegedStartService(self) -> None:
        try:
            self._gateway.privilegedStartService()
        except ConfigError as error:
            _end(error, EX_STARTUP)

    def startService(self) -> None:
        self.running = True
        self._gateway.startService()


def make_started(config: str | None, handed: Handed | None = None) -> IService:
    """Make the service that twistd starts."""
    from twisted.internet import reactor

    try:
        gateway = make_service(config_path(config, os.environ), os.environ, reactor, handed)
    except ConfigError as error:
        _end(error, EX_STARTUP if error.transient else EX_CONFIG)
    return _Started(gateway)


def run(config: str | None, handed: Handed | None = None) -> None:
    """Serve until told to stop: ``lmgateway serve``."""
    from twisted.internet import reactor

    try:
        gateway = make_service(config_path(config, os.environ), os.environ, reactor, handed)
    except ConfigError as error:
        _end(error, EX_STARTUP if error.transient else EX_CONFIG)
    watch = observer(sys.stderr, gateway.resources.levels)
    globalLogBeginner.beginLoggingTo([watch], redirectStandardIO=False)
    try:
        gateway.privilegedStartService()
    except ConfigError as error:
        _end(error, EX_STARTUP)
    gateway.startService()
    reactor.run()


def _end(error: ConfigError, status: int) -> NoReturn:
    sys.stderr.write(f"lmgateway: {error}\n")
    sys.stderr.flush()
    raise SystemExit(status)
